"""Clips of mixed shapes through a model: those that take them, those that refuse, resumes, and what they cost."""

import json
import math

import pytest
import torch
import yaml

from data.test_buckets import DIGITS, digits
from models.test_forcing import forcing
from models.test_pvdm import tiny_pvdm
from tiny_run import same, trainer_for, weights
from videodiff.checkpoints import load_checkpoint
from videodiff.cli import main
from videodiff.conditioning import Label
from videodiff.diffusion import CosineSchedule, DDIMSampler
from videodiff.models import DiffusionModule
from videodiff.networks import SpacetimeDiT

NET = {
    "size": None,
    "depth": 2,
    "width": 16,
    "num_heads": 2,
    "num_frames": 4,
    "resolution": 16,
    "num_classes": 10,
}


def dit(**net):
    torch.manual_seed(0)
    conditioners = [Label(drop=0.2)]
    return DiffusionModule(
        SpacetimeDiT(**{**NET, **net}), CosineSchedule(), DDIMSampler(2), conditioners=conditioners
    )


def train(folder, steps, resume=None, **data):
    """The checkpoint after some steps, and the samples of each."""
    folder.mkdir(exist_ok=True)
    trainer = trainer_for(folder, steps, limit_val_batches=0)
    trainer.fit(dit(), datamodule=digits(**data), ckpt_path=resume)
    return folder / "checkpoints" / "last.ckpt"


def test_a_transformer_learns_from_every_bucket_and_a_resumed_run_is_the_same_to_the_bit(tmp_path):
    whole = train(tmp_path / "whole", 8)
    cut = train(tmp_path / "cut", 3)
    again = train(tmp_path / "cut", 8, resume=cut, num_workers=1)
    assert load_checkpoint(again)["global_step"] == 8
    assert same(weights(again), weights(whole))
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert {line["sample"] % 3 for line in lines} == {0, 1, 2}  # of all three
    assert all(math.isfinite(line["train/loss"]) for line in lines)


@pytest.mark.parametrize("make", [forcing, tiny_pvdm], ids=lambda make: make.__name__)
def test_a_model_that_is_built_for_one_shape_refuses_others_in_one_line(make):
    model = make()
    frames, side = model.video_shape[1], model.video_shape[2]
    data = digits(
        buckets=[{"num_frames": frames, "resolution": [32, 64]}], resolution=side, num_frames=frames
    )
    with pytest.raises(ValueError, match=r"data\.buckets\.0 is .* and .* is built for .* alone") as raised:
        model.check_data(data)
    assert len(str(raised.value).splitlines()) == 1


def test_a_bucket_that_does_not_divide_into_patches_is_refused_with_the_nearest():
    buckets = [DIGITS[0], {"num_frames": 4, "resolution": [16, 18], "share": 1.0}]
    with pytest.raises(
        ValueError, match=r"data\.buckets\.1\.resolution must be divisible by 4 .*nearest is 16x20"
    ):
        dit(patch_size=(1, 4, 4)).check_data(digits(buckets=buckets))
    dit(patch_size=(1, 4, 4)).check_data(digits())


def test_info_counts_every_bucket_and_the_largest_is_the_memory(tmp_path, capsys):
    config = {
        "model": {
            "class_path": "DiffusionModule",
            "init_args": {
                "net": {"class_path": "SpacetimeDiT", "init_args": NET},
                "schedule": {"class_path": "CosineSchedule"},
                "sampler": {"class_path": "DDIMSampler"},
            },
        },
        "data": {
            "class_path": "VideoDataModule",
            "init_args": {
                "dataset": "bouncing_digits", "num_frames": 4, "resolution": 16, "batch_size": 4, "buckets": DIGITS,
            },
        },
    }  # fmt: skip
    path = tmp_path / "mixed.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["info", str(path), "--json"]) == 0
    training = json.loads(capsys.readouterr().out)["training"]
    found = training["buckets"]
    assert [bucket["batch_size"] for bucket in found] == [4, 2, 6]
    assert [bucket["is_largest"] for bucket in found] == [True, False, False]
    assert training["batch_size"] == 4
    assert training["memory_bytes"]["fp32"]["4"] == max(bucket["memory_bytes"]["fp32"] for bucket in found)
    flop = [bucket["flop_per_clip"] for bucket in found]
    assert 2 * flop[0] < flop[1] < 4 * flop[0]  # twice the tokens, four times the attention in space
    assert flop[2] < 0.3 * flop[0]
