"""Do the seams of a long video show? How much neighbouring frames differ at clip boundaries, against inside clips.

    videodiff generate --ckpt_path runs/pvdm_digits --frames 128 --num_samples 16 --out long
    python scripts/clip_boundaries.py long

A video that is generated clip by clip may jump, or stand still, where one clip ends and the next begins. Of every
video the root mean squared difference of neighbouring frames is averaged over the boundaries and over all other pairs
of frames; the first over the second is its ratio, 1 where no seam shows. If clips fade into each other over --shared
frames, every pair that the fade touches is a boundary. The table has means over videos with their
intervals (95 %). A real set, given with --real, is cut at the same frames: what chance does there is in its row.

Prints one JSON object with --json. Exit code 1 with --at_most R if the lower end of the ratio's interval lies above R.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from videodiff.data.video_io import read_video
from videodiff.evaluation.folders import Folder
from videodiff.metrics.intervals import mean_interval


def differences(video: np.ndarray) -> np.ndarray:
    """Root mean squared difference of neighbouring frames of uint8 ``[T, H, W, 3]``, ``[T - 1]`` in grey levels."""
    return np.array(
        [np.sqrt(np.mean((a.astype(float) - b) ** 2)) for a, b in zip(video[1:], video, strict=False)]
    )


def boundary_figures(video: np.ndarray, clip_frames: int, shared: int = 0) -> dict[str, float]:
    """What a video's frames change by at the boundaries of its clips and inside them.

    Args:
        video: uint8 ``[T, H, W, 3]``.
        clip_frames: frames of a clip.
        shared: frames that a clip has in common with the one before, over which one fades into the other. From the
            last frame of the old clip alone to the first of the new one alone there are that many steps and one, and
            all of them are boundary.

    Returns:
        ``boundary`` and ``inside``, mean rms differences in grey levels, and ``ratio``, the first over the second.

    Raises:
        ValueError: if there is no boundary, nothing inside, or nothing moves inside clips, or ``shared`` leaves no
            step inside a clip.
    """
    if clip_frames < 2 or len(video) <= clip_frames:
        raise ValueError(
            "boundaries need clips of at least 2 frames and a video longer than one, "
            f"got {clip_frames} and {len(video)}"
        )
    stride = clip_frames - shared
    if not 0 <= shared < stride - 1:
        raise ValueError(f"shared frames must be fewer than half of a clip of {clip_frames}, got {shared}")
    steps, frame = differences(video), np.arange(1, len(video))  # steps[i] leads to frame[i]
    num_clips = -(-(len(video) - shared) // stride)
    is_boundary = (frame >= stride) & (frame // stride < num_clips) & (frame % stride <= shared)
    boundary, inside = float(steps[is_boundary].mean()), float(steps[~is_boundary].mean())
    if inside == 0:
        raise ValueError("nothing moves inside the clips of this video: its ratio is not defined")
    return {"boundary": boundary, "inside": inside, "ratio": boundary / inside}


def folder_figures(
    folder: Path, clip_frames: int, max_frames: int | None = None, shared: int = 0
) -> dict[str, list[float]]:
    """Means over the videos of a folder with their intervals: figure -> [mean, low, high]; and the ``count``.

    Raises:
        ValueError: if there are fewer than 2 videos, or one is too short.
    """
    entries = Folder(folder).entries
    videos = [
        boundary_figures(read_video(entry.path, max_frames=max_frames).numpy(), clip_frames, shared)
        for entry in entries
    ]
    if len(videos) < 2:
        raise ValueError(f"{folder}: an interval needs at least 2 videos, got {len(videos)}")
    result: dict = {"count": len(videos)}
    for name in videos[0]:
        interval = mean_interval([video[name] for video in videos])
        result[name] = [interval.value, interval.low, interval.high]
    return result


def row(name: str, figures: dict) -> str:
    """A row of the table."""
    cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in (figures[k] for k in FIGURES)]
    return f"| {name} | {figures['count']} | {' | '.join(cells)} |"


FIGURES = ("boundary", "inside", "ratio")


def main(argv: list[str] | None = None) -> int:
    """Print the table or the object; 0, 1 if the ratio is too large, 2 for folders that cannot be judged."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="videos longer than a clip")
    parser.add_argument("--clip_frames", type=int, default=16, help="frames of a clip")
    parser.add_argument(
        "--shared",
        type=int,
        default=0,
        help="frames that neighbouring clips share (overlap_frames of a PVDM)",
    )
    parser.add_argument("--real", type=Path, help="real videos, cut at the same frames")
    parser.add_argument("--max_frames", type=int, help="frames of a video that are read")
    parser.add_argument(
        "--at_most", type=float, help="exit with 1 if the ratio is above this beyond its interval"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    try:
        cut = (options.clip_frames, options.max_frames, options.shared)
        figures = folder_figures(options.folder, *cut)
        real = options.real and folder_figures(options.real, *cut)
    except (ValueError, FileNotFoundError) as error:
        print(f"clip_boundaries: {error}", file=sys.stderr)
        return 2
    if options.json:
        facts = {"clip_frames": options.clip_frames, "shared": options.shared, **figures}
        print(json.dumps({**facts, **({"real": real} if real else {})}))
    else:
        print("| videos | count | at boundaries, grey levels | inside clips | ratio |\n|---|---|---|---|---|")
        print(row(str(options.folder), figures))
        if real:
            print(row(str(options.real), real))
    return int(options.at_most is not None and figures["ratio"][1] > options.at_most)


if __name__ == "__main__":
    sys.exit(main())
