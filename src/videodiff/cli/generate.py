"""generate: videos from a trained model, one lossless file per clip, a sheet to look at and a record of how."""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.condition import read_condition
from videodiff.cli.errors import UsageError
from videodiff.cli.outputs import Leftovers, make_folder, numbered_folder

SAMPLERS = ("ancestral", "ddim", "dpmpp", "langevin")
EPILOG = """examples:
  videodiff generate --ckpt_path runs/vdm_digits --num_samples 16
  videodiff generate --ckpt_path runs/vdm_digits/1/best --steps 25 --sampler dpmpp
  videodiff generate --ckpt_path RUN --frames 128                          # long video, window by window
  videodiff generate --ckpt_path RUN --condition clip.mp4                  # continue a clip
  videodiff generate --ckpt_path RUN --condition clip.mp4 --condition_frames 0,15    # fill in between
  videodiff generate --ckpt_path RUN --condition clip.mp4 --condition_frames ::4     # four times the frame rate
  videodiff generate --ckpt_path RUN --condition small.mp4 --condition_as low_resolution
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``generate``."""
    p = LightParser(
        "videodiff generate",
        description="Draw videos from a trained model.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("--ckpt_path", required=True, help="run directory, RUN/best, RUN/last or a checkpoint file")
    add("--num_samples", type=int, default=16, help="how many videos (default 16)")
    add(
        "--frames",
        type=int,
        help="frames per video; more than a clip runs window after window (default: one clip)",
    )
    add("--steps", type=int, help="sampler steps (default: the model's)")
    add("--sampler", choices=SAMPLERS, help="sampler (default: the model's)")
    add("--gamma", type=float, help="ancestral noise interpolation, 0 to 1 (default 0)")
    add("--eta", type=float, help="DDIM noise, 0 is deterministic (default 0)")
    add("--guidance", type=float, help="classifier-free guidance scale; 1 is none (default: the model's)")
    add("--class_id", type=int, help="class to draw (default: none)")
    add("--condition", type=Path, help="video file with known frames, the same for every sample")
    add("--condition_frames", help="where its frames lie: '0:4', '0,15', '::4' (default: from frame 0 on)")
    add("--condition_as", choices=("frames", "low_resolution"), default="frames")
    add(
        "--reconstruction_weight", type=float, help="weight of reconstruction guidance (default: the model's)"
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="the same seed gives the same clips for any batch size (default 0)",
    )
    add("--batch_size", type=int, default=8, help="videos drawn at once (default 8)")
    add("--device", default="auto", help="auto, cpu or cuda (default auto)")
    add("--fps", type=int, default=8, help="of the written files (default 8)")
    add("--out", type=Path, help="directory to write (default: <run>/generate/<n>)")
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow classes of this module")
    add("--json", action="store_true", help="print the record on stdout")
    return p


def run(argv: Sequence[str]) -> int:
    """Parse, draw, write; returns the exit code."""
    args = parser().parse_args(argv)
    check(args)
    import torch

    from videodiff.checkpoints import load_run, resolve_checkpoint

    checkpoint = resolve_checkpoint(args.ckpt_path)
    model = load_run(str(checkpoint), trusted=args.trust)
    device = pick_device(args.device)
    model = model.to(device).eval()
    if args.reconstruction_weight is not None:
        model.reconstruction_weight = args.reconstruction_weight
    given, num_frames = read_condition(args, model)
    run_directory = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    leftovers = Leftovers(args.out or run_directory / "generate")
    out = output_directory(args.out, run_directory)
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    mine = list(range(rank, args.num_samples, world))
    sampler = pick_sampler(args, model)
    started = time.perf_counter()
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            draw(model, args, mine, num_frames, given, sampler, out)
    except BaseException:
        leftovers.remove(out)
        raise
    seconds = time.perf_counter() - started
    if rank > 0:
        return 0
    wait_for_clips(out, args.num_samples)
    record = describe(args, checkpoint, model, sampler, num_frames, seconds / max(len(mine), 1))
    finish(out, record, args)
    print(json.dumps(record) if args.json else f"{args.num_samples} videos: {out}")
    return 0


def check(args: argparse.Namespace) -> None:
    """Ranges of the options, before anything is loaded."""
    for name in ("num_samples", "frames", "steps", "batch_size", "fps"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name} must be at least 1, got {value}")
    if args.condition is not None and not args.condition.is_file():
        raise UsageError(f"--condition {args.condition}: no such file")
    if args.condition is None and args.condition_frames is not None:
        raise UsageError("--condition_frames needs --condition FILE")


def pick_device(name: str) -> Any:
    """``auto`` is CUDA where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: no CUDA device here; use --device cpu")
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise UsageError(f"--device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda":
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return torch.device(name)


def pick_sampler(args: argparse.Namespace, model: Any) -> Any:
    """The model's sampler, or the one named, with the options given."""
    import copy

    from videodiff import diffusion

    sampler = model.sampler
    steps = args.steps or sampler.num_steps
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


# --- draw and write -------------------------------------------------------------------------------------------


def output_directory(out: Path | None, run_directory: Path) -> Path:
    """A new directory; nothing that was written before is touched."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if out is None:
        if world > 1:
            raise UsageError("several processes were launched: name the directory they share with --out DIR")
        return numbered_folder("generate", run_directory)
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a directory")
    # Processes of one job may find each other's clips.
    if (out / "samples.json").is_file() or (world == 1 and any(out.glob("clip_*.mkv"))):
        raise UsageError(f"--out {out} already holds samples; nothing is overwritten, name another directory")
    make_folder(out)
    return out


def draw(
    model: Any,
    args: argparse.Namespace,
    mine: list[int],
    num_frames: int,
    given: Any,
    sampler: Any,
    out: Path,
) -> None:
    """Draw this process's videos batch by batch, writing each batch before the next begins."""
    import torch

    from videodiff.data import video_io
    from videodiff.models import Given

    for start in range(0, len(mine), args.batch_size):
        indices = mine[start : start + args.batch_size]
        n = len(indices)
        label = None if args.class_id is None else torch.full((n,), args.class_id)
        many = Given(
            None if given.frames is None else given.frames.expand(n, -1, -1, -1, -1),
            given.positions,
            None if given.low_resolution is None else given.low_resolution.expand(n, -1, -1, -1, -1),
        )
        videos = model.generate(
            n, num_frames, args.seed, indices=indices, label=label, given=many, sampler=sampler,
            guidance_scale=args.guidance,
        )  # fmt: skip
        if not bool(torch.isfinite(videos).all()):
            raise RuntimeError("the model drew non-finite values; is the checkpoint trained?")
        frames = video_io.to_uint8(videos).permute(0, 2, 3, 4, 1).cpu()
        for index, clip in zip(indices, frames, strict=True):
            video_io.write_lossless(clip_path(out, index), clip, args.fps)


def clip_path(out: Path, index: int) -> Path:
    """File of one clip."""
    return out / f"clip_{index:05d}.mkv"


def wait_for_clips(out: Path, count: int, seconds: float = 3600.0) -> None:
    """Wait for the clips of the other processes; they appear whole (written beside, then renamed)."""
    limit = time.monotonic() + seconds
    while missing := [i for i in range(count) if not clip_path(out, i).is_file()]:
        if time.monotonic() > limit:
            raise RuntimeError(
                f"{len(missing)} clips are missing in {out}, first {clip_path(out, missing[0]).name}"
            )
        time.sleep(0.2)


def describe(
    args: argparse.Namespace, checkpoint: Path, model: Any, sampler: Any, num_frames: int, seconds: float
) -> dict[str, Any]:
    """Everything needed to draw the same clips again."""
    import hashlib

    import torch

    inner = getattr(sampler, "predictor", sampler)
    with checkpoint.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else None
    if digest is None:
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    return {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": digest,
        "model": type(model).__name__,
        "ema": True,
        "num_samples": args.num_samples,
        "frames": num_frames,
        "size": list(model.video_shape[-2:]),
        "seed": args.seed,
        "sampler": type(sampler).__name__,
        "steps": sampler.num_steps,
        **{name: getattr(inner, name) for name in ("gamma", "eta", "delta") if hasattr(inner, name)},
        "guidance": model.guidance_scale if args.guidance is None else args.guidance,
        "class_id": args.class_id,
        "condition": args.condition and str(args.condition),
        "condition_frames": args.condition_frames,
        "condition_as": args.condition_as if args.condition else None,
        "fps": args.fps,
        "seconds_per_video": round(seconds, 4),
        "device": str(model.device),
        "torch": torch.__version__,
    }


def finish(out: Path, record: dict[str, Any], args: argparse.Namespace) -> None:
    """The sheet of the first 64 clips, then the record, which says that the directory is complete."""
    import torch

    from videodiff.data import video_io

    clips = torch.stack([video_io.read_video(clip_path(out, i)) for i in range(min(args.num_samples, 64))])
    video_io.write_mp4(out / "sheet.mp4", video_io.video_grid(clips), args.fps)
    record["clips"] = [clip_path(out, i).name for i in range(args.num_samples)]
    (out / "samples.json").write_text(json.dumps(record, indent=2) + "\n")
