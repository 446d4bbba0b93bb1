"""The training step of a checkpoint, from its pickle alone: no tensor is read, nothing in it is imported or run."""

import re
import zipfile
from pathlib import Path

from videodiff.checkpoints.files import load_file
from videodiff.run_layout import WEIGHTS
from videodiff.weights.archive import MAX_PICKLE_BYTES, transcribe

# What training goes on from, besides the weights.
TRAINING = ("global_step", "optimizer_states", "lr_schedulers", "loops", "callbacks")
STEP_FILE = re.compile(r"step_(\d{8,})\.ckpt")

Progress = tuple[bool, int]  # whether training can go on from it; its optimizer step, -1 where none is told
# Answers by what tells a file from another and from its own earlier content: best and last are often two names of one.
_known: dict[tuple[int, ...], Progress] = {}


def progress(path: Path) -> Progress:
    """How far a checkpoint is; of two, training goes on from the one whose answer is greater.

    The file is not verified: what a damaged one says only decides when it is looked at.

    Raises:
        CheckpointError: for a file that does not say and cannot be loaded either.
    """
    if path.name == WEIGHTS:
        return False, -1
    try:
        status = path.stat()
    except OSError:  # gone since it was listed: said as of any file that cannot be loaded
        return glance(path)
    file = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if file not in _known:
        _known[file] = glance(path)
    return _known[file]


def glance(path: Path) -> Progress:
    """The same, read off the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next(e for e in archive.infolist() if e.filename.endswith("data.pkl"))
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > MAX_PICKLE_BYTES:
                raise ValueError("not as torch writes it")
            return progress_of(transcribe(archive.read(entry)))
    except Exception:  # damaged, of another program, or with a value that is not written down
        return progress_of(load_file(path))


def progress_of(checkpoint: dict) -> Progress:
    """The same of what a checkpoint holds."""
    step = checkpoint.get("global_step")
    return all(key in checkpoint for key in TRAINING), step if isinstance(step, int) else -1


def progress_by_name(path: Path) -> Progress | None:
    """The same as the name of a step's own file promises; None for other names."""
    found = STEP_FILE.fullmatch(path.name)
    return (True, int(found[1])) if found else None
