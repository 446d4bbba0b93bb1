"""Runs that pipelines are made of, written without training: weights depend on their names alone."""

from pathlib import Path

import torch
import yaml

from videodiff.checkpoints import save_checkpoint
from videodiff.checkpoints.run import build_model
from videodiff.seeding import normals

TRUST = ("super_resolution",)
DATA = {
    "dataset": "bouncing_digits",
    "batch_size": 2,
    "num_workers": 0,
    "num_test_clips": 4,
    "num_train_clips": 8,
}


def unet(side: int, frames: int, **more) -> dict:
    args = {
        "resolution": side, "num_frames": frames, "width": 16, "channel_multipliers": [1, 2], "num_blocks": 1,
        "attention_resolutions": [side // 2], "head_dim": 8, "embedding_dim": 16, "embedding_layers": 2, **more,
    }  # fmt: skip
    return {"class_path": "videodiff.networks.UNet3D", "init_args": args}


def section(net: dict, class_path: str = "videodiff.models.VDM", **args) -> dict:
    common = {
        "schedule": {"class_path": "videodiff.diffusion.CosineSchedule"},
        "sampler": {"class_path": "videodiff.diffusion.DDIMSampler", "init_args": {"num_steps": 2}},
    }
    return {"class_path": class_path, "init_args": {"net": net, **common, **args}}


def low(frames: int = 4, side: int = 8, **args) -> dict:
    """A VDM of small clips."""
    return section(unet(side, frames, num_classes=10), **args)


def high(frames: int = 8, side: int = 16, frames_each: int = 2, **args) -> dict:
    """A super-resolution stage: twice the size, and ``frames_each`` times the frames."""
    told = [
        {"class_path": "super_resolution.SmallVideo", "init_args": {"frames_each": frames_each}},
    ]
    plan = {"class_path": "videodiff.sampling.Autoregressive", "init_args": {"overlap": frames // 2}}
    net = unet(side, frames, concat_channels=4)
    return section(net, "videodiff.models.DiffusionModule", conditioners=told, plan=plan, **args)


def fill(model: torch.nn.Module, name: str) -> torch.nn.Module:
    """Weights by their names, so that the output depends on every input."""
    with torch.no_grad():
        for key, weight in model.named_parameters():
            weight.copy_(
                0.5 * normals([(name, key)], tuple(weight.shape))[0] / max(weight[0].numel(), 1) ** 0.5
            )
    return model.eval()


def write_run(
    folder: Path, model: dict, frames: int, side: int, step: int = 7, seed_of: str = "", **data
) -> Path:
    """A run folder with one checkpoint; its weights depend on ``seed_of``, by default on its name."""
    built = fill(build_model(model, folder, TRUST), seed_of or folder.name)
    config = {
        "model": model,
        "data": {
            "class_path": "videodiff.data.VideoDataModule",
            "init_args": {**DATA, "num_frames": frames, "resolution": side, **data},
        },
        "seed_everything": 0,
    }
    content = {
        "state_dict": built.state_dict(), "global_step": step, "ema": True,
        "videodiff": {"config": yaml.safe_dump(config)},
    }  # fmt: skip
    (folder / "checkpoints").mkdir(parents=True)
    save_checkpoint(content, folder / "checkpoints" / "last.ckpt")
    return folder


def write_cascade(home: Path) -> Path:
    """``runs/low`` 4 x 8 x 8, ``runs/high`` 8 x 16 x 16 of it, and ``runs/cascade`` with the pipeline of both."""
    write_run(home / "runs" / "low", low(), 4, 8)
    write_run(home / "runs" / "high", high(), 8, 16, step=9)
    folder = home / "runs" / "cascade"
    folder.mkdir()
    (folder / "pipeline.yaml").write_text("pipeline:\n  - run: ../low\n  - run: ../high\n")
    return folder
