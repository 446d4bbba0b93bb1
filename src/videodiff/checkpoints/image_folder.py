"""Folders of image autoencoders as diffusers writes them: which files there are, and what their config says.

Loads no torch: what is wrong with a folder is told at once.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff import placeholder
from videodiff.reading import read_mapping
from videodiff.weights.folder import MAX_BYTES, weight_files, weights_of

CONFIG, PART, PIPELINE = "config.json", "vae", "model_index.json"
WEIGHTS = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.fp16.safetensors.index.json",
)
"""Names of the weights, the first that is there counts: whole or in shards, in fp32 or else in fp16."""

OPTION = "--model.autoencoder.folder"
# What the config must say if it says it: there is one such network here.
FIXED = {"in_channels": 3, "out_channels": 3, "act_fn": "silu", "latents_mean": None, "latents_std": None}
BLOCKS = {"down_block_types": "DownEncoderBlock2D", "up_block_types": "UpDecoderBlock2D"}
# Arguments of AutoencoderKL, with what diffusers takes where an older config does not say it.
SIZES = {
    "block_out_channels": (64,),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "use_quant_conv": True,
    "use_post_quant_conv": True,
    "mid_block_add_attention": True,
}
WITHOUT_EFFECT = ("sample_size", "force_upcast", "scaling_factor", "shift_factor")  # read or not, no size
# Stable Diffusion 1.4 to 2.1 were published before the factor stood in the config.
STABLE_DIFFUSION = 0.18215


@dataclass(frozen=True)
class ImageFolder:
    """A folder that holds an image autoencoder.

    Args:
        path: of its config and weights; of a pipeline the folder ``vae`` in it.
        sizes: arguments of ``AutoencoderKL`` that its config says.
        resolution: of the pictures that it was trained on, as its config says.
        scaling_factor: what latents are multiplied by; None where the config does not say.
        shift_factor: what is taken off them before.
    """

    path: Path
    sizes: dict[str, Any]
    resolution: Any
    scaling_factor: float | None
    shift_factor: float

    def scale(self, given: float | None) -> float:
        """The factor of the latents.

        Args:
            given: by the user, for a folder that does not say.

        Raises:
            ValueError: if nobody says it, or both and differently.
        """
        option, own = "--model.autoencoder.scaling_factor", self.scaling_factor
        if own is not None and given not in (None, own):
            raise ValueError(
                f"{self.path / CONFIG} says scaling_factor {own:g}, {option} {given:g}: leave the latter out"
            )
        found = given if own is None else own
        if found is None:
            raise ValueError(
                f"{self.path / CONFIG} says no scaling_factor, so the scale of its latents is unknown: give it with "
                f"{option} (Stable Diffusion 1 and 2 have {STABLE_DIFFUSION})"
            )
        return found

    @property
    def index(self) -> Path | None:
        """The file of its weights, or the one that names their shards; None without either."""
        return weights_of(self.path, WEIGHTS)

    def files(self) -> list[Path]:
        """The files of its weights, each looked at for a placeholder in its stead.

        Raises:
            FileNotFoundError: without weights, or where a shard is missing.
            ValueError: for weights in another format alone, placeholders, and an index that is none.
        """
        convert = "diffusers, AutoencoderKL.from_pretrained({folder})"
        return weight_files(self.path, WEIGHTS, convert, OPTION)


def copy_image_folder(folder: str, out: Path) -> None:
    """Copy what is read of a folder, and nothing else, to a new one.

    Raises:
        ValueError: as :func:`read_image_folder` and :meth:`ImageFolder.files`.
    """
    found = read_image_folder(folder)
    out.mkdir(parents=True)
    for file in {found.path / CONFIG, found.index, *found.files()}:
        if file is not None:
            shutil.copyfile(file, out / file.name)


def read_image_folder(folder: str) -> ImageFolder:
    """The folder of an image autoencoder, or of a pipeline that has one in ``vae``; weights are not looked at.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: for one of another architecture, or with settings that nothing here follows.
    """
    path = Path(folder)
    if not path.is_dir():
        raise FileNotFoundError(
            f"no folder {folder!r} of an image autoencoder; name one that diffusers wrote (config.json and "
            f"safetensors, or a pipeline with a folder vae) with {OPTION}"
        )
    if (path / PIPELINE).is_file() or (path / PART / CONFIG).is_file():
        if not (path / PART / CONFIG).is_file():
            raise ValueError(
                f"{folder} is a pipeline without an image autoencoder (it has no {PART}/{CONFIG})"
            )
        path = path / PART
    file = path / CONFIG
    if not file.is_file():
        raise FileNotFoundError(
            f"{folder} has no {CONFIG}: a folder of an image autoencoder as diffusers writes it is wanted ({OPTION})"
        )
    placeholder.refuse(file)
    config = read_mapping(file, max_bytes=MAX_BYTES)
    check_architecture(config, file)
    shift = number(config, "shift_factor", file)
    return ImageFolder(
        path,
        {name: config.get(name, usual) for name, usual in SIZES.items()},
        config.get("sample_size"),
        number(config, "scaling_factor", file),
        shift or 0.0,
    )


def check_architecture(config: Mapping[str, Any], file: Path) -> None:
    """Refuse a config of another network than ``AutoencoderKL`` of images, or one with settings that nobody follows.

    Raises:
        ValueError: naming the first.
    """
    name = config.get("_class_name")
    if name != "AutoencoderKL":
        raise ValueError(
            f"{file} is of {name or 'an unknown class'}, and an image first stage is an AutoencoderKL (that of Stable "
            f"Diffusion and its kin): name another folder with {OPTION}"
        )
    for key, only in FIXED.items():
        if config.get(key, only) != only:
            raise ValueError(f"{file}: {key} {config[key]!r} is not supported, only {only!r} is")
    for key, only in BLOCKS.items():
        if other := sorted(set(config.get(key, [only])) - {only}):
            raise ValueError(f"{file}: {key} {other[0]!r} is not supported, only {only!r} is")
    known = {*FIXED, *BLOCKS, *SIZES, *WITHOUT_EFFECT}
    if strange := [key for key in config if key not in known and not key.startswith("_")]:
        raise ValueError(
            f"{file}: {strange[0]} is not a setting that is known here, so what it changes is not either"
        )


def number(config: Mapping[str, Any], key: str, file: Path) -> float | None:
    """A finite number of the config, or None.

    Raises:
        ValueError: for anything else, or a factor that is not above 0.
    """
    value = config.get(key)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or (key == "scaling_factor" and value <= 0):
        raise ValueError(f"{file}: {key} must be a finite number, above 0 if it is a factor, got {value!r}")
    return float(value)
