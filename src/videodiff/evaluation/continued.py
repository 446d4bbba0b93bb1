"""Real clips that a model continues from their first frames, and the same without a model: the last frame repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff.conditioning.request import Request
from videodiff.data.pixels import to_float
from videodiff.data.resize import resize
from videodiff.evaluation.generated import GeneratedClips
from videodiff.evaluation.plan import Batch
from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.score import of_clips
from videodiff.frame_size import FrameSize
from videodiff.metrics.entry import Entry, interval_entry
from videodiff.metrics.intervals import mean_difference_interval

NEXT_DRAW = 1_000_000  # from the index of the noise of one draw of a clip to that of the next

ReadClips = Callable[[Sequence[int]], Iterable[Batch]]


class ContinuedClips(GeneratedClips):
    """Continuations of real clips: number ``i * draws + d`` is draw d of clip i, whatever the number of draws.

    Draw 0 of a clip is what ``predict`` makes of it under the same seed. A clip that cannot be read is left out.

    Args:
        model: see :class:`GeneratedClips`, as of the other arguments.
        protocol: how many frames are given, how many draws there are.
        read: places of real clips -> these clips, uint8.
        rule: by which given frames of another size are brought to the model's.
        indices: numbers of the continuations.
        seed: of the noise.
        batch_size: continuations generated at once.
        options: of :class:`GeneratedClips`.
    """

    def __init__(
        self,
        model: Any,
        protocol: Protocol,
        read: ReadClips,
        rule: str,
        indices: Sequence[int],
        seed: int,
        batch_size: int,
        **options: Any,
    ) -> None:
        options.setdefault("rounding", protocol.rounding)
        super().__init__(model, protocol.frames, indices, seed, batch_size, **options)
        self.given, self.draws, self.read, self.rule = protocol.given, protocol.draws, read, rule
        self.held: dict[int, Tensor] = {}

    def __iter__(self) -> Iterator[Batch]:
        """Batches of the continuations uint8 ``[B, T, H, W, 3]``; the second of the pairs is to follow the first."""
        done = 0
        for indices in self.batches:
            truth = self.truths(indices)
            there = [i for i in indices if i // self.draws in truth]
            if there:
                began = time.perf_counter()
                clips = self.clips(there)
                self.seconds.append((time.perf_counter() - began) / len(there))
                yield Batch(there, clips, (torch.stack([truth[i // self.draws] for i in there]), clips))
            done += len(indices)
            if self.progress is not None:
                self.progress(done)

    def truths(self, indices: Sequence[int]) -> dict[int, Tensor]:
        """The real clips of these continuations by place, uint8 ``[T, H, W, 3]``; each is read once in a row."""
        wanted = sorted({i // self.draws for i in indices})
        missing = [place for place in wanted if place not in self.held]
        self.held = {place: clip for place, clip in self.held.items() if place in wanted}
        for batch in self.read(missing) if missing else ():
            self.held |= dict(zip(batch.places, batch.clips, strict=True))
        return self.held

    def request_of(self, indices: Sequence[int]) -> Request:
        truth = self.truths(indices)
        given = torch.stack([truth[i // self.draws][: self.given] for i in indices])
        size = FrameSize(*self.model.video_shape[2:])
        if FrameSize(*given.shape[2:4]) != size:
            given = resize(given, size, self.rule)
        frames = to_float(given).permute(0, 4, 1, 2, 3)
        asked = super().request_of([self.told_as(i) for i in indices])
        return Request(**{**vars(asked), "frames": frames, "positions": tuple(range(self.given))})

    def told_as(self, index: int) -> int:
        return index // self.draws

    def noise_of(self, indices: Sequence[int]) -> list[int]:
        return [i // self.draws + NEXT_DRAW * (i % self.draws) for i in indices]


def compared(batch: Batch, protocol: Protocol) -> Batch:
    """A batch of continuations as a protocol has them: the clips that its network sees, and the pairs that follow.

    Args:
        batch: continuations; its pairs are the whole clips in truth and as generated, of one size.
        protocol: what is given, and whether given frames are counted, excluded, or the true ones.
    """
    if batch.pairs is None:
        return batch._replace(clips=protocol.seen(batch.clips))
    truth, clips = batch.pairs
    given = protocol.given
    if protocol.context == "truth":
        clips = torch.cat([truth[:, :given], clips[:, given:]], dim=1)
    return Batch(batch.places, protocol.seen(clips), (truth[:, given:], clips[:, given:]))


def repeated(batches: Iterable[Batch], given: int) -> Iterator[Batch]:
    """Real clips whose last given frame is repeated to the end: what any model of prediction should beat."""
    for batch in batches:
        truth = batch.clips
        still = truth[:, given - 1 : given].expand(-1, truth.shape[1] - given, -1, -1, -1)
        clips = torch.cat([truth[:, :given], still], dim=1)
        yield Batch(batch.places, clips, (truth, clips))


def gains(pairs: Mapping[str, np.ndarray], still: Mapping[str, np.ndarray], draws: int) -> dict[str, Entry]:
    """Mean difference of continuations, over the draws of a clip, from clips of a repeated frame, clip by clip.

    Args:
        pairs: figures of continuations, ``[N * draws]``.
        still: those of the repeated frame, ``[N]``.
        draws: of each clip.
    """
    found: dict[str, Entry] = {}
    for name in pairs.keys() & still.keys():
        ours, theirs = of_clips(pairs[name], draws), still[name]
        known = np.isfinite(ours) & np.isfinite(theirs)
        if known.sum() > 1:
            gain = mean_difference_interval(ours[known], theirs[known])
            found[name] = {"value": gain.value, **interval_entry(gain)}
    return found
