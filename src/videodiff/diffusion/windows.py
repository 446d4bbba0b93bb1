"""Long video as a plan: which frames each call writes and which it sees. Integers only, no tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """One call of a model.

    Args:
        new: frames this call writes.
        context: frames it sees, each written by an earlier window.
    """

    new: tuple[int, ...]
    context: tuple[int, ...] = ()

    @property
    def units(self) -> list[int]:
        """All of them, ascending."""
        return sorted((*self.context, *self.new))

    @property
    def stride(self) -> int | None:
        """Distance of the first two; None of a single one."""
        units = self.units
        return units[1] - units[0] if len(units) > 1 else None


def autoregressive(num_frames: int, clip: int, overlap: int, stride: int = 1) -> list[Window]:
    """Clip by clip, each continuing the last ``overlap`` frames.

    Every window covers ``clip`` frames; the last one, with fewer to write, sees more. Only if there are fewer
    frames than a clip in all is the single window shorter.

    Args:
        num_frames: length of the video.
        clip: frames the model handles at once.
        overlap: frames it sees at least, after the first clip.
        stride: write every ``stride``-th frame only; ``interpolation`` writes the others.

    Raises:
        ValueError: if a number is below 1 (``overlap``: below 0), or ``overlap`` not below ``clip``.
    """
    for name, value in (("num_frames", num_frames), ("clip", clip), ("stride", stride)):
        _at_least(name, value, 1)
    if not 0 <= overlap < clip:
        raise ValueError(f"overlap must lie in 0 ... clip - 1 ({clip - 1}), got {overlap}")
    frames = range(0, num_frames, stride)
    windows = [Window(tuple(frames[:clip]))]
    done = min(clip, len(frames))
    while done < len(frames):
        end = min(done + clip - overlap, len(frames))
        start = end - clip if overlap else done
        windows.append(Window(tuple(frames[done:end]), tuple(frames[start:done])))
        done = end
    return windows


def interpolation(num_frames: int, stride: int, clip: int | None = None) -> list[Window]:
    """Fills in what ``autoregressive(..., stride)`` left out, each window between the key frames it sees.

    Args:
        num_frames: length of the video.
        stride: distance of the key frames 0, stride, 2 stride, ...
        clip: frames the model handles at once; by default ``stride + 1``, a gap and its two key frames.
            Frames behind the last key frame are written too, seen from one side.

    Raises:
        ValueError: if a number is below 1, or ``clip`` below ``stride + 1``.
    """
    for name, value in (("num_frames", num_frames), ("stride", stride)):
        _at_least(name, value, 1)
    clip = stride + 1 if clip is None else clip
    _at_least("clip", clip, stride + 1)
    written = set(range(0, num_frames, stride))
    windows = []
    start = 0
    while len(written) < num_frames:
        frames = range(start, min(start + clip, num_frames))
        new = tuple(frame for frame in frames if frame not in written)
        windows.append(Window(new, tuple(frame for frame in frames if frame in written)))
        written.update(new)
        start = frames[-1] // stride * stride  # the last key frame it saw
    return windows


def cover(num_frames: int, clip: int, overlap: int, known: Iterable[int] = ()) -> list[Window]:
    """Windows of exactly ``clip`` frames that write every frame that is not known, each of them once.

    Each window starts ``overlap`` frames before the first frame that is still missing (less at the start of
    the video, more at its end), and sees whatever of its span is known or written: continuation, filling in
    between and raising the frame rate are one plan. Without known frames it is ``autoregressive``.

    Args:
        num_frames: length of the video, at least ``clip``.
        clip: frames the model handles at once.
        overlap: frames it sees at least before the first that it writes, where there are as many.
        known: frames that are given.

    Raises:
        ValueError: if a number is below 1 (``overlap``: below 0), ``clip`` above ``num_frames``, ``overlap``
            not below ``clip``, or a known frame outside the video.
    """
    for name, value in (("num_frames", num_frames), ("clip", clip)):
        _at_least(name, value, 1)
    if clip > num_frames:
        raise ValueError(f"num_frames must be at least clip ({clip}), got {num_frames}")
    if not 0 <= overlap < clip:
        raise ValueError(f"overlap must lie in 0 ... clip - 1 ({clip - 1}), got {overlap}")
    written = set(known)
    if not written <= set(range(num_frames)):
        raise ValueError(f"known frames must lie in 0 ... {num_frames - 1}, got {sorted(written)}")
    windows = []
    for frame in range(num_frames):
        if frame in written:
            continue
        start = max(0, min(frame - overlap, num_frames - clip))
        span = range(start, start + clip)
        new = tuple(f for f in span if f not in written)
        windows.append(Window(new, tuple(f for f in span if f in written)))
        written.update(new)
    return windows


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
