"""demo: train on the built-in data, sample, and write one page that shows what came out."""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from videodiff.cli.arguments import LightParser
from videodiff.cli.errors import UsageError

CONFIG = "vdm_digits"


def parser() -> argparse.ArgumentParser:
    """The options of ``demo``."""
    p = LightParser(
        "videodiff demo",
        description="Train VDM on the built-in digits, sample it and write a page with the clips and the loss curve.",
    )
    p.add_argument("--steps", type=int, default=50, help="sampler steps (default 50)")
    p.add_argument("--minutes", type=float, default=3.0, help="minutes of training (default 3)")
    p.add_argument(
        "-c", "--config", action="append", help=f"what to train (default {CONFIG}); overlays may follow"
    )
    p.add_argument(
        "--out", type=Path, default=Path("runs/demo"), help="folder of the demo (default runs/demo)"
    )
    return p


def run(argv: Sequence[str]) -> int:
    """Train, sample, report; returns the exit code."""
    args = parser().parse_args(argv)
    if not args.minutes > 0:
        raise UsageError(f"--minutes must be above 0, got {args.minutes}")
    from videodiff.checkpoints import new_run_directory

    configs = args.config or [CONFIG]
    directory = new_run_directory(Path(configs[0]).stem, args.out)
    started = time.monotonic()
    stage(started, f"training VDM for {args.minutes:g} minutes in {directory}")
    train(directory, configs, args.minutes)
    stage(started, "sampling")
    sample(directory, args.steps)
    report = args.out / "report" / "index.html"
    write_report(directory, report)
    stage(started, "done")
    print(
        f"\nreport: {report.resolve()}\n\nnext:\n"
        f"  videodiff generate --ckpt_path {directory} --frames 64 --num_samples 4\n"
        f"  videodiff fit --out {directory} --trainer.max_steps 8000     # go on training\n"
        f"  videodiff fit --config {CONFIG} --data.root my_videos/       # your own videos"
    )
    return 0


def stage(started: float, text: str) -> None:
    """One line on stderr with the time since the start."""
    print(f"[demo {time.monotonic() - started:5.0f} s] {text}", file=sys.stderr, flush=True)


def call(argv: list[str]) -> None:
    """One videodiff command, in this process."""
    from videodiff.cli import main

    code = main(argv)
    if code != 0:
        raise SystemExit(code)


def train(directory: Path, configs: list[str], minutes: float) -> None:
    """Train until the time is up."""
    seconds = round(minutes * 60)
    limit = f"00:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    files = [word for name in configs for word in ("--config", name)]
    bounds = ["--trainer.max_time", limit, "--trainer.max_steps", "-1", "--samples.every_n_steps", "0"]
    call(["fit", *files, "--out", str(directory), *bounds])


def sample(directory: Path, steps: int) -> None:
    """Sixteen clips, the continuation of unseen clips, and videos four times as long as a clip."""
    import json

    generate = ["generate", "--ckpt_path", str(directory), "--num_samples"]
    call(
        [*generate, "16", "--batch_size", "16", "--steps", str(steps), "--out", str(directory / "samples16")]
    )
    clip = json.loads((directory / "samples16" / "samples.json").read_text())["frames"]
    # Guided steps cost three plain ones: half as many do here.
    fewer = str(max(steps // 2, 1))
    long = ["--frames", str(4 * clip), "--steps", fewer, "--out", str(directory / "long")]
    call([*generate, "2", *long])
    clips = ["--data.num_test_clips", "8", "--data.batch_size", "8", "--model.sampler.num_steps", fewer]
    call(["predict", "--ckpt_path", str(directory), "--out", str(directory / "predictions"), *clips])


def write_report(directory: Path, target: Path) -> None:
    """The page: samples, continuations, a long video, the loss curve and how all of it was made."""
    import json

    from videodiff.evaluation import page

    curves = page.read_metrics(directory / "metrics.jsonl", "train/loss", "val/loss")
    record = json.loads((directory / "samples16" / "samples.json").read_text())
    predictions = json.loads((directory / "predictions" / "predictions.json").read_text())
    steps = int(max(x for curve in curves.values() for x, _ in curve))
    facts = [
        (key, str(record[key])) for key in ("model", "sampler", "steps", "seed", "seconds_per_video", "torch")
    ]
    blocks = [
        page.section(
            f"Sixteen samples after {steps} steps",
            f"Drawn from noise alone in {record['steps']} sampler steps. Minutes on a CPU give moving strokes, "
            "not yet clean digits.",
            page.video(directory / "samples16" / "sheet.mp4", 560),
        ),
        page.section(
            "Continuing unseen clips",
            "Upper row: test clips. Lower row: the model saw the first quarter (reconstruction guidance) and drew the "
            f"rest. PSNR of the new frames {predictions['psnr']:.2f} dB; repeating the last given frame "
            f"{predictions['psnr_repeat_last']:.2f} dB.",
            page.video(directory / "predictions" / "sheet.mp4", 900),
        ),
        page.section(
            f"{4 * record['frames']} frames from a {record['frames']}-frame model",
            "Each window sees the last half of the one before.",
            page.video(directory / "long" / "sheet.mp4", 280),
        ),
        page.section("Loss", "Mean squared error of v.", page.line_chart(curves, "step")),
        page.section("How this was made", f"Run directory {directory}.", page.table(facts)),
    ]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(page.page("videodiff demo: VDM on bouncing digits", blocks))
