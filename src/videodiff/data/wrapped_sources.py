"""Wrapped sources: some of the videos, those at a fixed frame rate, or with short ones made long enough."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
from torch import Tensor

from videodiff.data.captions import HeldOut, lines_of
from videodiff.data.clips import ClipSource
from videodiff.data.scenes import Scene
from videodiff.frame_size import FrameSize
from videodiff.say import all_too_short, counted

MAX_PAUSE_S = 10.0  # between two frames; and
MAX_STEPS = 50  # usual ones: what is longer is no pause but a damaged time stamp
MAX_TICKS = 100  # of a clock, by frame

# Why a video is left out, not for its frames but for what is said of them.
NO_CAPTION = "without a caption"
IS_HELD_OUT = "held out by their captions (data.held_out_words)"
NOT_HELD_OUT = "not among those that are held out (data.held_out_words)"


class View(ClipSource):
    """Everything but the frames is the inner source's.

    Args:
        inner: the source.
    """

    def __init__(self, inner: ClipSource) -> None:
        self.inner = inner
        self.class_names, self.labels, self.captions = inner.class_names, inner.labels, inner.captions
        self.skipped, self.num_unreadable = inner.skipped, inner.num_unreadable
        self.shortened, self.unwanted = inner.shortened, inner.unwanted

    def __len__(self) -> int:
        return len(self.inner)

    def name(self, index: int) -> str:
        return self.inner.name(index)

    def size_of(self, index: int) -> FrameSize | None:
        return self.inner.size_of(index)

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        return self.read_frames(index, range(start, start + num_frames * stride, stride))


class Part(View):
    """Some of the videos of a source.

    Args:
        inner: the source.
        numbers: of its videos, in their order here.
    """

    def __init__(self, inner: ClipSource, numbers: Sequence[int]) -> None:
        super().__init__(inner)
        self.numbers, self.action_dim = numbers, inner.action_dim
        self.labels = [inner.labels[number] for number in numbers] if inner.labels else []
        self.captions = None if inner.captions is None else [inner.captions[number] for number in numbers]

    def __len__(self) -> int:
        return len(self.numbers)

    def num_frames(self, index: int) -> int:
        return self.inner.num_frames(self.numbers[index])

    @property
    def has_captions(self) -> bool:
        return self.inner.has_captions

    def scene(self, index: int) -> Scene | None:
        return self.inner.scene(self.numbers[index])

    def name(self, index: int) -> str:
        return self.inner.name(self.numbers[index])

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        return self.inner.read(self.numbers[index], start, num_frames, stride)

    def read_frames(self, index: int, numbers: Sequence[int]) -> Tensor:
        return self.inner.read_frames(self.numbers[index], numbers)

    def actions(self, index: int, start: int, num_frames: int) -> Tensor:
        return self.inner.actions(self.numbers[index], start, num_frames)

    def times(self, index: int) -> np.ndarray:
        return self.inner.times(self.numbers[index])

    def size_of(self, index: int) -> FrameSize | None:
        return self.inner.size_of(self.numbers[index])

    def expect(self, num_frames: int, stride: int) -> None:
        self.inner.expect(num_frames, stride)


def by_captions(source: ClipSource, held_out: HeldOut | None, must_have_one: bool, split: str) -> ClipSource:
    """The videos of a source whose captions are wanted; the others are counted.

    Args:
        source: the videos.
        held_out: words that choose, or None.
        must_have_one: whether a video without a caption is left out.
        split: for messages.

    Raises:
        ValueError: if there are no captions to go by, or no video is left.
    """
    if held_out is None and not must_have_one:
        return source
    if source.captions is None:
        asked = "data.missing_captions leave_out" if held_out is None else "data.held_out_words"
        raise ValueError(
            f"{asked} goes by captions, and no {split} video has one; say where they are with data.captions"
        )
    numbers, unwanted = [], list(source.unwanted)
    for index, text in enumerate(source.captions):
        captions = lines_of(text)
        if must_have_one and not captions:
            unwanted.append((source.name(index), NO_CAPTION))
        elif held_out is None or held_out.holds(captions) == held_out.is_wanted:
            numbers.append(index)
        else:
            unwanted.append((source.name(index), NOT_HELD_OUT if held_out.is_wanted else IS_HELD_OUT))
    if not numbers:
        rule = "data.test_clips held_out" if held_out is not None and held_out.is_wanted else "their captions"
        raise ValueError(
            f"none of {counted(len(source), f'{split} video')} is left by {rule}; the first: {unwanted[0][0]}: "
            f"{unwanted[0][1]}"
        )
    chosen = Part(source, numbers)
    chosen.unwanted = unwanted
    return chosen


class AtRate(View):
    """Videos on a clock of `fps`: frame k is the one that is shown nearest to ``k / fps`` seconds after the first.

    So clips of videos at 25, 29.97 and 59.94 frames per second, or of a variable rate, move equally fast. A frame is
    repeated where the video is slower than the clock. Videos that turn out too short on the clock, or whose times are
    none, are left out; leaps in time are taken as one step (:func:`steady`).

    Args:
        inner: the videos.
        fps: frames per second.
        needed: frames on the clock that a clip spans.

    Raises:
        ValueError: if no video is long enough, or the frames carry no times.
    """

    def __init__(self, inner: ClipSource, fps: float, needed: int = 1) -> None:
        super().__init__(inner)
        self.fps = fps
        self.skipped, self.shortened = list(inner.skipped), list(inner.shortened)
        self.kept: list[int] = []
        longest = 0
        for index in range(len(inner)):
            try:
                times = inner.times(index)
                frames = num_ticks(steady(times), fps)
            except ValueError as error:
                if index == len(inner) - 1 and not self.kept and not longest:
                    raise  # none has times
                self.skipped.append((inner.name(index), str(error)))
                self.num_unreadable += 1
                continue
            if (leap := describe_leap(times)) is not None:
                self.shortened.append((inner.name(index), leap))
            longest = max(longest, frames)
            if frames >= needed:
                self.kept.append(index)
            else:
                self.skipped.append((inner.name(index), f"{frames} frames at {fps:g} fps, {needed} needed"))
        if not self.kept:
            raise ValueError(
                f"{all_too_short(len(inner), os.path.dirname(inner.name(0)), counted(longest, 'frame'))} "
                f"at {fps:g} fps, {needed} needed"
            )
        self.labels = [inner.labels[index] for index in self.kept] if inner.labels else []
        self.captions = [inner.captions[index] for index in self.kept] if inner.captions else None

    def __len__(self) -> int:
        return len(self.kept)

    def name(self, index: int) -> str:
        return self.inner.name(self.kept[index])

    def size_of(self, index: int) -> FrameSize | None:
        return self.inner.size_of(self.kept[index])

    def num_frames(self, index: int) -> int:
        return num_ticks(steady(self.inner.times(self.kept[index])), self.fps)

    def times(self, index: int) -> np.ndarray:
        return np.arange(self.num_frames(index)) / self.fps

    def read_frames(self, index: int, numbers: Sequence[int]) -> Tensor:
        times = steady(self.inner.times(self.kept[index]))
        return self.inner.read_frames(self.kept[index], nearest(times, np.asarray(numbers) / self.fps))


def num_ticks(times: np.ndarray, fps: float) -> int:
    """Ticks of a clock from the first frame to the last.

    Raises:
        ValueError: if that is more than `MAX_TICKS` for each frame, which would be still pictures.
    """
    ticks = int(times[-1] * fps + 1e-6) + 1
    if ticks > MAX_TICKS * len(times):
        raise ValueError(
            f"{counted(len(times), 'frame')} in {times[-1]:.3g} s: at {fps:g} fps each would be shown more than "
            f"{MAX_TICKS} times"
        )
    return ticks


def steady(times: np.ndarray) -> np.ndarray:
    """Times without leaps: a step that only a damaged stamp can mean becomes one usual (lower median) step."""
    leaps = _leaps(times)
    if not leaps.any():
        return times
    steps = np.diff(times)
    usual = _usual(steps)
    return times[0] + np.concatenate([[0.0], np.cumsum(np.where(leaps, usual, steps))])


def describe_leap(times: np.ndarray) -> str | None:
    """The first leap of times in words; None without one."""
    leaps = _leaps(times)
    if not leaps.any():
        return None
    at = int(np.argmax(leaps))
    return (
        f"time leaps by {times[at + 1] - times[at]:.3g} s before frame {at + 1}, which is taken as one step"
    )


def _leaps(times: np.ndarray) -> np.ndarray:
    """Which steps between frames are leaps, bool ``[len(times) - 1]``."""
    steps = np.diff(times)
    if not len(steps) or steps.max() <= MAX_PAUSE_S:
        return np.zeros(len(steps), bool)
    return steps > max(MAX_PAUSE_S, MAX_STEPS * _usual(steps))


def _usual(steps: np.ndarray) -> float:
    half = (len(steps) - 1) // 2
    return float(np.partition(steps, half)[half])


def nearest(times: np.ndarray, wanted: np.ndarray) -> list[int]:
    """Number of the frame whose time is nearest to each wanted time; of two equally near ones the earlier."""
    after = np.searchsorted(times, wanted).clip(1, max(len(times) - 1, 1))
    before = after - 1
    if len(times) == 1:
        return [0] * len(wanted)
    is_after = times[after] - wanted < wanted - times[before] - 1e-9
    return np.where(is_after, after, before).tolist()


class Lengthened(View):
    """Videos of which those shorter than `needed` are made as long.

    Args:
        inner: the videos.
        needed: frames that a clip spans.
        how: loop starts again at the first frame, pad_last repeats the last one.
    """

    def __init__(self, inner: ClipSource, needed: int, how: Literal["loop", "pad_last"]) -> None:
        super().__init__(inner)
        self.needed, self.how = needed, how

    def num_frames(self, index: int) -> int:
        return max(self.needed, self.inner.num_frames(index))

    def times(self, index: int) -> np.ndarray:
        raise ValueError(f"{self.name(index)}: a video made longer has no times of its own")

    def read_frames(self, index: int, numbers: Sequence[int]) -> Tensor:
        total = self.inner.num_frames(index)
        if numbers[-1] < total:
            return self.inner.read_frames(index, numbers)
        wrapped = [n % total if self.how == "loop" else min(n, total - 1) for n in numbers]
        unique = sorted(set(wrapped))
        place = {number: at for at, number in enumerate(unique)}
        return self.inner.read_frames(index, unique)[[place[number] for number in wrapped]]
