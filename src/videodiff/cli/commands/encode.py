"""encode: latents of clips and vectors of captions written once, so that training encodes nothing."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.kept_texts import keep
from videodiff.cli.outputs import output_folder
from videodiff.cli.trained import stored_parts
from videodiff.config import build, find_config, read_configs, without_latents
from videodiff.device import pick_device
from videodiff.names import shell_word
from videodiff.say import counted
from videodiff.usage import UsageError
from videodiff.words import whole, writable

EPILOG = """Options of the data and the model are as for fit: --data.root DIR, --model.autoencoder.checkpoint RUN.

To resume an interrupted encode, repeat the command; the resulting bytes are the same. Several processes
(torchrun, or RANK and WORLD_SIZE) share the work.

examples:
  videodiff encode --config lvdm_digits --out latents/lvdm_digits
  videodiff fit --config lvdm_digits --data.latents latents/lvdm_digits
  videodiff encode --config pvdm_sky --data.root sky_timelapse --windows_per_video 16 --out latents/sky
"""
SECOND_STAGE = "encode is for second stages (lvdm_*, pvdm_*) and models with a frozen text encoder"


def parser() -> argparse.ArgumentParser:
    """The options of ``encode``."""
    p = LightParser(
        "videodiff encode",
        "encode",
        usage="videodiff encode --config FILE|NAME --out DIR [options] [--data.root DIR ...]",
        description="Encode every video with the first stage, and every caption with a frozen text encoder; train on "
        "the stored latents with --data.latents DIR.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="FILE|NAME",
        help="config of a second stage, as for fit",
    )
    add("--ckpt_path", metavar="RUN", help="a run of a second stage, in place of a config")
    add("--out", type=writable, help="folder to write")
    add(
        "--windows_per_video",
        type=whole(),
        help="windows of each training video (default 8; 1 for the built-in sets, whose videos are as long as a clip)",
    )
    add("--dtype", default="fp16", help="fp16 or fp32 (default fp16)")
    add("--splits", default="train,val,test", help="splits to encode (default train,val,test)")
    add("--batch_size", type=whole(1, 100_000), default=8, help="clips encoded at once (default 8)")
    add(
        "--shard_clips",
        type=whole(),
        default=256,
        help="clips per file, and the most that an interruption may lose (default 256)",
    )
    add("--device", default="auto", help="auto, cpu or cuda (default auto)")
    add("--check", action="store_true", help="only check the files in --out against their hashes")
    add("--trust", action="append", default=[], metavar="MODULE", help="also allow classes of this module")
    return p


def run(argv: Sequence[str]) -> int:
    """Parse, encode, report; returns the exit code."""
    args, rest = parser().parse_known_args(argv)
    if args.out is None:
        raise UsageError("encode needs --out DIR")
    if args.out.exists() and not args.out.is_dir():
        raise UsageError(f"--out {args.out} is a file; name a directory")
    if args.check:
        return check(args.out)
    if not args.config and args.ckpt_path is None:
        raise UsageError("encode needs --config FILE or NAME, or --ckpt_path RUN, of a second stage")
    config = read_config(args, rest)
    if not config.get("model") or not config.get("data"):
        raise UsageError(f"{SECOND_STAGE}; this one has no {'data' if config.get('model') else 'model'}")
    is_shared = int(os.environ.get("WORLD_SIZE", "1")) > 1
    with output_folder(args.out, is_shared, goes_on=True):
        return encode(args, config)


def read_config(args: argparse.Namespace, rest: list[str]) -> dict[str, Any]:
    """The checked config: that of the run, the configs over it, and single options over both."""
    names: list[Any] = [find_config(name) for name in args.config]
    if args.ckpt_path is not None:
        from videodiff.checkpoints import resolve_checkpoint

        checkpoint = resolve_checkpoint(args.ckpt_path)
        from videodiff.checkpoints import load_checkpoint, trusted_config

        config = trusted_config(load_checkpoint(checkpoint), checkpoint, args.trust)
        names.insert(0, stored_parts(config, checkpoint))
    return read_configs(names, "encode", rest, args.trust)


def encode(args: argparse.Namespace, config: dict[str, Any]) -> int:
    """Build data and first stage and write the latents; the folder exists."""
    import torch

    from videodiff.cli.commands.prepare import ProgressLine
    from videodiff.data.encode import encode_data
    from videodiff.data.encode_plan import Encoding
    from videodiff.text.encoder import keeping_encoders

    device = pick_device(args.device)
    built = build(without_latents(config), args.trust)
    model, data = built.model.eval(), built.data
    encoders = keeping_encoders(model)
    if encoders and (model.first_stage is None or model.first_stage.digest is None):
        return encode_texts(args, encoders, data, device)
    stage = first_stage_of(model)
    windows = args.windows_per_video
    if windows is None:
        windows = 8 if data.dataset == "folder" else 1
    how = Encoding(
        windows=windows, dtype=args.dtype, splits=tuple(args.splits.split(",")), shard_clips=args.shard_clips,
        batch_size=args.batch_size,
    )  # fmt: skip
    model.check_data(data)
    model.autoencoder.to(device)
    data.record_folder = None
    line = ProgressLine("encode", "clips")
    rank, world = place()
    try:
        with torch.no_grad():
            facts = {"first_stage": stage, "model": type(model).__name__}
            is_done = encode_data(data, model.latents_of, args.out, facts, how, device, rank, world, line)
    finally:
        line.close()
    if is_done:
        encode_texts(args, encoders, data, device)
        tell(args.out)
    else:
        print(
            f"videodiff: process {rank} of {world} is done; the last one to finish writes {args.out}/latents.json "
            "(if another was stopped, give the same command again)",
            file=sys.stderr,
        )
    return 0


def encode_texts(args: argparse.Namespace, encoders: Sequence[Any], data: Any, device: Any) -> int:
    """Keep the vectors of the data's captions beside the latents, or alone.

    Raises:
        UsageError: if there is nothing else to write, and the data have no captions in files.
    """
    texts = data.texts(tuple(args.splits.split(","))) if encoders else []
    if encoders and not texts and not (args.out / "latents.json").is_file():
        raise UsageError(
            "the data have no captions in files to encode (--data.captions); those that are told from scenes are "
            "encoded as training meets them"
        )
    for encoder in encoders if texts and place()[0] == 0 else []:
        keep(encoder, texts, args.out, args.dtype, device)
        print(
            f"{args.out}: vectors of {counted(len(encoder.kept), 'text')} by {encoder.called} "
            f"[{encoder.kept.digest[:16]}]; train with --model.text.kept {shell_word(args.out)}"
        )
    return 0


def place() -> tuple[int, int]:
    """This process's number and how many there are.

    Raises:
        UsageError: for numbers that do not fit.
    """
    rank, world = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise UsageError(f"RANK must be from 0 to WORLD_SIZE - 1, got RANK={rank} WORLD_SIZE={world}")
    return int(rank), int(world)


def first_stage_of(model: Any) -> dict[str, Any]:
    """What the manifest says of the first stage.

    Raises:
        UsageError: for a model without one.
    """
    stage = model.first_stage
    if stage is None or stage.digest is None:
        what = "is a first stage itself" if model.rebuilds else "has no trained first stage"
        raise UsageError(f"{SECOND_STAGE}; {type(model).__name__} {what}")
    scale, shift = stage.scale_and_shift or (None, None)
    return {"checkpoint": stage.checkpoint, "sha256": stage.digest, "scale": scale, "shift": shift}


def check(out: Path) -> int:
    """Compare every file with its hash.

    Raises:
        UsageError: if one differs.
    """
    from videodiff.data.latent_store import damaged_shards, read_latents

    damaged = damaged_shards(read_latents(out))
    if damaged:
        raise UsageError(
            f"{damaged[0]} is damaged ({counted(len(damaged), 'such file')}); remove {out} and encode again"
        )
    tell(out)
    return 0


def tell(out: Path) -> None:
    """What the folder holds, and how to train from it."""
    from videodiff.data.latent_store import read_latents, shards_of

    latents = read_latents(out)
    size = sum(shard["bytes"] for _, shard in shards_of(latents))
    for name, split in latents.splits.items():
        row = f"  {name:6}{split.videos:8} videos x {counted(split.windows, 'window')}"
        bad = f", {len(split.bad)} unreadable" if split.bad else ""
        print(row + (", each also mirrored" if split.mirrored else "") + bad)
    print(
        f"{out}: {list(latents.shape)} {latents.dtype}, {size / 1e6:.1f} MB; train with --data.latents "
        f"{shell_word(out)}"
    )
