"""A record is named by all that shapes its numbers: it replaces itself when measured again, and no other."""

import copy
import re

import pytest

from eval_run import Draws, data, run, with_fakes
from videodiff.config.renamed import FIRST_NAMES, KEYS, first_named, renamed
from videodiff.evaluation import get_protocol
from videodiff.evaluation.names import TRAINING_ONLY, path_word, record_name
from videodiff.evaluation.results import Result
from videodiff.evaluation.run import result_name

CONFIG = {
    "class_path": "videodiff.models.VDM",
    "init_args": {
        "net": {"class_path": "videodiff.networks.UNet3D", "init_args": {"width": 32}},
        "schedule": {"class_path": "videodiff.diffusion.CosineSchedule", "init_args": {"shift": 0.0}},
        "sampler": {
            "class_path": "videodiff.diffusion.DDIMSampler",
            "init_args": {"num_steps": 50, "eta": 0.0, "grid": "trailing", "recompute_eps": True},
        },
        "prediction": "v",
        "guidance_scale": 1.0,
        "threshold": "static",
        "conditioning": "reconstruction",
        "reconstruction_weight": 9.0,
        "overlap_frames": None,
    },
}


def result(protocol="random", num_real=64, num_generated=64, seed=0, metrics=("rand_fd",), **changes):
    protocol = get_protocol(protocol)
    model = {
        "class": "VDM", "sampler": "DDIMSampler", "steps": 50, "guidance": 1.0, "eta": 0.0, "step": 60, "ema": True,
        "weights": "a" * 64, "precision": "32-true", "checkpoint": "runs/vdm/checkpoints/last.ckpt",
        "config": copy.deepcopy(CONFIG),
    }  # fmt: skip
    facts = data().fingerprint() | {"split": "test", "limits": {"test": None}}
    return Result(
        result_name(protocol, num_real, num_generated), protocol.record("f" * 64), {m: {"value": 1.0} for m in metrics},
        num_real, num_generated, seed, {"name": "random", "sha256": "f" * 64},
        facts | changes.pop("data", {}), model=model | changes.pop("model", {}), **changes,
    )  # fmt: skip


def test_a_key_that_was_renamed_leaves_the_name_of_the_record_as_it_was():
    part = {
        "class_path": "videodiff.models.PVDM",
        "init_args": {
            "net": {"class_path": "TriplaneUNet", "init_args": {"concat_shared": 2}},
            "plan": {"class_path": "ClipByClip", "init_args": {"shared_frames": 1}},
            "shared_frames": 1, "clip_loss": False,
        },
    }  # fmt: skip
    today = renamed({"model": part})[0]["model"]
    assert today["init_args"].keys() >= {"overlap_frames", "clamp_loss"}
    assert first_named(today) == first_named(part) == part
    assert record_name(result(model={"config": today})) == record_name(result(model={"config": part}))
    assert first_named(CONFIG) == CONFIG  # VDM always called it overlap_frames
    assert {new: old for old, new in ((k.rpartition(".")[2], v) for k, v in KEYS.items())} == {
        new: old for new, (old, _) in FIRST_NAMES.items()
    }


def leaves(node, path=()):
    """Paths of all values in nested mappings."""
    if not isinstance(node, dict):
        return [path]
    return [found for key, value in node.items() for found in leaves(value, (*path, key))]


def changed(config, path):
    found = copy.deepcopy(config)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "another"
    return found


def test_a_name_says_what_a_person_asks_for():
    assert re.fullmatch(r"random_n64_step60_ddim50_seed0_[0-9a-f]{10}", record_name(result()))
    guided = result(model={"guidance": 2.5, "eta": 0.5, "steps": 20, "step": None}, seed=7)
    assert re.fullmatch(r"random_n64_ddim20-eta0.5_guidance2.5_seed7_[0-9a-f]{10}", record_name(guided))
    between = result(num_generated=18)
    between.model = {"generated": "runs/vdm/1/generate/2"}
    assert re.fullmatch(r"random_n64-18_generate-2_seed0_[0-9a-f]{10}", record_name(between))
    assert path_word("/") == "clips"
    assert path_word("a b/µ*{x}") == "x"


@pytest.mark.parametrize("path", leaves(CONFIG), ids=".".join)
def test_every_option_of_the_model_is_in_the_name(path):
    assert record_name(result(model={"config": changed(CONFIG, path)})) != record_name(result())


@pytest.mark.parametrize("key", [*data().fingerprint(), "split", "limits"])
def test_every_fact_of_the_real_clips_is_in_the_name(key):
    differs = record_name(result(data={key: "another"})) != record_name(result())
    assert differs == (key not in TRAINING_ONLY)


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "random:8"}, {"protocol": "random:ddof=1"}, {"protocol": "random:window=start"},
        {"protocol": "random:stride=2"}, {"protocol": "random:subsample=2"}, {"protocol": "random:split=train"},
        {"num_real": 32}, {"num_generated": 32}, {"seed": 1}, {"metrics": ("rand_fd", "is_splits10")},
        {"model": {"weights": "b" * 64}}, {"model": {"ema": False}}, {"model": {"precision": "bf16-mixed"}},
        {"model": {"class": "LVDM"}}, {"model": {"sampler": "AncestralSampler"}}, {"model": {"gamma": 0.5}},
    ],
    ids=str,
)  # fmt: skip
def test_every_other_thing_that_moves_a_number_is_in_the_name(change):
    assert record_name(result(**change)) != record_name(result())


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"checkpoint": "elsewhere/best.ckpt"}},
        {"warnings": ["drawn in haste"]},
        {"versions": {"torch": "9"}},
    ],
)
def test_what_moves_no_number_is_not_in_the_name(change):
    assert record_name(result(**change)) == record_name(result())


def test_measuring_again_replaces_the_record_and_measuring_otherwise_adds_one(tmp_path):
    folder, calls = tmp_path / "run" / "eval", [
        {}, {"seed": 3}, {"num_clips": 5}, {"protocol": "random:4"}, {"datamodule": data(num_test_clips=11)},
        {"model": Draws(grain=0.2), "model_record": {"step": 60, "weights": "b" * 64}},
        {"model": Draws(grain=0.3), "model_record": {"step": 65, "weights": "c" * 64}},
    ]  # fmt: skip
    for count, options in enumerate(calls, 1):
        run(tmp_path, **{**with_fakes(), **options})
        texts = {path.name: path.read_text() for path in folder.glob("*.json")}
        assert len(texts) == count, options
    for options in calls:
        run(tmp_path, **{**with_fakes(), **options})
    assert {path.name: path.read_text() for path in folder.glob("*.json")} == texts
