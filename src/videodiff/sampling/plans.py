"""Plans for long video: windows over the units of a latent; integers only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from videodiff.diffusion.windows import Window, autoregressive, cover, interpolation


class LongVideo(ABC):
    """Which windows write a video's units, each once.

    Attributes:
        overlap: units of one window that the next one sees.
        overlap_frames: frames that neighbouring clips have in common, where a unit is a clip.
        extension_steps: sampler steps of every window after the first; None is as for the first.
        num_passes: turns that the windows come in.
    """

    overlap: int
    overlap_frames: int = 0
    extension_steps: int | None = None
    num_passes: int = 1

    @abstractmethod
    def check(self, clip: int) -> None:
        """Refuse an overlap that does not fit clips of so many units.

        Raises:
            ValueError: naming ``overlap_frames``.
        """

    def total(self, units: int, clip: int) -> int:
        """Units to generate for a video that begins ``units``; one shorter than a clip is the start of one."""
        return max(units, clip)

    @abstractmethod
    def windows(self, total: int, clip: int, known: Sequence[int]) -> list[Window]:
        """The windows of a video of ``total`` units, in order, but for the known ones.

        Raises:
            ValueError: if the plan generates no video of that length.
        """

    def passes(self, total: int, clip: int, known: Sequence[int]) -> list[list[Window]]:
        """The same windows in turns, each of which may be a model's of its own; ``num_passes`` of them.

        Raises:
            ValueError: if the plan generates no video of that length.
        """
        return [self.windows(total, clip, known)]


class Autoregressive(LongVideo):
    """Window by window, each seeing the last units of the one before, and given units at any position.

    Args:
        overlap: units that a window sees at least, where there are as many.
    """

    def __init__(self, overlap: int) -> None:
        self.overlap = overlap

    def check(self, clip: int) -> None:
        if clip == 1 and self.overlap != 0:
            raise ValueError(f"overlap_frames must be 0 with num_frames 1, got {self.overlap}")
        if clip > 1 and not 0 < self.overlap < clip:
            raise ValueError(
                f"overlap_frames must lie between 1 and {clip - 1} (num_frames - 1), got {self.overlap}"
            )

    def windows(self, total: int, clip: int, known: Sequence[int]) -> list[Window]:
        if clip == 1 < total:  # they would have nothing in common
            raise ValueError(
                f"this model generates single frames (num_frames 1); ask for 1 (--frames 1), got {total}"
            )
        return cover(total, clip, self.overlap, known)


class ClipByClip(LongVideo):
    """Unit after unit, each from the one before it (Yu et al. 2023, algorithm 1).

    Args:
        overlap_frames: frames that a clip has in common with the one before it.
        extension_steps: sampler steps of every clip after the first (the M of "N/M-s" in the paper's tables).

    Raises:
        ValueError: for steps below 1.
    """

    overlap = 1

    def __init__(self, overlap_frames: int = 0, extension_steps: int | None = None) -> None:
        if extension_steps is not None and extension_steps < 1:
            raise ValueError(f"extension_steps must be at least 1, got {extension_steps}")
        self.overlap_frames, self.extension_steps = overlap_frames, extension_steps

    def check(self, clip: int) -> None:
        if clip != 1:
            raise ValueError(f"ClipByClip is for latents whose unit is a clip, got clips of {clip} units")

    def windows(self, total: int, clip: int, known: Sequence[int]) -> list[Window]:
        return [Window((k,), (k - 1,) if k else ()) for k in range(total) if k not in known]


class Hierarchical(Autoregressive):
    """Key frames first, each from the ones before, then every gap between two (He et al. 2022, section 3.3).

    Args:
        overlap: key frames of one window that the next one sees.
        stride: distance of the key frames.
    """

    num_passes = 2

    def __init__(self, overlap: int, stride: int) -> None:
        super().__init__(overlap)
        self.stride = stride

    def total(self, units: int, clip: int) -> int:
        """A long video ends with a key frame, and is cut after decoding."""
        if units <= clip:
            return clip
        return -(-(units - 1) // self.stride) * self.stride + 1

    def windows(self, total: int, clip: int, known: Sequence[int]) -> list[Window]:
        keys, gaps = self.passes(total, clip, known)
        return keys + gaps

    def passes(self, total: int, clip: int, known: Sequence[int]) -> list[list[Window]]:
        """Key frames, then gaps; a video no longer than a clip is neighbours alone, as gaps are."""
        if total <= clip:
            return [[], super().windows(total, clip, known)]
        written = set(known)
        keys = autoregressive(total, clip, self.overlap, self.stride)
        return [unwritten(windows, written) for windows in (keys, interpolation(total, self.stride))]


def unwritten(windows: Sequence[Window], written: set[int]) -> list[Window]:
    """What windows have left to write, each seeing what is written by then, which this adds to."""
    found = []
    for window in windows:
        new = tuple(u for u in window.new if u not in written)
        context = tuple(u for u in (*window.context, *window.new) if u in written)
        written.update(new)
        if new:
            found.append(Window(new, context))
    return found
