"""The learning rate over a training, against its closed form, and the rates of groups."""

import math

import pytest
import torch

from videodiff.cli import main
from videodiff.models import LearningRate
from videodiff.models.optimizer import groups_by_rate, with_rate


def optimizer(lr=0.5):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def rates(steps, **options):
    """The rate that every optimizer step is taken with, over the optimizer's own."""
    made = optimizer()
    schedule = LearningRate(made, **options)
    found = []
    for _ in range(steps):
        found.append(made.param_groups[0]["lr"] / 0.5)
        made.step()
        schedule.step()
    return found


@pytest.mark.parametrize("shape", ["constant", "linear", "cosine", "stable_decay"])
def test_the_rate_warms_up_linearly_and_follows_its_shape_to_the_last_step(shape):
    found = rates(21, warmup_steps=4, shape=shape, total_steps=21, end=0.2)
    assert found[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    behind = [(step - 4) / 16 for step in range(4, 21)]
    expected = {
        "constant": [1.0] * 17,
        "linear": [1 - 0.8 * u for u in behind],
        "cosine": [0.2 + 0.8 * (1 + math.cos(math.pi * u)) / 2 for u in behind],
        "stable_decay": [1.0] * 16 + [0.2],  # a tenth of 21 steps, the first of them at the full rate still
    }[shape]
    assert found[4:] == pytest.approx(expected)


def test_a_decay_lasts_as_long_as_it_is_given():
    found = rates(10, shape="stable_decay", total_steps=10, decay_steps=5)
    assert found == pytest.approx([1.0] * 6 + [0.75, 0.5, 0.25, 0.0])


def test_a_resumed_training_of_more_steps_follows_the_shape_for_these():
    made = optimizer()
    schedule = LearningRate(made, shape="cosine", total_steps=10)
    for _ in range(4):
        made.step()
        schedule.step()
    longer_optimizer = optimizer()
    longer = LearningRate(longer_optimizer, shape="cosine", total_steps=20)
    longer.load_state_dict(schedule.state_dict())
    longer_optimizer.step()
    longer.step()
    assert longer_optimizer.param_groups[0]["lr"] == pytest.approx(
        0.5 * rates(6, shape="cosine", total_steps=20)[5]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(shape="sine"), "shape must be one of constant, linear, cosine, stable_decay, got 'sine'"),
        (dict(warmup_steps=-1), "warmup_steps must be at least 0, got -1"),
        (dict(end=1.5), r"end must lie in \[0, 1\], got 1.5"),
        (dict(shape="cosine", decay_steps=5), "decay_steps is of shape stable_decay"),
        (
            dict(shape="cosine", total_steps=5, warmup_steps=5),
            r"hold the warm-up and the decay, 5 \+ 1, got 5",
        ),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        LearningRate(optimizer(), **options)


def test_a_shape_without_an_end_asks_for_one():
    with pytest.raises(ValueError, match=r"set --trainer\.max_steps"):
        LearningRate(optimizer(), shape="cosine").for_training_of(-1)


def names(*chosen):
    return [(name, torch.nn.Parameter(torch.zeros(1))) for name in chosen]


def test_groups_have_the_factor_of_the_first_pattern_that_matches():
    named = names("net.a.weight", "net.a.bias", "net.b.weight")
    groups, factors = groups_by_rate(named, {"*.bias": 2.0, "net.a.*": 0.1})
    assert factors == [1.0, 2.0, 0.1]
    assert [group["params"][0] for group in groups] == [named[2][1], named[1][1], named[0][1]]
    for patterns, words in (
        (
            {"net.c.*": 1.0},
            r"no parameter is left for net\.c\.\*; names are like net\.a\.weight and net\.b\.weight",
        ),
        ({"*": 0.0}, "must be above 0"),
    ):
        with pytest.raises(ValueError, match=words):
            groups_by_rate(named, patterns)


def test_a_scheduler_that_sets_every_rate_itself_is_refused_with_factors():
    module = torch.nn.Module()
    module._trainer = None
    groups, factors = groups_by_rate(names("a", "b"), {"b": 0.1})

    def sgd(groups):
        return torch.optim.SGD(groups, lr=1.0, momentum=0.9)

    made, _ = with_rate(module, sgd, groups, LearningRate, factors)
    assert [group["lr"] for group in made[0].param_groups] == [1.0, 0.1]
    with pytest.raises(ValueError, match="OneCycleLR sets the rate of every group itself"):
        with_rate(
            module, sgd, groups, lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, total_steps=5), factors
        )


def test_fit_takes_shape_and_factors_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [
        "fit",
        "--config",
        "vdm_digits",
        "--config",
        "with/smoke",
        "--trainer.max_steps",
        "4",
        "--out",
        "run",
    ]
    words += ["--model.lr_scheduler", "LearningRate", "--model.lr_scheduler.warmup_steps", "2"]
    words += ["--model.lr_scheduler.shape", "cosine", "--model.rate_factors", "{net.embedding.*: 0.1}"]
    assert main(words) == 0
    state = torch.load("run/checkpoints/last.ckpt", weights_only=False)
    (schedule,) = state["lr_schedulers"]
    assert schedule["total_steps"] == 4
    assert schedule["base_lrs"] == pytest.approx([2e-3, 2e-4])
