"""The folder of a training run: what it may hold beforehand, its config, and no writing through links."""

from __future__ import annotations

import os
from pathlib import Path

from videodiff import atomic
from videodiff.cli.outputs import BOOKKEEPING
from videodiff.names import shell_word
from videodiff.run_layout import CHECKPOINTS, CONFIG
from videodiff.say import rank, say
from videodiff.usage import UsageError

# Beginnings of the names of all that a training leaves in its folder.
FOLDERS = (CHECKPOINTS, "samples")
GROWING = (
    "run.lock",
    "metrics.jsonl",
    "bad_clips.jsonl",
    "verified_latents.jsonl",
    "trace_rank",
    "events.out.tfevents.",
    "hparams.yaml",
)
OURS = (*BOOKKEEPING, *GROWING, "config.", "skipped_videos.jsonl")


def holds_run(directory: Path) -> bool:
    """Whether a run has begun in a folder: there is a config, or at least a checkpoint, which has a copy of it."""
    return (directory / CONFIG).is_file() or any((directory / CHECKPOINTS).glob("*.ckpt"))


def is_foreign(path: Path) -> bool:
    """Whether a file or folder was not left by a run that began there and came to nothing."""
    if path.is_dir() and path.name in FOLDERS:
        return not all(atomic.is_part(p.name) or p.name.startswith("step_") for p in path.iterdir())
    return not atomic.is_part(path.name) and not path.name.startswith(OURS)


def config_file(directory: Path) -> Path | None:
    """The config of the run in a folder; if it is gone, the copy inside the newest whole checkpoint takes its place.

    Returns:
        The file, or None where the checkpoint holds no copy.

    Raises:
        CheckpointError: if every checkpoint is damaged.
        OSError: if the copy cannot be written.
    """
    file = directory / CONFIG
    if file.is_file():
        return file
    from videodiff.checkpoints import load_checkpoint, newest_checkpoint

    checkpoint = newest_checkpoint(directory)
    text = load_checkpoint(checkpoint).get("videodiff", {}).get("config") if checkpoint is not None else None
    if not text:
        return None
    say(f"{directory} has no {CONFIG}; using the copy inside {checkpoint}")
    return atomic.write_text(file, text)


def write_config(directory: Path, text: str) -> None:
    """Write config.yaml; an earlier one that differs is kept as config.<n>.yaml, and is there until the new one is."""
    target = directory / CONFIG
    if target.is_file():
        if target.read_text(encoding="utf-8") == text:
            return
        number = 1
        while os.path.lexists(earlier := directory / f"config.{number}.yaml"):
            number += 1
        atomic.second_name(target, earlier)
    atomic.write_text(target, text)


def refuse_links(directory: Path, checkpoints: Path | None) -> None:
    """Refuse a run folder through whose links the run would write somewhere else; whole files take a link's place.

    Args:
        directory: the folder.
        checkpoints: where its folder of checkpoints may lead.

    Raises:
        ValueError: naming the first link, and where it leads.
    """
    for name in FOLDERS:
        path = directory / name
        if name == CHECKPOINTS and path.is_symlink():
            if checkpoints is not None and path.resolve() == checkpoints.resolve():
                continue
            atomic.refuse_link(
                path, f"remove it, or name that folder: --checkpoints {shell_word(path.resolve())}"
            )
        atomic.refuse_link(path)
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        if path.name.startswith(GROWING):
            atomic.refuse_link(path)


def place_checkpoints(directory: Path, place: Path | None) -> None:
    """Let the checkpoints of a run lie in a folder of their own, on another disk perhaps: a link leads there.

    Raises:
        UsageError: if the run has checkpoints already, or the folder those of another run.
    """
    link = directory / CHECKPOINTS
    if place is None or rank() > 0 or link.is_symlink():  # a link leads there: another one was refused
        return
    if link.is_dir() and any(link.iterdir()):
        raise UsageError(
            f"{link} holds checkpoints already; move them to {place} and remove the folder, then --checkpoints {place}"
        )
    place.mkdir(parents=True, exist_ok=True)
    if found := sorted(place.glob("*.ckpt")):
        raise UsageError(
            f"--checkpoints {place} holds {found[0].name} of another run; name a folder of its own"
        )
    if link.is_dir():
        link.rmdir()
    link.symlink_to(place.resolve(), target_is_directory=True)
