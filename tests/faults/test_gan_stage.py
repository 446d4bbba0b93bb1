"""Adversarial training under faults: exact resume, one and two processes alike, NaN survived, a late start."""

import pytest
import torch

import gan_run as gan
import tiny_run as tiny
from fault_harness import Job
from videodiff.checkpoints import load_checkpoint

STEPS = 6


def content(path):
    """Weights, scale, optimizer moments and step of a checkpoint."""
    c = load_checkpoint(path, finite=True)
    return (
        c["global_step"],
        c["state_dict"],
        c["optimizer_states"][0]["state"],
        c["optimizer_states"][0]["param_groups"],
    )


def step_file(folder, step):
    return folder / f"checkpoints/step_{step:08d}.ckpt"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    gan.fit(folder, STEPS)
    return folder


def judges(weights):
    return {k: v for k, v in weights.items() if "discriminator" in k}


@pytest.mark.parametrize("step", range(1, STEPS))
def test_resume_before_at_and_after_the_discriminators_start_is_bit_identical(whole, step, tmp_path):
    gan.fit(tmp_path, STEPS, resume=step_file(whole, step))
    assert tiny.same(content(tmp_path / "checkpoints/last.ckpt"), content(step_file(whole, STEPS)))
    before, after = (tiny.lines(folder / "trace_rank0.jsonl") for folder in (whole, tmp_path))
    assert after == before[len(before) - len(after) :]


def test_the_discriminators_start_at_their_step_with_a_fresh_optimizer(whole):
    start, later = (content(step_file(whole, s)) for s in (gan.START, gan.START + 1))
    assert tiny.same(
        judges(content(step_file(whole, 1))[1]), judges(start[1])
    )  # no decay, no moment, no statistics
    assert not tiny.same(judges(start[1]), judges(later[1]))
    count = len(list(gan.module().autoencoder.parameters()))
    assert sorted(start[2]) == list(range(count))  # no state for the discriminators
    assert {float(later[2][i]["step"]) for i in later[2] if i >= count} == {1.0}
    lines = {line["step"]: line for line in tiny.lines(whole / "metrics.jsonl") if "lr" in line}
    assert "train/discriminator" not in lines[gan.START]
    assert lines[gan.START + 1]["train/discriminator"] == pytest.approx(
        2.0, abs=0.5
    )  # two players that know nothing


def test_accumulation_resumes_too(tmp_path):
    gan.fit(tmp_path / "whole", 5, accumulate=2)
    gan.fit(tmp_path / "rest", 5, accumulate=2, resume=step_file(tmp_path / "whole", 4))
    assert tiny.same(*(content(tmp_path / name / "checkpoints/last.ckpt") for name in ("whole", "rest")))


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("fused", [True, False])
def test_a_nan_clip_changes_no_weight_and_no_scale_and_training_goes_on(step, fused, tmp_path, capsys):
    gan.fit(tmp_path, STEPS, poison=step, options={"fused": fused})
    before, spoilt, after = (content(step_file(tmp_path, s))[1] for s in (step, step + 1, step + 2))
    assert tiny.same(before, spoilt)  # LatentScale's sums among them
    assert not tiny.same(spoilt, after)
    assert capsys.readouterr().err.count("not finite, update skipped") == 1
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt", finite=True)["global_step"] == STEPS


def test_two_processes_are_one(tmp_path):
    # Plain gradient steps: Adam would turn the last bit of a gradient near zero into a whole step.
    options = {"steps": STEPS, "options": {"sgd": True, "lr": 0.05}}
    one, two = tmp_path / "one", tmp_path / "two"
    gan.fit(one, **options)
    with Job(gan.fit, {"folder": str(two), "world": 2, **options}, tmp_path, world=2) as job:
        assert job.wait(200) == [0, 0], job.text()
    ours, theirs, start = (content(step_file(f, s))[1] for f, s in ((one, STEPS), (two, STEPS), (one, 1)))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-4, msg=name)
    assert not torch.allclose(
        start["autoencoder.decoder.conv_out.weight"], ours["autoencoder.decoder.conv_out.weight"], atol=1e-3
    )
    scores = [
        {r["step"]: r for r in tiny.lines(f / "metrics.jsonl") if "val/psnr" in r}[4] for f in (one, two)
    ]
    assert scores[0]["val/psnr"] == pytest.approx(scores[1]["val/psnr"], abs=1e-3)


def test_the_scale_makes_latents_of_training_clips_standard(tmp_path):
    gan.fit(tmp_path, 24, save_every=24, val_check_interval=24, options={"memory": 16, "lr": 5e-4})
    weights = load_checkpoint(tmp_path / "checkpoints/last.ckpt")["state_dict"]
    model = gan.module()
    model.load_state_dict(weights)
    clips = torch.stack([gan.Clips()[(0, i)]["video"] for i in range(tiny.SAMPLES)])
    with torch.no_grad():
        latent = model.eval().autoencoder.encode(clips)
    assert latent.mean().item() == pytest.approx(0, abs=0.15)
    assert latent.std().item() == pytest.approx(1, abs=0.15)
