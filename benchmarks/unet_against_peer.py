"""Our U-Net against the PyPI package video-diffusion-pytorch: the same function with the same weights.

Both run in turn in one process on one thread, and the ratio of their CPU times is taken pair by pair, so that what
else the machine does falls on both. ``UNet3DPort`` holds the package's own weights; the script stops if their outputs
differ. A second table gives ``UNet3D``, another architecture, beside it by arithmetic done.

    python benchmarks/unet_against_peer.py                # dim 32, 16 frames of 32 x 32, batch 2
    python benchmarks/unet_against_peer.py --dim 64 --repeats 3

Needs the ``benchmark`` extra. A training step is forward, mean square and backward, without an optimizer.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from videodiff.diffusion.condition import Condition
from videodiff.networks import UNet3D, UNet3DPort


def cpu_seconds(step: Callable[[], None]) -> float:
    """CPU seconds of the process for one call."""
    start = time.process_time()
    step()
    return time.process_time() - start


def in_turn(a: Callable[[], None], b: Callable[[], None], repeats: int) -> tuple[float, float, float]:
    """Median seconds of A and of B, and the median of A / B over the pairs; one untimed pair first."""
    a(), b()
    pairs = [(cpu_seconds(a), cpu_seconds(b)) for _ in range(repeats)]
    seconds_a, seconds_b = zip(*pairs, strict=True)
    ratio = statistics.median(x / y for x, y in pairs)
    return statistics.median(seconds_a), statistics.median(seconds_b), ratio


def step_of(
    net: nn.Module, call: Callable[[], Tensor], is_training: bool, is_bf16: bool
) -> Callable[[], None]:
    """A forward pass without gradients, or a forward and backward pass."""

    def step() -> None:
        net.zero_grad()
        with torch.set_grad_enabled(is_training), torch.autocast("cpu", torch.bfloat16, enabled=is_bf16):
            out = call()
        if is_training:
            out.float().square().mean().backward()

    return step


def forward_gflop(call: Callable[[], Tensor]) -> float:
    """Multiplications and additions of one forward pass; fused attention is counted on the meta device only."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dim", type=int, default=32, help="channels of the first level")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=32, help="height and width")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    try:
        from video_diffusion_pytorch import Unet3D
    except ImportError as error:
        raise SystemExit(f"the peer is missing ({error}): pip install 'videodiff[benchmark]'") from error
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = (options.batch, 3, options.frames, options.size, options.size)
    z, steps = torch.randn(shape), torch.linspace(10, 900, options.batch)
    peer, port = Unet3D(dim=options.dim), UNet3DPort(width=options.dim, resolution=options.size)
    port.load_published(peer.state_dict())
    with torch.no_grad():
        difference = (peer(z, steps) - port(z, steps, Condition())).abs().max().item()
    print(f"torch {torch.__version__}, {options.threads} thread(s), dim {options.dim}, z {list(shape)}")
    print(f"largest difference of the outputs: {difference:.1e}\n")
    if difference > 1e-4:
        raise SystemExit("UNet3DPort and the package disagree: no comparison")

    nets = {"peer": (peer, lambda: peer(z, steps)), "port": (port, lambda: port(z, steps, Condition()))}
    print("| measure | peer, CPU s | ours, CPU s | peer / ours |\n|---|---|---|---|")
    for is_training in (False, True):
        for peer_bf16, ours_bf16 in ((False, False), (True, True), (False, True)):
            a = step_of(*nets["peer"], is_training, peer_bf16)
            b = step_of(*nets["port"], is_training, ours_bf16)
            seconds_a, seconds_b, ratio = in_turn(a, b, options.repeats)
            precision = "/".join("bf16" if bf16 else "fp32" for bf16 in (peer_bf16, ours_bf16))
            name = f"{'training step' if is_training else 'forward'}, {precision}"
            print(f"| {name} | {seconds_a:.3f} | {seconds_b:.3f} | {ratio:.2f} |", flush=True)

    compare_vdm(peer, port, z, steps, options)


def compare_vdm(
    peer: nn.Module, port: nn.Module, z: Tensor, steps: Tensor, options: argparse.Namespace
) -> None:
    """Print arithmetic, time and speed of UNet3D of the same width beside the other two, fp32."""
    vdm_options = {
        "width": options.dim,
        "resolution": options.size,
        "num_frames": options.frames,
        "attention_resolutions": tuple(
            s for s in (8, 16, 32) if s in {options.size >> level for level in range(4)}
        ),
        "head_dim": 32,
    }
    vdm = UNet3D(**vdm_options)

    with torch.device("meta"):
        empty = torch.empty(z.shape), torch.empty(len(z)), Condition()
        port_on_meta, vdm_on_meta = (
            UNet3DPort(width=options.dim, resolution=options.size),
            UNet3D(**vdm_options),
        )
    # the package asks a tensor for its value, which meta tensors have not; it has no fused attention either
    rows = {
        "video-diffusion-pytorch": (peer, lambda: peer(z, steps), lambda: peer(z, steps)),
        "UNet3DPort": (port, lambda: port(z, steps, Condition()), lambda: port_on_meta(*empty)),
        "UNet3D": (vdm, lambda: vdm(z, steps, Condition()), lambda: vdm_on_meta(*empty)),
    }
    print("\n| network, fp32 | parameters, M | forward, GFLOP | forward, GFLOP/s | training step, GFLOP/s |")
    print("|---|---|---|---|---|")
    for name, (net, call, count) in rows.items():
        gflop = forward_gflop(count)
        speeds = []
        for is_training in (False, True):
            step = step_of(net, call, is_training, False)
            step()
            seconds = statistics.median(cpu_seconds(step) for _ in range(options.repeats))
            speeds.append((3 if is_training else 1) * gflop / seconds)
        millions = sum(p.numel() for p in net.parameters()) / 1e6
        print(f"| {name} | {millions:.1f} | {gflop:.1f} | {speeds[0]:.0f} | {speeds[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
