"""Request: the conditions of the videos to generate, and how each is read from the command line.

A new condition is a field here, with its flag, and a conditioner that answers it. Every command
that generates takes the flag by itself, with help and completion. Nothing heavy is imported until a word is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from videodiff.conditioning.classes import class_words, classes
from videodiff.conditioning.prompts import prompt_words, prompts
from videodiff.conditioning.source import check_source, exact_or_decoded, mask_of_file, strength
from videodiff.say import counted
from videodiff.words import existing, real, whole

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Shape = tuple[int, int, int, int]


class Generated(NamedTuple):
    """What a model generates, as far as conditions are read by it.

    Attributes:
        video_shape: ``(3, T, H, W)`` of its clips.
        num_classes: that it knows; None = unconditional.
        takes_text: whether it can be told what to show in words.
    """

    video_shape: Shape
    num_classes: int | None = None
    takes_text: bool = False


def one_number(value: float, generated: Generated) -> Tensor:
    """A number as a tensor ``[1]``: int64, or fp32 for a number that is not whole."""
    import torch

    return torch.tensor([value])


def frames_of_file(path: str, generated: Generated) -> Tensor:
    """A video, a picture or a folder of frames, ``[1, 3, T, H, W]`` in [-1, 1], at the size of the model."""
    from videodiff.data.one_video import read_one
    from videodiff.data.pixels import to_float

    return to_float(read_one(path, generated.video_shape[2:]))


def actions_of_file(path: str, generated: Generated) -> Tensor:
    """Actions of a file, one in a row, ``[1, T, D]``."""
    from videodiff.data.one_video import read_vectors

    return read_vectors(path)[None]


def whole_file(path: str, generated: Generated) -> Tensor:
    """The same at the size that it has."""
    from videodiff.data.one_video import read_one
    from videodiff.data.pixels import to_float

    return to_float(read_one(path, None))


@dataclass(frozen=True)
class Flag:
    """How a field of a request is read from the command line.

    Args:
        name: of the option, without its dashes; a plain word.
        parse: word -> plain value, as it is recorded.
        help: one line, true for every command that generates.
        metavar: what stands for the value in the help.
        load: (plain value, what the model generates) -> what the field holds of one video, or of several in turn; None
            for the value itself.
        repeats: whether the flag may be given several times; ``parse`` makes a list of each word, and they are joined.

    ``parse`` raises ``argparse.ArgumentTypeError`` and ``load`` ValueError, each in one line.
    """

    name: str
    parse: Callable[[str], Any]
    help: str
    metavar: str
    load: Callable[[Any, Generated], Any] | None = None
    repeats: bool = False


@dataclass(frozen=True, eq=False)
class Request:
    """The conditions of the videos to generate, from the command line to the metrics.

    Attributes:
        label: class of each video ``[B]`` int64 (-1: none), or None.
        frames: known frames ``[B, 3, n, H, W]`` in [-1, 1], or None.
        positions: where those ``n`` frames lie in the video, ascending.
        low_resolution: the whole video at a lower resolution ``[B, 3, T, h, w]`` in [-1, 1], or None.
        source: a video that it begins from or that stays in part, ``[B, 3, T, H, W]`` in [-1, 1], or None.
        strength: time in (0, 1] that the source is noised to before it is denoised; None or 1 is noise alone.
        mask: where something new is generated, ``[B, 1, T, H, W]`` bool; the rest of the source stays.
        kept: frames of the source that stay whole, ascending.
        resample: how often each step is taken where something stays; None is once.
        known_pixels: ``exact``, the default: those that stay are put back after decoding; ``decoded``: they are not.
        actions: what is done at each frame, ``[B, T, D]``, an action leading to the next frame, or None.
        num_frames: length of the video; None is what the caller says, or a clip.
        guidance: scale of classifier-free guidance; None is what the caller says, or the model's own.
        prompt: what each video shows, in words; videos take several in turn. Empty is the empty prompt.
        negative_prompt: what guidance moves away from, in turn too. Empty is the empty prompt.

    Raises:
        ValueError: if frames and positions differ in number, positions do not ascend from 0, or there is a source that
            nothing says the use of, or the other way round.
    """

    label: Tensor | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "class_id",
                class_words,
                "class of the videos: a number, several that videos take in turn (3,4), all of them, random, or none "
                "(default: none; in test and compare those of the real clips)",
                "K|all|random|none",
                classes,
            )
        },
    )
    frames: Tensor | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "condition",
                existing,
                "given frames for every sample: a video, a picture or a folder of frames; fewer than a clip are "
                "completed to one, more are continued by a clip, or up to --frames",
                "FILE|DIR",
                frames_of_file,
            )
        },
    )
    positions: tuple[int, ...] = field(
        default=(),
        metadata={
            "flag": Flag(
                "condition_frames",
                str,
                "positions of the given frames in the video: '0:4', '0,15', '::4' (default: from frame 0 on)",
                "PLACES",
            )
        },
    )
    low_resolution: Tensor | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "low_resolution",
                existing,
                "small version of the whole video: a file, a picture or a folder of frames",
                "FILE|DIR",
                whole_file,
            )
        },
    )
    source: Tensor | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "init_video",
                existing,
                "a video, a picture or a folder of frames to begin from (--strength) or to keep in part (--mask, "
                "--keep_frames)",
                "FILE|DIR",
                frames_of_file,
            )
        },
    )
    strength: float | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "strength",
                strength,
                "how far --init_video is noised before it is denoised: near 0 it stays as it is, 1 is noise alone",
                "S",
            )
        },
    )
    mask: Tensor | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "mask",
                existing,
                "where --init_video is filled in: white is generated, black stays; a picture for all frames, a video, "
                "a folder of frames, or an array .npy [T, H, W] or [H, W], true where generated",
                "FILE|DIR",
                mask_of_file,
            )
        },
    )
    kept: tuple[int, ...] = field(
        default=(),
        metadata={
            "flag": Flag(
                "keep_frames",
                str,
                "frames of --init_video that stay whole: 'first:4', 'last:1', 'every:4', '0:4', '0,15', or several "
                "with commas",
                "PLACES",
            )
        },
    )
    resample: int | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "resample",
                whole(1, 100),
                "how often each step is taken where something stays, so that both agree better (default: once)",
                "N",
            )
        },
    )
    known_pixels: str | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "known_pixels",
                exact_or_decoded,
                "exact puts the pixels that stay back after decoding, decoded leaves them as the model's latents have "
                "them (default: exact)",
                "exact|decoded",
            )
        },
    )
    actions: Tensor | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "actions",
                existing,
                "what is done at each frame, for a model that is conditioned on it: .npy [T, D] or .csv, a row each "
                "(default: none; in predict, test and compare those of the real clips)",
                "FILE",
                actions_of_file,
            )
        },
    )
    num_frames: int | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "frames",
                whole(),
                "frames per video; longer videos are generated window by window (default: one clip)",
                "F",
            )
        },
    )
    guidance: float | None = field(
        default=None,
        metadata={
            "flag": Flag(
                "guidance",
                real(0),
                "scale of classifier-free guidance; 1 is no guidance (default: the model's)",
                "W",
            )
        },
    )
    prompt: tuple[str, ...] = field(
        default=(),
        metadata={
            "flag": Flag(
                "prompt",
                prompt_words,
                "what the videos show, in words; given several times, or as a file .txt with one in each line, videos "
                "take them in turn (default: none; in predict, test and compare captions of the real clips)",
                "TEXT|FILE.txt",
                prompts,
                repeats=True,
            )
        },
    )
    negative_prompt: tuple[str, ...] = field(
        default=(),
        metadata={
            "flag": Flag(
                "negative_prompt",
                prompt_words,
                "what guidance moves away from, given as --prompt is; it needs a guidance scale other than 1 (default: "
                "the empty prompt)",
                "TEXT|FILE.txt",
                prompts,
                repeats=True,
            )
        },
    )

    def __post_init__(self) -> None:
        count = 0 if self.frames is None else self.frames.shape[2]
        if count != len(self.positions):
            raise ValueError(f"{count} frames are given for {counted(len(self.positions), 'position')}")
        if list(self.positions) != sorted(set(self.positions)) or any(p < 0 for p in self.positions):
            raise ValueError(f"positions of given frames must ascend from 0, got {self.positions}")
        check_source(self)

    def tensors(self) -> dict[str, Tensor]:
        """The fields that hold something of each video, by name."""
        from torch import Tensor

        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def texts(self) -> dict[str, tuple[str, ...]]:
        """The fields that hold words of each video, or of several in turn, by name."""
        named = {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        return {name: texts for name, texts in named.items() if texts}

    @property
    def told(self) -> list[str]:
        """The names of the fields that hold something of each video."""
        return [*self.tensors(), *self.texts()]

    def of_videos(self, indices: Sequence[int]) -> Request:
        """The request for the videos of these indices, from that of one, or of several in turn."""
        import torch

        rows = torch.tensor(list(indices))
        chosen: dict[str, Any] = {n: value[rows % len(value)] for n, value in self.tensors().items()}
        for name, texts in self.texts().items():
            chosen[name] = tuple(texts[index % len(texts)] for index in indices)
        return self._with(chosen)

    def only(self, names: Collection[str]) -> Request:
        """What is asked in the fields of these names; the others are None."""
        left_out: dict[str, Any] = {name: None for name in self.tensors() if name not in names}
        left_out |= {name: () for name in self.texts() if name not in names}
        if "frames" not in names:
            left_out["positions"] = ()
        if "source" not in names:
            left_out |= {"mask": None, "kept": (), "strength": None, "resample": None, "known_pixels": None}
        return self._with(left_out)

    def to(self, device: torch.device | str) -> Request:
        """The request with every tensor on ``device``."""
        return self._with({name: value.to(device) for name, value in self.tensors().items()})

    def _with(self, tensors: Mapping[str, Any]) -> Request:
        return replace(self, **tensors)


def flags() -> dict[str, Flag]:
    """The flags that fill the fields of a request, by field."""
    return {f.name: f.metadata["flag"] for f in fields(Request) if "flag" in f.metadata}


def loaded(conditions: Mapping[str, Any], generated: Generated) -> dict[str, Any]:
    """Fields of a request from the plain values of its flags.

    Args:
        conditions: name of a flag -> plain value; names that are no flag's are passed over.
        generated: what the model generates.

    Raises:
        ValueError: in one line, for a file or folder that cannot be read, or a word that says nothing to this model.
    """
    given = {name: flag for name, flag in flags().items() if conditions.get(flag.name) is not None}
    return {
        name: conditions[flag.name] if flag.load is None else flag.load(conditions[flag.name], generated)
        for name, flag in given.items()
    }


def recorded(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The plain values of flags for a record, beside each file or folder the SHA-256 of what it holds."""
    files = [flag.name for flag in flags().values() if flag.parse is existing and flag.name in conditions]
    return {**conditions, **{f"{name}_sha256": content_sha256(Path(conditions[name])) for name in files}}


def content_sha256(path: Path) -> str:
    """Of a file; of a folder all names and files below it."""
    digest = sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            name = b"" if file == path else os.fsencode(file.relative_to(path))
            digest.update(name + b"\0" + file.read_bytes())
    return digest.hexdigest()
