"""Settings of the demo's models at equal CPU seconds: what each reaches, on several seeds, as a table.

    python scripts/search_demo.py --out search_demo                     # all of search_demo.yaml: a night on one core
    python scripts/search_demo.py --out search_demo --models vdm_digits --seeds 0
    python scripts/search_demo.py --out search_demo --table             # the table of what is there

Every setting trains with one thread for the same CPU seconds: a few steps tell what a step costs, the rest follows. A
setting that is done with a seed is a line of OUT/results.jsonl and is not done again, so an interrupted search goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from videodiff import atomic
from videodiff.cli import main as videodiff
from videodiff.cli.commands.demo import OVERLAY, SAMPLER, fit_words
from videodiff.cli.demo_plan import MODELS, Stage

SECONDS = 238.0  # of a core for each model: a third of what two trainings at a time do in 7 minutes, 1.7 of 2 x 420 s
PROBE, WARM = 12, 3  # steps that tell what one costs, and those before
METRICS = ("evaluator_fd", "digit_identity")
CANDIDATES = Path(__file__).with_suffix(".yaml")


def settings(path: Path, models: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(model, name, setting) of all candidates of some models."""
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    for model in models:
        for name, setting in found[model].items():
            unknown = {*setting} - {"stages", "share"}
            if unknown:
                raise SystemExit(f"{path}: {model}, {name}: {min(unknown)} is neither stages nor share")
            yield model, name, setting


def shares(stages: Sequence[Stage], share: float | None) -> list[float]:
    """Each stage's part of the seconds."""
    if share is None or len(stages) == 1:
        return [stage.share for stage in stages]
    return [share, 1 - share]


def fit(words: list[str]) -> float:
    """Train; the CPU seconds that it took."""
    began = time.process_time()
    if videodiff(words) != 0:
        raise SystemExit(f"failed: videodiff {' '.join(words)}")
    return time.process_time() - began


def trained(
    model: str, setting: dict[str, Any], seed: int, seconds: float, overlays: list[str], place: Path
) -> tuple[Path, dict[str, Any]]:
    """All stages of a model for so many CPU seconds together; the last run, and steps and seconds by stage."""
    steps, taken, folders = {}, {}, {}
    stages = MODELS[model]
    for stage, share in zip(stages, shares(stages, setting.get("share")), strict=True):
        overlay = place / f"{stage.config}.yaml"
        overlay.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(
            overlay, yaml.safe_dump(setting.get("stages", {}).get(stage.config) or {"trainer": {}})
        )
        words = ["--seed_everything", str(seed), "--trainer.limit_val_batches", "0"]
        if stage.first_stage:
            words += ["--model.autoencoder.checkpoint", str(folders[stage.first_stage])]
        names = [OVERLAY, str(overlay), *overlays]
        short, long = (
            fit(
                fit_words(
                    stage, names, place / f"probe_{stage.config}_{count}_{time.time_ns()}", count, words
                )
            )
            for count in (WARM, WARM + PROBE)
        )
        steps[stage.config] = max(round(share * seconds / max((long - short) / PROBE, 1e-3)), 1)
        folders[stage.config] = place / f"{stage.config}_{time.time_ns()}"
        taken[stage.config] = round(
            fit(fit_words(stage, names, folders[stage.config], steps[stage.config], words)), 2
        )
    return folders[stages[-1].config], {"steps": steps, "cpu_seconds": taken}


def measured(run: Path, num_clips: int, steps: int) -> dict[str, Any]:
    """The metrics of a run, each with its interval."""
    from videodiff.comparison import Settings, compare_runs

    found, _ = compare_runs(
        [str(run)], Settings(num_clips=num_clips, samplers=(SAMPLER,), steps=(steps,), shown=0)
    )
    metrics = found.models[0].draws[0].metrics
    frozen = next((base["metrics"] for base in found.baselines if base["name"] == "frozen frames"), {})
    kept = {
        name: {key: metrics[name].get(key) for key in ("value", "interval")}
        for name in METRICS
        if name in metrics
    }
    return kept | {"frozen_frames": (frozen.get(METRICS[0]) or {}).get("value")}


def read(path: Path) -> list[dict[str, Any]]:
    """What is done; a line that an interruption cut short is not."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def cell(entry: dict[str, Any] | None) -> str:
    """``75 (56 to 96)``."""
    if not entry or entry["value"] is None:
        return "–"
    ends = entry.get("interval")
    return f"{entry['value']:.3g}" + (f" ({ends[0]:.3g} to {ends[1]:.3g})" if ends else "")


def mean(entries: Sequence[dict[str, Any] | None]) -> float:
    """Of what was measured."""
    values = [entry["value"] for entry in entries if entry and entry["value"] is not None]
    return statistics.mean(values) if values else math.nan


def table(results: Sequence[dict[str, Any]]) -> list[str]:
    """A row of each setting: its metrics by seed, and their means; of a model the best evaluator distance first."""
    lines = [
        "| model | setting | steps | CPU seconds | evaluator-FD, by seed | identity, by seed | means |",
        "|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in sorted(results, key=lambda entry: entry["seed"]):
        groups.setdefault((entry["model"], entry["setting"]), []).append(entry)
    means = {
        key: [mean([entry["metrics"].get(name) for entry in found]) for name in METRICS]
        for key, found in groups.items()
    }
    order = sorted(
        groups, key=lambda key: (list(MODELS).index(key[0]), not means[key][0] >= 0, means[key][0])
    )
    for key in order:
        found = groups[key]
        steps = " / ".join(str(count) for count in found[0]["steps"].values())
        seconds = statistics.mean(sum(entry["cpu_seconds"].values()) for entry in found)
        cells = ["; ".join(cell(entry["metrics"].get(name)) for entry in found) for name in METRICS]
        average = " / ".join("–" if math.isnan(value) else f"{value:.3g}" for value in means[key])
        lines.append(
            f"| {key[0]} | {key[1]} | {steps} | {seconds:.0f} | {cells[0]} | {cells[1]} | {average} |"
        )
    return lines


def main(argv: list[str] | None = None) -> int:
    """Search, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of runs and results")
    parser.add_argument("--candidates", type=Path, default=CANDIDATES)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"CPU seconds of a model (default {SECONDS:g})"
    )
    parser.add_argument("--num_clips", type=int, default=256, help="clips measured (default 256)")
    parser.add_argument("--steps", type=int, default=20, help="sampler steps (default 20)")
    parser.add_argument("--overlay", action="append", default=[], help="overlay for all, e.g. with/smoke")
    parser.add_argument("--table", action="store_true", help="print the table of what is done, and end")
    options = parser.parse_args(argv)
    path = options.out / "results.jsonl"
    asked = {
        "seconds": options.seconds, "num_clips": options.num_clips, "sampler_steps": options.steps,
        "overlays": options.overlay,
    }  # fmt: skip
    if not options.table:
        import torch

        torch.set_num_threads(1)
        options.out.mkdir(parents=True, exist_ok=True)
        found = list(settings(options.candidates, options.models))
        for seed in options.seeds:  # all settings with the first seed, then all with the next
            for model, name, setting in found:
                key = {"model": model, "setting": name, "candidate": setting, "seed": seed, **asked}
                if any({**entry, **key} == entry for entry in read(path)):
                    continue
                print(f"{model}, {name}, seed {seed}", file=sys.stderr, flush=True)
                place = options.out / f"{model}_{name.replace(' ', '_')}_{seed}"
                run, cost = trained(model, setting, seed, options.seconds, options.overlay, place)
                metrics = measured(run, options.num_clips, options.steps)
                atomic.append(path, json.dumps({**key, **cost, "metrics": metrics}) + "\n")
    print("\n".join(table([entry for entry in read(path) if {**entry, **asked} == entry])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
