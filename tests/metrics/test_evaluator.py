"""The evaluator that the package carries: what its file says of it is so, and its distances see damage."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from videodiff.data.synthetic import BouncingDigits, DriftingClouds
from videodiff.metrics import FeatureStats, FrechetVideoDistance, baselines
from videodiff.metrics.features.evaluator import (
    WEIGHTS,
    EvaluatorFeatures,
    digit_reader,
    evaluator_record,
    probabilities,
)
from videodiff.metrics.features.evaluator_net import SpaceTimeBlock
from videodiff.metrics.inception import inception_score
from videodiff.metrics.motion.locate import locate
from videodiff.weights import file_sha256

NUM = 96
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_evaluator.py"


def read(source_class, first, count, stride=1.0, size=32):
    source = source_class("test", first + count, 16, size)
    return torch.stack([source.read(index, 0, 16, stride) for index in range(first, first + count)])


@pytest.fixture(scope="module")
def digits():
    return read(BouncingDigits, 0, 2 * NUM)


@pytest.fixture(scope="module")
def clouds():
    return read(DriftingClouds, 0, 2 * NUM)


def labels(source_class):
    return torch.tensor(source_class("test", 2 * NUM, 16, 32).labels)


def test_the_file_is_small_and_says_where_it_comes_from():
    record = evaluator_record()
    assert WEIGHTS.stat().st_size < 1_000_000
    assert record["command"].startswith("python scripts/train_evaluator.py --seed 0")
    assert "torch" in record["versions"]
    assert all(torch.isfinite(tensor).all() for tensor in load_file(WEIGHTS).values())


def test_recorded_accuracies_hold_on_test_clips(digits, clouds):
    figures = evaluator_record()["figures"]
    logits = EvaluatorFeatures("logits")
    for clips, source_class, first, name in (
        (digits, BouncingDigits, 0, "digit"),
        (clouds, DriftingClouds, 10, "weather"),
    ):
        accuracy = (logits(clips).argmax(1) == labels(source_class) + first).double().mean().item()
        recorded = figures[f"{name}_accuracy"]
        sigma = max(recorded * (1 - recorded) / len(clips), 1e-4) ** 0.5
        assert accuracy == pytest.approx(recorded, abs=4 * sigma)
        assert recorded > 0.85
    crops = locate(digits[:, ::4]).crops
    with torch.inference_mode():
        frames = digit_reader()(crops.flatten(0, 1)).argmax(1).reshape(crops.shape[:2])
    assert (frames == labels(BouncingDigits)[:, None]).double().mean() == pytest.approx(
        figures["frame_accuracy"], abs=0.08
    )


def test_features_know_motion(digits, clouds):
    motion = EvaluatorFeatures("motion")
    source = DriftingClouds("test", 2 * NUM, 16, 32)
    drift = np.stack([source.sky(index).velocity for index in range(2 * NUM)])
    found = motion(clouds)[:, 2:].numpy()
    assert np.corrcoef(found[:, 0], drift[:, 0])[0, 1] > 0.9
    assert np.corrcoef(found[:, 1], drift[:, 1])[0, 1] > 0.5  # at most half a pixel per frame
    assert motion(baselines.frozen_clips(digits))[:, :2].mean() < 0.3 * motion(digits)[:, :2].mean()


def test_features_are_in_units_of_their_deviation(digits, clouds):
    features = EvaluatorFeatures()(torch.cat([digits, clouds])).double()
    assert features.shape == (4 * NUM, 128)
    assert features.mean().abs() < 0.1
    assert 0.8 < features.std(0).mean() < 1.2


@pytest.mark.filterwarnings("ignore:.*fewer clips than numbers.*")
@pytest.mark.parametrize("content", ["digits", pytest.param("clouds", marks=pytest.mark.slow)])
def test_damage_rises_above_the_floor_and_reversal_does_not(content, request):
    clips = request.getfixturevalue(content)
    real, other = clips[:NUM], clips[NUM:]
    source_class = BouncingDigits if content == "digits" else DriftingClouds
    metric = FrechetVideoDistance(EvaluatorFeatures())
    metric.use(real=FeatureStats.from_features(metric.features(real)))
    metric.use(other_real=FeatureStats.from_features(metric.features(other)))

    def rise(clips):
        metric.reset()
        metric.update(clips, real=False)
        entry = metric.entry()
        return entry["value"] / entry["floor"]

    assert rise(other) == 1
    assert 0.7 < rise(baselines.reverse(other)) < 1.3
    assert rise(baselines.add_noise(other, 0.05)) > 1.5
    assert rise(baselines.add_noise(other, 0.2)) > rise(baselines.add_noise(other, 0.05))
    assert rise(baselines.blur(other)) > 1.5
    assert rise(baselines.shuffle_frames(other)) > 1.5
    assert rise(baselines.frozen_clips(other)) > 1.5
    assert rise(read(source_class, NUM, NUM, 0.5)) > 1.15
    assert rise(baselines.noise_clips(NUM, 16, 32, 32)) > 5


def test_the_inception_score_of_real_digits_is_near_the_number_of_classes(digits):
    logits = EvaluatorFeatures("logits")
    real, _ = inception_score(probabilities(logits(digits), "digits"), splits=1)
    noise, _ = inception_score(
        probabilities(logits(baselines.noise_clips(NUM, 16, 32, 32)), "digits"), splits=1
    )
    assert 7 < real <= 10
    assert noise < 2


def test_probabilities_are_a_softmax_over_the_classes_asked_for():
    logits = torch.randn(3, 14, generator=torch.Generator().manual_seed(0))
    assert probabilities(logits).shape == (3, 14)
    torch.testing.assert_close(probabilities(logits, "weathers"), logits[:, 10:].double().softmax(1))
    torch.testing.assert_close(probabilities(logits, "digits").sum(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(4, 16, 16), (5, 33, 20), (16, 64, 64), (40, 32, 32)])
def test_any_length_and_size_is_taken(shape):
    features = EvaluatorFeatures()(baselines.noise_clips(2, *shape))
    assert features.shape == (2, 128)
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("size", [64, (80, 48), (32, 64)])
def test_gray_clips_and_clips_of_other_sizes_are_understood(digits, size):
    logits = EvaluatorFeatures("logits")
    for source, part in ((BouncingDigits, slice(0, 10)), (DriftingClouds, slice(10, None))):
        clips = read(source, 0, NUM // 2, size=size)
        right = logits(clips)[:, part].argmax(1) == labels(source)[: NUM // 2]
        assert right.double().mean() > 0.85  # bent to 32 x 32, the digits of the last two have 0.45 and 0.3
    assert torch.equal(digits[..., 0], digits[..., 2])  # the digits are gray already


def test_features_depend_on_neither_batch_nor_the_global_state(digits):
    torch.manual_seed(0)
    state, features = torch.get_rng_state(), EvaluatorFeatures()
    together = features(digits[:4])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(together, torch.cat([features(clip[None]) for clip in digits[:4]]))
    features.train()
    assert torch.equal(together, features(digits[:4]))
    assert features.weights_sha256 == file_sha256(WEIGHTS)


def test_wrong_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match="features, logits, motion"):
        EvaluatorFeatures("fvd")
    clips = torch.zeros(1, 4, 16, 16, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match="at least 4 frames"):
        EvaluatorFeatures()(clips[:, :3])
    with pytest.raises(FileNotFoundError):
        EvaluatorFeatures(weights=str(tmp_path / "no.safetensors"))(clips)
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, weight=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="not the weights of the built-in evaluator"):
        EvaluatorFeatures(weights=str(foreign))(clips)


def test_a_block_is_a_convolution_in_space_and_one_in_time():
    """Against conv3d with the kernels set side by side."""
    torch.manual_seed(0)
    block = SpaceTimeBlock(3, 5, 3, 2, time_stride=2).eval()
    x = torch.randn(2, 7, 8, 10, 3)
    wide = x.permute(0, 4, 1, 2, 3)
    space = torch.relu(
        torch.conv3d(wide, block.space.weight[:, :, None], stride=(1, 2, 2), padding=(0, 1, 1))
        / (1 + 1e-5) ** 0.5
    )
    time = torch.conv3d(space, block.time.weight[..., None], stride=(2, 1, 1), padding=(1, 0, 0))
    expected = torch.relu(time / (1 + 1e-5) ** 0.5)
    torch.testing.assert_close(block(x).permute(0, 4, 1, 2, 3), expected)


def train(path, *arguments):
    command = [sys.executable, str(SCRIPT), "--output", str(path), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_a_brief_training_learns_and_repeats_to_the_bit(tmp_path):
    arguments = ["--steps", "150", "--clips", "256", "--test_clips", "64"]
    train(tmp_path / "a.safetensors", *arguments)
    train(tmp_path / "b.safetensors", *arguments)
    assert file_sha256(tmp_path / "a.safetensors") == file_sha256(tmp_path / "b.safetensors")
    record = evaluator_record(tmp_path / "a.safetensors")
    assert record["figures"]["weather_accuracy"] > 0.9
    assert record["figures"]["frame_accuracy"] > 0.4
    assert json.dumps(record)
    assert EvaluatorFeatures(weights=str(tmp_path / "a.safetensors"))(read(BouncingDigits, 0, 2)).shape == (
        2,
        128,
    )
