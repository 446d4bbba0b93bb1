"""Training steps of two OpenMP threads that wait by spinning, or asleep, on a quiet machine and on a busy one.

    python benchmarks/busy_machine.py                       # two configs, three rounds each: about six minutes
    python benchmarks/busy_machine.py --configs "vdm_digits with/demo" --ways spinning asleep

Every way of waiting is a process of its own that trains as ``videodiff fit`` does. They take turns, so that another
load meets all. "Quiet" is the machine as it is; "busy" is beside processes that each burn a core.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

# What each way sets, where the others set nothing.
WAYS = {
    "spinning": {},
    "spinning 1000 times": {"GOMP_SPINCOUNT": "1000"},
    "asleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
VARIABLES = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
CONFIGS = ("lvdm_autoencoder_digits with/demo", "vdm_digits with/demo")
WARM_STEPS = 3
SMALLEST = (
    "--configs", "vdm_digits with/smoke", "--ways", "asleep", "--repeats", "1", "--seconds", "0.1", "--burners", "1",
    "--forked",
)  # fmt: skip


def train(names: list[str], folder: Path) -> None:
    """Train a config; after every round say how many steps it took, and wait for the seconds of the next one."""
    from pytorch_lightning.callbacks import Callback

    from videodiff.cli.launch import build
    from videodiff.config import read_configs

    class Rounds(Callback):
        def __init__(self) -> None:
            self.steps, self.began, self.until = -WARM_STEPS, 0.0, 0.0

        def on_train_batch_end(self, trainer, *args) -> None:
            self.steps += 1
            if self.steps < 0 or time.monotonic() < self.until:
                return
            print(self.steps, time.monotonic() - self.began, flush=True)
            line = sys.stdin.readline()
            trainer.should_stop = not line
            self.steps, self.began = 0, time.monotonic()
            self.until = self.began + float(line or 0)

    words = ["--trainer.max_steps", "-1", "--samples.every_n_steps", "0"]
    cli = build("fit", folder, read_configs(names, "fit", words), ())
    cli.trainer.callbacks.append(Rounds())
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)


class Fork:
    """A copy of this process that runs a function; what it reads and prints goes through pipes, as of a ``Popen``."""

    def __init__(self, function: Callable[[], None]) -> None:
        (theirs, ours), (mine, out) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.close(ours)
                sys.stdin, sys.stdout = os.fdopen(theirs), os.fdopen(out, "w")
                sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # until it ends
                function()
            finally:
                os._exit(0)
        os.close(theirs)
        os.close(out)
        self.stdin, self.stdout = os.fdopen(ours, "w"), os.fdopen(mine)

    def wait(self) -> None:
        """Until it has ended."""
        os.waitpid(self.pid, 0)
        self.stdout.close()


class Training:
    """A process that trains in one way, when it is asked to.

    Args:
        config: names of a config and its overlays.
        way: one of ``WAYS``.
        folder: of its run.
    """

    def __init__(self, config: str, way: str, folder: Path) -> None:
        variables = {name: value for name, value in os.environ.items() if name not in VARIABLES} | WAYS[way]
        words = [sys.executable, __file__, "--train", str(folder), "--configs", config]
        self.process = subprocess.Popen(
            words, env=variables, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )  # fmt: skip

    @classmethod
    def forked(cls, config: str, folder: Path) -> Training:
        """The same as a copy of this process, which has started: in the way that this one has."""
        self = cls.__new__(cls)
        self.process = Fork(lambda: train(config.split(), folder))
        return self

    def answer(self) -> tuple[int, float]:
        """Steps of the round that was asked for, and its seconds; of the first one, that it is ready."""
        steps, seconds = self.process.stdout.readline().split()
        return int(steps), float(seconds)

    def speed(self, seconds: float) -> float:
        """Steps a second, of a round."""
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()
        steps, taken = self.answer()
        return steps / taken

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def measured(trainings: dict[str, Training], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Steps a second of each way, round by round."""
    speeds: dict[str, list[float]] = {way: [] for way in trainings}
    for _ in range(repeats):
        for way, training in trainings.items():
            speeds[way].append(training.speed(seconds))
    return speeds


def row(name: str, speeds: dict[str, list[float]], way: str, seconds: float) -> str:
    """Steps of each round of ``seconds``, and the median of the ratios to the first way."""
    first = next(iter(speeds.values()))
    ratio = statistics.median(ours / theirs for ours, theirs in zip(speeds[way], first, strict=True))
    steps = ", ".join(f"{seconds * speed:.0f}" for speed in speeds[way])
    return f"| {name} | {way} | {steps} | {ratio:.2f} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configs", nargs="+", default=CONFIGS, help="configs, overlays after a blank")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of a round (default 6)")
    parser.add_argument("--burners", type=int, default=2, help="processes that burn a core (default 2)")
    parser.add_argument(
        "--forked", action="store_true", help="copies of this process: at once, but all wait in its own way"
    )
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.train:
        return train(options.configs[0].split(), options.train)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start\n")
    print(f"| config, machine | way | steps in 20 s, by round | median of ratios to {options.ways[0]} |")
    print("|---|---|---|---|")
    for config in options.configs:
        with tempfile.TemporaryDirectory() as folder:
            trainings = {}
            for way in options.ways:
                place = Path(folder) / way.replace(" ", "_")
                trainings[way] = (
                    Training.forked(config, place) if options.forked else Training(config, way, place)
                )
                trainings[way].answer()
            for machine, number in (
                ("quiet", 0),
                (f"beside {options.burners} busy processes", options.burners),
            ):
                burners = [
                    subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)
                ]
                try:
                    speeds = measured(trainings, options.repeats, options.seconds)
                finally:
                    for burner in burners:
                        burner.kill()
                        burner.wait()
                for way in options.ways:
                    print(row(f"{config}, {machine}", speeds, way, 20.0), flush=True)
            for training in trainings.values():
                training.end()
    return None


if __name__ == "__main__":
    main()
