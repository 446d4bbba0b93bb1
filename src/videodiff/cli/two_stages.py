"""A second stage whose first stage is missing: the command that makes one which fits, before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from videodiff.config import check_texts, shipped_configs
from videodiff.config.options import split_options
from videodiff.usage import UsageError

SAME_CLIPS = (
    "root",
    "dataset",
    "layout",
    "preset",
    "resolution",
    "frame_stride",
    "fps",
    "resize",
    "view",
    "fold",
    "clip_list",
)
"""Options of the data that say which frames there are; both stages must be given the same."""


def check_first_stage(
    config: Mapping[str, Any], configs: Sequence[str | Path], rest: Sequence[str], trusted: Sequence[str]
) -> None:
    """Refuse to train on a first stage that is not there, with a command that can be followed to the letter.

    It carries what shapes the first stage too: overlays, the data, and the size of the clips.

    Args:
        config: of the second stage, merged.
        configs: that it was merged from, as they were named.
        rest: words of the command line that change it.
        trusted: modules from ``--trust``.

    Raises:
        FileNotFoundError: if its first stage is missing.
        ValueError: for a folder of an image autoencoder, or of a text encoder, that cannot be read.
    """
    from videodiff.checkpoints import resolve_checkpoint
    from videodiff.checkpoints.first_stage_command import config_of_name, missing

    model = config.get("model")
    text = (model.get("init_args") or {}).get("text") if isinstance(model, Mapping) else None
    if isinstance(text, Mapping) and isinstance((text.get("init_args") or {}).get("folder"), str):
        check_text_folder(text["init_args"])
    stage = (model.get("init_args") or {}).get("autoencoder") if isinstance(model, Mapping) else None
    given = (stage.get("init_args") or {}) if isinstance(stage, Mapping) else {}
    kind = str((stage or {}).get("class_path")).rpartition(".")[2]
    if kind == "ImageFirstStage" and isinstance(folder := given.get("folder"), str):
        check_image_folder(folder, given.get("scaling_factor"))
    checkpoint = given.get("checkpoint")
    if not isinstance(checkpoint, str) or kind != "FirstStage":
        return
    try:
        resolve_checkpoint(checkpoint)
    except FileNotFoundError as error:
        own = given.get("config") or config_of_name(checkpoint)
        more = shaping_words(own, configs, rest, trusted) if own else []
        raise FileNotFoundError(missing(checkpoint, own, error, more)) from error


def check_image_folder(folder: str, scaling_factor: Any) -> None:
    """Look at the folder of an image autoencoder, its weights unread.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for what cannot be read.
    """
    from videodiff.checkpoints.image_folder import read_image_folder

    found = read_image_folder(folder)
    found.scale(scaling_factor if isinstance(scaling_factor, int | float) else None)
    found.files()


def check_text_folder(given: Mapping[str, Any]) -> None:
    """Look at the folder of a text encoder, its weights unread.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: for what cannot be read.
    """
    from videodiff.text.folder import TEXT_ENCODERS, read_network_folder, tokenizer_folder

    found = read_network_folder(given["folder"], TEXT_ENCODERS)
    tokenizer = given.get("tokenizer")
    tokenizer_folder(found.path, tokenizer if isinstance(tokenizer, str) else None)
    found.files()


def shaping_words(
    own: str, configs: Sequence[str | Path], rest: Sequence[str], trusted: Sequence[str]
) -> list[str]:
    """The words of a second stage's command that its first stage must be trained with, too.

    Args:
        own: config of the first stage.
        configs: of the second stage, the first of which is its own.
        rest: words that change them.
        trusted: modules from ``--trust``.
    """
    names: list[str | Path] = [own]
    words: list[str] = []
    for overlay in configs[1:]:
        if fits([*names, overlay], [], trusted):
            names.append(overlay)
            words += ["--config", named(overlay)]
    options: list[str] = []
    for option, value in split_options(rest):
        for more in of_first_stage(option, value):
            if fits(names, [*options, *more], trusted):
                options += more
    for module in trusted:
        words += ["--trust", module]
    return words + options


def of_first_stage(option: str, value: str) -> list[list[str]]:
    """What an option of the second stage is for the first; each part holds where the first stage takes it."""
    group, _, name = option.removeprefix("--").partition(".")
    name = name.removeprefix("init_args.")
    if group == "data" and name in SAME_CLIPS:
        sizes = [["--model.autoencoder.resolution", value]] if name == "resolution" else []
        return [[option, value], *sizes]
    if group == "model" and name.replace("init_args.", "") == "net.num_frames":
        return [["--model.autoencoder.num_frames", value, "--data.num_frames", value]]
    return []


def fits(names: Sequence[str | Path], options: Sequence[str], trusted: Sequence[str]) -> bool:
    """Whether a config takes overlays and options."""
    try:
        check_texts(names, "fit", options, trusted)
    except UsageError:
        return False
    return True


def named(config: str | Path) -> str:
    """A config as it is given on a command line: a shipped one by its name."""
    path = Path(config)
    return next((name for name, file in shipped_configs().items() if file == path), str(config))
