"""The clips of a protocol, read while the network computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from videodiff.data.clips import ClipSource
from videodiff.evaluation.protocol import Protocol
from videodiff.seeding import generator, uniform


class Batch(NamedTuple):
    """Clips of one size, with their places in the plan.

    Attributes:
        places: of the clips, ``B``.
        clips: uint8 ``[B, T, H, W, 3]``.
        pairs: of continuations: the frames that follow the given ones, in truth and as generated, each uint8
            ``[B, T', H, W, 3]``.
    """

    places: list[int]
    clips: Tensor
    pairs: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class ClipPlan:
    """The clips of one side: ``(video, first frame)`` of each, a function of the source, the protocol and the seed.

    Args:
        windows: in the order in which they count; the first n of a plan are the plan for n clips.
        frames: of each clip as read.
        stride: between them.
        subsample: every how-manieth of them the network sees.
    """

    windows: tuple[tuple[int, int], ...]
    frames: int
    stride: int
    subsample: int = 1

    def __len__(self) -> int:
        return len(self.windows)

    def first(self, count: int) -> ClipPlan:
        """The plan cut to `count` clips."""
        return ClipPlan(self.windows[:count], self.frames, self.stride, self.subsample)


def plan_clips(source: ClipSource, protocol: Protocol, side: str, seed: int = 0) -> ClipPlan:
    """The windows of one side.

    Generated videos give one clip from their first frame on, in order; real ones follow the protocol: its order,
    window, stride and clips per video. The source has left out videos that are too short.

    Args:
        source: the videos.
        protocol: what to take of them.
        side: ``real`` or ``generated``.
        seed: of shuffling and random windows.

    Returns:
        At most ``num_real`` (``num_generated``) windows; fewer if there are not enough videos.
    """
    videos: Sequence[int] = range(len(source))
    if side == "generated":
        windows = tuple((video, 0) for video in videos[: protocol.num_generated])
        return ClipPlan(windows, protocol.frames, 1, protocol.subsample)
    if protocol.order == "shuffled":
        videos = torch.randperm(len(source), generator=generator(seed, "protocol order")).tolist()
    chosen: list[tuple[int, int]] = []
    for turn in range(protocol.clips_per_video):
        for video in videos[: protocol.num_real - len(chosen)]:
            room = source.num_frames(video) - protocol.span
            share = uniform(seed, "protocol window", video, turn) if protocol.window == "random" else 0.0
            chosen.append((video, int(share * (room + 1))))
    return ClipPlan(tuple(chosen), protocol.frames, protocol.stride, protocol.subsample)


def read_batches(
    source: ClipSource,
    plan: ClipPlan,
    places: Sequence[int],
    batch_size: int,
    bad: list[str],
    threads: int = 2,
) -> Iterator[Batch]:
    """Decode clips ahead in threads, a bounded number of them, and hand them out in batches of one frame size.

    Args:
        source: the videos.
        plan: the windows.
        places: those of the plan to read, in order.
        batch_size: clips in a batch; a change of size ends one early.
        bad: receives one line for every video that cannot be read; its clip is left out.
        threads: that decode.
    """
    held: list[Tensor] = []
    held_places: list[int] = []
    for place, clip in _ahead(source, plan, places, 2 * batch_size + threads, threads):
        if isinstance(clip, Exception):
            bad.append(f"{source.name(plan.windows[place][0])}: {clip}")
            continue
        if held and (len(held) == batch_size or clip.shape != held[0].shape):
            yield Batch(held_places, torch.stack(held))
            held, held_places = [], []
        held.append(clip)
        held_places.append(place)
    if held:
        yield Batch(held_places, torch.stack(held))


def _ahead(
    source: ClipSource, plan: ClipPlan, places: Sequence[int], lookahead: int, threads: int
) -> Iterator[tuple[int, Tensor | Exception]]:
    waiting: deque[tuple[int, Future[Tensor]]] = deque()
    coming = iter(places)

    def read(place: int) -> Tensor:
        video, start = plan.windows[place]
        return source.read(video, start, plan.frames, plan.stride)[:: plan.subsample]

    with ThreadPoolExecutor(threads, thread_name_prefix="clips") as pool:
        try:
            while True:
                while len(waiting) < lookahead and (place := next(coming, None)) is not None:
                    waiting.append((place, pool.submit(read, place)))
                if not waiting:
                    return
                place, future = waiting.popleft()
                try:
                    yield place, future.result()
                except (ValueError, OSError) as error:  # BadVideoError is a ValueError
                    yield place, error
        finally:
            for _, future in waiting:
                future.cancel()
