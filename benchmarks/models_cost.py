"""What one video costs to draw: VDM, LVDM and PVDM at equal clip size, 16 and 128 frames.

    OMP_NUM_THREADS=1 python benchmarks/models_cost.py                  # both tables
    OMP_NUM_THREADS=1 python benchmarks/models_cost.py --steps 50/20 --only measured

The first table is measured: the configs of the built-in digits (32 x 32) with random weights, one video, each
measurement in a process of its own: its peak resident memory, and by how much its private memory grew at most while it
generated (looked at every 2 ms; mapped libraries come and go with the state of the machine). The second is
counted: the networks of the SkyTimelapse configs at 256 x 256 on tensors without memory.

FLOP are those of the network's forward pass, two per multiply-add, times sampler steps, times windows, and of decoding.
Where a window is guided by the gradient through the network (VDM beyond its first), the backward pass counts too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from videodiff.checkpoints.first_stage import FirstStage
from videodiff.checkpoints.run import build_model
from videodiff.config import read_configs
from videodiff.cost.counter import Counter
from videodiff.cost.group_norm import remembered
from videodiff.cost.meta_model import MetaModel
from videodiff.diffusion import Condition, DDIMSampler
from videodiff.models import VDM

SMALLEST = ("--steps", "1/1", "--lengths", "16", "32", "--models", "PVDM-S", "PVDM", "--here")
MEASURED = {"VDM": ["vdm_digits"], "LVDM": ["lvdm_digits"], "PVDM": ["pvdm_digits"]}
COUNTED = {
    "VDM, vdm_sky at 256 x 256": (
        ["vdm_sky"],
        ["--model.net.resolution", "256", "--model.net.attention_resolutions", "[32]"],
    ),
    "LVDM, lvdm_sky": (["lvdm_sky"], []),
    "PVDM-S, pvdm_sky + with/small": (["pvdm_sky", "with/small"], []),
    "PVDM-L, pvdm_sky": (["pvdm_sky"], []),
}

NAMES = list(dict.fromkeys([*MEASURED, *(name.split(",")[0] for name in COUNTED)]))


def build(configs: list[str], options: list[str], device: str) -> Any:
    """The model of a config on a device, its first stage untrained."""
    section = read_configs(configs, "fit", options)["model"]
    stage = section["init_args"].get("autoencoder")
    if stage and stage["class_path"].endswith(FirstStage.__name__):
        first = read_configs([stage["init_args"]["checkpoint"]], "fit")["model"]
        section["init_args"]["autoencoder"] = first["init_args"]["autoencoder"]
    with torch.device(device):
        return build_model(section, configs[0], ()).eval()


# --- counted --------------------------------------------------------------------------------------------------------


def count(
    module: torch.nn.Module, call: Callable[..., Tensor], *inputs: tuple[int, ...], back: bool = False
) -> int:
    """FLOP of ``call(module, *inputs)`` on tensors without memory; with ``back`` and of its gradient at the first."""
    MetaModel(module.requires_grad_(False))
    with (
        Counter() as counter,
        remembered(counter),
        torch.set_grad_enabled(back),
        sdpa_kernel(SDPBackend.MATH),
    ):
        tensors = [torch.zeros(shape, requires_grad=back and i == 0) for i, shape in enumerate(inputs)]
        out = call(module, *tensors)
        if back:
            out.sum().backward()
    return counter.flop


def flops(model: Any, lengths: tuple[int, ...], steps: tuple[int, int]) -> dict[int, float]:
    """FLOP of generating one video of each length."""
    net, stage = model.net, model.autoencoder
    latent = stage.latent_shape(model.video_shape)

    def denoise(module: Any, z: Tensor, t: Tensor, *concat: Tensor) -> Tensor:
        label = torch.zeros(1, dtype=torch.long) if getattr(net, "num_classes", None) is not None else None
        vector = torch.zeros(1, net.vector_dim) if getattr(net, "vector_dim", None) else None
        return module(z, t, Condition(label=label, vector=vector, concat=concat[0] if concat else None))

    channels = getattr(net, "concat_channels", 0)
    inputs = [(1, *latent), (1,), *([(1, channels, *latent[1:])] if channels else [])]
    first = count(net, denoise, *inputs)
    later = count(net, denoise, *inputs, back=True) if isinstance(model, VDM) else first
    decoded = count(stage, lambda module, z: module.decode(z), (1, *latent))
    result = {}
    for frames in lengths:
        windows = len(model.windows(model.total_units(frames)))
        clips = max(frames / model.video_shape[1], 1)
        result[frames] = first * steps[0] + later * steps[1] * (windows - 1) + decoded * clips
    return result


# --- measured -------------------------------------------------------------------------------------------------------


class PrivateMemory:
    """Watches the private memory of this process in a ``with``; Linux only.

    Attributes:
        grown_mib: how far it rose above what it was at the start.
    """

    def __enter__(self) -> PrivateMemory:
        self.start, self.grown_mib, self.done = self.now(), 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def now(self) -> float:
        """Resident memory without what is shared with files, MiB."""
        _, resident, shared, *_ = map(int, Path("/proc/self/statm").read_text().split())
        return (resident - shared) * resource.getpagesize() / 2**20

    def watch(self) -> None:
        """Keep the largest value until it is over."""
        while not self.done.wait(0.002):
            self.grown_mib = max(self.grown_mib, self.now() - self.start)

    def __exit__(self, *args: object) -> None:
        self.done.set()
        self.thread.join()


def measure(configs: list[str], frames: int, steps: tuple[int, int]) -> dict[str, float]:
    """CPU seconds and memory of one drawing in this process; an untimed one of a single step goes before."""
    torch.manual_seed(0)
    model = build(configs, [], "cpu")
    first, later = DDIMSampler(steps[0]), DDIMSampler(steps[1])
    with PrivateMemory() as memory:
        model.generate(1, model.video_shape[1], sampler=DDIMSampler(1))
        start = time.process_time()
        latent = model.generate_latent(1, frames, sampler=first, later_sampler=later)
        generated = sum(piece.shape[2] for piece in model.decode_frames(latent, frames))
        seconds = time.process_time() - start
    assert generated == frames
    return {
        "seconds": seconds,
        "windows": len(model.windows(model.total_units(frames))),
        "grown_mib": memory.grown_mib,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # KiB on Linux
    }


def in_own_process(name: str, frames: int, steps: str) -> dict[str, float]:
    """:func:`measure` in a fresh process, whose memory is its own."""
    words = [sys.executable, __file__, "--one", name, "--frames", str(frames), "--steps", steps]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def print_measured(
    text: str, steps: tuple[int, int], lengths: tuple[int, ...], models: list[str], here: bool
) -> None:
    """Table of the configs of the built-in digits."""
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} thread(s), one video of 32 x 32, {text} steps\n"
    )
    print(
        "| model | frames | windows | GFLOP | CPU s | GFLOP/s | peak resident MiB | private, grown by MiB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, configs in MEASURED.items():
        if name not in models:
            continue
        counted = flops(build(configs, [], "meta"), lengths, steps)
        for frames in lengths:
            m = measure(configs, frames, steps) if here else in_own_process(name, frames, text)
            gflop = counted[frames] / 1e9
            print(
                f"| {name} | {frames} | {m['windows']} | {gflop:.0f} | {m['seconds']:.1f} | "
                f"{gflop / m['seconds']:.0f} | {m['peak_mib']:.0f} | {m['grown_mib']:.0f} |",
                flush=True,
            )


def print_counted(text: str, steps: tuple[int, int], lengths: tuple[int, ...], models: list[str]) -> None:
    """Table of the networks of the SkyTimelapse configs."""
    print(f"\nOne video of 256 x 256, {text} steps\n")
    titles = " | ".join(f"{frames} frames, TFLOP" for frames in lengths)
    print(f"| model | parameters of the network, M | {titles} |")
    print("|---|---" + "|---" * len(lengths) + "|")
    for name, (configs, options) in COUNTED.items():
        if name.split(",")[0] not in models:
            continue
        model = build(configs, options, "meta")
        size = sum(p.numel() for p in model.net.parameters()) / 1e6
        cells = " | ".join(f"{flop / 1e12:.0f}" for flop in flops(model, lengths, steps).values())
        print(f"| {name} | {size:.0f} | {cells} |", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", default="10/4", help="sampler steps of the first window / of the others")
    parser.add_argument("--counted_steps", default="100/20", help="the same of the second table")
    parser.add_argument("--lengths", type=int, nargs="+", default=[16, 128], help="frames of the videos")
    parser.add_argument("--models", nargs="+", default=NAMES, choices=NAMES, help="rows of the tables")
    parser.add_argument(
        "--here", action="store_true", help="measure in this process, whose memory all rows share"
    )
    parser.add_argument("--only", choices=["measured", "counted"])
    parser.add_argument("--one", choices=MEASURED, help="measure this one, in this process, as JSON")
    parser.add_argument("--frames", type=int, default=16, help="of --one")
    options = parser.parse_args(argv)
    steps, counted_steps = (
        tuple(int(n) for n in text.split("/")) for text in (options.steps, options.counted_steps)
    )
    lengths = tuple(options.lengths)
    if options.one:
        print(json.dumps(measure(MEASURED[options.one], options.frames, steps)))
        return
    if options.only != "counted":
        print_measured(options.steps, steps, lengths, options.models, options.here)
    if options.only != "measured":
        print_counted(options.counted_steps, counted_steps, lengths, options.models)


if __name__ == "__main__":
    main()
