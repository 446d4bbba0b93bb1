"""What it costs that every window of a video file is shown to equal its linear decode, in clips per CPU second.

Run ``OMP_NUM_THREADS=1 python benchmarks/seek_proof.py``. Training is played through: visit after visit every file is
read at a new random window, by the nearest key frame believed (no checksum, no linear decode) and by ``read_frames``.
The two take turns file by file, so that another load on the machine meets both; each round begins with files never met.
The figures are medians over rounds, in CPU time of the one process. Real files are read from
``$VIDEODIFF_TEST_ASSETS/data/plain_mp4`` if that is set; the generated ones are made here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import av
import numpy as np
import torch
from data_loading import moving_scene

from videodiff.data.resize import resize
from videodiff.data.video_decode import SKIPPING
from videodiff.data.video_file import VIDEO_SUFFIXES, open_stream, packets_of
from videodiff.data.video_probe import VideoInfo, probe
from videodiff.data.video_read import read_frames
from videodiff.seeding import uniform

FRAMES = 16
VISITS = (1, 2, 3, 10, 100)  # how often a file was read, when the figure is taken
SMALLEST = ("--size", "16", "--rounds", "1", "--visits", "1", "3", "--frames", "40", "--height", "36")


def believed(info: VideoInfo, start: int, size: int) -> torch.Tensor:
    """The window from the nearest key frame, frames that nobody refers to left out, with nothing compared."""
    assert info.pts is not None
    wanted = [int(info.pts[number]) for number in range(start, start + FRAMES)]
    needed, pictures = set(wanted), []
    with open_stream(info.path) as (container, stream):
        if start:
            container.seek(wanted[0], stream=stream, backward=True, any_frame=False)
        context, now = stream.codec_context, "DEFAULT"
        skips = context.name in SKIPPING
        for packet in packets_of(info.path, container, stream):
            then = "NONREF" if skips and packet.pts not in needed else "DEFAULT"
            if then != now:
                context.skip_frame = now = then
            for frame in packet.decode():
                if frame.pts in needed:
                    picture = frame.reformat(format="rgb24", threads=1).to_ndarray()
                    pictures.append(resize(torch.from_numpy(picture), size))
                if len(pictures) == FRAMES:
                    return torch.stack(pictures)
    raise ValueError(f"{info.path}: frames {start} to {start + FRAMES - 1} did not come out")


def generate(folder: Path, key_distance: int, num_videos: int, num_frames: int, side: int) -> None:
    """H.264 with B-frames and a key frame every so many frames."""
    folder.mkdir(parents=True)
    for number in range(num_videos):
        with av.open(str(folder / f"{number}.mp4"), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": "23", "g": str(key_distance)})
            stream.width, stream.height, stream.pix_fmt = side * 4 // 3, side, "yuv420p"
            for picture in moving_scene(num_frames, side, side * 4 // 3, number):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))


def play(paths: list[Path], size: int, visits: int, round_number: int) -> np.ndarray:
    """CPU seconds of each way at each visit of each file, ``[2, visits, files]``."""
    seconds = np.zeros((2, visits, len(paths)))
    for at, path in enumerate(paths):
        info = probe(path)
        for visit in range(visits):
            start = int(uniform("proof", round_number, at, visit) * (info.num_frames - FRAMES + 1))
            clips = []
            for way, read in enumerate(
                (
                    lambda s, i=info: believed(i, s, size),
                    lambda s, i=info: read_frames(i, range(s, s + FRAMES), size),
                )
            ):
                began = time.process_time()
                clips.append(read(start))
                seconds[way, visit, at] = time.process_time() - began
            assert torch.equal(*clips), path
    return seconds


def compare(name: str, paths: list[Path], size: int, rounds: int, visited: list[int]) -> None:
    """Print the rows of one set of files."""
    infos = [probe(path) for path in paths]
    played = [play(paths, size, max(visited), number) for number in range(rounds)]
    for visits in visited:
        sums = [seconds[:, :visits].sum((1, 2)) for seconds in played]
        clips = visits * len(paths)
        before, after = (statistics.median(clips / pair[way] for pair in sums) for way in (0, 1))
        cost = statistics.median(pair[1] / pair[0] for pair in sums)
        print(f"| {name} | {visits} | {before:.0f} | {after:.0f} | {cost:.2f} |", flush=True)
    frames = sum(info.num_frames for info in infos)
    print(f"| | kept in memory | | {4 * frames / len(infos):.0f} bytes a file | |", flush=True)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--visits", type=int, nargs="+", default=VISITS, help="reads of each file, counted up to here"
    )
    parser.add_argument("--frames", type=int, default=300, help="of each generated video")
    parser.add_argument("--height", type=int, default=240, help="of each generated video")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    assets = os.environ.get("VIDEODIFF_TEST_ASSETS")
    print(
        "| files | reads of each | believed, clips per CPU s | proved, clips per CPU s | proved / believed, time |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for distance in (12, 250):
            root = Path(folder, str(distance))
            generate(root, distance, 2, args.frames, args.height)
            shape = f"{args.height * 4 // 3} x {args.height}, {args.frames} frames"
            name = f"H.264 {shape}, a key frame every {distance}"
            compare(name, sorted(root.iterdir()), args.size, args.rounds, args.visits)
        if assets:
            found = sorted(
                p for p in Path(assets, "data", "plain_mp4").rglob("*") if p.suffix in VIDEO_SUFFIXES
            )
            compare("real mp4", found[:3], args.size, args.rounds, args.visits)


if __name__ == "__main__":
    main()
