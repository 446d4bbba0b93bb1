"""The real model on the real data through the real command line, small: what fault tests run when they must matter."""

import json
import sys
from pathlib import Path

TRACE = """
trainer: {callbacks: [{class_path: videodiff.callbacks.Trace}], val_check_interval: 3, limit_val_batches: 2}
data: {init_args: {batch_size: 4}}
checkpoint: {every_n_steps: 1, keep: -1}
"""

# vdm_digits as small as it still is itself, on few clips: for tests in which a run is only started.
SMALLEST = [
    "--config",
    "vdm_digits",
    "--config",
    "with/smoke",
    "--model.net.width",
    "16",
    "--model.net.head_dim",
    "8",
]
SMALLEST += ["--model.net.embedding_dim", "16", "--data.num_train_clips", "8", "--data.num_val_clips", "2"]


def words(folder, steps, *more):
    """Arguments of a small traced fit in ``folder/run``."""
    overlay = Path(folder) / "trace.yaml"
    overlay.parent.mkdir(parents=True, exist_ok=True)
    overlay.write_text(TRACE)
    configs = ["--config", "vdm_digits", "--config", "with/smoke", "--config", str(overlay)]
    return ["fit", *configs, "--out", str(Path(folder) / "run"), "--trainer.max_steps", str(steps), *more]


def command(argv):
    """Run one videodiff command; its exit code is the process's."""
    from videodiff.cli import main

    sys.argv = ["videodiff", *argv]
    raise SystemExit(main(list(argv)))


def trace(folder):
    """Ids and losses of every micro-batch of every rank: step -> (set of ids, mean loss)."""
    steps = {}
    for path in sorted((Path(folder) / "run").glob("trace_rank*.jsonl")):
        for line in map(json.loads, path.read_text().splitlines()):
            ids, losses = steps.setdefault(line["step"], ([], []))
            ids.extend(line["ids"])
            losses.append(float.fromhex(line["loss"]))
    return {step: (sorted(ids), sum(losses) / len(losses)) for step, (ids, losses) in steps.items()}
