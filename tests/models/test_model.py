"""What every model promises; those of ``videodiff.models`` are found by themselves, each as a shipped config small."""

import copy
import importlib
import inspect
import json
import pkgutil
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from videodiff import models
from videodiff.conditioning import Request
from videodiff.config import read_configs
from videodiff.cost.measured import real_model
from videodiff.models.trained import TrainedModule
from videodiff.sampling import VideoModel

for module in pkgutil.iter_modules(models.__path__):
    importlib.import_module(f"{models.__name__}.{module.name}")


def kinds(base):
    """Finished subclasses of ours, however deep."""
    for kind in base.__subclasses__():
        if kind.__module__.startswith("videodiff.models.") and not inspect.isabstract(kind):
            yield kind
        yield from kinds(kind)


MODELS = {kind.__name__: kind for kind in kinds(TrainedModule)}
DRAWING = [name for name, kind in MODELS.items() if issubclass(kind, VideoModel)]
CONFIGS = {}
for file in sorted(Path(__file__).parents[2].joinpath("configs").glob("*.yaml")):
    CONFIGS.setdefault(yaml.safe_load(file.read_text())["model"]["class_path"].rpartition(".")[2], file.stem)
# A network on pixels that nothing is told: the base of the presets has no config of its own.
CONFIG = {"DiffusionModule": "vdm_digits"}


@cache
def made(name):
    """A model of random weights, and the ``init_args`` of its data; neither is to be changed."""
    assert name in CONFIGS or name in CONFIG, f"{name} has no shipped config: say in CONFIG how it is built"
    config = read_configs([CONFIGS.get(name) or CONFIG[name], "with/smoke"], "fit")
    section = copy.deepcopy(config["model"])
    section["class_path"] = f"{MODELS[name].__module__}.{name}"
    if name not in CONFIGS:
        taken = inspect.signature(MODELS[name]).parameters
        section["init_args"] = {k: v for k, v in section["init_args"].items() if k in taken}
        section["init_args"]["net"]["init_args"]["num_classes"] = None
    stage = section["init_args"].get("autoencoder", {}).get("init_args", {}).get("checkpoint")
    if stage is not None:  # not trained, and as small
        small = read_configs([stage, "with/smoke"], "fit")["model"]["init_args"]["autoencoder"]
        section["init_args"]["autoencoder"] = small
    torch.manual_seed(0)
    model = real_model(section)
    with torch.no_grad():
        for parameter in model.core.parameters():  # a last layer of zeros would hide the rest
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model, config["data"]["init_args"]


@pytest.fixture(params=MODELS)
def built(request):
    """Copies of both for one test."""
    model_and_data = copy.deepcopy(made(request.param))
    torch.manual_seed(0)
    return model_and_data


def batch_of(model, data, size=2):
    batch = model.example_batch(data, size, "cpu")
    video = torch.rand(batch["video"].shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {**batch, "video": video, "sample": torch.arange(size)}


def test_a_training_step_reaches_every_weight_that_learns(built):
    model, data = built
    assert batch_of(model, data)["video"].shape[2] >= model.sample_frames
    loss = model.training_loss(batch_of(model, data))
    assert loss.ndim == 0
    assert torch.isfinite(loss)
    loss.backward()
    assert [n for n, p in model.core.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all(p.grad is None for p in (model.first_stage.parameters() if model.first_stage else ()))


def test_the_same_batch_costs_the_same_again(built):
    model, data = built
    losses = []
    for _ in range(2):
        torch.manual_seed(1)  # of dropout
        losses.append(model.training_loss(batch_of(model, data)))
    assert torch.equal(*losses)


def test_one_pass_is_of_its_core_and_of_one_clip(built):
    model, _ = built
    passes = []
    model.core.register_forward_hook(lambda *args: passes.append(args))
    out = model.forward_once("cpu")
    assert len(passes) == 1
    assert len(out) == 1
    assert torch.isfinite(out).all()


def test_a_model_that_draws_draws_what_it_says(built):
    model, _ = built
    if not isinstance(model, VideoModel):
        assert model.rebuilds
        assert model.calls_per_clip == 0
        return
    model.eval()
    model.sampler.num_steps = 2
    passes = []
    model.core.register_forward_hook(lambda *args: passes.append(args))
    video = model.generate(2, seed=3)
    assert len(passes) == model.calls_per_clip
    assert video.shape == (2, *model.video_shape)
    assert video.abs().max() <= 1
    torch.testing.assert_close(video[1:], model.generate(1, seed=3, indices=[1]), rtol=1e-4, atol=1e-4)
    assert not model.is_long(model.video_shape[1])
    told = model.describe()
    assert json.loads(json.dumps(told)) == told
    assert {
        "class": type(model).__name__,
        "steps": 2,
        "guidance": model.guidance_scale,
    }.items() <= told.items()
    assert sum(p.numel() for part in model.parts().values() for p in part.parameters()) == sum(
        p.numel() for p in model.parameters()
    )


def test_every_model_that_may_be_given_frames_continues_clips_of_its_data(built):
    model, data = built
    if not isinstance(model, VideoModel) or "frames" not in model.answers:
        return
    model.eval()
    model.sampler.num_steps = 2
    batch = batch_of(model, data)
    batch["video"] = batch["video"][:, :, : data["num_frames"]]  # less the still images of joint training
    found = model.predict_step(batch, 0)
    length, given = data["num_frames"], found["given"]
    assert found["video"].shape == found["truth"].shape == (2, *batch["video"].shape[1:])
    assert length // 4 <= given < length
    assert given == model.given_frames(length)
    assert not torch.equal(found["video"][:, :, given:], found["truth"][:, :, given:])
    for count in range(1, length):
        reason = model.why_not_given(count, length)
        if reason is None:
            model.check_given(count, length)
        else:
            with pytest.raises(
                ValueError, match=f"{count} of {length} frames cannot be given: .*; the nearest that can"
            ):
                model.check_given(count, length)
    asked = model.asked
    model.asked = {"condition_frames": f"0:{given}"}
    torch.testing.assert_close(model.predict_step(batch, 0)["video"], found["video"])
    model.asked = asked
    with pytest.raises(ValueError, match="clips of 1 frame are too short"):
        model.given_frames(1)


def test_what_a_model_cannot_be_told_is_refused_before_anything_is_drawn(built):
    model, _ = built
    if not isinstance(model, VideoModel):
        return
    given = {
        "label": torch.zeros(1, dtype=torch.long),
        "low_resolution": torch.zeros(1, 3, model.video_shape[1], 4, 4),
    }
    for name, value in given.items():
        request = Request(**{name: value})
        if name in model.answers:
            model.check_request(request, model.video_shape[1])
        else:
            with pytest.raises(ValueError, match=r"cannot be given .*: none of its conditioners takes it"):
                model.check_request(request, model.video_shape[1])


def test_the_models_of_the_papers_are_among_them():
    assert {"VDM", "LVDM", "PVDM", "DiffusionModule"} <= set(DRAWING)
    assert "AutoencoderModule" in set(MODELS) - set(DRAWING)
