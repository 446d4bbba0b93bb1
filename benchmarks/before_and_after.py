"""Training steps and sampling of VDM, LVDM and PVDM: how the code of this tree does beside that of another commit.

    OMP_NUM_THREADS=1 python benchmarks/before_and_after.py COMMIT          # about six minutes
    OMP_NUM_THREADS=1 python benchmarks/before_and_after.py COMMIT --rounds 2 --configs vdm_digits
    OMP_NUM_THREADS=1 python benchmarks/before_and_after.py            # this tree beside itself: how far 1 is told

Both versions run in a process of their own, in this environment, on the configs of the built-in digits with random
weights and data. They take turns, so that another load meets both. A ratio is the seconds of the commit over those
of this tree, above 1 where this tree is faster; the table has the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CONFIGS = ("vdm_digits", "lvdm_digits", "pvdm_digits")
BATCH, STEPS, SAMPLER_STEPS = 2, 2, 4
SMALLEST = ("--configs", "vdm_digits with/smoke", "--rounds", "1")


def worker() -> Callable[[str], float]:
    """What answers a line ``CONFIG train`` or ``CONFIG generate`` by the seconds it took."""
    import torch

    from videodiff.checkpoints.run import build_model
    from videodiff.config import read_configs
    from videodiff.diffusion import DDIMSampler

    models = {}

    def build(name: str) -> tuple:
        torch.manual_seed(0)
        config = read_configs(name.split(), "fit")
        section, data = config["model"], config["data"]["init_args"]
        stage = section["init_args"].get("autoencoder")
        if stage and stage["class_path"].endswith("FirstStage"):
            first = read_configs([stage["init_args"]["checkpoint"]], "fit")["model"]
            section["init_args"]["autoencoder"] = first["init_args"]["autoencoder"]
        model = build_model(section, name, ())
        side = data["resolution"]
        video = torch.rand(BATCH, 3, data["num_frames"], side, side) * 2 - 1
        batch = {
            "video": video,
            "sample": torch.arange(BATCH),
            "label": torch.zeros(BATCH, dtype=torch.int64),
        }
        return model, batch, torch.optim.AdamW(model.net.parameters(), lr=1e-5)

    def answer(line: str) -> float:
        name, what = line.rsplit(maxsplit=1)
        if name not in models:
            models[name] = build(name)
        model, batch, optimizer = models[name]
        began = time.perf_counter()
        if what == "train":
            model.train()
            for _ in range(STEPS):
                model.losses(batch, "train").mean().backward()
                optimizer.step()
                optimizer.zero_grad()
        else:
            model.eval().generate(1, seed=0, sampler=DDIMSampler(SAMPLER_STEPS))
        return time.perf_counter() - began

    return answer


class Version:
    """A process that answers for one checkout.

    Args:
        tree: the checkout.
        folder: where it runs.
    """

    def __init__(self, tree: Path, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(tree / "src")}, cwd=folder,
        )  # fmt: skip

    def __call__(self, line: str) -> float:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def table(pair: Sequence[Callable[[str], float]], configs: list[str], rounds: int) -> None:
    """Print the table of two versions that answer in turn."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start; {rounds} rounds\n")
    print("| config | what | seconds before | seconds now | median ratio |\n|---|---|---|---|---|")
    for name in configs:
        for what in ("train", "generate"):
            line, seconds = f"{name} {what}", []
            for k in range(rounds + 1):  # the first is not counted
                turn = (0, 1) if k % 2 else (1, 0)
                found = {side: pair[side](line) for side in turn}
                seconds.append((found[0], found[1]))
            old, new = zip(*seconds[1:], strict=True)
            ratio = statistics.median(a / b for a, b in seconds[1:])
            cells = [name, what, *(f"{statistics.median(side):.2f}" for side in (old, new)), f"{ratio:.3f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def compare(commit: str, configs: list[str], rounds: int) -> None:
    """The table of another commit and this tree."""
    with tempfile.TemporaryDirectory(prefix="before-") as scratch:
        before = Path(scratch) / "before"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run(
            [*git, "add", "--detach", "--force", str(before), commit], check=True, capture_output=True
        )
        try:
            pair = [Version(tree, Path(scratch)) for tree in (before, HERE)]
            table(pair, configs, rounds)
            for version in pair:
                version.end()
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)


def main(argv: list[str] | None = None) -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "commit", nargs="?", help="the version before, as git names it; without one, this tree itself"
    )
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.work:
        answer = worker()
        for line in sys.stdin:
            print(answer(line), flush=True)
    elif args.commit is None:
        itself = worker()
        table((itself, itself), args.configs, args.rounds)
    else:
        compare(args.commit, args.configs, args.rounds)


if __name__ == "__main__":
    main()
