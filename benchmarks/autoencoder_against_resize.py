"""A trained autoencoder against resizing: reconstructions of test clips by as many numbers per clip.

    python benchmarks/autoencoder_against_resize.py RUN [--clips 64] [--lpips]

The baseline shrinks each clip in time and space (antialiased) and enlarges it again (trilinear). Of all shapes that
hold at least as many numbers as the latent, with any share of time and space, the one with the best PSNR is taken: it
is judged by its best side and with a few numbers more. Where clips hardly move that is a single frame; so a 3-D latent
is set beside the shape with its own number of frames too. LPIPS (VGG16) needs its weights.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.checkpoints import load_config, load_run, resolve_checkpoint
from videodiff.data import VideoDataModule
from videodiff.metrics.reconstruction import psnr, ssim

SMALLEST = (str(Path(__file__).parents[1] / "tests/old_runs/format-1/lvdm_autoencoder"), "--clips", "2")


def shrink(video: Tensor, frames: int, side: int) -> Tensor:
    """``[B, 3, T, H, W]`` -> ``[B, 3, frames, side, side]``: means over time, antialiased bilinear in space."""
    count = video.shape[2]
    flat = F.interpolate(
        video.transpose(1, 2).flatten(0, 1),
        size=(side, side),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    small = flat.unflatten(0, (len(video), count)).transpose(1, 2)
    return F.adaptive_avg_pool3d(small, (frames, side, side))


def enlarge(small: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Trilinear, clipped to [-1, 1]."""
    return F.interpolate(small, size=shape, mode="trilinear", align_corners=False).clamp(-1, 1)


def best_resize(video: Tensor, numbers: int, counts: Sequence[int]) -> tuple[Tensor, tuple[int, int]]:
    """The best reconstruction by resizing to at least ``numbers`` values, and its frames (one of counts) and side."""
    found = []
    for frames in counts:
        side = math.ceil(math.sqrt(numbers / (3 * frames)))
        if side <= video.shape[-1]:
            rebuilt = enlarge(shrink(video, frames, side), tuple(video.shape[2:]))
            found.append((float(score(video, rebuilt)["psnr"]), frames, side, rebuilt))
    _, frames, side, rebuilt = max(found, key=lambda entry: entry[0])
    return rebuilt, (frames, side)


def score(video: Tensor, rebuilt: Tensor) -> dict[str, float]:
    """Mean PSNR in dB and SSIM over clips."""
    values = {
        "psnr": psnr(video, rebuilt, value_range=(-1.0, 1.0)),
        "ssim": ssim(video, rebuilt, value_range=(-1.0, 1.0)),
    }
    return {name: value.mean().item() for name, value in values.items()}


def frames_of(video: Tensor) -> Tensor:
    """``[B, 3, T, H, W]`` -> ``[B T, 3, H, W]``."""
    return video.transpose(1, 2).flatten(0, 1)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("run", help="run of an autoencoder")
    parser.add_argument("--clips", type=int, default=64, help="test clips (default 64)")
    parser.add_argument("--lpips", action="store_true", help="LPIPS (VGG16) too")
    args = parser.parse_args(argv)
    path = resolve_checkpoint(args.run)
    model = load_run(str(path))
    options = {**load_config(path)["data"]["init_args"], "num_test_clips": args.clips, "num_workers": 0}
    data = VideoDataModule(**{key: value for key, value in options.items() if value is not None})
    data.setup("test")
    batches = [data.on_after_batch_transfer(batch, 0)["video"] for batch in data.test_dataloader()]
    video = torch.cat(batches)
    shape = model.autoencoder.latent_shape(model.video_shape)
    numbers = math.prod(shape)
    rebuilt = torch.cat([model.rebuild(batch) for batch in batches])
    table = {"autoencoder": (numbers, rebuilt)}
    own = [[shape[1]]] if len(shape) == 4 else []
    for counts in (range(1, video.shape[2] + 1), *own):
        resized, (frames, side) = best_resize(video, numbers, counts)
        table[f"resize to {frames}x{side}x{side}"] = (3 * frames * side * side, resized)
    for name, (count, guess) in table.items():
        result: dict[str, float] = {"numbers": count, **score(video, guess)}
        if args.lpips:
            from videodiff.metrics.features import LPIPS

            pairs = zip(frames_of(guess).split(16), frames_of(video).split(16), strict=True)
            distance = LPIPS("vgg")
            with torch.no_grad():
                result["lpips_vgg"] = torch.cat([distance(a, b) for a, b in pairs]).mean().item()
        print(json.dumps({"name": name, "clips": len(video), **{k: round(v, 4) for k, v in result.items()}}))


if __name__ == "__main__":
    main()
