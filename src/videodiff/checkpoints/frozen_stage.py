"""The autoencoder of a latent model whose weights lie elsewhere: frozen, named by their hash, in no checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from videodiff.checkpoints.files import CheckpointError
from videodiff.networks import Autoencoder, Latents, Network


class FrozenStage(Autoencoder):
    """A trained autoencoder: frozen, in evaluation mode, not copied into a latent model's checkpoints.

    A latent model's ``state_dict`` holds the SHA-256 of the autoencoder's weights in their place (where they lie stands
    in its config); loading it over another autoencoder is refused.

    Args:
        autoencoder: with its weights.
        place: where they were read from, as the config names it.
        option: how the command line names that place.
        has_weights: False where costs are counted and nothing was read, so that there is no digest.
        beside: numbers that shape a latent and are no weights, which the digest covers too.
    """

    sha256: Tensor
    checkpoint: str
    option: str

    def __init__(
        self,
        autoencoder: Autoencoder,
        place: str,
        option: str,
        has_weights: bool = True,
        beside: Mapping[str, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.checkpoint, self.option = place, option
        self.autoencoder = autoencoder.requires_grad_(False).eval()
        self.video_shape = autoencoder.video_shape
        state = {**autoencoder.state_dict(), **(beside or {})} if has_weights else None
        digest = bytes(32) if state is None else state_sha256(state)
        self.register_buffer("sha256", torch.tensor(list(digest), dtype=torch.uint8))
        self.register_load_state_dict_post_hook(forget_missing)

    # --- the autoencoder's interface ---------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        return hexadecimal(self.sha256)

    @property
    def scale_and_shift(self) -> tuple[float, float] | None:
        return self.autoencoder.scale_and_shift

    def network_sizes(self) -> dict[str, Any]:
        return self.autoencoder.network_sizes()

    def encode(self, video: Tensor) -> Tensor:
        return self.autoencoder.encode(video)

    def decode(self, latent: Tensor) -> Tensor:
        return self.autoencoder.decode(latent)

    def latent_shape(self, video_shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.autoencoder.latent_shape(video_shape)

    def known_places(self, known: Tensor) -> Tensor:
        return self.autoencoder.known_places(known)

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        return self.autoencoder.decode_stream(latent)

    def latents(self, net: Network, overlap_frames: int = 0) -> Latents:
        latents = self.autoencoder.latents(net, overlap_frames)
        latents.autoencoder = self  # what it encodes is counted here
        return latents

    def picture(self, latent: Tensor) -> Tensor | None:
        return self.autoencoder.picture(latent)

    def train(self, mode: bool = True) -> FrozenStage:
        """Stays in evaluation mode, whatever the mode of the latent model."""
        return super().train(False)

    # --- its place in the latent model's weights ---------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Only the digest; the weights lie where they were read from."""
        destination = {} if destination is None else destination
        destination[prefix + "sha256"] = self.sha256 if keep_vars else self.sha256.detach()
        return destination

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        reason = self.differs(state_dict.get(prefix + "sha256"))
        if reason is not None:
            raise CheckpointError(reason)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def differs(self, stored: Tensor | None) -> str | None:
        """What to say if a latent model's weights hold another digest than this first stage's; None if not."""
        if stored is None or torch.equal(stored.cpu(), self.sha256.cpu()):
            return None
        what = self.option.rpartition(".")[2].replace("checkpoint", "run")
        return (
            f"these weights were trained on another first stage (sha256 {hexadecimal(stored)[:16]}) than "
            f"{self.checkpoint!r} holds ({hexadecimal(self.sha256)[:16]}); name the right {what} with "
            f"{self.option}, or train the latent model anew"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        digest = self.sha256
        super()._apply(fn, recurse)
        if self.sha256.dtype != digest.dtype:
            self.sha256 = digest.to(self.sha256.device)
        return self


def other_stages(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of the digests among weights that are not the model's own first stages', and what to say of each."""
    stages = {f"{name}.sha256": m for name, m in model.named_modules() if isinstance(m, FrozenStage)}
    found = {name: stage.differs(weights.get(name)) for name, stage in stages.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def forget_missing(stage: FrozenStage, keys: Any) -> None:
    """A load hook: the autoencoder's own weights are not missing, they are stored elsewhere."""
    own = tuple(f"autoencoder.{name}" for name in stage.autoencoder.state_dict())
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(own)]


def state_sha256(state: Mapping[str, Tensor]) -> bytes:
    """Digest of a ``state_dict``: names, shapes, dtypes and values; that of a latent model holds its first stage's."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def hexadecimal(digest: Tensor) -> str:
    """A digest kept as uint8 ``[32]``, as text."""
    return bytes(digest.cpu().tolist()).hex()
