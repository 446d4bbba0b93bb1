"""import: turns a published checkpoint of another project into a run."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.cli.arguments import LightParser
from videodiff.cli.outputs import output_folder
from videodiff.frame_size import size_option
from videodiff.words import whole, writable

KINDS = (
    "pvdm-autoencoder", "pvdm-unet", "lvdm-autoencoder", "lvdm-unet", "lvdm-prediction-unet",
    "lvdm-interpolation-unet", "lucidrains-unet3d", "autoencoder-kl", "latte", "sit", "latte-text",
)  # fmt: skip
EPILOG = """kinds: {kinds}

examples:
  videodiff import pvdm-autoencoder ae_model.pth --out runs/pvdm_ae
  videodiff import pvdm-unet ema_model.pth --first_stage runs/pvdm_ae --out runs/pvdm
  videodiff import lvdm-autoencoder ae_sky.ckpt --latent_scale 0.33422927,1.4606637 --out runs/lvdm_ae
  videodiff import lvdm-unet short_sky.ckpt --latent_scale 0.33422927,1.4606637 --out runs/lvdm  # first stage inside
  videodiff import lucidrains-unet3d model-10.pt --out runs/lucidrains
  videodiff import latte ffs.pt --vae sd-vae-ft-ema/ --out runs/latte
  videodiff generate --ckpt_path runs/pvdm --num_samples 4
  videodiff fit --init_from runs/pvdm --data.root my_videos/ --name tuned                        # fine-tune it
""".format(kinds=", ".join(KINDS))


def parser() -> argparse.ArgumentParser:
    """The options of ``import``."""
    p = LightParser(
        "videodiff import",
        description="Turn a checkpoint published by PVDM, LVDM, video-diffusion-pytorch or Latte into a run.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = p.add_argument
    add("kind", metavar="KIND", help="what the file holds, see below")
    add("file", metavar="FILE", help=".pt, .pth, .ckpt or .safetensors; whole training checkpoints too")
    add("--out", type=writable, required=True, metavar="RUN", help="run folder to write, absent or empty")
    add("--first_stage", metavar="RUN", help="run of the autoencoder, if the file holds none")
    add("--vae", metavar="FOLDER", help="diffusers folder of the image autoencoder, for Latte's latents")
    add("--heads", type=whole(), help="heads of attention (Latte, for a width of no published size)")
    add(
        "--latent_scale",
        type=scale_and_shift,
        metavar="SCALE[,SHIFT]",
        help="scaling of the latent, scale (z + shift); LVDM has it in its configs (default: the file's, or 1,0)",
    )
    add("--raw", action="store_true", help="take the raw weights, not their moving average")
    add(
        "--resolution",
        type=size_option(),
        metavar="N|HxW",
        help="height and width of the videos in pixels (LVDM, lucidrains: the weights do not tell)",
    )
    add("--frames", type=whole(), help="frames of a clip (likewise)")
    add(
        "--scheduler",
        type=Path,
        metavar="JSON",
        help="diffusers scheduler_config.json that replaces the published sampler",
    )
    add("--report", action="store_true", help="list every key")
    add("--json", action="store_true", help="print the report on stdout as JSON")
    return p


def scale_and_shift(text: str) -> tuple[float, float]:
    """``0.334,1.46`` -> (0.334, 1.46); the shift may be left out."""
    first, _, second = text.partition(",")
    values = float(first), float(second or 0.0)
    if not values[0] > 0:
        raise argparse.ArgumentTypeError(f"the scale must be above 0, got {text}")
    return values


def run(argv: Sequence[str]) -> int:
    """Read, convert, write; returns the exit code."""
    args = parser().parse_args(argv)
    from videodiff.checkpoints.published import import_run

    with output_folder(args.out):
        reports = import_run(
            args.kind,
            args.file,
            args.out,
            args.first_stage,
            args.vae,
            average=not args.raw,
            latent_scale=args.latent_scale,
            changes=scheduler(args.scheduler),
            **sizes(args),
        )
    if args.json:
        print(json.dumps([report.to_dict() for report in reports]))
        return 0
    for report in reports:
        print("\n".join(report.lines(every=args.report)))
    print(f"run: {args.out}")
    return 0


def sizes(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of the network that the user gave."""
    given = {
        "resolution": args.resolution and args.resolution.written,
        "num_frames": args.frames,
        "num_heads": args.heads,
    }
    return {name: value for name, value in given.items() if value is not None}


def scheduler(path: Path | None) -> dict[str, Any]:
    """Schedule, sampler and prediction of a diffusers config, as a model section holds them."""
    if path is None:
        return {}
    from videodiff.diffusion.scheduler_config import read_scheduler_config

    return read_scheduler_config(path)
