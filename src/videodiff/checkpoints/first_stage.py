"""FirstStage: the trained, frozen autoencoder of a latent model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videodiff.checkpoints.config import trusted_config
from videodiff.checkpoints.files import CheckpointError, load_file
from videodiff.checkpoints.first_stage_command import config_of_name, missing
from videodiff.checkpoints.folders import resolve_checkpoint
from videodiff.checkpoints.run import build_model, load_weights
from videodiff.checkpoints.shipped import is_shipped_name
from videodiff.config import find_config, load_yaml
from videodiff.config.trust import check_tree
from videodiff.models.trained import TrainedModule, trained_module
from videodiff.networks import Autoencoder, Latents, Network


class FirstStage(Autoencoder):
    """The autoencoder of a finished run: frozen, in evaluation mode, not copied into a latent model's checkpoints.

    A latent model's ``state_dict`` holds the SHA-256 of the autoencoder's weights in their place (which run they are
    of stands in its config); loading it over another autoencoder is refused.

    On the meta device, where costs are counted, nothing is read but the config, and a first stage that is not trained
    yet can be counted too.

    Args:
        checkpoint: run of the first stage: folder, name, RUN/best, RUN/last or checkpoint file.
        config: the config that trains it, a shipped name or a file; by default the shipped one of the run's name. It
            is named when the run is missing.

    Raises:
        FileNotFoundError: if there is no such run, in one line with the command that makes it.
        ValueError: for a run of something else than an autoencoder, or a damaged checkpoint.
    """

    sha256: Tensor
    checkpoint: str

    def __init__(self, checkpoint: str, config: str | None = None) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.config = config or config_of_name(checkpoint)
        is_counted = torch.get_default_device().type == "meta"
        try:
            path = resolve_checkpoint(checkpoint)
        except FileNotFoundError as error:
            if is_shipped_name(checkpoint):
                raise
            if not (is_counted and self.config):
                raise FileNotFoundError(missing(checkpoint, self.config, error)) from error
            self.autoencoder = untrained(self.config)
            path = None
        if path is not None:
            self.autoencoder = trained(path, load=not is_counted)
        self.autoencoder.requires_grad_(False).eval()
        self.video_shape = self.autoencoder.video_shape
        digest = bytes(32) if is_counted else weights_sha256(self.autoencoder)
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

    def decode_stream(self, latent: Tensor) -> Iterator[Tensor]:
        return self.autoencoder.decode_stream(latent)

    def latents(self, net: Network, overlap_frames: int = 0) -> Latents:
        latents = self.autoencoder.latents(net, overlap_frames)
        latents.autoencoder = self  # what it encodes is counted here
        return latents

    def picture(self, latent: Tensor) -> Tensor | None:
        return self.autoencoder.picture(latent)

    def train(self, mode: bool = True) -> FirstStage:
        """Stays in evaluation mode, whatever the mode of the latent model."""
        return super().train(False)

    # --- its place in the latent model's weights ---------------------------------------------------------------

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> Any:
        """Only the digest; the weights are in the first stage's own run."""
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
        return (
            f"these weights were trained on another first stage (sha256 {hexadecimal(stored)[:16]}) than "
            f"{self.checkpoint!r} holds ({hexadecimal(self.sha256)[:16]}); name the right run with "
            "--model.autoencoder.checkpoint, or train the latent model anew"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        digest = self.sha256
        super()._apply(fn, recurse)
        if self.sha256.dtype != digest.dtype:
            self.sha256 = digest.to(self.sha256.device)
        return self


def other_stages(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, str]:
    """Names of the digests among weights that are not the model's own first stages', and what to say of each."""
    stages = {f"{name}.sha256": m for name, m in model.named_modules() if isinstance(m, FirstStage)}
    found = {name: stage.differs(weights.get(name)) for name, stage in stages.items()}
    return {name: reason for name, reason in found.items() if reason is not None}


def forget_missing(stage: FirstStage, keys: Any) -> None:
    """A load hook: the autoencoder's own weights are not missing, they are stored elsewhere."""
    own = tuple(f"autoencoder.{name}" for name in stage.autoencoder.state_dict())
    keys.missing_keys[:] = [key for key in keys.missing_keys if not key.endswith(own)]


def trained(path: Path, load: bool = True) -> Autoencoder:
    """The autoencoder of a checkpoint, with its weights if ``load``.

    Raises:
        CheckpointError: in one line, for a damaged or hostile checkpoint, or one of another kind of model.
    """
    with torch.device("cpu"):  # also where costs are counted on the meta device
        checkpoint = load_file(path)
    model = autoencoder_module(trusted_config(checkpoint, path), path)
    if load:
        load_weights(model, checkpoint["state_dict"], path)
    return model.autoencoder


def untrained(config: str) -> Autoencoder:
    """The autoencoder that a config describes, with random weights.

    Raises:
        UsageError: if there is no such config.
        CheckpointError: if it describes something else.
    """
    path = find_config(config)
    tree = load_yaml(path)
    check_tree(tree)
    return autoencoder_module(tree, path).autoencoder


def autoencoder_module(config: dict[str, Any], path: Path) -> TrainedModule:
    """The module of a config whose classes are checked, if it is one that trains an autoencoder."""
    section = config.get("model")
    section = section if isinstance(section, dict) else {}
    name = section.get("class_path", "")
    inner = (section.get("init_args") or {}).get("autoencoder") if name else None
    inner_name = inner.get("class_path", "") if isinstance(inner, dict) else str(inner)
    # Judged by its name before it is built: a first stage that names itself would never end.
    if inner is None or inner_name.endswith(("FirstStage", "PixelSpace")):
        raise CheckpointError(f"{path} is no run of an autoencoder (its model is {name or 'not given'})")
    model = build_model(
        {**section, "init_args": {**section["init_args"], "perceptual_weight": 0.0}}, path, ()
    )
    try:
        module = trained_module(model, "a first stage is a run")
    except TypeError as error:
        raise CheckpointError(f"{path} is no run of an autoencoder (its model is {name})") from error
    if not module.rebuilds:
        raise CheckpointError(f"{path} is no run of an autoencoder (its model is {name})")
    return module


def weights_sha256(module: nn.Module) -> bytes:
    """Digest of every parameter and buffer: names, shapes, dtypes and values."""
    return state_sha256(module.state_dict())


def state_sha256(state: Mapping[str, Tensor]) -> bytes:
    """The same of a ``state_dict``; that of a latent model holds the digest of its first stage."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


def hexadecimal(digest: Tensor) -> str:
    """A digest kept as uint8 ``[32]``, as text."""
    return bytes(digest.cpu().tolist()).hex()
