"""generate: videos from a trained model, one lossless file per clip, a sheet to look at, and a record."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli import clip_files
from videodiff.cli.arguments import LightParser, run_first
from videodiff.cli.condition import add_flags, read_request
from videodiff.cli.outputs import Leftovers, begun, folder_of_run, make_folder
from videodiff.cli.trained import check_beside
from videodiff.config.check import DRAWS
from videodiff.config.options import split_options
from videodiff.device import pick_device
from videodiff.names import shell_word
from videodiff.precision import PRECISIONS, autocast, default_precision
from videodiff.say import counted, say
from videodiff.usage import UsageError
from videodiff.words import real, whole, writable

SAMPLERS = ("ancestral", "ddim", "dpmpp", "langevin")
EPILOG = """examples:
  videodiff generate --ckpt_path runs/vdm_digits --num_samples 16
  videodiff generate --ckpt_path runs/vdm_digits/1/best --steps 25 --sampler dpmpp
  videodiff generate --ckpt_path RUN --class_id all                        # classes in turn; random, 3 or 3,4
  videodiff generate --ckpt_path RUN --prompt "a three moves to the west"    # in words; several take turns, or a .txt
  videodiff generate --ckpt_path RUN --frames 128                          # long video, window by window
  videodiff generate --ckpt_path RUN --frames 1024 --long_video hierarchical --steps 100/20
  videodiff generate --ckpt_path RUN --condition clip.mp4                  # continue a clip
  videodiff generate --ckpt_path RUN --condition first.png                 # from a picture, or a folder of frames
  videodiff generate --ckpt_path RUN --condition clip.mp4 --condition_frames 0,15    # fill in between
  videodiff generate --ckpt_path RUN --condition clip.mp4 --condition_frames ::4     # four times the frame rate
  videodiff generate --ckpt_path RUN --init_video clip.mp4 --strength 0.6            # the clip, changed as much
  videodiff generate --ckpt_path RUN --init_video clip.mp4 --mask mask.png           # filled in where white
  videodiff generate --ckpt_path RUN --init_video clip.mp4 --keep_frames first:4,last:4
  videodiff generate --ckpt_path RUN --low_resolution small.mp4
  videodiff generate --ckpt_path cascade.yaml                              # several runs, stage by stage
  videodiff generate --ckpt_path RUN --model.sampler DPMSolverPP2MSampler --model.sampler.num_steps 25

any argument of any part of the model, by its path, as in `test`; recorded in samples.json:
  --model.sampler CLASS          another sampler, e.g. DPMSolverPP2MSampler
  --model.sampler.num_steps N    its steps, and so on: eta, gamma, grid
  --model.guidance_scale W       classifier-free guidance; 1 is none
  --model.threshold MODE         static, dynamic or none
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``generate``."""
    p = LightParser(
        "videodiff generate",
        DRAWS,
        description="Generate videos with a trained model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "--ckpt_path",
        required=True,
        help="run directory, RUN/best, RUN/last, a checkpoint file, a pipeline, or demo/NAME of the package",
    )
    add("--num_samples", type=whole(), default=16, help="how many videos (default 16)")
    add_flags(p)
    add(
        "--steps",
        type=steps,
        metavar="N[/M]",
        help="sampler steps; N/M: N for the first window of a long video, M for the others (default: the model's)",
    )
    add("--sampler", choices=SAMPLERS, help="sampler (default: the model's)")
    add("--gamma", type=real(0, 1), help="ancestral noise interpolation, 0 to 1 (default 0)")
    add("--eta", type=real(0), help="DDIM noise, 0 is deterministic (default 0)")
    add(
        "--guidance_rescale",
        type=real(0, 1),
        metavar="SHARE",
        help="how far the guided estimate is rescaled to the conditional one's contrast, 0 to 1 (default: the model's)",
    )
    add(
        "--condition_as",
        choices=("frames", "low_resolution"),
        default="frames",
        help="low_resolution: --condition FILE means --low_resolution FILE",
    )
    add(
        "--reconstruction_weight",
        type=real(0),
        help="weight of reconstruction guidance towards given frames (VDM) or overlapping frames (PVDM: 0 is none, "
        "1 the full step); default: the model's",
    )
    add(
        "--long_video",
        choices=("autoregressive", "hierarchical"),
        help="LVDM: window by window, or key frames first and then the gaps (default: the model's)",
    )
    add("--interpolator", metavar="RUN", help="LVDM: the run that fills the gaps, as a pipeline of two")
    add(
        "--seed",
        type=int,
        default=0,
        help="the same seed gives the same clips for any batch size (default 0)",
    )
    add("--batch_size", type=whole(1, 100_000), default=8, help="videos generated at once (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto)")
    add(
        "--precision",
        choices=PRECISIONS,
        help="precision of the networks (default: bf16-mixed on a GPU that supports it, else 32-true)",
    )
    add("--fps", type=whole(1, 10_000), default=8, help="frame rate of the written files (default 8)")
    add(
        "--mp4",
        action="store_true",
        help="also each clip as mp4, enlarged by a whole number: to look at and to send",
    )
    add("--out", type=writable, help="directory to write (default: <run>/generate/<n>)")
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow classes of this module")
    add("--json", action="store_true", help="print the record on stdout")
    return p


def steps(text: str) -> tuple[int, int | None]:
    """``100`` -> (100, None) and ``100/20`` -> (100, 20)."""
    first, slash, later = text.partition("/")
    count = whole(1, 1_000_000)
    return count(first), count(later) if slash else None


def run(argv: Sequence[str]) -> int:
    """Parse, generate, write; returns the exit code."""
    args, words = parser().parse_known_args(run_first(argv))
    options = {name[2:]: value for name, value in split_options(words)}
    check(args)
    from videodiff.checkpoints import resolve_checkpoint

    check_beside(args.ckpt_path, DRAWS, words, args.trust)
    checkpoint = resolve_checkpoint(args.ckpt_path)
    import torch

    from videodiff.checkpoints import RunLock
    from videodiff.checkpoints.shipped import results_folder, shipped_name
    from videodiff.sampling.video_model import generates_video

    model = load_model(args, checkpoint, words)
    if not generates_video(model):
        raise UsageError(
            f"{args.ckpt_path} is a run of {type(model).__name__}, which reconstructs videos and generates none: see "
            f"them with videodiff predict --ckpt_path {args.ckpt_path}, or generate with a model trained on its latents"
        )
    device = pick_device(args.device)
    model = model.to(device).eval()
    configure(model, args)
    if args.class_id is None and model.num_classes is not None and shipped_name(checkpoint) is not None:
        args.class_id = "random"  # whoever looks at a model first has not asked what its classes are
        say("classes are drawn at random; --class_id 3 for one of them, none for none")
    request, num_frames = read_request(args, model)
    if model.generated.takes_text and not request.prompt:
        say("no --prompt is given: the videos are of the empty one")
    run_directory = results_folder(checkpoint)
    leftovers = Leftovers(args.out or run_directory / "generate")
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    mine = list(range(rank, args.num_samples, world))
    precision = args.precision or default_precision(device.type)
    plan = clip_files.settings(args, checkpoint, model, num_frames, precision, options)
    out = output_directory(args.out, run_directory, plan)
    with (
        told_where(out),
        leftovers.removed_on_failure(out, but=UsageError),
        RunLock(out) if world == 1 else nullcontext(),
    ):
        if world == 1:
            atomic.clear_parts(out)  # of a command that was killed
        clip_files.claim(out, plan, rank, world)
        started = time.perf_counter()
        with autocast(device.type, precision):
            generated, known_error = clip_files.generate(model, args, mine, num_frames, request, out)
        seconds = time.perf_counter() - started
        if rank > 0:
            return 0
        clip_files.wait_for_clips(out, args.num_samples)
        record = {
            **plan,
            "seconds_per_video": round(seconds / generated, 4) if generated else None,
            "device": str(model.device),
            "torch": torch.__version__,
        }
        if known_error is not None:
            record["known_pixels_error"] = round(known_error, 3)
            exact = request.known_pixels != "decoded"
            say(
                f"pixels that stay: as decoded {known_error:.2f} of 255 from {args.init_video} on average"
                + ("; put back exactly" if exact else "")
            )
        if request.label is not None:
            record["classes"] = request.of_videos(range(args.num_samples)).label.tolist()
        for name, texts in request.of_videos(range(args.num_samples)).texts().items():
            record[f"{name}s"] = list(texts)
        clip_files.finish(out, record, args.num_samples, args.fps, args.mp4)
    print(json.dumps(record) if args.json else f"{counted(args.num_samples, 'video')}: {out}")
    return 0


@contextmanager
def told_where(out: Path) -> Iterator[None]:
    """Say how to go on where the drawing is interrupted, or its disk is full."""
    try:
        yield
    except (KeyboardInterrupt, OSError):
        if (out / clip_files.PLAN).is_file():
            print(
                f"videodiff: finished clips are in {out}; resume with --out {shell_word(out)}",
                file=sys.stderr,
            )
        raise


def load_model(args: argparse.Namespace, checkpoint: Path, words: Sequence[str]) -> Any:
    """The model of a run or a pipeline, with dotted options in its config; with ``--interpolator`` the pipeline of two.

    Raises:
        UsageError: for an option that the model does not have, or that its weights do not fit, in one line.
        ValueError: for a checkpoint that cannot be loaded.
    """
    from videodiff.checkpoints import CheckpointError, load_run
    from videodiff.checkpoints.pipeline import with_interpolator

    changes = changed_arguments(checkpoint, words, args.trust) if words else {}
    try:
        if args.interpolator is None:
            return load_run(str(checkpoint), changes, args.trust)
        if args.long_video is not None:
            changes = {**changes, "long_video": args.long_video}
        return with_interpolator(str(checkpoint), args.interpolator, changes, args.trust)
    except CheckpointError as error:
        if not words:
            raise
        raise UsageError(f"{' '.join(name for name, _ in split_options(words))}: {error}") from error


def changed_arguments(checkpoint: Path, words: Sequence[str], trusted: Sequence[str]) -> dict[str, Any]:
    """The arguments of a run's model with dotted options in them, merged and checked as ``test`` does it.

    Raises:
        UsageError: for the first mistake, with the nearest right option; or for another class of model.
    """
    from videodiff.checkpoints import load_checkpoint, trusted_config
    from videodiff.config import check_options

    section = trusted_config(load_checkpoint(checkpoint), checkpoint, trusted).get("model")
    if not isinstance(section, dict) or "class_path" not in section:
        return {}  # loading says so
    config = check_options(words, DRAWS, {"model": section}, trusted, f"config of {checkpoint}")["model"]
    if config["class_path"] != section["class_path"]:
        raise UsageError(
            f"--model {config['class_path']}: the weights of {checkpoint} are of {section['class_path']}; generate "
            "changes options of that model"
        )
    return config["init_args"]


def configure(model: Any, args: argparse.Namespace) -> None:
    """Apply options that change how a model generates; each needs a model that has it."""
    from videodiff.config.signatures import parameters

    models = model.models
    for name in ("guidance_rescale", "reconstruction_weight", "long_video"):
        value = getattr(args, name)
        if value is None:
            continue
        those = [part for part in models if name in parameters(part.__class__).names]
        if not those:
            raise UsageError(f"--{name} does not apply to {type(model).__name__}")
        for part in those:
            setattr(part, name, value)
    if any(value is not None for value in (args.steps, args.sampler, args.gamma, args.eta)):
        for part in models:
            part.sampler = pick_sampler(args, part)
            if args.steps is not None:
                part.plan.extension_steps = args.steps[1]


def check(args: argparse.Namespace) -> None:
    """Check combinations of options before anything is loaded."""
    if args.condition is None and args.condition_frames is not None:
        raise UsageError("--condition_frames needs --condition FILE")


def pick_sampler(args: argparse.Namespace, model: Any) -> Any:
    """The model's sampler, or the one named, with the options given."""
    import copy

    from videodiff import diffusion

    sampler = model.sampler
    steps = args.steps[0] if args.steps else sampler.num_steps
    options = {k: v for k in ("gamma", "eta") if (v := getattr(args, k)) is not None}
    if args.sampler is None:
        sampler = copy.deepcopy(sampler)
        sampler.num_steps = steps
        for name, value in options.items():
            if not hasattr(sampler, name):
                raise UsageError(
                    f"--{name} does not apply to {type(sampler).__name__}; choose one with --sampler"
                )
            setattr(sampler, name, value)
        return sampler
    allowed = {"ancestral": ("gamma",), "ddim": ("eta",), "dpmpp": (), "langevin": ("gamma",)}[args.sampler]
    for name in options:
        if name not in allowed:
            raise UsageError(f"--{name} does not apply to --sampler {args.sampler}")
    if args.sampler == "ddim":
        return diffusion.DDIMSampler(steps, **options)
    if args.sampler == "dpmpp":
        return diffusion.DPMSolverPP2MSampler(steps)
    ancestral = diffusion.AncestralSampler(steps, **options)
    return ancestral if args.sampler == "ancestral" else diffusion.LangevinSampler(ancestral)


# --- generate and write -------------------------------------------------------------------------------------------


def output_directory(out: Path | None, run_directory: Path, plan: dict[str, Any]) -> Path:
    """The directory to write: the one named, or that in which the same command was interrupted, or a new one."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if out is None:
        if world > 1:
            raise UsageError("several processes were launched: name the directory they share with --out DIR")
        before = begun(run_directory / "generate", lambda folder: clip_files.is_begun(folder, plan))
        return before or folder_of_run("generate", run_directory)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a directory")
    make_folder(out)
    return out
