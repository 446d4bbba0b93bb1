"""Clips on disk: drawn batch by batch, written frame by frame, gone on with where a command was interrupted."""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from videodiff.cli.errors import UsageError
from videodiff.names import text_name
from videodiff.reading import read_json

PLAN, RECORD = "samples.part.json", "samples.json"
SHEET_CLIPS, SHEET_FRAMES = 64, 32  # clips on the sheet; frames of them held in memory at once


def clip_path(out: Path, index: int) -> Path:
    """File of one clip."""
    return out / f"clip_{index:05d}.mkv"


def settings(
    args: argparse.Namespace, checkpoint: Path, model: Any, samplers: tuple[Any, Any], num_frames: int
) -> dict[str, Any]:
    """Everything that decides what is drawn; `samplers` are those of the first window and of the others."""
    sampler, later = samplers
    inner = getattr(sampler, "predictor", sampler)
    with checkpoint.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": digest.hexdigest(),
        "model": type(model).__name__,
        "ema": True,
        "num_samples": args.num_samples,
        "frames": num_frames,
        "size": list(model.video_shape[-2:]),
        "seed": args.seed,
        "sampler": type(sampler).__name__,
        "steps": sampler.num_steps,
        **({"later_steps": later.num_steps} if is_long(model, num_frames) else {}),
        **{name: getattr(inner, name) for name in ("gamma", "eta", "delta") if hasattr(inner, name)},
        "guidance": model.guidance_scale if args.guidance is None else args.guidance,
        **model.drawing_options,
        "class_id": args.class_id,
        "condition": args.condition and str(args.condition),
        "condition_frames": args.condition_frames,
        "condition_as": args.condition_as if args.condition else None,
        "long_video": getattr(model, "long_video", None),
        "interpolator": args.interpolator,
        "reconstruction_weight": getattr(model, "reconstruction_weight", None),
        "fps": args.fps,
    }


def is_long(model: Any, num_frames: int) -> bool:
    """Whether a video of so many frames takes more than one window."""
    return model.latent_units(num_frames) > model.latent_units(model.video_shape[1])


def claim(out: Path, plan: dict[str, Any], rank: int = 0, world: int = 1) -> None:
    """Take a folder for a plan, or go on with the same plan that was interrupted in it.

    Args:
        out: the folder; it exists.
        plan: from :func:`settings`.
        rank: of this process; the first one writes the plan down.
        world: number of processes.

    Raises:
        UsageError: if the folder holds other samples, or finished ones.
    """
    refusal = f"--out {out} already holds samples; nothing is overwritten, name another directory"
    if (out / RECORD).is_file():
        raise UsageError(refusal)
    if (out / PLAN).is_file():
        before = read_json(out / PLAN)
        if before != json.loads(json.dumps(plan)):
            other = next(key for key in plan if plan[key] != before.get(key))
            raise UsageError(f"{refusal} (it was begun with another {other}: {before.get(other)})")
        return
    if world == 1 and any(out.glob("clip_*.mkv")):  # processes of one job may find each other's
        raise UsageError(refusal)
    if rank == 0:
        (out / PLAN).write_text(json.dumps(plan, indent=2) + "\n")


def draw(
    model: Any,
    args: argparse.Namespace,
    mine: Sequence[int],
    num_frames: int,
    given: Any,
    samplers: tuple[Any, Any],
    out: Path,
) -> int:
    """Draw the missing ones of this process's videos, writing each batch before the next begins.

    Returns:
        How many were drawn now.
    """
    import torch

    missing = [index for index in mine if not clip_path(out, index).is_file()]
    if len(missing) < len(mine):
        print(f"{len(mine) - len(missing)} of {len(mine)} videos are there already", file=sys.stderr)
    for start in range(0, len(missing), args.batch_size):
        indices = missing[start : start + args.batch_size]
        n = len(indices)
        label = None if args.class_id is None else torch.full((n,), args.class_id)
        latent = draw_batch(
            model,
            out,
            num_frames,
            args.seed,
            indices=indices,
            label=label,
            given=given.expand(n),
            sampler=samplers[0],
            later_sampler=samplers[1],
            guidance_scale=args.guidance,
            progress=Bar(start, n, len(missing)),
        )
        write_batch(model, latent, num_frames, [clip_path(out, index) for index in indices], args.fps)
        progress_file(out, indices).unlink(missing_ok=True)
    return len(missing)


def progress_file(out: Path, indices: Sequence[int]) -> Path:
    """Where the latents of a long video lie until its frames are written."""
    return out / f".latents_{indices[0]:05d}_{len(indices)}.safetensors"


def draw_batch(
    model: Any, out: Path, num_frames: int, seed: int, indices: Sequence[int], **options: Any
) -> Any:
    """The latents of a batch; those of each finished window are kept, so that a stop costs one window."""
    import torch
    from safetensors.torch import load_file, save

    file, drawn = progress_file(out, indices), None
    if file.is_file():
        with text_name(file) as name:
            kept = load_file(name)
        if kept["indices"].tolist() == list(indices):
            drawn = kept["latent"], int(kept["windows"])
            print(f"going on after window {drawn[1]}", file=sys.stderr)

    def keep(latent: Any, windows: int) -> None:
        tensors = {"latent": latent.cpu().contiguous(), "windows": torch.tensor(windows)}
        beside = file.with_suffix(".part")
        beside.write_bytes(save({**tensors, "indices": torch.tensor(list(indices))}))
        beside.replace(file)

    return model.draw_latent(
        len(indices),
        num_frames,
        seed,
        indices=indices,
        drawn=drawn,
        on_window=keep if is_long(model, num_frames) else None,
        **options,
    )


def write_batch(model: Any, latent: Any, num_frames: int, paths: Sequence[Path], fps: float) -> None:
    """Decode a batch piece by piece into its files."""
    import torch

    from videodiff.data import video_io

    with ExitStack() as files:
        writers = [files.enter_context(video_io.VideoWriter(path, fps)) for path in paths]
        for piece in model.decode_frames(latent, num_frames):
            if not bool(torch.isfinite(piece).all()):
                raise RuntimeError("the model drew non-finite values; is the checkpoint trained?")
            frames = video_io.to_uint8(piece).permute(0, 2, 3, 4, 1).cpu()
            for writer, clip in zip(writers, frames, strict=True):
                writer.write(clip)


class Bar:
    """Progress on stderr: in place on a terminal, else one line every half minute.

    Args:
        done: videos finished before this batch.
        batch: videos in this batch.
        total: videos in all.
    """

    def __init__(self, done: int, batch: int, total: int) -> None:
        self.done, self.batch, self.total = done, batch, total
        self.began, self.first, self.said = time.monotonic(), None, time.monotonic()

    def __call__(self, step: int, steps: int) -> None:
        now, terminal = time.monotonic(), sys.stderr.isatty()
        self.first = step - 1 if self.first is None else self.first  # a resumed batch does not begin at 0
        last = terminal and step == steps
        if now - self.said < (0.5 if terminal else 30.0) and not last:
            return
        self.said = now
        left = (now - self.began) * (steps - step) / max(step - self.first, 1)
        batches_left = (self.total - self.done - self.batch) / self.batch
        left += batches_left * (now - self.began) * steps / max(step - self.first, 1)
        line = f"drawing {self.done + self.batch}/{self.total} videos, step {step}/{steps}, {left:.0f} s left"
        end = "\n" if not terminal or (last and self.done + self.batch == self.total) else ""
        print(f"\r\033[K{line}" if terminal else line, end=end, file=sys.stderr, flush=True)


def wait_for_clips(out: Path, count: int, seconds: float = 3600.0) -> None:
    """Wait for the clips of the other processes; they appear whole (written beside, then renamed).

    Counted in short waits, of which a suspension of all processes is one.
    """
    left = seconds
    while missing := [i for i in range(count) if not clip_path(out, i).is_file()]:
        if left <= 0:
            raise RuntimeError(
                f"{len(missing)} clips are missing in {out}, first {clip_path(out, missing[0]).name}"
            )
        time.sleep(0.2)
        left -= 0.2


def finish(out: Path, record: dict[str, Any], count: int, fps: float) -> None:
    """The sheet of the first clips, then the record, which says that the directory is complete.

    Clips of one frame are written as pictures, too.
    """
    if record["frames"] == 1:
        write_pictures([clip_path(out, i) for i in range(count)])
    write_sheet(out / "sheet.mp4", [clip_path(out, i) for i in range(min(count, SHEET_CLIPS))], fps)
    record["clips"] = [clip_path(out, i).name for i in range(count)]
    beside = out / f".{RECORD}.part"
    beside.write_text(json.dumps(record, indent=2) + "\n")
    beside.replace(out / RECORD)
    (out / PLAN).unlink(missing_ok=True)


def write_pictures(clips: Sequence[Path]) -> None:
    """The first frame of each clip as a PNG beside it; what is there stays."""
    from PIL import Image

    from videodiff.data import video_io

    for clip in clips:
        picture, beside = clip.with_suffix(".png"), clip.with_name(f".{clip.stem}.part.png")
        if not picture.is_file():
            Image.fromarray(video_io.read_video(clip, max_frames=1)[0].numpy()).save(beside)
            beside.replace(picture)


def write_sheet(path: Path, clips: Sequence[Path], fps: float) -> None:
    """Clips of equal length side by side, some frames at a time, so that their length does not matter."""
    import torch

    from videodiff.data import video_io

    infos = [video_io.probe(clip) for clip in clips]
    length = infos[0].num_frames
    with video_io.VideoWriter(path, fps, lossless=False) as writer:
        for start in range(0, length, SHEET_FRAMES):
            count = min(SHEET_FRAMES, length - start)
            pieces = [video_io.read_clip(info, start, count, 1, None) for info in infos]
            writer.write(video_io.video_grid(torch.stack(pieces)))
