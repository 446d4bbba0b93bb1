"""NaN and infinity: the step is skipped and counted, the run stops after many, and files stay finite."""

import pytest
import pytorch_lightning as pl
import torch

import tiny_run as tiny
from fault_harness import Job
from videodiff.callbacks import NonFiniteGuard, RunCheckpoint
from videodiff.checkpoints import AtomicCheckpointIO, load_checkpoint


def state(folder, step):
    return tiny.weights(folder / f"checkpoints/step_{step:08d}.ckpt")


@pytest.mark.parametrize("kind", ["nan", "inf"])
@pytest.mark.parametrize("optimizer", [{"fused": True}, {"fused": False}, {"optimizer": "sgd"}], ids=str)
def test_a_bad_step_changes_neither_weights_nor_optimizer(kind, optimizer, tmp_path, capsys):
    tiny.fit(tmp_path, 6, module={"poison": f"{kind}:3:3", **optimizer})
    _, _, raw, moments, _, schedule = state(tmp_path, 4)
    _, _, raw_before, moments_before, _, schedule_before = state(tmp_path, 3)
    assert tiny.same(raw, raw_before)
    assert tiny.same(moments, moments_before)  # Adam's step counters among them
    assert schedule[0]["last_epoch"] == schedule_before[0]["last_epoch"] + 1 == 4
    assert not tiny.same(state(tmp_path, 5)[2], raw)
    said = [line for line in capsys.readouterr().err.splitlines() if "not finite" in line]
    assert said == [
        "step 4: loss or gradient not finite, update skipped (1 in a row, 1 in all; samples "
        "[24, 25, 26, 27, 28, 29, 30, 31])"
    ]
    assert load_checkpoint(tmp_path / "checkpoints/last.ckpt", finite=True)["global_step"] == 6
    logged = {
        line["step"]: line["train/skipped_steps"]
        for line in tiny.lines(tmp_path / "metrics.jsonl")
        if "lr" in line
    }
    assert logged[3] == 0
    assert logged[4] == logged[6] == 1


@pytest.mark.parametrize("kind", ["micro nan", "micro inf"])
def test_one_bad_micro_batch_voids_its_whole_step(kind, tmp_path):
    tiny.fit(tmp_path, 4, accumulate=2, module={"poison": f"{kind}:2:2"})
    assert tiny.same(state(tmp_path, 3)[2], state(tmp_path, 2)[2])
    assert not tiny.same(state(tmp_path, 4)[2], state(tmp_path, 3)[2])


@pytest.mark.parametrize("every", [1, 4])
def test_ten_bad_steps_in_a_row_stop_the_run_and_leave_a_finite_checkpoint(every, tmp_path):
    callbacks = [NonFiniteGuard(check_every=every), RunCheckpoint(every_n_steps=1)]
    with pytest.raises(RuntimeError, match=r"1\d steps in a row"):
        tiny.fit(tmp_path, 30, callbacks=callbacks, module={"poison": "nan:3:99"})
    last = load_checkpoint(tmp_path / "checkpoints/last.ckpt", finite=True)
    assert 12 <= last["global_step"] <= 16
    assert callbacks[0].skipped == last["callbacks"]["NonFiniteGuard"]["skipped"] + (every == 1)


def test_nine_bad_steps_do_not_stop_a_run_and_a_resume_goes_on_counting(tmp_path):
    tiny.fit(tmp_path, 8, module={"poison": "nan:3:99"})
    last = tmp_path / "checkpoints/last.ckpt"
    with pytest.raises(RuntimeError, match="10 steps in a row up to step 13"):
        tiny.fit(tmp_path, 30, resume=last, module={"poison": "nan:3:99"})
    tiny.fit(tmp_path / "nine", 14, module={"poison": "nan:3:11"})


def test_non_finite_weights_never_replace_a_checkpoint(tmp_path, capsys):

    class SpoilWeights(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, *args):
            if trainer.global_step == 3:
                with torch.no_grad():
                    pl_module.net[0].weight[0, 0] = float("nan")

    tiny.fit(tmp_path, 6, callbacks=[RunCheckpoint(every_n_steps=1)], extra=[SpoilWeights()])
    last = load_checkpoint(tmp_path / "checkpoints/last.ckpt", finite=True)
    assert last["global_step"] == 3
    assert "weights are not finite, checkpoint not written" in capsys.readouterr().err


def test_ranks_agree_on_a_loss_that_is_bad_on_one_of_them(tmp_path):
    with Job(tiny.fit_infinite_on_one_rank, {"folder": str(tmp_path)}, tmp_path, world=2) as job:
        assert job.wait(60) == [0, 0], job.text()
    assert tiny.same(state(tmp_path, 3)[2], state(tmp_path, 2)[2])
    assert not tiny.same(state(tmp_path, 4)[2], state(tmp_path, 3)[2])
    assert AtomicCheckpointIO().load_checkpoint(tmp_path / "checkpoints/last.ckpt")["global_step"] == 5
