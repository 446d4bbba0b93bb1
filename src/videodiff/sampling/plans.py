"""Plans for long video: windows over the units of a latent, and orders of noise levels; integers only."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from videodiff.diffusion.unit_levels import pyramid, trapezoid
from videodiff.diffusion.windows import Window, autoregressive, cover, interpolation


class LongVideo(ABC):
    """Which windows write a video's units, each once.

    Attributes:
        overlap: units of one window that the next one sees.
        overlap_frames: frames that neighbouring clips have in common, where a unit is a clip.
        extension_steps: sampler steps of every window after the first; None is as for the first.
        num_passes: turns that the windows come in.
        needs_unit_times: whether units of a window are at different noise levels, which not every model can be told.
    """

    overlap: int
    overlap_frames: int = 0
    extension_steps: int | None = None
    num_passes: int = 1
    needs_unit_times: bool = False

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

    def levels(self, steps: int, window: Window, clip: int) -> Tensor:
        """In which order the noise levels of a window's units fall, where units have levels of their own.

        All at once here; see ``diffusion/unit_levels.py``.

        Args:
            steps: of the sampler.
            window: its context is clean from the start.
            clip: units that the network sees at once.

        Returns:
            ``[M, len(window.units)]`` int64.
        """
        return with_context(pyramid(steps, len(window.new), 0), window)

    def record(self) -> dict[str, Any]:
        """Its options that shape a generated video and that no other record tells; for records."""
        return {}


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


class Rolling(LongVideo):
    """One window that moves along the video: units become clean one after another, each while later ones begin.

    For models whose units have noise levels of their own (diffusion forcing, Chen et al. 2024).

    Args:
        overlap: clean units that the network sees at least beside noisy ones, where there are as many.
        order: "pyramid": each unit starts `delay` steps behind the one before it; "sequential": when that is clean,
            unit by unit; "trapezoid": from both ends to the middle, of no more than a clip.
        delay: steps between neighbours; None is as few as `overlap` allows. More steps between them make less of what
            is noisy at once, and take as many more calls of the network for every unit.

    Raises:
        ValueError: for an order that is none, or a delay where the order leaves it without effect or below 1.
    """

    needs_unit_times = True

    def __init__(
        self,
        overlap: int = 1,
        order: Literal["pyramid", "sequential", "trapezoid"] = "pyramid",
        delay: int | None = None,
    ) -> None:
        if order not in ("pyramid", "sequential", "trapezoid"):
            raise ValueError(f"order must be pyramid, sequential or trapezoid, got {order!r}")
        if delay is not None and (delay < 1 or order == "sequential"):
            raise ValueError(
                f"delay must be at least 1, and is left out of order sequential; got {delay} with order {order}"
            )
        self.overlap, self.order, self.delay = overlap, order, delay

    def check(self, clip: int) -> None:
        if not 0 < self.overlap < clip:
            raise ValueError(
                f"overlap must lie between 1 and {clip - 1} (units of a clip - 1), got {self.overlap}"
            )

    def windows(self, total: int, clip: int, known: Sequence[int]) -> list[Window]:
        if self.order == "trapezoid" and total > clip:
            raise ValueError(
                f"order trapezoid generates from both ends of a video, which must fit into a clip of {clip} units, "
                f"got {total}; use order pyramid"
            )
        new = tuple(unit for unit in range(total) if unit not in known)
        return [Window(new, tuple(sorted(known)))] if new else []

    def levels(self, steps: int, window: Window, clip: int) -> Tensor:
        delay = -(-steps // (clip - self.overlap)) if self.delay is None else self.delay
        if self.order == "trapezoid":
            return with_context(trapezoid(steps, len(window.new), delay), window)
        delay = steps if self.order == "sequential" else min(delay, steps)
        if len(window.units) > clip < -(-steps // delay):
            raise ValueError(
                f"delay must be at least {-(-steps // clip)} for a video longer than {clip} units, which is what the "
                f"network sees at once: {steps} steps with delay {delay} leave {-(-steps // delay)} units noisy"
            )
        return with_context(pyramid(steps, len(window.new), delay), window)

    def record(self) -> dict[str, Any]:
        return {"long_video": f"rolling {self.order}", "overlap": self.overlap, "delay": self.delay}


def with_context(levels: Tensor, window: Window) -> Tensor:
    """Levels of the units that a window writes as those of all its units: what it only sees is clean."""
    new = set(window.new)
    found = torch.zeros(len(levels), len(window.units), dtype=levels.dtype, device="cpu")
    found[:, [place for place, unit in enumerate(window.units) if unit in new]] = levels
    return found


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
