"""Peak memory of decoding and writing long video: it must not grow with the number of frames.

A latent of random numbers is decoded by an untrained Autoencoder3D and written as ``videodiff generate`` writes it:
window by window, frame by frame, then the sheet of the clips. Every length runs in a process of its own, whose peak
(``ru_maxrss``) is compared with that of one that imports and builds everything and writes nothing. For comparison the
same latent is decoded whole and written afterwards, the way without windows.

    python benchmarks/long_video_memory.py                        # 16, 128 and 1,024 frames of 64 x 64
    python benchmarks/long_video_memory.py --resolution 128 --frames 16 128 1024 4096
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MIB = 2**20
SMALLEST = ("--frames", "16", "--resolution", "32", "--width", "8", "--here")


def peak_mib() -> float:
    """Largest resident memory of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024


def write_once(frames: int, resolution: int, width: int, way: str, folder: Path) -> dict[str, float]:
    """Build the model, write ``frames`` frames of one video (0: none) and return peak and seconds."""
    import torch

    from videodiff.cli import clip_files
    from videodiff.diffusion import DDIMSampler, ScaledLinearSchedule
    from videodiff.models import LVDM
    from videodiff.networks import Autoencoder3D, UNet3D

    torch.manual_seed(0)
    torch.set_num_threads(1)
    autoencoder = Autoencoder3D(16, resolution, width)
    net = UNet3D(channels=4, resolution=resolution // 8, num_frames=4, width=32, channel_multipliers=(1,),
                 attention_resolutions=(), head_dim=32)  # fmt: skip
    model = LVDM(net, ScaledLinearSchedule(), DDIMSampler(1), autoencoder=autoencoder).eval()
    if way == "whole":
        autoencoder.decode_stream = lambda latent: iter([autoencoder.decode(latent)])
    start = time.process_time()
    if frames:
        path = clip_files.clip_path(folder, 0)
        latent = torch.randn(1, *model.latents.shape(model.total_units(frames)))
        clip_files.write_batch(model, latent, frames, [path], 8, lambda piece: piece)
        clip_files.write_sheet(folder / "sheet.mp4", [path], 8)
    return {"peak_mib": peak_mib(), "seconds": time.process_time() - start}


def measured(
    frames: int, resolution: int, width: int, way: str = "windows", here: bool = False
) -> dict[str, float]:
    """:func:`write_once` in a fresh process, which alone has a peak of its own, or in this one."""
    with tempfile.TemporaryDirectory() as folder:
        if here:
            return write_once(frames, resolution, width, way, Path(folder))
        options = {"frames": frames, "resolution": resolution, "width": width, "way": way, "once": folder}
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, __file__, *words]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, nargs="+", default=[16, 128, 1024])
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--width", type=int, default=16, help="of the autoencoder; published: 32")
    parser.add_argument("--way", choices=("windows", "whole"), default="windows")
    parser.add_argument(
        "--here", action="store_true", help="in this process: at once, but with one peak for all"
    )
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.once:
        print(
            json.dumps(
                write_once(options.frames[0], options.resolution, options.width, options.way, options.once)
            )
        )
        return
    size = options.resolution, options.width
    nothing = measured(0, *size, here=options.here)["peak_mib"]
    print(
        f"{options.resolution} x {options.resolution}, autoencoder of width {options.width}, one thread; "
        f"before the first frame: {nothing:.0f} MiB\n"
    )
    print("| frames | in windows, MiB more | CPU ms per frame | decoded whole, MiB more |")
    print("|---|---|---|---|")
    for frames in options.frames:
        ours = measured(frames, *size, here=options.here)
        whole = measured(frames, *size, "whole", options.here)
        print(
            f"| {frames} | {ours['peak_mib'] - nothing:.0f} | {1000 * ours['seconds'] / frames:.1f} "
            f"| {whole['peak_mib'] - nothing:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
