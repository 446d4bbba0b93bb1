"""What every feature network has in common: frozen, exact fp32, constant memory, found when it is first used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def exact_fp32(device_type: str) -> Iterator[None]:
    """No autocast, no TF32 or bf16 inside fp32 products, whatever the surroundings chose; theirs is restored."""
    backends = torch.backends
    with torch.autocast(device_type, enabled=False):
        if hasattr(backends.cudnn, "conv"):  # torch >= 2.9: one switch per backend and operation
            switches = [
                backends.cuda.matmul,
                backends.cudnn.conv,
                backends.mkldnn.matmul,
                backends.mkldnn.conv,
            ]
            before = [switch.fp32_precision for switch in switches]
            try:
                for switch in switches:
                    switch.fp32_precision = "ieee"
                yield
            finally:
                for switch, value in zip(switches, before, strict=True):
                    switch.fp32_precision = value
        else:
            matmul, cudnn = torch.get_float32_matmul_precision(), backends.cudnn.allow_tf32
            try:
                torch.set_float32_matmul_precision("highest")
                backends.cudnn.allow_tf32 = False
                yield
            finally:
                torch.set_float32_matmul_precision(matmul)
                backends.cudnn.allow_tf32 = cudnn


class FeatureExtractor(nn.Module, ABC):
    """A frozen network: uint8 clips ``[B, T, H, W, 3]`` -> features ``[B, dim]`` fp32.

    The network is made and its weights are read when the first clip comes, and it stays outside the module tree: it
    is in nobody's ``state_dict``, optimizer, average or DDP bucket, and neither ``.train()`` nor ``.bfloat16()`` of a
    parent reaches it. It follows the clips to their device. Copies and pickles of an extractor carry no weights.

    Attributes:
        name: the network's name, as results carry it.
        dim: features of a clip.
        min_frames: shortest clip.
        weights_sha256: digest of the file of weights, None before the first use or without a file.
    """

    name: str = ""
    dim: int = 0
    min_frames: int = 1
    weights_sha256: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self._network: tuple[nn.Module, ...] = ()  # a tuple is no submodule

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with its weights, on the CPU; sets ``weights_sha256``."""

    @abstractmethod
    def extract(self, network: nn.Module, clips: Tensor) -> Tensor:
        """Features ``[b, dim]`` of a few checked clips, uint8 ``[b, T, H, W, 3]`` on the network's device."""

    def clips_at_once(self, clips: Tensor) -> int:
        """How many of these clips the network takes in one call.

        One on a CPU: that keeps activations in the cache, and the features of a clip do not depend on its batch by
        the last bit. Elsewhere as many as 512 frames.
        """
        return 1 if clips.device.type == "cpu" else max(1, 512 // clips.shape[1])

    def network(self, device: torch.device | str = "cpu") -> nn.Module:
        """The network on a device, made at the first call."""
        if not self._network:
            with torch.inference_mode(False):
                self._network = (self.build().float().eval().requires_grad_(False),)
        held = self._network[0]
        first = next((t for t in (*held.parameters(), *held.buffers())), None)
        if first is not None and first.device != torch.device(device):
            held.to(device)
        return held

    def forward(self, clips: Tensor) -> Tensor:
        """Features of any number of clips, in constant memory.

        Args:
            clips: uint8 ``[B, T, H, W, 3]``.

        Returns:
            ``[B, dim]`` fp32 on the device of the clips.

        Raises:
            ValueError: for another shape, too few frames or an empty batch.
            TypeError: for another dtype.
        """
        check_clips(clips, self.name, self.min_frames)
        network = self.network(clips.device)
        with torch.inference_mode(), exact_fp32(clips.device.type):
            pieces = [self.extract(network, part) for part in clips.split(self.clips_at_once(clips))]
            features = torch.cat(pieces).float()
        return features.clone()  # outside inference mode: an ordinary tensor

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_network": ()}

    def extra_repr(self) -> str:
        return f"{self.name}, dim={self.dim}, min_frames={self.min_frames}"


def check_clips(clips: Tensor, name: str, min_frames: int) -> None:
    """Refuse what is not a batch of long enough uint8 clips, in one line.

    Raises:
        ValueError: for a wrong shape, an empty batch or too few frames.
        TypeError: for another dtype than uint8.
    """
    if clips.dtype != torch.uint8:
        raise TypeError(
            f"{name} takes uint8 clips, got {str(clips.dtype).removeprefix('torch.')} "
            "(videodiff.data.pixels.to_uint8 converts videos in [-1, 1])"
        )
    if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
        raise ValueError(f"{name} takes clips [B, T, H, W, 3], got shape {list(clips.shape)}")
    if clips.shape[1] < min_frames:
        raise ValueError(f"{name} needs clips of at least {min_frames} frames, got {clips.shape[1]}")
