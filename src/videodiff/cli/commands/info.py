"""info: what a config would cost, counted without allocating it; ``--measure`` alone runs anything."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from videodiff import reasons
from videodiff.cli.arguments import LightParser, run_without_option
from videodiff.cli.info_table import table
from videodiff.config import Stored, build_model, check_texts, load_yaml, read_configs
from videodiff.config.options import check_name, split_options
from videodiff.config.read import opened
from videodiff.names import shell_line
from videodiff.usage import UsageError
from videodiff.words import real, whole

BYTES_TRAINED = 4 + 4 + 8 + 4
"""fp32 weight, gradient, two Adam moments and the EMA average of one trained parameter."""
EPILOG = """KEY=VALUE and --KEY VALUE change single values: model.net.width=64

examples:
  videodiff info pvdm_sky --card 24GiB
  videodiff info vdm_kinetics600 --card h100 --tflops 350
  videodiff info vdm_digits --measure
  videodiff info runs/cascade              # each stage of a pipeline"""


def parser() -> argparse.ArgumentParser:
    """The options of ``info``."""
    p = LightParser(
        "videodiff info",
        usage="videodiff info CONFIG [CONFIG...] [--card CARD] [--json] [--trust MODULE] [--model.net.width 64 ...]",
        description="Parameters, FLOPs, memory by batch size and training time of a config. Nothing is allocated.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("configs", nargs="*", metavar="CONFIG", help="file or shipped name; later ones override")
    add("-c", "--config", action="append", default=[], help="the same, as for fit")
    add(
        "--card",
        help="card for the largest batch: 24GiB, or a100, h100, rtx4090, ... (default: this machine's GPU)",
    )
    add(
        "--steps",
        type=whole(1, 2**53),
        help="optimizer steps for the hours (default: the config's max_steps)",
    )
    add("--tflops", type=real(0), help="achieved TFLOP/s (default: 40%% of the card's bf16 peak)")
    add(
        "--measure",
        action="store_true",
        help="time real steps of the config's batch on this machine for the hours",
    )
    add("--quick", action="store_true", help="parameters, shapes and one forward pass only: a second or two")
    add("--json", action="store_true", help="machine-readable, on stdout")
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow its classes")
    return p


def run(argv: list[str]) -> int:
    """Print the figures of a config; returns the exit code."""
    words, options = _split(run_without_option(argv))
    for option, _ in split_options(options):
        check_name(option, "fit", (), "info")
    args = parser().parse_intermixed_args(words)  # configs may stand on both sides of an option
    names = [*args.configs, *args.config]
    if not names:
        raise UsageError("info needs a config: a YAML file or a shipped name (see videodiff models)")
    for name in ("steps", "tflops"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"--{name} must be above 0, got {value}")
    asked = [f"--{name}" for name in ("card", "steps", "tflops", "measure") if getattr(args, name)]
    if args.quick and asked:
        raise UsageError(f"--quick does not count what {asked[0]} is about; leave one of them out")
    if args.measure and args.tflops is not None:
        raise UsageError("--measure finds the throughput that --tflops gives; leave one of them out")
    if args.card is not None:
        from videodiff.cost.accelerators import find_card

        find_card(args.card)
    if len(names) == 1 and (stages := stages_of(names[0])):
        return print_stages(stages, options, args)
    sources = [source_of(name, args.trust) for name in names]
    figures = figures_of(" + ".join(names), read_configs(sources, "fit", options, args.trust), args)
    print(json.dumps(figures, indent=2) if args.json else table(figures))
    return 0


def figures_of(name: str, config: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """The figures of one config."""
    if not config.get("model"):
        raise UsageError("the config has no model; give one with class_path, e.g. videodiff.models.VDM")
    from videodiff.cost.accelerators import local_card
    from videodiff.cost.meta_model import MetaModel

    progress = Progress()
    meta = MetaModel(on_meta(config, args.trust), "cuda" if local_card() else "cpu")
    progress("a forward pass")
    gc.freeze()  # what was imported is not searched for garbage again and again while a step makes many small objects
    try:
        figures = {"config": name, **measure(meta)}
        if not args.quick:
            figures |= estimate(meta, config, args, progress)
    finally:
        gc.unfreeze()
    return figures


def source_of(name: str, trusted: Sequence[str]) -> str | Stored:
    """A config as it is named; of a run, or a model that comes with the package, the one that lies with it."""
    from videodiff.checkpoints.folders import config_beside
    from videodiff.checkpoints.shipped import is_shipped_name

    if Path(name).is_dir() and (beside := config_beside(name)) is not None:
        from videodiff.checkpoints.config import place_parts

        config, where, _ = opened(beside)
        place_parts(config, beside)  # a folder that it names lies where the run was trained, not here
        return Stored(config, where)
    is_run = is_shipped_name(name) or Path(name).is_dir() or Path(name).suffix == ".ckpt"
    if not is_run or (is_shipped_name(name) and Path(name).is_file()):
        return name
    from videodiff.checkpoints import load_checkpoint, resolve_checkpoint, trusted_config

    checkpoint = resolve_checkpoint(name)
    return Stored(trusted_config(load_checkpoint(checkpoint), checkpoint, trusted), f"config of {name}")


def stages_of(name: str) -> list[dict[str, Any]]:
    """The stages of a pipeline, each with its ``run`` and the ``config`` of that; empty for a config."""
    path = Path(name)
    if not (path / "pipeline.yaml").is_file() and not (path.is_file() and "pipeline" in load_yaml(path)):
        return []
    from videodiff.checkpoints import resolve_checkpoint
    from videodiff.checkpoints.pipeline import configs_of

    return configs_of(resolve_checkpoint(path))


def print_stages(stages: Sequence[dict[str, Any]], options: list[str], args: argparse.Namespace) -> int:
    """Print the figures of every stage."""
    found = []
    for number, stage in enumerate(stages, 1):
        name = f"stage {number}, {stage['run']}"
        config = read_configs([Stored(stage["config"], name)], "fit", options, args.trust)
        found.append(figures_of(name, config, args))
    print(json.dumps({"stages": found}, indent=2) if args.json else "\n\n".join(map(table, found)))
    return 0


def measure(meta: Any) -> dict[str, Any]:
    """Parameters, GFLOP of one forward pass of one clip, bytes of training state, shapes."""
    from videodiff.cost.sampling import forward_flop
    from videodiff.sampling.video_model import generates_video

    model = meta.model
    parts = model.parts() if generates_video(model) else dict(model.named_children())
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    counts = {name: counts.get(name, 0) for name in ("net", "autoencoder")} | {
        k: n for k, n in counts.items() if n
    }
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    video = tuple(int(n) for n in model.video_shape)
    latent = tuple(int(n) for n in model.autoencoder.latent_shape(video))
    return {
        "model": type(model).__name__,
        "network": type(model.core).__name__,
        "parameters": counts,
        "trained_parameters": trained,
        "forward_gflop_per_clip": round(forward_flop(meta) / 1e9, 3),
        "training_state_bytes": trained * BYTES_TRAINED + frozen * 4,
        "clip_shape": list(video),
        "latent_shape": list(latent),
    }


def estimate(
    meta: Any, config: dict[str, Any], args: argparse.Namespace, progress: Callable[[str], None]
) -> dict[str, Any]:
    """FLOP and memory of training and sampling, the largest batch on a card, hours; see ``videodiff.cost``."""
    from videodiff.cost import accelerators, estimate

    try:
        cost, memory = estimate.cost(meta, config, progress)
    except (TypeError, NotImplementedError, RuntimeError) as error:
        nothing = dict.fromkeys(("training", "sampling", "card", "time"))
        return {**nothing, "not_counted": reasons.reason(error)}
    card = accelerators.find_card(args.card) if args.card else accelerators.local_card()
    hours_to_train = hours(config, args, cost["training"], card)
    fits = card and estimate.on_card(memory, card)
    if fits and not any(fits["largest_batch"].values()) and (small := smaller(args)):
        fits["instead"] = small
    return {**cost, "card": fits, "time": hours_to_train}


def smaller(args: argparse.Namespace) -> str | None:
    """The command for a smaller network of the same kind; None where ``with/small`` is not made for it."""
    names = [*args.configs, *args.config]
    if "with/small" in names:
        return None
    try:
        check_texts([*names, "with/small"], "fit", (), args.trust)
    except (UsageError, OSError):
        return None
    return shell_line(
        ["videodiff", "info", *names, "with/small", *(["--card", args.card] if args.card else [])]
    )


class Progress:
    """One line on stderr for each part that begins more than two seconds after the start."""

    def __init__(self, seconds: float = 2.0) -> None:
        self.seconds, self.began = seconds, time.monotonic()

    def __call__(self, part: str) -> None:
        if time.monotonic() - self.began > self.seconds:
            print(f"videodiff info: counting {part}", file=sys.stderr, flush=True)


def hours(
    config: dict[str, Any], args: argparse.Namespace, training: dict[str, Any], card: Any
) -> dict[str, Any] | None:
    """Hours to the config's steps on one card, and what throughput that takes for granted."""
    from videodiff.cost import accelerators, estimate

    steps = args.steps or int((config.get("trainer") or {}).get("max_steps") or 0)
    if steps < 1:
        return None
    assumed = card if card is not None and card.peak else accelerators.find_card(estimate.DEFAULT_CARD)
    if args.measure:
        from videodiff.cost.measured import flop_per_second

        per_clip = training["flop_per_clip"] + training["first_stage_flop_per_clip"]
        data = config.get("data") or {}
        speed, why = flop_per_second(config["model"], data.get("init_args") or {}, per_clip, args.trust)
    elif args.tflops is not None:
        speed, why = args.tflops * 1e12, "as given"
    else:
        assert assumed.peak is not None  # the default card has one
        speed = estimate.UTILISATION * assumed.peak
        share, peak = estimate.UTILISATION, assumed.peak / 1e12
        why = f"assumed: {share:.0%} of the bf16 peak of {assumed.name}, {peak:g} TFLOP/s"
        if card is not None and not card.peak:
            why += f"; {card.name} says nothing of speed: name the card, or give --tflops"
    return {
        "steps": steps,
        "flop_per_second": speed,
        "throughput": why,
        "hours": estimate.hours(training["flop_per_step"], steps, speed),
    }


def on_meta(config: dict[str, Any], trusted: Sequence[str]) -> Any:
    """The model of a config on the meta device, where it takes no memory."""
    import torch

    with torch.device("meta"):
        return build_model(config, trusted).eval()


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words of info itself, and changes to the config (``--a.b 3``, ``a.b=3``, ``--model VDM``)."""
    words: list[str] = []
    options: list[str] = []
    queue = list(argv)
    while queue:
        word = queue.pop(0)
        key = word.partition("=")[0]
        if word.startswith("--") and ("." in key or key in ("--model", "--data")):
            options.append(word)
            if "=" not in word and queue and not queue[0].startswith("--"):
                options.append(queue.pop(0))
        elif "=" in word and not word.startswith("-"):
            options.append(f"--{word}")
        else:
            words.append(word)
    return words, options
