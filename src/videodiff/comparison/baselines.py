"""Clips made without a model, measured like a model's: noise and frozen frames, or the last given frame repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from videodiff.evaluation.measurement import Measurement
from videodiff.evaluation.plan import Batch
from videodiff.metrics.baselines import frozen_clips, noise_clips


def baselines(measurement: Measurement) -> list[dict[str, Any]]:
    """Noise and frozen frames, at the count of the models' clips; of a prediction the last given frame, repeated.

    The frames are of other real clips on the built-in data; elsewhere there are no others, and those of the clips of
    the real side itself are harder to beat. Where the network sees one frame there are none: a frozen clip of one
    frame is a real picture.
    """
    if measurement.protocol.is_prediction:
        return [{"name": "repeating the last frame", "metrics": measurement.repeat_last}]
    count = measurement.count
    sides = {"noise": noise(measurement, count)}
    if measurement.protocol.seen_frames > 1:
        sides["frozen frames"] = frozen(measurement, count)
    return [
        {"name": name, "metrics": measurement.result(measurement.observe(batches, name, count)).metrics}
        for name, batches in sides.items()
    ]


def noise(measurement: Measurement, count: int) -> Iterator[Batch]:
    """So many clips of Gaussian noise of the size of real ones."""
    frames, (height, width) = measurement.protocol.seen_frames, measurement.data.frame_size
    for first in range(0, count, measurement.batch_size):
        size = min(measurement.batch_size, count - first)
        clips = noise_clips(size, frames, height, width, measurement.seed, first)
        yield Batch(list(range(first, first + size)), clips)


def frozen(measurement: Measurement, count: int) -> Iterator[Batch]:
    """So many clips of one repeated frame: the first of every real clip, then later ones of the same clips."""
    done, rounds = 0, -(-count // len(measurement.plan))
    for turn in range(rounds):
        for batch in measurement.clips(measurement.others):
            clips = frozen_clips(batch.clips, turn * batch.clips.shape[1] // rounds)[: count - done]
            if len(clips):
                yield Batch(list(range(done, done + len(clips))), clips)
            done += len(clips)
