"""export: a run as a folder for others, and on a model hub."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff import reasons
from videodiff.cli.arguments import LightParser, run_without_option
from videodiff.usage import UsageError
from videodiff.words import writable

EPILOG = """examples:
  videodiff export runs/vdm_digits --out vdm_digits_export --licence apache-2.0
  videodiff generate --ckpt_path vdm_digits_export --num_samples 4
  videodiff export runs/vdm_digits --out vdm_digits_export --push_to_hub NAME/vdm-digits   # needs huggingface_hub
"""


def parser() -> argparse.ArgumentParser:
    """The options of ``export``."""
    p = LightParser(
        "videodiff export",
        description="Write a run as model.safetensors, config and model card; a latent model with its first stage, a "
        "pipeline with all its runs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("run", metavar="RUN", help="run directory, RUN/best, RUN/last, a checkpoint file, or demo/NAME")
    add("--out", type=writable, required=True, metavar="DIR", help="folder to write, absent or empty")
    add(
        "--licence",
        "--license",
        default="other",
        help="licence of the weights, e.g. apache-2.0 (default: other, not stated)",
    )
    add(
        "--first_stage",
        choices=("include", "name"),
        default="include",
        help="a latent model's first stage: include it (default), or name where it lies, by its hash",
    )
    add("--push_to_hub", metavar="NAME", help="then upload the folder as this repository (user/name)")
    add("--private", action="store_true", help="make a new repository private")
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow classes of this module")
    return p


def run(argv: Sequence[str]) -> int:
    """Export, and push if asked; returns the exit code."""
    args = parser().parse_args(run_without_option(argv))
    hub = hub_api() if args.push_to_hub else None  # before any work
    from videodiff.checkpoints import resolve_checkpoint

    checkpoint = resolve_checkpoint(args.run)  # before torch is imported: is it there?
    from videodiff.checkpoints import load_run
    from videodiff.checkpoints.export import export_run
    from videodiff.checkpoints.exported import is_pipeline

    scheduler, note = None, ""
    if not is_pipeline(checkpoint):  # whose stages have one each
        scheduler, note = scheduler_of(load_run(args.run, trusted=args.trust))
    command = ["videodiff", "export", *argv]
    export_run(
        args.run, args.out, args.licence, command, args.trust, scheduler, note, first_stage=args.first_stage
    )
    print(f"exported: {args.out}")
    if hub is not None:
        print(f"pushed: {push(hub, args.out, args.push_to_hub, args.private)}")
    return 0


def scheduler_of(model: Any) -> tuple[dict[str, Any] | None, str]:
    """The model's schedule and sampler for diffusers, or why there is none."""
    if model.rebuilds:
        return None, "None: an autoencoder has no schedule."
    from videodiff.diffusion.scheduler_config import to_scheduler_config, usage_note

    try:
        config = to_scheduler_config(model.schedule, model.sampler, model.prediction, model.threshold)
    except ValueError as error:
        return None, f"None for diffusers: {error}."
    return config, usage_note(model.sampler, model.threshold)


def hub_api() -> Any:
    """The client of the hub.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise UsageError("--push_to_hub needs huggingface_hub: pip install 'videodiff[hub]'") from error
    return HfApi()


def push(api: Any, folder: Path, name: str, private: bool) -> str:
    """Upload a folder as a repository, which is made if it is not there; returns its address.

    Raises:
        RuntimeError: in one line, when the hub refuses; the folder is kept.
    """
    try:
        api.create_repo(repo_id=name, exist_ok=True, private=private)
        address = api.upload_folder(repo_id=name, folder_path=str(folder), commit_message="videodiff export")
    except Exception as error:  # the client raises whatever its transport raises
        raise RuntimeError(
            f"cannot push to {name}: {reasons.reason(error)} (the folder {folder} is complete; log in and try again)"
        ) from error
    return str(address)
