"""ImageFirstStage: a published image autoencoder as the first stage of a latent video model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor

from videodiff.checkpoints.frozen_stage import FrozenStage
from videodiff.checkpoints.image_folder import OPTION, ImageFolder, read_image_folder
from videodiff.frame_size import Resolution
from videodiff.networks import AutoencoderKL
from videodiff.say import say
from videodiff.weights import load_tensors


class ImageFirstStage(FrozenStage):
    """The image autoencoder of a diffusers folder, frozen (:class:`~videodiff.checkpoints.frozen_stage.FrozenStage`).

    A unit of its latent ``[B, C, T, H / f, W / f]`` is one frame, scaled by the folder's own factor; see
    :class:`~videodiff.networks.AutoencoderKL`. It reads ``diffusion_pytorch_model.safetensors``, its shards, or
    ``.fp16.safetensors``, as fp32.

    On the meta device, where costs are counted, only the config is read; a folder that is not there is counted at the
    sizes of Stable Diffusion's.

    Args:
        folder: with ``config.json`` and weights, or a whole pipeline with such a folder ``vae`` in it.
        resolution: height and width of the clips in pixels, one number for a square; None is what the folder says
            (``sample_size``).
        num_frames: frames of a clip, for a network that states none.
        scaling_factor: what latents are multiplied by, for a folder that does not say.
        frames_at_once: frames in one pass; None is all of them.
        tile: side in pixels of the tiles of larger frames; None is whole frames.

    Raises:
        FileNotFoundError: in one line, without the folder or a file of it.
        ValueError: for a folder of another architecture, without a scale, or with damaged weights.
    """

    size_options = MappingProxyType({"resolution": "--model.autoencoder.resolution"})

    def __init__(
        self,
        folder: str,
        resolution: Resolution | None = None,
        num_frames: int = 16,
        scaling_factor: float | None = None,
        frames_at_once: int | None = 8,
        tile: int | None = None,
    ) -> None:
        options: dict[str, Any] = {"num_frames": num_frames, "frames_at_once": frames_at_once, "tile": tile}
        is_counted = torch.get_default_device().type == "meta"
        try:
            found = read_image_folder(folder)
        except FileNotFoundError as error:
            if not is_counted:
                raise
            say_once(f"{error}; counted at the sizes of Stable Diffusion's")
            autoencoder = AutoencoderKL(**sized(options, resolution, None))
        else:
            options["scaling_factor"] = found.scale(scaling_factor)
            options["shift_factor"] = found.shift_factor
            autoencoder = filled(found, sized(options, resolution, found.resolution), load=not is_counted)
        scale = torch.tensor(autoencoder.scale_and_shift, dtype=torch.float64, device="cpu")
        super().__init__(
            autoencoder, folder, OPTION, has_weights=not is_counted, beside={"scale_and_shift": scale}
        )


@cache
def say_once(text: str) -> None:
    """One line on stderr; a command builds the same model several times."""
    say(text)


def sized(options: dict[str, Any], given: Resolution | None, usual: Any) -> dict[str, Any]:
    """The options with a resolution, if any is known."""
    resolution = usual if given is None else given
    return options if resolution is None else {**options, "resolution": resolution}


def filled(folder: ImageFolder, options: dict[str, Any], load: bool) -> AutoencoderKL:
    """The autoencoder of a folder, with its weights if ``load``.

    Raises:
        ValueError: in one line with the folder, for weights that are damaged or do not fit its config.
    """
    args = {**folder.sizes, **options}
    try:
        if not load:
            return AutoencoderKL(**args)
        tensors = read_weights(folder)
        from videodiff.checkpoints.published import load as load_published

        network = load_published("autoencoder-kl", tensors, **args)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{folder.path}: {error}") from error
    return cast(AutoencoderKL, network)


def untrained_section(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a config that makes the same network with random weights, of the arguments of an ImageFirstStage."""
    found = read_image_folder(arguments["folder"])
    options = sized({}, arguments.get("resolution"), found.resolution)
    return {"class_path": "videodiff.networks.AutoencoderKL", "init_args": {**found.sizes, **options}}


def read_weights(folder: ImageFolder) -> dict[str, Tensor]:
    """The tensors of all files."""
    found: dict[str, Tensor] = {}
    for file in folder.files():
        found |= load_tensors(file)
    return found
