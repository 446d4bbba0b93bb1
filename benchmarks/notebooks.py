"""What running each notebook costs, in forward passes of one small U-Net: medians of ratios, CPU time.

Run ``OMP_NUM_THREADS=1 python benchmarks/notebooks.py``. The yardstick is taken before and after each notebook, so that
another load on the machine, or a slower machine, meets both.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from videodiff.diffusion import Condition
from videodiff.networks import UNet3D

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.py"))
SMALLEST = ("--repeats", "1", "--only", "01", "--cells", "2", "--forwards", "2")
FORWARDS = 20  # of one measurement of the yardstick


def cpu_seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def yardstick(count: int) -> Callable[[], None]:
    """Forward passes of the network that ``sampler_overhead.py`` measures."""
    torch.manual_seed(0)
    net = UNet3D(
        resolution=32, num_frames=16, width=16, channel_multipliers=(1, 2, 4), num_blocks=1,
        attention_resolutions=(8, 16), head_dim=32, embedding_layers=2,
    ).eval()  # fmt: skip
    z, t, cond = torch.randn(2, 3, 16, 32, 32), torch.full((2,), 500.0), Condition()

    @torch.no_grad()
    def forwards() -> None:
        for _ in range(count):
            net(z, t, cond)

    forwards()
    return forwards


def run(path: Path, cells: int | None) -> None:
    """The cells of a notebook, or so many of them, in a new folder; what it prints and shows is thrown away."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if cells is not None:
            text = re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)
            path = Path(folder, path.name)
            path.write_text("# %%".join(text[: cells + 1]))
        os.chdir(folder)
        try:
            runpy.run_path(str(path), {"display": lambda value: None}, "__main__")
        finally:
            os.chdir(before)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", help="the notebooks whose name begins so, 05 say")
    parser.add_argument("--cells", type=int, help="the first ones of each notebook alone")
    parser.add_argument("--forwards", type=int, default=FORWARDS, help="of one measurement of the yardstick")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    forwards = yardstick(args.forwards)
    print("| notebook | CPU s | in forward passes |\n|---|---|---|")
    for path in NOTEBOOKS:
        if args.only and not path.name.startswith(args.only):
            continue
        rounds = []
        for _ in range(args.repeats):
            before = cpu_seconds(forwards)
            spent = cpu_seconds(lambda path=path: run(path, args.cells))
            rounds.append((spent, spent / ((before + cpu_seconds(forwards)) / 2 / args.forwards)))
        seconds, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"| `{path.stem}` | {seconds:.1f} | {ratio:.0f} |", flush=True)


if __name__ == "__main__":
    main()
