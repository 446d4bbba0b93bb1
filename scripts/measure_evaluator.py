"""Print the tables of docs/evaluator.md: what the built-in evaluator says of real clips and of damaged ones.

    OMP_NUM_THREADS=1 python scripts/measure_evaluator.py

The real side is the first N clips of the test split, everything else is made of the next N.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from videodiff.data.synthetic import BouncingDigits, DriftingClouds, GeneratedSource
from videodiff.frame_size import size_option
from videodiff.metrics import FeatureStats, FrechetVideoDistance, baselines
from videodiff.metrics.features.evaluator import EvaluatorFeatures, probabilities
from videodiff.metrics.features.random import RandomFeatures
from videodiff.metrics.inception import inception_score
from videodiff.metrics.motion import motion_metrics
from videodiff.metrics.video import StandardisedFrechetDistance

SETS = {"digits": (BouncingDigits, 10), "clouds": (DriftingClouds, 4)}
FIGURES = {
    "digits": ("present", "identity", "median_residual", "residual", "speed", "speed_in_range"),
    "clouds": ("speed", "spread", "drift_in_range", "horizon", "horizon_error"),
}


def altered(source: GeneratedSource, clips: Tensor, first: int, frames: int) -> Iterator[tuple[str, Tensor]]:
    """Names and clips of the rows of the table."""
    half = [source.read(first + i, 0, frames, 0.5) for i in range(len(clips))]
    yield "other real clips (the floor)", clips
    for amplitude in (0.02, 0.05, 0.1, 0.2):
        yield f"noise {amplitude}", baselines.add_noise(clips, amplitude)
    yield "blur 3x3", baselines.blur(clips)
    yield "frames shuffled", baselines.shuffle_frames(clips)
    yield "first frame frozen", baselines.frozen_clips(clips)
    yield "half speed", torch.stack(half)
    yield "reversed", baselines.reverse(clips)
    yield "grey", torch.full_like(clips, 128)
    yield "white noise", baselines.noise_clips(len(clips), frames, *source.frame_size)


def row(name: str, values: list[float]) -> str:
    """A line of a Markdown table, three digits or whole numbers."""
    cells = [f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" for value in values]
    return f"| {name} | {' | '.join(cells)} |"


def header(names: list[str]) -> str:
    """The two lines above a Markdown table."""
    return f"\n| {' | '.join(names)} |\n|{'---|' * len(names)}"


def main() -> None:
    """Measure both sets."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=512, help="on each side, even")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--resolution", type=size_option(16), default=32, help="N or HxW")
    args = parser.parse_args()
    count, frames = args.clips, args.frames

    start = time.process_time()
    logits = EvaluatorFeatures("logits")
    metrics = [FrechetVideoDistance(EvaluatorFeatures()), StandardisedFrechetDistance(RandomFeatures())]
    for content, (source_class, classes) in SETS.items():
        source = source_class("test", 2 * count, frames, args.resolution)
        clips = torch.stack([source.read(index, 0, frames, 1) for index in range(2 * count)])
        real, other = clips[:count], clips[count:]
        seen = [(metric, metric.features(real), metric.features(other)) for metric in metrics]
        figures = FIGURES[content]
        print(f"\n{content}, {count} clips a side, {frames} frames of {args.resolution}")
        print(header(["clips", "evaluator-FD", "rand-FD", f"evaluator-IS of {classes}", *figures]))
        for name, clips_made in altered(source, other, count, frames):
            values = [distance(m, features, m.features(clips_made)) for m, features, _ in seen]
            values.append(
                inception_score(probabilities(logits(clips_made), content_classes(content)), splits=1)[0]
            )
            means = motion_metrics(clips_made, content)
            print(row(name, [*values, *(means[figure] for figure in figures)]), flush=True)
        print(header(["floor at N =", *[str(n) for n in sizes(count)]]))
        for metric, features, others in seen:
            floors = [distance(metric, features[:n], others[:n]) for n in sizes(count)]
            print(row(metric.features.name, floors))
    print(f"\n{time.process_time() - start:.0f} CPU s")


def distance(metric: FrechetVideoDistance, real: torch.Tensor, other: torch.Tensor) -> float:
    """A metric's value between two sets of features ``[N, D]``."""
    return metric.distance(FeatureStats.from_features(real), FeatureStats.from_features(other))


def content_classes(content: str) -> str:
    """What the evaluator calls the classes of a set."""
    return {"digits": "digits", "clouds": "weathers"}[content]


def sizes(count: int) -> list[int]:
    """An eighth, a quarter, a half and all of the clips."""
    return [count // 8, count // 4, count // 2, count]


if __name__ == "__main__":
    main()
