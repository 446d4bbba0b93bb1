"""Does the evaluator rank what must be ranked? Longer training before shorter, that before noise and frozen frames.

    OMP_NUM_THREADS=2 python scripts/check_ranking.py --out runs/ranking
    OMP_NUM_THREADS=2 python scripts/check_ranking.py --checkpoints SHORTER LONGER --model.sampler.num_steps 20

Trains VDM on the built-in digits to the first of --steps, tests it, goes on to the second and tests again, with the
same clips and the same count as for two baselines made without a model; or tests checkpoints that are there. Other
options go to `fit`, or to `test` where nothing is trained. Prints two distances and fails (exit 1) unless, in
evaluator-FD, each lies before the next by more than the intervals: its upper end below the other's lower end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from videodiff.cli import main as videodiff
from videodiff.data.selection import GENERATED
from videodiff.evaluation import Result, evaluate, get_protocol, read_result
from videodiff.metrics.baselines import frozen_clips, noise_clips

METRICS = ("evaluator_fd", "rand_fd")
FRAMES, SIZE, BATCH = 16, 32, 32


def trained(out: Path, steps: int, num_clips: int, rest: list[str]) -> Result:
    """The result of a run after so many steps; an earlier part of it is gone on with."""
    run = out / "run"
    words = [] if (run / "config.yaml").is_file() else ["--config", "vdm_digits"]
    call(["fit", *words, "--out", str(run), "--trainer.max_steps", str(steps), *rest])
    return tested(f"{run}/last", out / f"steps_{steps}", num_clips, [])


def tested(checkpoint: str, scores: Path, num_clips: int, rest: list[str]) -> Result:
    """The result of a checkpoint."""
    call([
        "test", "--ckpt_path", checkpoint, "--num_clips", str(num_clips), "--out", str(scores),
        "--trainer.limit_test_batches", "16", *rest,  # the loss is not what is compared
    ])  # fmt: skip
    return read_result(next((scores / "eval").glob("*.json")))


def call(command: list[str]) -> None:
    """One videodiff command, in this process."""
    if (code := videodiff(command)) != 0:
        raise SystemExit(code)


def baseline(kind: str, num_clips: int, dataset: str) -> Result:
    """The result of clips of noise, or of other real clips whose first frame is repeated."""
    source = GENERATED[dataset]("test", 2 * num_clips, FRAMES, SIZE)

    def real(first: int) -> Iterator[Tensor]:
        for start in range(first, first + num_clips, BATCH):
            stop = min(start + BATCH, first + num_clips)
            yield torch.stack([source.read(i, 0, FRAMES, 1) for i in range(start, stop)])

    if kind == "noise":
        generated = iter(noise_clips(num_clips, FRAMES, SIZE, SIZE).split(BATCH))
    else:
        generated = (frozen_clips(clips) for clips in real(num_clips))
    return evaluate(real(0), generated, get_protocol("evaluator"), data={"dataset": dataset, "split": "test"})


def main(argv: list[str] | None = None) -> int:
    """Train, test, compare; 0 if the order is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs=2, default=(1000, 4000), help="of the two checkpoints")
    parser.add_argument("--checkpoints", nargs="+", help="test these, shorter training first; train nothing")
    parser.add_argument("--num_clips", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/ranking"))
    args, rest = parser.parse_known_args(argv)
    if args.checkpoints:
        models = {
            f"checkpoint {i + 1}": tested(path, args.out / f"checkpoint_{i + 1}", args.num_clips, rest)
            for i, path in enumerate(args.checkpoints)
        }
    else:
        models = {
            f"{steps} steps": trained(args.out, steps, args.num_clips, rest) for steps in sorted(args.steps)
        }
    shorter_first = list(models)
    datasets = {result.data["dataset"] for result in models.values()}
    if len(datasets) > 1 or not datasets <= set(GENERATED):
        known, got = ", ".join(GENERATED), ", ".join(sorted(map(str, datasets)))
        print(f"check_ranking: the checkpoints must be of one of {known}, got {got}", file=sys.stderr)
        return 2
    (dataset,) = datasets
    results = {
        **models,
        "frozen frames": baseline("frozen", args.num_clips, dataset),
        "noise": baseline("noise", args.num_clips, dataset),
    }
    right = True
    for metric in METRICS:
        entries = {name: result.metrics[metric] for name, result in results.items()}
        print(f"\n{metric} at {args.num_clips} clips; floor {entries[shorter_first[0]]['floor']:.4g}")
        for name, entry in entries.items():
            print(
                f"  {name:14s} {entry['value']:12.4f}   {entry['interval'][0]:.4f} to {entry['interval'][1]:.4f}"
            )
        pairs = [(longer, shorter) for shorter, longer in pairwise(shorter_first)]
        pairs += [(name, trivial) for name in shorter_first for trivial in ("frozen frames", "noise")]
        for better, worse in pairs:
            apart = entries[better]["interval"][1] < entries[worse]["interval"][0]
            print(f"  {better} before {worse}: {'yes' if apart else 'NO'}")
            right = right and (apart or metric != METRICS[0])
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
