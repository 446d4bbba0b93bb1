"""What a sampler's step costs over the bare forward pass of its network: the median of paired ratios, CPU time.

Run ``OMP_NUM_THREADS=1 python benchmarks/sampler_overhead.py``. A and B run in turn on the same input, so that another
load on the machine meets both.
"""

import argparse
import statistics
import time

import torch

from videodiff.diffusion import (
    AncestralSampler,
    Condition,
    CosineSchedule,
    DDIMSampler,
    DPMSolverPP2MSampler,
    NetworkDenoiser,
    Sampler,
    Threshold,
)
from videodiff.networks import UNet3D

SMALLEST = ("--repeats", "1", "--steps", "2", "--side", "16", "--frames", "4")


def cpu_seconds(function) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


@torch.no_grad()
def ratio(sampler: Sampler, net: UNet3D, z: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Median of (sampling / as many bare forwards) and CPU milliseconds of one forward."""
    schedule, cond = CosineSchedule(), Condition()
    denoiser = Threshold(NetworkDenoiser(net, schedule, "v"))
    generator = torch.Generator().manual_seed(0)
    time_input = torch.full((len(z),), 500.0)

    def bare() -> None:
        for _ in range(sampler.num_steps):
            net(z, time_input, cond)

    def sampled() -> None:
        sampler.sample(denoiser, schedule, z, cond, generator)

    bare(), sampled()
    pairs = [(cpu_seconds(bare), cpu_seconds(sampled)) for _ in range(repeats)]
    forward = statistics.median(a for a, _ in pairs) / sampler.num_steps * 1000
    return statistics.median(b / a for a, b in pairs), forward


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--frames", type=int, default=16, help="of the video")
    parser.add_argument("--side", type=int, default=32, help="height and width of the video")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = UNet3D(
        resolution=args.side, num_frames=args.frames, width=16, channel_multipliers=(1, 2, 4), num_blocks=1,
        attention_resolutions=(args.side // 4, args.side // 2), head_dim=32, embedding_layers=2,
    ).eval()  # fmt: skip
    z = torch.randn(2, 3, args.frames, args.side, args.side)
    print("| sampler | forward, CPU ms | step / forward |\n|---|---|---|")
    for sampler in (
        DDIMSampler(args.steps),
        AncestralSampler(args.steps, gamma=0.3),
        DPMSolverPP2MSampler(args.steps),
    ):
        value, forward = ratio(sampler, net, z, args.repeats)
        print(
            f"| {type(sampler).__name__}, {args.steps} steps, clipped | {forward:.1f} | {value:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
