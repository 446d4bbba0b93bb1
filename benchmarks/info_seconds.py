"""CPU seconds of ``videodiff info`` for every config, and whether its figures are those of another checkout.

    OMP_NUM_THREADS=1 python benchmarks/info_seconds.py --before ../videodiff-0.1/src

Each config is one process of the command; ``start-up`` is the import of torch and Lightning in one of its own, which is
in the other columns too. The last column is the largest relative difference of any figure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIGS = tuple(sorted(file.stem for file in (ROOT / "configs").glob("*.yaml")))
START_UP = "import torch, pytorch_lightning, jsonargparse"


def command(words: list[str], source: Path) -> tuple[float, str]:
    """CPU seconds of a Python process with ``source`` before all other packages, and what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    before = os.times()
    out = subprocess.run(
        [sys.executable, *words], env=environment, check=True, capture_output=True, text=True
    )
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, out.stdout


def info(config: str, source: Path, *options: str) -> tuple[float, Any]:
    """CPU seconds and figures of ``videodiff info`` of one config and its overlays."""
    words = ["-m", "videodiff", "info", *config.split(), "--json", *options]
    seconds, out = command(words, source)
    return seconds, json.loads(out)


def numbers(tree: Any, at: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a tree with its place."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from numbers(value, f"{at}.{key}")
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from numbers(value, f"{at}.{index}")
    elif isinstance(tree, int | float):
        yield at, tree


def largest_difference(before: Any, after: Any) -> tuple[float, str]:
    """Relative difference and place of the figure that changed most; infinite if one side lacks a figure."""
    old, new = dict(numbers(before)), dict(numbers(after))
    if old.keys() != new.keys():
        return float("inf"), next(iter(old.keys() ^ new.keys()))
    return max((abs(new[at] - old[at]) / max(abs(old[at]), 1e-12), at) for at in old)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=CONFIGS, help="configs, overlays after a blank")
    parser.add_argument("--before", type=Path, help="folder src of another checkout to compare with")
    options = parser.parse_args()
    print(f"start-up: {command(['-c', START_UP], ROOT / 'src')[0]:.1f} CPU seconds\n")
    print("| config | before | info | info --quick | largest difference |\n|---|---|---|---|---|")
    for config in options.configs:
        seconds, figures = info(config, ROOT / "src")
        quick, _ = info(config, ROOT / "src", "--quick")
        before, difference = "", ""
        if options.before:
            old, old_figures = info(config, options.before)
            worst, at = largest_difference(old_figures, figures)
            before, difference = f"{old:.1f}", f"{worst:.2%} ({at.removeprefix('.')})" if worst else "none"
        print(f"| {config} | {before} | {seconds:.1f} | {quick:.1f} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
