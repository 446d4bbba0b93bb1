"""Frozen networks: built at first use, kept out of the module tree, run in exact fp32."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def exact_fp32(device_type: str) -> Iterator[None]:
    """No autocast, no TF32 or bf16 inside fp32 products, whatever the surroundings chose; theirs is restored."""
    backends = torch.backends
    with torch.autocast(device_type, enabled=False):
        if hasattr(backends.cudnn, "conv"):  # torch >= 2.9: one switch per backend and operation
            switches = [
                backends.cuda.matmul,
                backends.cudnn.conv,
                backends.mkldnn.matmul,  # type: ignore[attr-defined]  # torch sets these two when it is imported
                backends.mkldnn.conv,  # type: ignore[attr-defined]  # the same
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


@contextmanager
def default_fp32() -> Iterator[None]:
    """New tensors are fp32 inside; the default dtype of before is restored."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class FrozenNetwork(nn.Module, ABC):
    """Holder of a frozen network, which is made and whose weights are read when it is first asked for.

    The network stays outside the module tree: it is in nobody's ``state_dict``, optimizer, average or DDP bucket, and
    neither ``.train()`` nor ``.bfloat16()`` of a parent reaches it. It follows its input to a device. Copies and
    pickles of the holder carry no weights; they read them again.

    Attributes:
        weights_sha256: digest of the file of weights, None before the first use or without a file.
    """

    weights_sha256: str | None = None

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[nn.Module, ...] = ()  # a tuple is no submodule

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with its weights, on the CPU; sets ``weights_sha256``."""

    def network(self, device: torch.device | str = "cpu") -> nn.Module:
        """The network on a device, fp32, in eval mode; made at the first call.

        Raises:
            FileNotFoundError: in one line, when its weights are nowhere.
            ValueError: in one line, for a file that does not hold them.
        """
        with torch.inference_mode(False):  # or the weights could never take part in a training step
            if not self._held:
                # A layer's initial weights are no draw of the run; under Lightning's bf16-true new tensors are bf16.
                with torch.random.fork_rng(devices=[]), default_fp32():
                    self._held = (self.build().float().eval().requires_grad_(False),)
            held = self._held[0]
            first = next((t for t in (*held.parameters(), *held.buffers())), None)
            if first is not None and first.device != torch.device(device):
                held.to(device)
        return held

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_held": ()}
