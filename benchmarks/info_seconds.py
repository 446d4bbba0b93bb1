"""CPU seconds of ``videodiff info`` for every config, and whether its figures are those of another checkout.

    OMP_NUM_THREADS=1 python benchmarks/info_seconds.py --before ../videodiff-0.1/src

Each config is one process of the command; ``start-up`` is the import of torch and Lightning in one of its own, which is
in the other columns too. The last column is the largest relative difference of any figure.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
CONFIGS = tuple(sorted(file.stem for file in (ROOT / "configs").glob("*.yaml")))
SMALLEST = ("lvdm_autoencoder_digits with/smoke", "--here")
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


def info_here(config: str, *options: str) -> tuple[float, Any]:
    """The same in this process: without the start-up, and quicker by all that an earlier config had in common."""
    from videodiff.cli import main as videodiff_main

    began = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()):
        code = videodiff_main(["info", *config.split(), "--json", *options])
    if code:
        raise RuntimeError(f"videodiff info {config} ended with exit code {code}")
    return time.process_time() - began, json.loads(out.getvalue())


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


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("configs", nargs="*", default=CONFIGS, help="configs, overlays after a blank")
    parser.add_argument("--before", type=Path, help="folder src of another checkout to compare with")
    parser.add_argument("--here", action="store_true", help="in this process, all configs after one another")
    options = parser.parse_args(argv)
    ask = info_here if options.here else lambda config, *words: info(config, ROOT / "src", *words)
    if not options.here:
        print(f"start-up: {command(['-c', START_UP], ROOT / 'src')[0]:.1f} CPU seconds\n")
    print("| config | before | info | info --quick | largest difference |\n|---|---|---|---|---|")
    for config in options.configs:
        seconds, figures = ask(config)
        quick, _ = ask(config, "--quick")
        before, difference = "", ""
        if options.before:
            old, old_figures = info(config, options.before)
            worst, at = largest_difference(old_figures, figures)
            before, difference = f"{old:.1f}", f"{worst:.2%} ({at.removeprefix('.')})" if worst else "none"
        print(f"| {config} | {before} | {seconds:.1f} | {quick:.1f} | {difference} |", flush=True)


if __name__ == "__main__":
    main()
