"""Train the small weights that come with the package as demo/NAME, export them and measure what they generate.

    OMP_NUM_THREADS=1 python scripts/train_shipped.py lvdm_digits              # into src/videodiff/shipped/lvdm_digits
    OMP_NUM_THREADS=1 python scripts/train_shipped.py lvdm_digits --steps 300  # of every stage; the weights' hash alone

Repeat the command to go on where it was interrupted: a stage that is finished is not trained again. The same steps on
the same kind of machine with one thread give the same weights, bit for bit; `--steps` compares their hash with that in
scripts/shipped_hashes.json (exit code 1 if it is another) or, with `--commit_hash`, writes it there.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.checkpoints.shipped import FOLDER, PREFIX, RECORD, SUMS

OVERLAY = Path(__file__).resolve().parent / "shipped.yaml"
SEED = 0
NUM_CLIPS = 512
MAX_BYTES, MAX_BYTES_TOGETHER = 8_000_000, 30_000_000  # of weights: of a model with its first stage, of all
HASHES = Path(__file__).resolve().parent / "shipped_hashes.json"
LICENCE = "apache-2.0"


@dataclass(frozen=True)
class Stage:
    """One training: a shipped config with the overlay of all shipped models.

    Args:
        config: shipped name.
        steps: optimizer steps; the rate falls over as many.
        first_stage: config whose autoencoder it needs; its latents are kept before the training.
    """

    config: str
    steps: int
    first_stage: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A model of the package.

    Args:
        stages: trained one after the other; the last one is what is shipped, with the first inside.
        sampler_steps: of DPM-Solver++, which the shipped config has in place of its own sampler: few steps, so that
            clips come within seconds on a CPU.
    """

    stages: tuple[Stage, ...]
    sampler_steps: int = 20

    @property
    def sampler(self) -> dict[str, Any]:
        """The sampler's section of a config."""
        steps = {"num_steps": self.sampler_steps}
        return {"class_path": "videodiff.diffusion.DPMSolverPP2MSampler", "init_args": steps}


def latent(family: str, data: str, first: int, second: int) -> Recipe:
    """The recipe of a latent family on a data set, with the steps of its two stages."""
    stage = f"{family}_autoencoder_{data}"
    return Recipe((Stage(stage, first), Stage(f"{family}_{data}", second, stage)))


RECIPES = {
    "vdm_digits": Recipe((Stage("vdm_digits", 2600),), sampler_steps=12),
    "lvdm_digits": latent("lvdm", "digits", 2000, 4000),
    "pvdm_digits": latent("pvdm", "digits", 2000, 4000),
}


def main(argv: list[str] | None = None) -> int:
    """Train, then compare the hash, or export, measure and put in place; the exit code."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("name", choices=RECIPES)
    p.add_argument("--steps", type=int, help="of every stage, in place of the recipe's; nothing is exported")
    p.add_argument(
        "--out", type=Path, help="runs and latents (default runs/train_shipped, with --steps runs/steps_N)"
    )
    p.add_argument(
        "--shipped", type=Path, default=FOLDER, help="where NAME/ is written (default: the package)"
    )
    p.add_argument("--commit_hash", action="store_true", help="with --steps: store the hash")
    args = p.parse_args(argv)
    if args.steps is not None and args.steps < 1:
        p.error(f"--steps must be at least 1, got {args.steps}")
    if args.commit_hash and args.steps is None:
        p.error("--commit_hash goes with --steps N")
    if os.environ.get("OMP_NUM_THREADS") != "1":
        p.error("sums come out otherwise with more threads: set OMP_NUM_THREADS=1")
    name, recipe = args.name, RECIPES[args.name]
    out = args.out or Path("runs/train_shipped" if args.steps is None else f"runs/steps_{args.steps}")
    for stage in recipe.stages:
        train(stage, out, args.steps)
    if args.steps is not None:
        return compare_hash(name, args.steps, weights_hash(out / name), args.commit_hash)
    folder = export(name, out)
    measure(name, out, folder)
    put_in_place(name, folder, args.shipped)
    return 0


# --- training -----------------------------------------------------------------------------------------------------


def train(stage: Stage, out: Path, steps: int | None) -> None:
    """Train one stage into ``out``/CONFIG, or go on with it; a finished one is left as it is."""
    steps = stage.steps if steps is None else steps
    words = ["--config", stage.config, "--config", str(OVERLAY), "--seed_everything", str(SEED)]
    if stage.first_stage is not None:
        words += ["--model.autoencoder.checkpoint", str(out / stage.first_stage)]
        latents = out / f"{stage.config}_latents"
        run(["encode", *words[:4], *words[6:], "--out", str(latents)])
        words += ["--data.latents", str(latents)]
    run([
        "fit", *words, "--out", str(out / stage.config), "--trainer.max_steps", str(steps),
        "--model.lr_scheduler.total_iters", str(steps), "--samples.every_n_steps", "0",
        "--trainer.log_every_n_steps", "50",
    ])  # fmt: skip


def run(words: list[str]) -> None:
    """One videodiff command, in this process."""
    from videodiff.cli import main as videodiff

    print("videodiff", *words, flush=True)
    if code := videodiff(words):
        sys.exit(code)


def weights_hash(folder: Path) -> str:
    """Of the averaged weights that a run ended with; in those of a latent model stands that of its first stage."""
    from videodiff.checkpoints import load_checkpoint, resolve_checkpoint
    from videodiff.checkpoints.frozen_stage import state_sha256

    return state_sha256(load_checkpoint(resolve_checkpoint(f"{folder}/last"))["state_dict"]).hex()


def machine_kind() -> str:
    """On what the bits of a training depend: the instructions of the processor, its make and torch."""
    import torch

    maker = next((line for line in cpu_lines() if line.startswith("vendor_id")), platform.processor())
    words = [platform.machine(), torch.backends.cpu.get_cpu_capability(), maker.rpartition(":")[2].strip()]
    return " ".join([*words, f"torch {torch.__version__}"])


def cpu_lines() -> list[str]:
    """What Linux says of the processor; elsewhere nothing."""
    file = Path("/proc/cpuinfo")
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def compare_hash(name: str, steps: int, found: str, commit: bool) -> int:
    """Say whether a training of so many steps gave the stored weights, or store their hash; the exit code."""
    kind = machine_kind()
    hashes = json.loads(HASHES.read_text(encoding="utf-8"))
    print(f"{name}, {steps} steps of every stage, {kind}: {found}")
    if commit:
        hashes.setdefault(kind, {}).setdefault(name, {})[str(steps)] = found
        atomic.write_json(HASHES, hashes, sort_keys=True)
        return 0
    stored = hashes.get(kind, {}).get(name, {}).get(str(steps))
    if stored is None:
        print(
            f"no hash of {steps} steps is stored for this kind of machine; there are: {kinds_text(hashes, name)}"
        )
        return 0
    print("the same as stored" if stored == found else f"stored is another: {stored}")
    return 0 if stored == found else 1


def kinds_text(hashes: dict[str, Any], name: str) -> str:
    """Steps and machines of which a model's hash is stored."""
    found = [f"{', '.join(kind[name])} on {key}" for key, kind in hashes.items() if name in kind]
    return "; ".join(found) or "none"


# --- export and measurement ---------------------------------------------------------------------------------------


def export(name: str, out: Path) -> Path:
    """The trained model as a folder beside its run: fp16, first stage inside, the fast sampler in its config."""
    from videodiff.checkpoints.export import export_run

    folder = out / f"{name}_export" / name
    shutil.rmtree(folder, ignore_errors=True)
    changes = {"sampler": RECIPES[name].sampler}
    return export_run(f"{out / name}/last", folder, LICENCE, command(name), half=True, changes=changes)


def command(name: str) -> list[str]:
    """What makes a model anew."""
    return ["python", "scripts/train_shipped.py", name]


def measure(name: str, out: Path, folder: Path) -> None:
    """Test the exported weights, and write what was found beside them, with the record of the training.

    Weights that were tested already are not tested again.
    """
    from videodiff.checkpoints.exported import read_record
    from videodiff.evaluation import read_result

    scores, digest = out / f"{name}_scores", read_record(folder)["weights"]
    found = sorted((scores / "eval").glob("*.json"))
    if not found or read_result(found[0]).model.get("weights") != digest:
        shutil.rmtree(scores, ignore_errors=True)
        run([
            "test", "--ckpt_path", str(folder), "--num_clips", str(NUM_CLIPS), "--out", str(scores),
            "--trainer.limit_test_batches", "1",  # the loss is not what is asked for
        ])  # fmt: skip
        found = sorted((scores / "eval").glob("*.json"))
    text = found[0].read_text(encoding="utf-8")
    for place in (str(folder.resolve()), str(folder)):
        text = text.replace(place, PREFIX + name)
    (folder / "eval").mkdir(exist_ok=True)
    atomic.write_text(folder / "eval" / found[0].name, text)
    record = record_of(name, out, json.loads(text), frozen_frames(folder))
    atomic.write_json(folder / RECORD, record)
    write_card(name, folder)


def frozen_frames(folder: Path) -> dict[str, Any]:
    """The same measurement of clips of one repeated frame."""
    from videodiff.comparison.baselines import frozen
    from videodiff.config import build_data, load_yaml
    from videodiff.evaluation import get_protocol
    from videodiff.evaluation.measurement import Measurement

    data = build_data(load_yaml(folder / "config.yaml"))
    measurement = Measurement(data, get_protocol("evaluator"), NUM_CLIPS, seed=SEED)
    clips = frozen(measurement, measurement.count)
    return measurement.result(measurement.observe(clips, "frozen frames", measurement.count)).metrics


def record_of(name: str, out: Path, result: dict[str, Any], frozen: dict[str, Any]) -> dict[str, Any]:
    """What ``record.json`` says: how the weights came about, and how good they are."""
    import torch

    recipe = RECIPES[name]
    stages = [
        {
            "config": stage.config,
            "overlay": f"scripts/{OVERLAY.name}",
            "steps": stage.steps,
            "minutes": minutes_of(out / stage.config),
        }
        for stage in recipe.stages
    ]
    model = next(
        (line.rpartition(":")[2].strip() for line in cpu_lines() if line.startswith("model name")), ""
    )
    metrics = {key: figures(entry) for key, entry in result["metrics"].items()}
    return {
        "name": PREFIX + name,
        "command": " ".join(["OMP_NUM_THREADS=1", *command(name)]),
        "stages": stages,
        "minutes": round(sum(stage["minutes"] for stage in stages), 1),
        "machine": f"one thread of {model or platform.processor()}",
        "machine_kind": machine_kind(),
        "seed": SEED,
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "trained_sha256": weights_hash(out / name),
        "sampler": f"DPM-Solver++, {recipe.sampler_steps} steps",
        "evaluation": {
            "command": f"videodiff test --ckpt_path {PREFIX}{name} --num_clips {NUM_CLIPS}",
            "protocol": result["name"],
            "num_clips": result["num_fake"],
            "metrics": metrics,
            "frozen_frames": {key: figures(frozen[key]) for key in metrics if key in frozen},
        },
    }


def figures(entry: dict[str, Any]) -> dict[str, Any]:
    """A metric's value, count and interval."""
    return {key: entry[key] for key in ("value", "interval", "count", "floor") if entry.get(key) is not None}


def minutes_of(folder: Path) -> float:
    """How long a run trained, by its record of the seconds a step."""
    from videodiff.callbacks.record import read_metrics

    key, seconds, before = "throughput/seconds_per_step", 0.0, 0
    for line in read_metrics(folder / "metrics.jsonl"):
        if key in line and line["step"] > before:
            seconds += line[key] * (line["step"] - before)
            before = line["step"]
    return round(seconds / 60, 1)


def write_card(name: str, folder: Path) -> None:
    """The model card anew, with what was measured."""
    from safetensors.torch import load_file

    from videodiff.checkpoints.card import model_card
    from videodiff.checkpoints.export import evaluations
    from videodiff.checkpoints.exported import read_record
    from videodiff.config import load_yaml
    from videodiff.run_layout import WEIGHTS

    results = evaluations(sorted((folder / "eval").glob("*.json")))
    weights, config = load_file(folder / WEIGHTS), load_yaml(folder / "config.yaml")
    card = model_card(read_record(folder), config, weights, results, command(name), None, "")
    atomic.write_text(folder / "README.md", card)


def put_in_place(name: str, folder: Path, shipped: Path) -> None:
    """Hash every file, look at the sizes, and let the folder take the place of what is shipped.

    Raises:
        SystemExit: if it is too large, or holds a path of this machine.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    size = weights_size(folder)
    together = size + sum(weights_size(other) for other in shipped.glob("*") if other.name != name)
    for found, most, what in ((size, MAX_BYTES, name), (together, MAX_BYTES_TOGETHER, "all models together")):
        if found > most:
            sys.exit(f"{what}: {found:,} bytes of weights; at most {most:,} are shipped")
    for file in files:
        if file.suffix != ".safetensors" and str(Path.cwd()) in file.read_text(encoding="utf-8"):
            sys.exit(f"{file} names the folder {Path.cwd()} of this machine; leave it out of what is shipped")
    sums = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}\n" for f in files
    ]
    atomic.write_text(folder / SUMS, "".join(sums))
    target = shipped / name
    before = (target / SUMS).read_text(encoding="utf-8") if (target / SUMS).is_file() else ""
    same = [line for line in sums if line.rstrip().endswith(".safetensors")]
    if before:
        print(
            "weights as they were"
            if all(line in before for line in same)
            else "weights are others than before"
        )
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(folder, target, copy_function=shutil.copyfile)
    print(f"{PREFIX}{name}: {size:,} bytes of weights in {target}")


def weights_size(folder: Path) -> int:
    """Bytes of the weights in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))


if __name__ == "__main__":
    sys.exit(main())
