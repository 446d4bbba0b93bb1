"""How many files of ours run on three walks through the code: ``python scripts/walks.py [--files]``.

    loss     one video file in a folder, read by the data module, to the loss of one training step
    model    one config by name, with its overlay, to a built model
    page     one trained run to the page of ``videodiff compare``

A file of ``src/videodiff`` counts if one of its functions runs on the walk (functions, methods, lambdas and
comprehensions, in any thread, as ``sys.setprofile`` reports them). Its module body and its class bodies do not count:
every module is imported before the first walk, so what a walk only imports is not on it. What a walk stands on is made
before it and not counted: model and data of the first, the run of the third.

The package is the one that ``PYTHONPATH`` names, so an older commit is counted with the script of today:
``PYTHONPATH=../before/src python scripts/walks.py``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import inspect
import io
import pkgutil
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

import videodiff

PACKAGE = Path(videodiff.__file__).resolve().parent
CONFIGS = ("vdm_digits", "with/smoke")
DATA = {"num_frames": 4, "resolution": 16, "batch_size": 1, "num_workers": 0, "val_fraction": 0.0}
COMPARE = ("--num_clips", "4", "--steps", "2", "--shown", "2", "--device", "cpu")


def main(argv: Sequence[str] | None = None) -> int:
    """Print a figure per walk, with ``--files`` the files too; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", action="store_true", help="also list them")
    options = parser.parse_args(argv)
    import_everything()
    with tempfile.TemporaryDirectory(prefix="walks-") as folder:
        for name, walk in WALKS.items():
            files = sorted(walk(Path(folder)))
            print(f"{name:6}{len(files):4}", flush=True)
            if options.files:
                print(*(f"    {file}" for file in files), sep="\n", flush=True)
    return 0


def import_everything() -> None:
    """Import every module of the package, for its bodies to have run."""
    for module in pkgutil.walk_packages([str(PACKAGE)], "videodiff."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def files_that_run(act: Callable[[], Any], below: Path = PACKAGE) -> set[str]:
    """Paths below a folder, relative to it, of the files with a function that runs while ``act`` does."""
    codes = set()

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if (
            event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED
        ):  # neither a module's nor a class's body
            codes.add(frame.f_code)

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    files = {Path(code.co_filename) for code in codes}
    return {file.relative_to(below).as_posix() for file in files if file.is_relative_to(below)}


def to_loss(folder: Path) -> set[str]:
    """One video file to one loss."""
    from videodiff.data import VideoDataModule
    from videodiff.data.video_io import write_lossless

    (folder / "videos").mkdir()
    frames = np.random.default_rng(0).integers(0, 256, (6, 20, 28, 3), dtype=np.uint8)
    write_lossless(folder / "videos" / "one.mkv", frames)
    model, data = built(), VideoDataModule(root=str(folder / "videos"), **DATA)

    def act() -> None:
        batch = next(iter(data.train_dataloader()))
        loss = model.losses(data.on_after_batch_transfer(batch, 0), "train").mean()
        assert loss.requires_grad

    return files_that_run(act)


def to_model(folder: Path) -> set[str]:
    """One config to one built model."""
    return files_that_run(built)


def built() -> Any:
    """The model of the configs, built as that of a run is."""
    from videodiff.config import build_model, read_configs

    return build_model(read_configs(CONFIGS, "fit"))


def to_page(folder: Path) -> set[str]:
    """One run to one page."""
    from videodiff.cli import main as command

    run, report = str(folder / "run"), folder / "report"
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        configs = [word for config in CONFIGS for word in ("--config", config)]
        assert command(["fit", *configs, "--out", run]) == 0
        files = files_that_run(lambda: command(["compare", run, *COMPARE, "--out", str(report)]))
    assert (report / "index.html").is_file()
    return files


WALKS: dict[str, Callable[[Path], set[str]]] = {"loss": to_loss, "model": to_model, "page": to_page}


if __name__ == "__main__":
    raise SystemExit(main())
