"""Both stages of PVDM through the command line: a stopped run goes on bit for bit, two processes are one."""

import pytest

import real_run
import tiny_run as tiny
from fault_harness import Job
from videodiff.checkpoints import load_checkpoint
from videodiff.cli import main

STEPS = 4
# The adversary of clips joins after two steps: both phases are gone through.
FIRST = ["--model.start_step", "2", "--model.adaptive", "false", "--model.adversarial_weight", "1.0"]


def words(stage, folder, steps, first_stage=None):
    """Arguments of a small traced fit in ``folder/run``."""
    argv = real_run.words(folder, steps)
    argv[argv.index("vdm_digits")] = {1: "pvdm_autoencoder_digits", 2: "pvdm_digits"}[stage]
    return argv + (FIRST if stage == 1 else ["--model.autoencoder.checkpoint", str(first_stage)])


def last(folder):
    """Everything of the newest checkpoint that must come out the same; a first stage keeps no averages."""
    checkpoint = load_checkpoint(folder / "run" / "checkpoints" / "last.ckpt")
    names = ("global_step", "state_dict", "raw_state_dict", "ema", "optimizer_states", "lr_schedulers")
    return {name: checkpoint[name] for name in names if name in checkpoint}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Uninterrupted runs of the stages by their number; the second stands on the first."""
    folder = tmp_path_factory.mktemp("whole")
    first = folder / "1" / "run"
    assert main(words(1, folder / "1", STEPS)) == 0
    assert main(words(2, folder / "2", STEPS, first)) == 0
    return {1: folder / "1", 2: folder / "2"}


@pytest.mark.parametrize("stage", [1, pytest.param(2, marks=pytest.mark.slow)])  # 2 is tried for LVDM
def test_stop_and_go_on_is_bit_identical(stage, whole, tmp_path):
    assert main(words(stage, tmp_path, STEPS // 2, whole[1] / "run")) == 0
    assert not tiny.same(last(tmp_path)["state_dict"], last(whole[stage])["state_dict"])
    assert main(["fit", "--out", str(tmp_path / "run"), "--trainer.max_steps", str(STEPS)]) == 0
    assert tiny.same(last(tmp_path), last(whole[stage]))
    assert real_run.trace(tmp_path) == real_run.trace(whole[stage])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2])
def test_two_processes_see_the_samples_and_losses_of_one(stage, whole, tmp_path):
    argv = words(stage, tmp_path, STEPS, whole[1] / "run")
    kwargs = {"argv": [*argv, "--trainer.devices", "2", "--trainer.strategy", "ddp"]}
    with Job(real_run.command, kwargs, tmp_path, world=2) as job:
        assert job.wait(120) == [0, 0], job.text()[-3000:]
    ours, theirs = real_run.trace(tmp_path), real_run.trace(whole[stage])
    assert {k: v[0] for k, v in ours.items()} == {k: v[0] for k, v in theirs.items()}
    for step, (_, loss) in ours.items():  # the losses of later steps are those of the same weights
        assert loss == pytest.approx(theirs[step][1], rel=1e-4)
    assert len({loss for _, loss in theirs.values()}) == STEPS
