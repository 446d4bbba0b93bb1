"""Regional compilation: the repeated blocks of a network, one by one, in place."""

from __future__ import annotations

from typing import Any

from torch import nn


def compile_modules(net: nn.Module, kinds: tuple[type[nn.Module], ...], **options: Any) -> None:
    """Compile every module of these classes in place; names of parameters stay as they are.

    Args:
        net: the network whose modules are looked through.
        kinds: classes of its repeated blocks; a block of one class must not contain one of another.
        options: of ``torch.compile``.
    """
    import torch._dynamo  # a second of start-up for those who do not compile

    limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
    blocks = [module for module in net.modules() if isinstance(module, kinds)]
    # blocks of one class share their code, and so one budget of compiled versions: one for each set of shapes
    needed = 4 * len(blocks)
    setattr(torch._dynamo.config, limit, max(getattr(torch._dynamo.config, limit), needed))
    for module in blocks:
        module.compile(**options)
