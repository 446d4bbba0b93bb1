"""Clips per CPU second of I3D against the same network made of plain Conv3d, BatchNorm3d and MaxPool3d layers.

Run ``OMP_NUM_THREADS=1 python benchmarks/i3d.py --weights FILE``, with the file of I3D's weights or its folder. A and B
run in turn on the same clips, so that another load on the machine meets both.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from videodiff.metrics.features import I3DFeatures
from videodiff.metrics.features.i3d import I3D_WEIGHTS, load_i3d
from videodiff.metrics.features.i3d_network import MIXED, POOLS
from videodiff.metrics.features.layers3d import pad_same, pool_volume
from videodiff.weights import find_weights, load_tensors

SMALLEST = ("--weights", "random", "--repeats", "1", "--shapes", "1x9")


class PlainUnit(nn.Module):
    """Convolution, batch norm, ReLU: as the public ports have it."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv3d = nn.Conv3d(in_channels, out_channels, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(out_channels, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv3d(pad_same(x, self.conv3d.kernel_size, self.conv3d.stride))))


class PlainMixed(nn.Module):
    """An inception block."""

    def __init__(self, channels: int, b0: int, b1: tuple[int, int], b2: tuple[int, int], b3: int) -> None:
        super().__init__()
        self.b0 = PlainUnit(channels, b0, 1)
        self.b1a, self.b1b = PlainUnit(channels, b1[0], 1), PlainUnit(*b1, 3)
        self.b2a, self.b2b = PlainUnit(channels, b2[0], 1), PlainUnit(*b2, 3)
        self.b3b = PlainUnit(channels, b3, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = pool_volume(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class PlainI3D(nn.Module):
    """Videos ``[B, 3, T, 224, 224]`` -> logits ``[B, 400]``, layer by layer."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = PlainUnit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = PlainUnit(64, 64, 1)
        self.Conv3d_2c_3x3 = PlainUnit(64, 192, 3)
        channels = 192
        for name, (b0, b1, b2, b3) in MIXED.items():
            self.add_module(name, PlainMixed(channels, b0, b1, b2, b3))
            channels = b0 + b1[1] + b2[1] + b3
        self.logits = nn.ModuleDict({"conv3d": nn.Conv3d(channels, 400, 1)})

    def forward(self, x: Tensor) -> Tensor:
        for name, layer in self.named_children():
            if name != "logits":
                x = layer(pool_volume(x, *POOLS[name]) if name in POOLS else x)
        return self.logits["conv3d"](F.avg_pool3d(x, (2, 7, 7), 1)).mean(dim=(2, 3, 4))


def networks(weights: str | None) -> tuple[nn.Module, nn.Module]:
    """(plain, ours) with the same weights."""
    plain = PlainI3D()
    if weights == "random":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "i3d.pt")
            torch.save(plain.state_dict(), path)
            return plain.eval().requires_grad_(False), load_i3d(path, eps=1e-3)
    tensors = load_tensors(find_weights(I3D_WEIGHTS, weights))
    missing = plain.load_state_dict({name: value.float() for name, value in tensors.items()}, strict=False)
    assert not missing.unexpected_keys
    assert all("bn.weight" in name or "num_batches" in name for name in missing.missing_keys)
    return plain.eval().requires_grad_(False), I3DFeatures(weights).network()


def cpu_seconds(function, *args) -> float:
    start = time.process_time()
    function(*args)
    return time.process_time() - start


@torch.inference_mode()
def row(plain: nn.Module, ours: nn.Module, batch: int, frames: int, repeats: int) -> str:
    """One line of the table."""
    video = torch.rand(batch, 3, frames, 224, 224) * 2 - 1
    difference = float((plain(video) - ours(video)).abs().max())
    pairs = [(cpu_seconds(plain, video), cpu_seconds(ours, video)) for _ in range(repeats)]
    clips = [batch / statistics.median(times) for times in zip(*pairs, strict=True)]
    ratio = statistics.median(a / b for a, b in pairs)
    return f"| {batch} x {frames} frames | {clips[0]:.2f} | {clips[1]:.2f} | {ratio:.2f} | {difference:.0e} |"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--weights", help="file or folder of I3D's weights, or random; by default they are looked for"
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument(
        "--shapes", nargs="+", default=["1x16", "4x16", "1x64"], help="batch x frames of each row"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    plain, ours = networks(args.weights)
    print(
        "| batch | plain, clips per CPU s | ours, clips per CPU s | ours / plain | largest difference of a logit |"
    )
    print("|---|---|---|---|---|")
    for shape in args.shapes:
        batch, frames = map(int, shape.split("x"))
        print(row(plain, ours, batch, frames, args.repeats), flush=True)


if __name__ == "__main__":
    main()
