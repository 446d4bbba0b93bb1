"""Models of single frames: trained on a folder of images, drawn, measured and compared; what needs motion says so."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from compared_runs import relabel
from tiny_features import TinyFeatures
from videodiff.cli import main
from videodiff.comparison import Settings, compare_runs
from videodiff.comparison.formats import terminal
from videodiff.data.video_io import read_image, read_video
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.evaluation.choice import find_detectors
from videodiff.evaluation.detectors import build_detectors
from videodiff.evaluation.protocol import get_protocol
from videodiff.metrics import FrechetFrameDistance
from videodiff.metrics.features.random import RandomFeatures
from videodiff.models import LVDM
from videodiff.networks import Autoencoder3D

SIDE = 16


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Root of a VDM of single frames, trained for two steps on images of two classes."""
    root = tmp_path_factory.mktemp("one")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / "set" / name).mkdir(parents=True)
        for number in range(12):
            noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / "set" / name / f"{number}.png")
    words = [
        "--config", "vdm_digits", "--config", "with/smoke", "--data.root", str(root / "set"), "--data.layout", "images",
        "--data.num_frames", "1", "--model.net.num_frames", "1", "--data.resolution", str(SIDE),
        "--model.net.resolution", str(SIDE), "--data.batch_size", "2", "--trainer.max_steps", "2",
        "--trainer.val_check_interval", "2", "--out", str(root / "run"),
    ]  # fmt: skip
    assert main(["fit", *words]) == 0
    return root / "run"


def test_generate_writes_a_picture_for_every_sample(run, tmp_path):
    words = ["--num_samples", "3", "--steps", "2", "--out", str(tmp_path / "drawn")]
    assert main(["generate", "--ckpt_path", str(run), *words]) == 0
    for number in range(3):
        picture = read_image(tmp_path / f"drawn/clip_{number:05d}.png")
        assert torch.equal(picture[None], read_video(tmp_path / f"drawn/clip_{number:05d}.mkv"))
    record = json.loads((tmp_path / "drawn/samples.json").read_text())
    assert (record["frames"], len(record["clips"])) == (1, 3)


def test_a_model_of_single_frames_draws_no_longer_video(run, tmp_path, capsys):
    words = ["--num_samples", "1", "--frames", "4", "--out", str(tmp_path / "drawn")]
    assert main(["generate", "--ckpt_path", str(run), *words]) != 0
    assert "this model generates single frames (num_frames 1); ask for 1" in capsys.readouterr().err


def test_single_frames_are_measured_by_the_random_network(run, capsys):
    assert main(["test", "--ckpt_path", str(run), "--num_clips", "3"]) == 0
    said = capsys.readouterr()
    assert "images (named)" in said.err  # the data stand at the head of test, too
    assert "rand" in (said.out + said.err)


@pytest.mark.parametrize("data", [{}, {"dataset": "bouncing_digits", "root": None, "layout": None}])
def test_frozen_frames_are_no_baseline_of_single_frames_which_they_would_be(run, tmp_path, monkeypatch, data):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(run, tmp_path / "copy")
    relabel(tmp_path / "copy", **data)
    found, _ = compare_runs([str(tmp_path / "copy")], Settings(num_clips=4, steps=(1,), shown=1))
    assert found.protocol["name"] == "random"
    assert [base["name"] for base in found.baselines] == ["noise"]
    assert "rozen" not in terminal(found)


@pytest.mark.parametrize(("network", "least"), [("styleganv", 9), ("evaluator", 4)])
def test_a_network_that_looks_at_motion_names_the_frames_it_needs(network, least):
    protocol = get_protocol(network, frames=1)
    with pytest.raises(
        ValueError, match=rf"needs clips of at least {least} frames, the protocol \S+ shows it 1;"
    ):
        find_detectors(protocol, build_detectors)


def test_random_features_and_frame_distances_take_one_frame():
    frames = torch.randint(0, 256, (6, 1, SIDE, SIDE, 3), dtype=torch.uint8)
    assert torch.isfinite(RandomFeatures()(frames)).all()
    metric = FrechetFrameDistance(TinyFeatures(min_frames=1))
    metric.update(frames, real=True)
    metric.update(frames.flip(0), real=False)
    assert metric.compute().item() == pytest.approx(0, abs=1e-6)


def test_lvdm_says_how_many_frames_it_takes_at_least():
    stage = Autoencoder3D(2, SIDE, width=4, downsample=(2, 2, 2), latent_channels=4)
    net = torch.nn.Identity()
    net.num_frames, net.concat_channels = 1, 1
    with pytest.raises(ValueError, match=r"clips of 2 latent frames or more .*, got 1"):
        LVDM(net, CosineSchedule(), DDIMSampler(2), autoencoder=stage)


def test_evaluate_takes_pictures_as_clips_of_one_frame(run, tmp_path, capsys):
    pictures = str(run.parent / "set")
    words = ["--layout", "images", "--frames", "1", "--protocol", "random", "--json"]
    assert main(["evaluate", pictures, pictures, *words]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["metrics"]["rand_fd"]["value"] == pytest.approx(0, abs=1e-6)
    assert record["metrics"]["rand_fd"]["num_fake"] == 24
