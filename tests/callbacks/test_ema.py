"""The average of the weights against its definition, and where it is seen."""

import pytest
import torch
from pytorch_lightning import Callback

import tiny_run as tiny
from videodiff.callbacks import EMA, RunCheckpoint


class Follow(Callback):
    """Keep the weights of every step and what validation saw."""

    def __init__(self):
        self.steps, self.seen = [], []

    def on_train_start(self, trainer, pl_module):
        self.start = [p.detach().clone() for p in pl_module.net.parameters()]

    def on_train_batch_end(self, trainer, pl_module, *args):
        if len(self.steps) < trainer.global_step:
            self.steps.append([p.detach().clone() for p in pl_module.net.parameters()])

    def on_validation_batch_end(self, trainer, pl_module, *args):
        self.seen.append((trainer.global_step, [p.detach().clone() for p in pl_module.net.parameters()]))


def averages(follow, decay, warmup, every=1):
    average, n, kept = [p.double() for p in follow.start], 0, []
    for step, weights in enumerate(follow.steps, 1):
        if step % every == 0:
            d = min(decay, (1 + n) / (10 + n)) if warmup else decay
            average = [d * a + (1 - d) * w.double() for a, w in zip(average, weights, strict=True)]
            n += 1
        kept.append(average)
    return kept


@pytest.mark.parametrize(
    ("decay", "warmup", "every"), [(0.9, True, 1), (0.15, True, 1), (0.7, False, 1), (0.9, True, 3)]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_average_follows_its_definition_once_per_optimizer_step(
    decay, warmup, every, accumulate, tmp_path
):
    follow, ema = Follow(), EMA(decay, warmup, every)
    model = tiny.fit(tmp_path, 7, accumulate=accumulate, callbacks=[follow, ema])
    expected = averages(follow, decay, warmup, every)
    assert ema.num_updates == 7 // every
    for weight, wanted in zip(model.net.parameters(), expected[-1], strict=True):
        assert torch.allclose(weight.double(), wanted, atol=1e-6)  # after fit the module holds the average
    assert len(follow.seen) == 3
    for step, seen in follow.seen:
        assert all(
            torch.allclose(a.double(), b, atol=1e-6) for a, b in zip(seen, expected[step - 1], strict=True)
        )


def test_training_with_an_average_is_training_without_one(tmp_path):
    follows = Follow(), Follow()
    tiny.fit(tmp_path / "a", 9, callbacks=[follows[0], EMA(0.9)])
    tiny.fit(tmp_path / "b", 9, callbacks=[follows[1]])
    assert tiny.same(follows[0].steps, follows[1].steps)


def test_the_checkpoint_holds_average_and_raw_weights_of_the_net_alone(tmp_path):
    follow, ema = Follow(), EMA(0.9)
    # the saving callback comes first in the list: the average must be up to date all the same
    tiny.fit(tmp_path, 5, callbacks=[RunCheckpoint(every_n_steps=5), follow, ema], val_check_interval=100)
    step, state, raw, _, info, _ = tiny.weights(tmp_path / "checkpoints/last.ckpt")
    assert (step, info["num_updates"]) == (5, 5)
    assert set(raw) == {k for k in state if k.startswith("net.")}
    assert {"frozen.weight", "frozen.bias"} <= set(state)
    assert tiny.same(list(raw.values()), follow.steps[-1])
    assert all(
        torch.allclose(state[k].double(), w, atol=1e-6)
        for k, w in zip(raw, averages(follow, 0.9, True)[-1], strict=True)
    )


def test_frozen_weights_are_left_out_and_low_precision_ones_averaged_in_fp32(tmp_path):
    ema, model = EMA(0.9, warmup=False), tiny.Tiny().to(torch.bfloat16)
    model.net[0].requires_grad_(False)
    ema.on_fit_start(None, model)
    assert ema.names == ["net.3.weight", "net.3.bias"]
    assert all(a.dtype == torch.float32 for a in ema.average)
    ema.step = 0
    with torch.no_grad():
        model.net[3].bias += 1
    start = [a.clone() for a in ema.average]
    ema.update(1)
    assert torch.allclose(ema.average[1], start[1].lerp(model.net[3].bias.float(), 0.1))
    raw, average = model.net[3].bias.clone(), ema.average[1].clone()
    with ema.averaged():
        assert torch.equal(model.net[3].bias, average.bfloat16())
    assert torch.equal(model.net[3].bias, raw)
    assert torch.equal(ema.average[1], average)  # a swap does not round the average


def test_two_ranks_with_an_injected_optimizer_hold_one_average(tmp_path):
    from fault_harness import Job

    with Job(tiny.fit, {"folder": str(tmp_path), "steps": 5, "world": 2}, tmp_path, world=2) as job:
        assert job.wait(60) == [0, 0], job.text()
    two = tiny.weights(tmp_path / "checkpoints/last.ckpt")
    assert two[4]["num_updates"] == 5


@pytest.mark.parametrize("arguments", [{"decay": 1.0}, {"decay": -0.1}, {"every_n_steps": 0}])
def test_values_out_of_range_are_refused(arguments):
    with pytest.raises(ValueError, match="EMA"):
        EMA(**arguments)
