"""Modules whose weights lie elsewhere: frozen, named by their hash, in no checkpoint."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Frozen(nn.Module, ABC):
    """A part of a model that was trained before: frozen, in evaluation mode, not copied into the model's checkpoints.

    The ``state_dict`` of a model that holds one has the SHA-256 of its weights in their place; where they lie stands in
    the model's config. Loading it over other weights is refused. A class of this kind calls :meth:`freeze` when its
    weights are in place.
    """

    sha256: Tensor
    refusal: type[ValueError] = ValueError
    """What is raised over other weights."""

    def freeze(self, state: Mapping[str, Tensor] | None) -> None:
        """Train no weight from now on, and name all by their hash.

        Args:
            state: all that its results depend on; None where costs are counted and nothing was read.
        """
        self.requires_grad_(False).eval()
        digest = bytes(32) if state is None else state_sha256(state)
        self.register_buffer("sha256", torch.tensor(list(digest), dtype=torch.uint8))
        self.register_load_state_dict_post_hook(forget_missing)

    @abstractmethod
    def other_weights(self, stored: str, own: str) -> str:
        """What to say, in one line, over a model that was trained on others; both are the first digits of a hash."""

    @property
    def digest(self) -> str:
        """SHA-256 of its weights, hexadecimal."""
        return hexadecimal(self.sha256)

    def train(self, mode: bool = True) -> Any:
        """Stays in evaluation mode, whatever the mode of the model around it."""
        return super().train(False)

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Only the digest; the weights lie where they were read from."""
        destination = {} if destination is None else destination
        destination[prefix + "sha256"] = self.sha256 if keep_vars else self.sha256.detach()
        return destination

    def own_names(self) -> list[str]:
        """Names of all that the ``state_dict`` leaves out."""
        return [name for name in nn.Module.state_dict(self) if name != "sha256"]

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        reason = self.differs(state_dict.get(prefix + "sha256"))
        if reason is not None:
            raise self.refusal(reason)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def differs(self, stored: Tensor | None) -> str | None:
        """What to say if a model's weights hold another digest than this part's; None if not."""
        if stored is None or torch.equal(stored.cpu(), self.sha256.cpu()):
            return None
        return self.other_weights(hexadecimal(stored)[:16], self.digest[:16])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        digest = self.sha256
        super()._apply(fn, recurse)
        if self.sha256.dtype != digest.dtype:
            self.sha256 = digest.to(self.sha256.device)
        return self


def other_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of the digests among weights that are not those of the model's frozen parts, and what to say of each."""
    parts = {f"{name}.sha256": m for name, m in model.named_modules() if isinstance(m, Frozen)}
    found = {name: part.differs(weights.get(name)) for name, part in parts.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def forget_missing(part: Frozen, keys: Any) -> None:
    """A load hook: a frozen part's own weights are not missing, they are stored elsewhere."""
    own = tuple(part.own_names())
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(own)]


def state_sha256(state: Mapping[str, Tensor]) -> bytes:
    """Digest of a ``state_dict``: names, shapes, dtypes and values; that of a model holds its frozen parts'."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def hexadecimal(digest: Tensor) -> str:
    """A digest kept as uint8 ``[32]``, as text."""
    return bytes(digest.cpu().tolist()).hex()
