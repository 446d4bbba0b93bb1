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
from collections.abc import Callable

import torch
from torch import Tensor, nn
from unet_triplane import cpu_seconds, in_turn, step_of

from videodiff.cost.real_run import counted
from videodiff.diffusion.condition import Condition
from videodiff.networks import UNet3D, UNet3DPort

SMALLEST = (
    "--peer", "none", "--dim", "32", "--frames", "4", "--size", "16", "--batch", "1", "--repeats", "1",
)  # fmt: skip


def forward_gflop(call: Callable[[], Tensor]) -> float:
    """Multiplications and additions of one forward pass."""
    with torch.no_grad():
        return counted(call) / 1e9


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dim", type=int, default=32, help="channels of the first level")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, default=32, help="height and width")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--peer", choices=("package", "none"), default="package", help="none: our networks alone"
    )
    options = parser.parse_args(argv)
    Unet3D = peer_class() if options.peer == "package" else None
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = (options.batch, 3, options.frames, options.size, options.size)
    z, steps = torch.randn(shape), torch.linspace(10, 900, options.batch)
    port = UNet3DPort(width=options.dim, resolution=options.size)
    if Unet3D is None:
        return compare_vdm(None, port, z, steps, options)
    peer = Unet3D(dim=options.dim)
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

    return compare_vdm(peer, port, z, steps, options)


def peer_class() -> type[nn.Module]:
    """The package's network."""
    try:
        from video_diffusion_pytorch import Unet3D
    except ImportError as error:
        raise SystemExit(
            f"the peer is missing ({error}): pip install 'videodiff[benchmark]', or --peer none"
        ) from error
    return Unet3D


def compare_vdm(
    peer: nn.Module | None, port: nn.Module, z: Tensor, steps: Tensor, options: argparse.Namespace
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

    rows: dict[str, tuple[nn.Module, Callable[[], Tensor]]] = {
        "UNet3DPort": (port, lambda: port(z, steps, Condition())),
        "UNet3D": (vdm, lambda: vdm(z, steps, Condition())),
    }
    if peer is not None:
        rows = {"video-diffusion-pytorch": (peer, lambda: peer(z, steps)), **rows}
    print("\n| network, fp32 | parameters, M | forward, GFLOP | forward, GFLOP/s | training step, GFLOP/s |")
    print("|---|---|---|---|---|")
    for name, (net, call) in rows.items():
        gflop = forward_gflop(call)
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
