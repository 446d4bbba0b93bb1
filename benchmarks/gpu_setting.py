"""What the cases of ``gpu.py`` share: the systems' description, the device, and how a model is made on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from in_sections import Tell
from torch import nn

from videodiff.checkpoints.first_stage import FirstStage
from videodiff.checkpoints.run import build_model
from videodiff.cli.lightning import default_precision
from videodiff.config import read_configs
from videodiff.cost.accelerators import local_card
from videodiff.cost.meta_model import hold_perceptual


@dataclass(frozen=True)
class System:
    """One line of the tables.

    Attributes:
        name: in the tables.
        configs: as ``fit --config`` takes them.
        batch: clips of a training step; halved where a card cannot hold them.
        block: the repeated block that is compiled.
        mfu: aimed at on one H200.
        clips_per_second: the same.
        kept: its clips are stored latents.
        options: changes to the configs.
        in_smallest: whether ``--size smallest`` runs it: one of each kind.
    """

    name: str
    configs: tuple[str, ...]
    batch: int
    block: type[nn.Module]
    mfu: float
    clips_per_second: float | None = None
    kept: bool = False
    options: tuple[str, ...] = ()
    in_smallest: bool = False


@dataclass(frozen=True)
class Setting:
    """What all cases share: the device, and whether everything is as small as it gets."""

    device: str
    smallest: bool

    @property
    def precision(self) -> str:
        """Lightning's name of what ``fit`` chooses here by itself."""
        return default_precision(self.device)

    def autocast(self, precision: str | None = None) -> AbstractContextManager[Any]:
        """What ``fit`` and ``generate`` put around a network."""
        is_bf16 = (precision or self.precision) == "bf16-mixed"
        return torch.autocast(self.device, torch.bfloat16, enabled=is_bf16)

    def wait(self) -> None:
        """Until the device has done all it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], Any]) -> float:
        """Of ``work``, from an idle device to an idle device."""
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        return time.perf_counter() - began

    def config(self, configs: tuple[str, ...], options: tuple[str, ...] = ()) -> dict[str, Any]:
        """The merged config, its first stage untrained."""
        overlay = ("with/smoke",) if self.smallest else ()
        config = read_configs([*configs, *overlay], "fit", options)
        stage = config["model"]["init_args"].get("autoencoder")
        if stage and stage["class_path"].endswith(FirstStage.__name__):
            first = read_configs([stage["init_args"]["checkpoint"], *overlay], "fit")["model"]
            config["model"]["init_args"]["autoencoder"] = first["init_args"]["autoencoder"]
        return config

    def build(self, config: dict[str, Any], device: str | None = None) -> Any:
        """Its model with weights of seed 0, LPIPS with any weights."""
        device = device or self.device
        torch.manual_seed(0)
        with torch.device(device):
            model = build_model(config["model"], Path("config"), ())
        hold_perceptual(model, device)
        return model.to(device)


def machine(tell: Tell) -> None:
    """What the device is; asked in a process of its own, since one that has touched CUDA cannot be forked."""
    found: dict[str, Any] = {"device": "cpu", "torch": torch.__version__, "cuda": torch.version.cuda}
    if torch.cuda.is_available():
        card, properties = local_card(), torch.cuda.get_device_properties(0)
        found |= {
            "device": "cuda", "name": properties.name, "memory_bytes": properties.total_memory,
            "peak_flop_per_second": {"bf16-mixed": card.peak, "32-true": card.peak_fp32},
            "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "convolution": torch.backends.cudnn.allow_tf32},
        }  # fmt: skip
    tell(found)
