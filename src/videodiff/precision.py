"""The default precision of networks: one decision for training, generating and comparing."""

from __future__ import annotations

from contextlib import AbstractContextManager

PRECISIONS = ("32-true", "bf16-mixed")
"""What a drawing may be asked for, by the names that the trainer has for them."""


def default_precision(accelerator: str) -> str:
    """bf16-mixed where CUDA will be used and has bf16 units (emulated, it is slower than fp32), else full precision.

    Args:
        accelerator: the trainer's word (auto, gpu, cpu) or the type of a torch device (cuda, cpu).
    """
    import torch

    cuda = (
        accelerator in ("auto", "gpu", "cuda")
        and torch.cuda.is_available()
        and torch.cuda.is_bf16_supported(including_emulation=False)
    )
    return "bf16-mixed" if cuda else "32-true"


def autocast(device_type: str, precision: str) -> AbstractContextManager[object]:
    """A context in which networks on a type of device compute in a precision of :data:`PRECISIONS`."""
    import torch

    return torch.autocast(device_type, torch.bfloat16, enabled=precision == "bf16-mixed")
