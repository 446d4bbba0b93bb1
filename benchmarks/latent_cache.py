"""The second stage's training step from stored latents against encoding the clips in every step.

Shapes are those of the SkyTimelapse configs with every width halved (`--parts`) and half the side (128 pixels), so that
one thread does it in two minutes; the first table counts what that does to the share of the encoder, on shapes alone. A
step is loss, backward pass and AdamW, in fp32. Clips to encode lie in memory: what decoding a video costs is not
counted. Latents are read from shards on disk by the training data set, fp16 as `videodiff encode` writes them.

    OMP_NUM_THREADS=1 python benchmarks/latent_cache.py --repeats 3
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from videodiff.cost.counter import Counter
from videodiff.cost.group_norm import remembered
from videodiff.cost.meta_model import MetaModel
from videodiff.data.latent_store import Latents, LatentSplit
from videodiff.data.latents import LatentDataset, collate_latents
from videodiff.diffusion import Condition, DDIMSampler, ScaledLinearSchedule
from videodiff.models import LVDM, PVDM
from videodiff.networks import Autoencoder3D, TriplaneAutoencoder, TriplaneUNet, UNet3D

CLIPS = 64
SMALLEST = (
    "--batch",
    "1",
    "--parts",
    "8",
    "--repeats",
    "1",
    "--side",
    "64",
    "--published_side",
    "64",
    "--only",
    "PVDM-S",
)


def lvdm(side: int, parts: int) -> LVDM:
    """Widths of configs/lvdm_sky over `parts`, 16 frames of `side` pixels."""
    stage = Autoencoder3D(16, side, width=32 // parts, downsample=(4, 8, 8), latent_channels=4)
    net = UNet3D(
        channels=4, resolution=side // 8, num_frames=4, width=256 // parts, channel_multipliers=(1, 2, 3, 4),
        num_blocks=3, attention_resolutions=(4, 8, 16), heads=4, embedding_layers=2, temporal_position="shaw",
        max_distance=4, norm="clip", resample="conv", is_open=True,
    )  # fmt: skip
    return LVDM(net, ScaledLinearSchedule(), DDIMSampler(2), autoencoder=stage, prediction="eps")


def pvdm(side: int, parts: int, width: int) -> PVDM:
    """Widths of configs/pvdm_sky over `parts`, pairs of clips of 16 frames of `side` pixels."""
    stage = TriplaneAutoencoder(16, side, 8, width=384 // parts, head_dim=64 // parts)
    net = TriplaneUNet(
        4, 16, side // 8, width=width // parts, channel_multipliers=(1, 2, 4, 4), num_blocks=2,
        attention_levels=(0, 1, 2), heads=8,
    )  # fmt: skip
    schedule = ScaledLinearSchedule()
    return PVDM(net, schedule, DDIMSampler(2), autoencoder=stage, prediction="eps", conditional_share=0.2)


MODELS: dict[str, Callable[[int, int], nn.Module]] = {
    "LVDM": lvdm,
    "PVDM-L": lambda side, parts: pvdm(side, parts, 256),
    "PVDM-S": lambda side, parts: pvdm(side, parts, 128),
}


def frames_of(model: nn.Module) -> int:
    """Frames of a training sample."""
    return model.sample_frames


def gflop(make: Callable[[int, int], nn.Module], side: int, parts: int) -> tuple[float, float]:
    """GFLOP of encoding what one sample needs, and of the network's forward and backward pass; nothing is allocated."""
    with torch.device("meta"):
        model = make(side, parts)
    shape, latent = model.video_shape, model.autoencoder.latent_shape(model.video_shape)
    clips = 1 + (model.conditional_share if isinstance(model, PVDM) else 0)
    MetaModel(model)
    with Counter() as counter, remembered(counter), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        z = torch.zeros(1, *latent)
        concat = torch.zeros_like(z) if model.net.concat_channels else None
        model.autoencoder.encode(torch.zeros(1, *shape))
        encoding = counter.flop
        model.net(z, torch.zeros(1), Condition(concat=concat))
        network = counter.flop - encoding
    return clips * encoding / 1e9, 3 * network / 1e9


def kept_latents(folder: Path, latent: Tensor) -> LatentDataset:
    """A data set of `CLIPS` videos whose latents are all ``latent [C, *S]``."""
    rows = latent.half().expand(CLIPS, *latent.shape).contiguous()
    (folder / "train-00000.safetensors").write_bytes(safetensors.torch.save({"latent": rows}))
    split = LatentSplit(
        CLIPS,
        CLIPS,
        1,
        False,
        None,
        None,
        None,
        None,
        [],
        [{"file": "train-00000.safetensors", "entries": CLIPS}],
    )
    latents = Latents(str(folder), {}, "", {}, 0, "fp16", tuple(latent.shape), CLIPS, {"train": split}, "")
    return LatentDataset(latents, "train", 0, None)


def steps_of(
    model: nn.Module, batch: int, folder: Path
) -> tuple[Callable[[int], Tensor], Callable[[int], Tensor]]:
    """A step that encodes and one that reads, each a function of its number; both return the loss."""
    optimizer = torch.optim.AdamW(model.net.parameters(), lr=1e-4, fused=True)
    size = model.video_shape[2]
    videos = torch.rand(batch, 3, frames_of(model), size, size) * 2 - 1
    dataset = kept_latents(folder, model.latents_of(videos[:1])[0])

    def learn(inputs: dict[str, Tensor]) -> Tensor:
        optimizer.zero_grad()
        loss = model.losses(inputs, "train").mean()
        loss.backward()
        optimizer.step()
        return loss.detach()

    def positions(step: int) -> range:
        return range(step * batch, (step + 1) * batch)

    def encoding(step: int) -> Tensor:
        return learn({"video": videos, "sample": torch.tensor(positions(step))})

    def reading(step: int) -> Tensor:
        return learn(collate_latents([dataset[p] for p in positions(step)]))

    return encoding, reading


def in_turn(
    a: Callable[[int], Tensor], b: Callable[[int], Tensor], repeats: int
) -> tuple[float, float, float]:
    """Median CPU seconds of A and of B, and the median of A / B over the pairs; one untimed pair first."""
    a(0), b(0)
    pairs = []
    for step in range(1, repeats + 1):
        times = [time.process_time()]
        for run in (a, b):
            run(step)
            times.append(time.process_time())
        pairs.append((times[1] - times[0], times[2] - times[1]))
    seconds_a, seconds_b = (statistics.median(column) for column in zip(*pairs, strict=True))
    return seconds_a, seconds_b, statistics.median(x / y for x, y in pairs)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--parts", type=int, default=2, help="divide every width by this")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", type=int, default=128, help="height and width of the clips that are run")
    parser.add_argument("--published_side", type=int, default=256, help="of those that are counted")
    parser.add_argument("--only", choices=MODELS, help="this model alone")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    models = {options.only: MODELS[options.only]} if options.only else MODELS
    print(f"torch {torch.__version__}, {options.threads} thread(s), batch {options.batch}\n")
    print(
        "| GFLOP of one sample | encoding | U-Net, forward and backward | (both) / U-Net |\n|---|---|---|---|"
    )
    for name, make in models.items():
        for title, side, parts in (
            ("published", options.published_side, 1),
            ("here", options.side, options.parts),
        ):
            encoding, network = gflop(make, side, parts)
            ratio = (encoding + network) / network
            print(f"| {name}, {title} | {encoding:.1f} | {network:.1f} | {ratio:.2f} |", flush=True)
    print("\n| training step | encoding each time, CPU s | from latents, CPU s | ratio |\n|---|---|---|---|")
    for name, make in models.items():
        with tempfile.TemporaryDirectory() as folder:
            encoding, reading = steps_of(make(options.side, options.parts), options.batch, Path(folder))
            seconds_a, seconds_b, ratio = in_turn(encoding, reading, options.repeats)
        print(f"| {name} | {seconds_a:.3f} | {seconds_b:.3f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
