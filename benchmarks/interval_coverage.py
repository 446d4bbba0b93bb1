"""How often 95 % intervals of Frechet and kernel distances hold what they should, by simulation.

    python benchmarks/interval_coverage.py                       # the table of docs/metrics.md
    python benchmarks/interval_coverage.py --large --trials 20   # 400 numbers, 2048 clips: the size of a published FVD

Features are drawn from two kinds of distributions with the spectrum that I3D's logits have (sd ~ k^-0.6, total variance
2400): one normal, one of ten clusters with Student-t tails. "model" is another generate with a shift, 5 % more spread
and, with clusters, two of them missing; "same" is the real distribution again.
"""

from __future__ import annotations

import argparse

import numpy as np

from videodiff.metrics.frechet import gaussian, gaussian_distance
from videodiff.metrics.frechet_intervals import frechet_difference_interval, frechet_interval
from videodiff.metrics.kernel import kernel_distance
from videodiff.metrics.kernel_intervals import kernel_interval

CASES = [
    # kind, numbers per clip, clips a side, what is compared
    ("normal", 50, 64, "model"),
    ("clusters", 50, 64, "same"),
    ("clusters", 50, 64, "model"),
    ("normal", 50, 256, "same"),
    ("normal", 50, 256, "model"),
    ("clusters", 50, 256, "same"),
    ("clusters", 50, 256, "model"),
]
SMALLEST = ("--trials", "2", "--rows", "1")
LARGE = [("normal", 400, 2048, "model"), ("clusters", 400, 2048, "model")]


class Population:
    """Features of real clips or of a model's."""

    def __init__(self, kind: str, dim: int) -> None:
        rng = np.random.default_rng(0)
        scale = np.arange(1, dim + 1) ** -0.6
        self.kind, self.scale = kind, scale * np.sqrt(2400 / np.sum(scale**2))
        self.centres = 0.7 * rng.standard_normal((10, dim)) * self.scale
        self.shift = 0.1 * rng.standard_normal(dim) * self.scale

    def draw(self, count: int, rng: np.random.Generator, model: bool) -> np.ndarray:
        """Features ``[count, dim]``."""
        x = rng.standard_normal((count, len(self.scale))) * self.scale
        if self.kind == "clusters":
            heavy = x / np.sqrt(rng.chisquare(5, (count, 1)) / 3)
            x = self.centres[rng.integers(0, 8 if model else 10, count)] + 0.7 * heavy
        return 1.05 * x + self.shift if model else x


def distance(x: np.ndarray, y: np.ndarray) -> float:
    """Frechet distance, without the warning about few clips."""
    return gaussian_distance(gaussian(x), gaussian(y))


def row(kind: str, dim: int, count: int, what: str, trials: int, kernel: bool) -> str:
    """One line of the table."""
    population, rng, model = Population(kind, dim), np.random.default_rng(1), what == "model"

    def pair() -> tuple[np.ndarray, np.ndarray]:
        return population.draw(count, rng, False), population.draw(count, rng, model)

    pairs = [pair() for _ in range(trials)]
    fresh = np.array([distance(*pair()) for _ in range(3 * trials)])
    intervals = [frechet_interval(x, y) for x, y in pairs]
    holds = np.mean([i.low <= fresh.mean() <= i.high for i in intervals])
    repeat = np.mean([[i.low <= value <= i.high for value in fresh] for i in intervals])
    sd = np.sqrt(np.mean([i.sd**2 for i in intervals]))
    generated = [
        distance(x[rng.integers(0, count, count)], y[rng.integers(0, count, count)]) for x, y in pairs[:20]
    ]
    others = [population.draw(count, rng, model) for _ in pairs]
    zero = [frechet_difference_interval(x, y, z) for (x, y), z in zip(pairs, others, strict=True)]
    zero_held = np.mean([i.low <= 0 <= i.high for i in zero])
    cells = [kind, dim, count, what, f"{fresh.mean():.0f}", f"{fresh.std():.1f}", f"{sd:.1f}", f"{holds:.2f}"]
    cells += [f"{repeat:.2f}", f"{zero_held:.2f}", f"{np.mean(generated):.0f}"]
    if kernel:
        expected = np.mean([kernel_distance(*pair()) for _ in range(10 * trials)])
        held = [i.low <= expected <= i.high for i in (kernel_interval(x, y, resamples=400) for x, y in pairs)]
        cells.append(f"{np.mean(held):.2f}")
    return "| " + " | ".join(map(str, cells)) + " |"


def main(argv: list[str] | None = None) -> None:
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--large", action="store_true", help="the rows of 2048 clips with 400 numbers")
    parser.add_argument("--rows", type=int, help="the first ones alone")
    options = parser.parse_args(argv)
    print(
        "| kind | D | N | against | FVD | sd | sd told | holds | repeat | difference | bootstrap mean | KVD holds |"
    )
    for case in (LARGE if options.large else CASES)[: options.rows]:
        print(row(*case, trials=options.trials, kernel=not options.large), flush=True)


if __name__ == "__main__":
    main()
