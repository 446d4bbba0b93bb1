"""The source of a video: one that it begins from, or of which some pixels are kept; read from the command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from videodiff.conditioning.places import places
from videodiff.words import real

if TYPE_CHECKING:
    from torch import Tensor

    from videodiff.conditioning.request import Generated, Request

STRENGTH, MASK, KEEP = "--strength", "--mask", "--keep_frames"


def strength(text: str) -> float:
    """A time in (0, 1].

    Raises:
        argparse.ArgumentTypeError: for anything else.
    """
    value = real(0, 1)(text)
    if value == 0:
        raise argparse.ArgumentTypeError(
            "must be above 0 (nothing would change) and at most 1 (all of it), got 0"
        )
    return value


def exact_or_decoded(text: str) -> str:
    """One of the two words.

    Raises:
        argparse.ArgumentTypeError: for another.
    """
    if text not in ("exact", "decoded"):
        raise argparse.ArgumentTypeError(f"must be exact or decoded, got {text!r}")
    return text


def mask_of_file(path: str, generated: Generated) -> Tensor:
    """Where a picture, a video, a folder or an array is white: ``[1, 1, T, H, W]`` bool, at the model's size."""
    from videodiff.data.one_video import read_mask

    return read_mask(path, generated.video_shape[2:])


def whole_source(found: dict[str, Any], length: int | None, clip: int) -> dict[str, Any]:
    """Source, mask, kept frames and length of a request from what was read of their flags.

    Args:
        found: fields by name; ``kept`` are words, such as ``first:4,last:1``.
        length: of the video, where somebody says it; without, it is as long as the source, or as a clip if that is a
            picture.
        clip: frames of a clip.

    Raises:
        ValueError: in one line, for a source that is too short, a mask of another length, or frames given beside it.
    """
    source, mask, words = (found.get(name) for name in ("source", "mask", "kept"))
    if source is None:
        return {}
    if "frames" in found:
        raise ValueError(
            f"--condition and --init_video are both videos to go by: frames of the latter are kept by {KEEP}"
        )
    if source.shape[2] == 1:
        source = source.expand(-1, -1, length or clip, -1, -1)
    length = length or source.shape[2]
    if length > source.shape[2]:
        raise ValueError(
            f"--frames {length}: the video of --init_video has {source.shape[2]} frames, give it more"
        )
    if mask is not None and mask.shape[2] not in (1, found["source"].shape[2], length):
        raise ValueError(
            f"--mask has {mask.shape[2]} frames, the video {found['source'].shape[2]}; give as many, or one picture "
            "for all of them"
        )
    return {
        "source": source[:, :, :length],
        "mask": None
        if mask is None
        else mask.expand(-1, -1, max(length, mask.shape[2]), -1, -1)[:, :, :length],
        "kept": () if words is None else places(words, length, KEEP),
        "num_frames": length,
    }


def check_source(request: Request) -> None:
    """Refuse a source that nothing is to be done with, and what says how without a source.

    Raises:
        ValueError: in one line.
    """
    source, mask = request.source, request.mask
    named = {STRENGTH: request.strength, MASK: mask, KEEP: request.kept or None}
    told = [name for name, value in named.items() if value is not None]
    more = {"--resample": request.resample, "--known_pixels": request.known_pixels}
    more_told = [name for name, value in more.items() if value is not None]
    if source is None:
        if told or more_told:
            raise ValueError(
                f"{(told + more_told)[0]} says what becomes of a video: name it with --init_video FILE"
            )
        return
    if not told:
        raise ValueError(
            f"--init_video needs {STRENGTH} S, how far it is noised, or {MASK} FILE or {KEEP} PLACES, what of it stays"
        )
    if more_told and mask is None and not request.kept:
        raise ValueError(f"{more_told[0]} is about pixels that are kept: say which with {MASK} or {KEEP}")
    if request.strength is not None and not 0 < request.strength <= 1:
        raise ValueError(f"strength must lie in (0, 1], got {request.strength}")
    if mask is not None and mask.shape[2:] != source.shape[2:]:
        raise ValueError(
            f"a mask must be of its video's frames {list(source.shape[2:])}, got {list(mask.shape[2:])}"
        )
    if request.kept and not 0 <= min(request.kept) <= max(request.kept) < source.shape[2]:
        raise ValueError(f"kept frames must lie in 0 ... {source.shape[2] - 1}, got {request.kept}")


def kept_pixels(request: Request) -> Tensor | None:
    """Which pixels of the source stay, ``[B, 1, T, H, W]`` bool; None where nothing was said to."""
    source, mask = request.source, request.mask
    if source is None or (mask is None and not request.kept):
        return None
    keep = source.new_zeros(source[:, :1].shape).bool() if mask is None else ~mask
    keep[:, :, list(request.kept)] = True
    return keep


def visible(request: Request) -> Tensor:
    """The source ``[B, 3, T, H, W]`` as it is encoded: what is not kept is hidden, unless the sampler begins from it.

    So nothing that a mask takes away reaches a latent through the pixels beside it. A hidden pixel is what it is in
    the nearest frame that keeps it; one that no frame keeps has the mean of what there is in its frame.
    """
    import torch

    video, keep = request.source, kept_pixels(request)
    assert video is not None  # who asks has looked
    if keep is None or request.strength not in (None, 1):
        return video
    frames = torch.arange(video.shape[2], device=video.device).view(1, 1, -1, 1, 1)
    far = 2 * video.shape[2]
    before = torch.where(keep, frames, -far).cummax(2).values
    after = torch.where(keep, frames, far).flip(2).cummin(2).values.flip(2)
    nearest = torch.where(frames - before <= after - frames, before, after)
    is_there = (nearest >= 0) & (nearest < video.shape[2])
    chosen = nearest.clamp(0, video.shape[2] - 1).expand(-1, video.shape[1], -1, -1, -1)
    shown = video.gather(2, chosen)
    axes = (3, 4)
    mean = (shown * is_there).sum(axes, keepdim=True) / is_there.sum(axes, keepdim=True).clamp(min=1)
    return torch.where(is_there, shown, mean)


class KnownPixels:
    """Puts kept pixels back where they were decoded otherwise, and says how far off they were.

    Args:
        request: with source, and what of it is kept; without, nothing is done.

    Attributes:
        count: kept values so far.
        sum: of their absolute differences, in 0 ... 255.
    """

    def __init__(self, request: Request) -> None:
        self.source, self.keep = request.source, kept_pixels(request)
        self.is_exact = request.known_pixels != "decoded"
        self.count, self.sum, self.done = 0, 0.0, 0

    def __call__(self, piece: Tensor) -> Tensor:
        """The next frames of the videos, ``[B, 3, t, H, W]`` in [-1, 1]."""
        if self.source is None or self.keep is None:
            return piece
        here = slice(self.done, self.done + piece.shape[2])
        source, keep = self.source[:, :, here], self.keep[:, :, here]
        self.done = here.stop
        self.count += int(keep.sum()) * piece.shape[1]
        self.sum += float((piece - source).abs().mul(keep).sum()) * 127.5
        return source.where(keep, piece) if self.is_exact else piece

    @property
    def error(self) -> float | None:
        """Mean absolute difference of kept pixels as decoded, 0 ... 255; None where none is kept."""
        return self.sum / self.count if self.count else None
