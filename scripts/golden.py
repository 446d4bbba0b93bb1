"""Compare two versions of the code bit by bit: ``python scripts/golden.py COMMIT [--runs]``.

The version before is a worktree of COMMIT, the one after is the tree that this script lies in; both run in this
environment, one thread each. What is asked of both is what this tree's ``tests/golden/measure.py`` asks: losses, norms
of gradients and clips of tiny models of every kind. With ``--runs`` both also write whole runs by command, as
``tests/old_runs/make.py`` does (fit, resume, encode, test, generate, compare, export), and train and draw with two
processes; then weights, logged numbers and frames are compared. It takes minutes.

Prints every difference and the largest one; exit code 0 if that is exactly 0, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
TWO = (("vdm_digits", "two_vdm"), ("pvdm_autoencoder_digits", "two_stage"))
VOLATILE = ("time", "throughput/")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure both trees, print what differs; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="the version before, as git names it")
    parser.add_argument("--runs", action="store_true", help="also whole runs by command, and two processes")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="golden-") as scratch:
        before = Path(scratch) / "before"
        git("worktree", "add", "--detach", "--force", str(before), args.commit)
        try:
            values = [
                measured(tree, Path(scratch) / name, args.runs) for name, tree in (("b", before), ("a", HERE))
            ]
        finally:
            git("worktree", "remove", "--force", str(before))
    return told(*values)


def git(*words: str) -> None:
    """A git command in this repository."""
    subprocess.run(["git", "-C", str(HERE), *words], check=True, stdout=subprocess.DEVNULL)


def measured(tree: Path, folder: Path, runs: bool) -> dict[str, np.ndarray]:
    """Everything of one tree, by name."""
    folder.mkdir()
    python(tree, folder, str(HERE / "tests" / "golden" / "measure.py"), "values.npz")
    values = dict(np.load(folder / "values.npz"))
    if runs:
        python(tree, folder, str(HERE / "tests" / "old_runs" / "make.py"), "runs")
        for config, name in TWO:
            two_processes(tree, folder, config, name)
        values |= dict(written(folder))
    return values


def python(tree: Path, folder: Path, *words: str, **more: str) -> None:
    """A command of Python with one tree's code, in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "OMP_NUM_THREADS": "1", **more}
    subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL
    )


def two_processes(tree: Path, folder: Path, config: str, name: str) -> None:
    """Train for a few steps with two processes, and draw with two where the model draws."""
    words = [word for part in (config, "with/smoke") for word in ("--config", part)]
    sizes = ["--trainer.devices", "2", "--trainer.max_steps", "4", "--trainer.val_check_interval", "2"]
    python(tree, folder, "-m", "videodiff", "fit", *words, *sizes, "--out", name)
    if "autoencoder" in config:
        return
    draw = [
        "generate",
        "--ckpt_path",
        name,
        "--num_samples",
        "3",
        "--steps",
        "2",
        "--frames",
        "9",
        "--out",
        f"{name}_clips",
    ]
    for rank in ("1", "0"):  # the first one waits for the other's clips
        python(tree, folder, "-m", "videodiff", *draw, RANK=rank, WORLD_SIZE="2")


def written(folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Weights of every checkpoint, logged numbers and frames of clips below a folder, by name."""
    import torch

    for file in sorted(folder.rglob("*.ckpt")):
        weights = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        for key, value in weights.items():
            yield f"{file.relative_to(folder)}:{key}", value.float().numpy()
    for file in sorted(folder.rglob("metrics.jsonl")):
        for number, line in enumerate(file.read_text().splitlines()):
            for key, value in json.loads(line).items():
                if isinstance(value, (int, float)) and not key.startswith(VOLATILE):
                    yield f"{file.relative_to(folder)}:{number}:{key}", np.asarray(value)
    for file in sorted(folder.rglob("*.mkv")):
        yield str(file.relative_to(folder)), np.frombuffer(file.read_bytes(), np.uint8)
    for file in sorted(folder.rglob("clips.npz")):
        for key, value in np.load(file).items():
            yield f"{file.relative_to(folder)}:{key}", value


def told(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> int:
    """Print what differs and the largest difference."""
    largest = 0.0
    for key in sorted(before.keys() | after.keys()):
        if key not in before or key not in after:
            print(f"{key}: only {'after' if key in after else 'before'}")
            largest = float("inf")
        elif (difference := distance(before[key], after[key])) > 0:
            print(f"{key}: {difference:g}")
            largest = max(largest, difference)
    print(f"{len(before)} values before, {len(after)} after, largest difference {largest}")
    return int(largest > 0)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest absolute difference; infinite where shapes, types or the places of NaN differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return float("inf")
    if a.tobytes() == b.tobytes():
        return 0.0
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return float("inf")
    return float(np.nanmax(gap, initial=0.0)) or float("inf")


if __name__ == "__main__":
    sys.exit(main())
