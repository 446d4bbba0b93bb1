"""Regional compilation: the repeated blocks of a network, one by one, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn


def modules_of(net: nn.Module, kinds: tuple[type[nn.Module], ...]) -> list[nn.Module]:
    """Every module of these classes; a block of one class must not contain one of another."""
    return [module for module in net.modules() if isinstance(module, kinds)]


def compile_each(blocks: Sequence[nn.Module], **options: Any) -> None:
    """Compile modules in place; names of parameters stay as they are.

    Args:
        blocks: none of which contains another.
        options: of ``torch.compile``.
    """
    import torch._dynamo  # a second of start-up for those who do not compile

    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    # blocks of one class share their code, and so one budget of compiled versions: one for each set of shapes
    needed = 4 * len(blocks)
    setattr(torch._dynamo.config, limit, max(getattr(torch._dynamo.config, limit), needed))
    for module in blocks:
        module.compile(**options)
