"""A network in a user's own file, a plain module, through every command that a network of ours goes through."""

import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from videodiff.checkpoints import load_run
from videodiff.cli import main

BARE = """
import torch
from torch import nn


class Bare(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.enter, self.leave = nn.Conv3d(3, width, 3, padding=1), nn.Conv3d(width, 3, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, z, time, cond):
        x = self.enter(z) + (time / 1000).view(-1, 1, 1, 1, 1)
        for block in self.blocks:
            x = x + torch.tanh(block(x))
        return self.leave(x)
"""
# a transformer over patches, with time and class by adaptive norms (Peebles & Xie 2023), for a latent or for pixels
TRANSFORMER = """
import torch
import torch.nn.functional as F
from torch import nn

from videodiff.networks import TimeEmbedding


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width, elementwise_affine=False)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.condition = nn.Linear(width, 4 * width)
        nn.init.zeros_(self.condition.weight)

    def forward(self, x, embedding):
        scale, shift, gate, gate_mlp = self.condition(embedding)[:, None].chunk(4, -1)
        q, k, v = self.qkv(self.norm(x) * (1 + scale) + shift).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + gate * self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_mlp * self.mlp(self.norm(x))


class Transformer(nn.Module):
    def __init__(self, channels=3, num_frames=8, resolution=16, patch_size=2, width=32, depth=2, num_classes=None):
        super().__init__()
        self.channels, self.num_frames, self.resolution = channels, num_frames, resolution
        self.num_classes = num_classes
        size = (1, patch_size, patch_size)
        self.enter, self.leave = nn.Conv3d(channels, width, size, size), nn.ConvTranspose3d(width, channels, size, size)
        self.places = nn.Parameter(0.02 * torch.randn(num_frames * (resolution // patch_size) ** 2, width))
        self.embed = TimeEmbedding(width, width, 2, num_classes)
        self.blocks = nn.ModuleList(Block(width, 2) for _ in range(depth))
        nn.init.zeros_(self.leave.weight)

    def forward(self, z, time, cond):
        embedding, x = F.silu(self.embed(time, cond.label)), self.enter(z)
        shape, x = x.shape[2:], x.flatten(2).mT + self.places
        for block in self.blocks:
            x = block(x, embedding)
        return self.leave(x.mT.unflatten(2, shape))
"""
PIXELS = """
model:
  class_path: videodiff.models.VDM
  init_args:
    net: {class_path: NET}
    schedule: {class_path: videodiff.diffusion.CosineSchedule}
    sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 2}}
data:
  class_path: videodiff.data.VideoDataModule
  init_args: {dataset: bouncing_digits, num_frames: 8, resolution: 32, batch_size: 2, num_workers: 0}
trainer: {max_steps: 100, limit_val_batches: 1}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A user's folder with ``my_net.py``, which Python finds there, and a config that names it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_net", None)
    yield tmp_path
    sys.modules.pop("my_net", None)


def write(here, source, name):
    (here / "my_net.py").write_text(source)
    (here / "mine.yaml").write_text(PIXELS.replace("NET", f"my_net.{name}"))


TRUST = ["--trust", "my_net"]
SMALL = ["fit", "--config", "mine.yaml", "--config", "with/smoke", *TRUST]


@pytest.mark.parametrize(
    ("source", "name"), [(BARE, "Bare"), (TRANSFORMER, "Transformer")], ids=["bare", "transformer"]
)
def test_a_plain_module_goes_through_every_command(here, capsys, monkeypatch, source, name):
    write(here, source, name)
    compiled, compile_one = [], nn.Module.compile
    monkeypatch.setattr(
        nn.Module, "compile", lambda m, **o: compiled.append(type(m)) or compile_one(m, backend="eager")
    )
    assert main([*SMALL, "--model.compile", "true"]) == 0
    block = "Conv3d" if name == "Bare" else "Block"
    assert [kind.__name__ for kind in compiled].count(block) == 2  # members of its lists of modules
    told = capsys.readouterr().err
    assert (
        told.count(
            f"with/smoke is written for UNet3D; of {name} it changes num_frames, resolution and num_classes"
        )
        == 1
    )
    run = here / "runs" / "mine" / "1"
    assert main(["fit", "--out", str(run), "--trainer.max_steps", "3", *TRUST]) == 0  # resumes
    model = load_run(run, trusted=["my_net"])
    assert model.video_shape == (3, 4, 16, 16)
    own = {f"net.{key}" for key in model.net.state_dict()}
    assert {key for key in model.state_dict() if key.startswith("net.")} == own  # no name of ours between
    assert main(["generate", "--ckpt_path", str(run), "--num_samples", "1", "--frames", "6", *TRUST]) == 0
    assert main(["test", "--ckpt_path", str(run), "--protocol", "random:4", "--num_clips", "2", *TRUST]) == 0
    few = ["--num_clips", "2", "--steps", "1", "--shown", "1", "--protocol", "random:4"]
    capsys.readouterr()
    assert main(["compare", str(run), *few, "--out", "page", *TRUST]) == 0
    assert "mine" in capsys.readouterr().out
    assert [m["name"] for m in json.loads(Path("page", "results.json").read_text())["models"]] == ["mine"]
    assert main(["export", str(run), "--out", "exported", *TRUST]) == 0
    assert torch.equal(load_run("exported", trusted=["my_net"]).net.leave.weight, model.net.leave.weight)
    capsys.readouterr()
    assert main(["info", "mine.yaml", "--json", *TRUST]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["network"] == name
    assert figures["clip_shape"] == ([3, 8, 32, 32] if name == "Bare" else [3, 8, 16, 16])
    assert figures["training"]["flop_per_clip"] > 0
    assert figures["sampling"]["network_calls"] == 2


def test_a_size_that_the_network_states_is_held_against_the_data_s(here, capsys):
    write(
        here, BARE.replace("super().__init__()", "super().__init__()\n        self.resolution = 24"), "Bare"
    )
    assert main(["fit", "--config", "mine.yaml", *TRUST]) == 2
    assert (
        "Bare is built for 24, --model.resolution (or else data.resolution) is 32" in capsys.readouterr().err
    )


def test_still_images_behind_a_clip_are_for_networks_that_say_they_take_them(here, capsys):
    write(here, BARE, "Bare")
    assert main([*SMALL, "--data.images_per_video", "1"]) == 2
    assert (
        "Bare takes no still images with a clip: data.images_per_video must be 0, got 1"
        in capsys.readouterr().err
    )


def test_a_run_s_config_holds_the_sizes_that_came_from_the_data(here):
    write(here, BARE, "Bare")
    assert main([*SMALL, "--trainer.max_steps", "1", "--trainer.limit_val_batches", "0"]) == 0
    options = yaml.safe_load((here / "runs" / "mine" / "1" / "config.yaml").read_text())["model"]["init_args"]
    assert (options["num_frames"], options["resolution"]) == (4, 16)
