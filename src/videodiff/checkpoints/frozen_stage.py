"""The autoencoder of a latent model whose weights lie elsewhere: frozen, named by their hash, in no checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from videodiff.checkpoints.files import CheckpointError
from videodiff.networks import Autoencoder, Latents, Network
from videodiff.networks.frozen import Frozen


class FrozenStage(Frozen, Autoencoder):
    """A trained autoencoder: frozen, in evaluation mode, not copied into a latent model's checkpoints.

    A latent model's ``state_dict`` holds the SHA-256 of the autoencoder's weights in their place
    (:class:`~videodiff.networks.frozen.Frozen`).

    Args:
        autoencoder: with its weights.
        place: where they were read from, as the config names it.
        option: how the command line names that place.
        has_weights: False where costs are counted and nothing was read, so that there is no digest.
        beside: numbers that shape a latent and are no weights, which the digest covers too.
    """

    refusal = CheckpointError
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
        self.autoencoder = autoencoder
        self.video_shape = autoencoder.video_shape
        self.freeze({**autoencoder.state_dict(), **(beside or {})} if has_weights else None)

    def other_weights(self, stored: str, own: str) -> str:
        what = self.option.rpartition(".")[2].replace("checkpoint", "run")
        return (
            f"these weights were trained on another first stage (sha256 {stored}) than {self.checkpoint!r} holds "
            f"({own}); name the right {what} with {self.option}, or train the latent model anew"
        )

    # --- the autoencoder's interface ---------------------------------------------------------------------------

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
