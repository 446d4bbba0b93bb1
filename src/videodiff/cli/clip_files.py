"""Clips on disk: generated batch by batch, written frame by frame, resumed after an interruption."""

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.cli.condition import conditions_of
from videodiff.names import text_name
from videodiff.plain import parse_json
from videodiff.say import counted
from videodiff.usage import UsageError

PLAN, RECORD = "samples.part.json", "samples.json"
SHEET_CLIPS, SHEET_FRAMES = 64, 32  # clips on the sheet; frames of them held in memory at once


def clip_path(out: Path, index: int) -> Path:
    """File of one clip."""
    return out / f"clip_{index:05d}.mkv"


def settings(
    args: argparse.Namespace,
    checkpoint: Path,
    model: Any,
    num_frames: int,
    precision: str,
    options: Mapping[str, str],
) -> dict[str, Any]:
    """Everything that decides what is generated; for a pipeline, of each of its stages."""
    from videodiff.checkpoints.pipeline import identity

    plan = {
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": identity(checkpoint),
        "model": type(model).__name__,
        "ema": True,
        "num_samples": args.num_samples,
        "frames": num_frames,
        "size": list(model.video_shape[-2:]),
        "seed": args.seed,
        **model.generation_record(num_frames, args.guidance),
        "class_id": args.class_id,
        "condition": args.condition,
        "condition_frames": args.condition_frames,
        "condition_as": args.condition_as if args.condition else None,
        "interpolator": args.interpolator,
        "fps": args.fps,
    }
    plan |= {name: value for name, value in conditions_of(args).items() if name not in plan}
    return plan | {"precision": precision} | ({"options": dict(options)} if options else {})


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
    file = out / PLAN
    refusal = f"--out {out} already holds samples; nothing is overwritten, name another directory"
    if (out / RECORD).is_file():
        raise UsageError(refusal)
    if file.is_file():
        before = read_plan(out)
        if before is None:
            if world > 1:
                raise UsageError(
                    f"{file} is damaged; remove it and the clips beside it, and give the command again"
                )
            print(f"{file} is damaged; everything in {out} is generated again", file=sys.stderr)
            for old in (*out.glob("clip_*"), *out.glob(".latents_*")):
                old.unlink()
            atomic.write_json(file, plan)
        elif not is_same(before, plan):
            other = next(key for key in {**plan, **before} if as_json(plan.get(key)) != before.get(key))
            raise UsageError(f"{refusal} (it was begun with another {other}: {before.get(other)})")
        return
    if world == 1 and any(out.glob("clip_*.mkv")):  # processes of one job may find each other's
        raise UsageError(refusal)
    if rank == 0:
        atomic.write_json(file, plan)


def read_plan(out: Path) -> dict[str, Any] | None:
    """The plan that was begun in a folder; None where that is damaged.

    Raises:
        FileNotFoundError: if none was.
    """
    try:
        plan = parse_json((out / PLAN).read_bytes())
    except ValueError:
        return None
    return plan if isinstance(plan, dict) else None


def is_begun(out: Path, plan: dict[str, Any]) -> bool:
    """Whether generation by this plan was begun in a folder and is not finished."""
    return (out / PLAN).is_file() and not (out / RECORD).exists() and is_same(read_plan(out), plan)


def is_same(before: dict[str, Any] | None, plan: dict[str, Any]) -> bool:
    """Whether a plan that was read is this one; an older one says nothing of its precision."""
    return before is not None and {"precision": plan["precision"], **before} == as_json(plan)


def as_json(value: Any) -> Any:
    """A value as it comes back from JSON."""
    return json.loads(json.dumps(value))


def generate(
    model: Any,
    args: argparse.Namespace,
    mine: Sequence[int],
    num_frames: int,
    request: Any,
    out: Path,
) -> tuple[int, float | None]:
    """Generate the missing ones of this process's videos, writing each batch before the next begins.

    Returns:
        How many were generated now, and how far pixels that stay were off as decoded (0 ... 255, on average).
    """
    from videodiff.conditioning.source import KnownPixels

    there = {index for index in mine if is_whole(clip_path(out, index), num_frames)}
    if there:
        print(f"{len(there)} of {counted(len(mine), 'video')} already there", file=sys.stderr)
    # Whole batches only: what a clip looks like to the last bit may depend on those beside it.
    batches = [mine[start : start + args.batch_size] for start in range(0, len(mine), args.batch_size)]
    batches = [batch for batch in batches if not there.issuperset(batch)]
    missing, start, off = sum(map(len, batches)), 0, []
    for indices in batches:
        n, asked = len(indices), request.of_videos(indices)
        latent = generate_batch(
            model,
            out,
            num_frames,
            args.seed,
            indices=indices,
            request=asked,
            guidance_scale=args.guidance,
            progress=Bar(start, n, missing),
        )
        paths = [clip_path(out, index) for index in indices]
        known = KnownPixels(asked.to(latent.device))
        write_batch(model, latent, num_frames, paths, args.fps, known)
        if known.error is not None:
            off += [known.error] * n
        progress_file(out, indices).unlink(missing_ok=True)
        start += n
    return missing, sum(off) / len(off) if off else None


def is_whole(clip: Path, num_frames: int) -> bool:
    """Whether a clip is there; one that does not decode to its end is named, and is not."""
    from videodiff.data import video_io

    if not clip.is_file():
        return False
    found: int | str
    try:
        found = len(video_io.read_video(clip))
    except (ValueError, OSError) as error:
        found = str(error)
    if found == num_frames:
        return True
    print(f"{clip} is damaged ({found} of {num_frames} frames); it is generated again", file=sys.stderr)
    return False


def progress_file(out: Path, indices: Sequence[int]) -> Path:
    """The file that holds the latents of a long video until its frames are written."""
    return out / f".latents_{indices[0]:05d}_{len(indices)}.safetensors"


def generate_batch(
    model: Any, out: Path, num_frames: int, seed: int, indices: Sequence[int], **options: Any
) -> Any:
    """The latents of a batch, stored after each finished window, so that an interruption costs one window."""
    import torch
    from safetensors.torch import save

    file = progress_file(out, indices)
    generated = read_latents(file, indices) if file.is_file() else None
    if generated is not None:
        print(f"resuming after window {generated[1]}", file=sys.stderr)

    def keep(latent: Any, windows: int) -> None:
        tensors = {"latent": latent.cpu().contiguous(), "windows": torch.tensor(windows)}
        tensors["indices"] = torch.tensor(list(indices))
        atomic.write_bytes(file, save({**tensors, "sha256": digest_of(tensors)}))

    return model.generate_latent(
        len(indices),
        num_frames,
        seed,
        indices=indices,
        generated=generated,
        on_window=keep if model.is_long(num_frames) else None,
        **options,
    )


def read_latents(file: Path, indices: Sequence[int]) -> tuple[Any, int] | None:
    """Latents that were kept of a batch and how many windows they have; None, and the file named, if it is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with text_name(file) as name:
            kept = load_file(name)
        digest = kept.pop("sha256")
        if kept["indices"].tolist() == list(indices) and digest.equal(digest_of(kept)):
            return kept["latent"], int(kept["windows"])
    except (SafetensorError, KeyError, OSError, ValueError):
        pass
    print(f"{file} is damaged; these videos are generated again", file=sys.stderr)
    return None


def digest_of(tensors: Mapping[str, Any]) -> Any:
    """SHA-256 of latents and what stands beside them, as a tensor of 32 bytes."""
    import torch

    digest = hashlib.sha256()
    for name in ("latent", "windows", "indices"):
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


def write_batch(
    model: Any, latent: Any, num_frames: int, paths: Sequence[Path], fps: float, known: Callable[[Any], Any]
) -> None:
    """Decode a batch piece by piece into its files, each piece by way of `known`."""
    from videodiff.data import video_io
    from videodiff.evaluation.generated import as_clips

    with ExitStack() as files:
        writers = [files.enter_context(video_io.VideoWriter(path, fps)) for path in paths]
        for piece in model.decode_frames(latent, num_frames):
            for writer, clip in zip(writers, as_clips(known(piece)), strict=True):
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
        self.first: int | None = None
        self.began = self.said = time.monotonic()

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
        line = (
            f"generating {self.done + self.batch}/{self.total} videos, step {step}/{steps}, {left:.0f} s left"
        )
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
                f"{counted(len(missing), 'clip')} missing in {out}, first {clip_path(out, missing[0]).name}"
            )
        time.sleep(0.2)
        left -= 0.2


def finish(out: Path, record: dict[str, Any], count: int, fps: float, mp4: bool = False) -> None:
    """The sheet of the first clips, then the record, which says that the directory is complete.

    Clips of one frame are written as pictures, too; with `mp4` others as previews.
    """
    if record["frames"] == 1:
        write_pictures([clip_path(out, i) for i in range(count)])
    elif mp4:
        write_previews([clip_path(out, i) for i in range(count)], record["frames"], fps)
    write_sheet(out / "sheet.mp4", [clip_path(out, i) for i in range(min(count, SHEET_CLIPS))], fps)
    record["clips"] = [clip_path(out, i).name for i in range(count)]
    atomic.write_json(out / RECORD, record)
    (out / PLAN).unlink(missing_ok=True)


def write_pictures(clips: Sequence[Path]) -> None:
    """The first frame of each clip as a PNG beside it; what is there stays."""
    from PIL import Image

    from videodiff.data import video_io

    for clip in clips:
        picture = clip.with_suffix(".png")
        if not picture.is_file():
            with atomic.opened(picture) as file:
                Image.fromarray(video_io.read_video(clip, max_frames=1)[0].numpy()).save(file, "PNG")


def write_sheet(path: Path, clips: Sequence[Path], fps: float) -> None:
    """Clips of equal length side by side, some frames at a time, so that their length does not matter."""
    import torch

    from videodiff.data import video_io

    infos = [video_io.probe(clip) for clip in clips]
    length, writer = infos[0].num_frames, None
    with ExitStack() as file:
        for start in range(0, length, SHEET_FRAMES):
            count = min(SHEET_FRAMES, length - start)
            pieces = torch.stack([video_io.read_clip(info, start, count, 1, None) for info in infos])
            sheet = video_io.video_grid(pieces)
            if writer is None:
                scale = video_io.scale_to_see(pieces.shape[2:4], sheet.shape[1:3])
                writer = file.enter_context(video_io.VideoWriter(path, fps, lossless=False, scale=scale))
            writer.write(sheet)


def write_previews(clips: Sequence[Path], num_frames: int, fps: float) -> None:
    """An mp4 beside each clip, enlarged by a whole number, for players that open no lossless file."""
    from videodiff.data import video_io

    for clip in clips:
        preview, info = clip.with_suffix(".mp4"), video_io.probe(clip)
        if preview.is_file():
            continue
        size = (info.height, info.width)
        with video_io.VideoWriter(
            preview, fps, lossless=False, scale=video_io.scale_to_see(size, size)
        ) as writer:
            for start in range(0, num_frames, SHEET_FRAMES):
                writer.write(video_io.read_clip(info, start, min(SHEET_FRAMES, num_frames - start), 1, None))
