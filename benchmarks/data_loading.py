"""Clips per CPU second of every way to read one: decoding whole files, seeking, ours, and what ``prepare`` writes.

Run ``OMP_NUM_THREADS=1 python benchmarks/data_loading.py``. The methods run in turn on the same windows, so that
another load on the machine meets all; the figures are medians over rounds, in CPU time of the one process. Real files
are read from ``$VIDEODIFF_TEST_ASSETS/data/plain_mp4`` if that is set; the generated ones are made here.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import torch

from videodiff.data import BouncingDigits, DriftingClouds
from videodiff.data.clips import ClipSource, FolderSource
from videodiff.data.entries import find_videos
from videodiff.data.pixels import resize_crop
from videodiff.data.prepare import Settings, prepare
from videodiff.data.prepared_source import prepared_source
from videodiff.data.video_probe import VideoInfo, probe
from videodiff.seeding import uniform

FRAMES = 16
H200_CLIPS = (
    370  # clips/s that one H200 trains a 36 M parameter VDM on at 16 x 64 x 64, computed at 35 % of its peak
)
EXACT = (
    "plain",
    "the same",
    "ours, source files",
    "prepared packed",
    "prepared mp4, lossless",
)  # equal pixels
Window = tuple[int, int]  # video, first frame
SMALLEST = ("--size", "16", "--rounds", "1", "--windows", "4", "--frames", "20", "--height", "36")


def moving_scene(num_frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """Textures that slide over each other, with grain: uint8 [T, H, W, 3]."""
    rng = np.random.default_rng(seed)
    ground = rng.normal(size=(height + 64, width + 64, 3))
    for axis in (0, 1):
        kernel = np.hanning(17) / np.hanning(17).sum()
        ground = np.apply_along_axis(np.convolve, axis, ground, kernel, "same")
    ground = 128 + 60 * ground / ground.std()
    frames = []
    for t in range(num_frames):
        y, x = int(32 + 24 * np.sin(t / 19)), int(32 + 24 * np.cos(t / 23))
        frames.append(ground[y : y + height, x : x + width] + rng.normal(0, 3, (height, width, 3)))
    return np.clip(frames, 0, 255).astype(np.uint8)


def generate(folder: Path, num_videos: int, num_frames: int, side: int) -> None:
    """H.264 as cameras and sites write it: B-frames, a key frame every 250 frames."""
    folder.mkdir(parents=True)
    for number in range(num_videos):
        with av.open(str(folder / f"{number}.mp4"), "w") as output:
            stream = output.add_stream("libx264", rate=25, options={"crf": "23", "g": "250"})
            stream.width, stream.height, stream.pix_fmt = side * 4 // 3, side, "yuv420p"
            for picture in moving_scene(num_frames, side, side * 4 // 3, number):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            output.mux(stream.encode(None))


# --- what others do -------------------------------------------------------------------------------------------


def decode_all(info: VideoInfo, start: int, size: int) -> torch.Tensor:
    """Decode and convert the whole file, then slice (several published loaders)."""
    with av.open(info.path) as container:
        container.streams.video[0].thread_type = "NONE"
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return resize_crop(torch.from_numpy(np.stack(frames[start : start + FRAMES])), size)


def plain_seek(info: VideoInfo, start: int, size: int) -> torch.Tensor:
    """Seek to the key frame before, convert what is decoded, drop what comes too early."""
    target = info.pts[start]
    frames: list[np.ndarray] = []
    with av.open(info.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        container.seek(int(target), stream=stream, backward=True, any_frame=False)
        for frame in container.decode(stream):
            picture = frame.to_ndarray(format="rgb24")
            if frame.pts >= target:
                frames.append(picture)
            if len(frames) == FRAMES:
                break
    return resize_crop(torch.from_numpy(np.stack(frames)), size)


def frugal_seek(info: VideoInfo, start: int, size: int) -> torch.Tensor:
    """The same, but dropped frames are not converted."""
    target = info.pts[start]
    frames: list[np.ndarray] = []
    with av.open(info.path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        container.seek(int(target), stream=stream, backward=True, any_frame=False)
        for frame in container.decode(stream):
            if frame.pts >= target:
                frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == FRAMES:
                break
    return resize_crop(torch.from_numpy(np.stack(frames)), size)


# --- the comparison -------------------------------------------------------------------------------------------


def windows_of(source: ClipSource, num_windows: int) -> list[Window]:
    """The same windows for every method, spread over the videos."""
    chosen = []
    for number in range(num_windows):
        video = number % len(source)
        room = source.num_frames(video) - FRAMES + 1
        chosen.append((video, int(uniform("benchmark", number) * room)))
    return chosen


def methods(
    root: Path, work: Path, size: int
) -> tuple[ClipSource, dict[str, Callable[[int, int], torch.Tensor]]]:
    """Every way to read, as functions of video and first frame."""
    entries = find_videos(root)
    files = FolderSource(str(root), entries, FRAMES, size)
    scaled = FolderSource(str(root), entries, FRAMES, size, rule="decoder")
    infos = [probe(entry.path) for entry in files.entries]
    ways: dict[str, Callable[[int, int], torch.Tensor]] = {
        "decode all, slice": lambda v, s: decode_all(infos[v], s, size),
        "plain PyAV seek and decode": lambda v, s: plain_seek(infos[v], s, size),
        "the same, dropped frames not converted": lambda v, s: frugal_seek(infos[v], s, size),
        "ours, source files": lambda v, s: files.read(v, s, FRAMES, 1),
        "ours, source files, resize: decoder": lambda v, s: scaled.read(v, s, FRAMES, 1),
    }
    for name, form, quality in [
        ("prepared mp4", "video", "high"), ("prepared mp4, lossless", "video", "lossless"),
        ("prepared shards", "shards", "high"), ("prepared packed", "packed", "high"),
    ]:  # fmt: skip
        out = work / name.replace(" ", "_").replace(",", "")
        settings = Settings(
            size=size, frames=FRAMES, form=form, quality=quality, val_fraction=0.0, layout="videos"
        )
        report = prepare(str(root), str(out), settings)
        source = prepared_source(str(out), "train", FRAMES, size)
        names = [line["path"] for line in report.lines if line["status"] == "ok"]
        assert names == [Path(entry.relative).as_posix() for entry in files.entries]
        ways[f"{name} ({report.num_bytes / 1e6:.1f} MB)"] = lambda v, s, source=source: source.read(
            v, s, FRAMES, 1
        )
    return files, ways


def compare(root: Path, work: Path, size: int, rounds: int, num_windows: int) -> None:
    """Print one table."""
    files, ways = methods(root, work, size)
    chosen = windows_of(files, num_windows)
    source_mb = sum(entry.size for entry in files.entries) / 1e6
    print(
        f"\n{len(files)} videos, {source_mb:.1f} MB, to {FRAMES} x {size} x {size}, {num_windows} windows\n"
    )
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for name, read in ways.items():  # warm, and right
        for video, start in chosen[: len(files)]:
            clip = read(video, start)
            assert clip.shape == (FRAMES, size, size, 3), name
            if (
                name.startswith(("plain", "the same", "ours, source files", "prepared packed"))
                and "decoder" not in name
            ):
                assert torch.equal(clip, files.read(video, start, FRAMES, 1)), name
    for _ in range(rounds):
        for name, read in ways.items():
            some = chosen[: max(len(files), num_windows // 4)] if name.startswith("decode all") else chosen
            began = time.process_time()
            for video, start in some:
                read(video, start)
            seconds[name].append((time.process_time() - began) / len(some))
    baseline = seconds["plain PyAV seek and decode"]
    print("| method | CPU ms per clip | clips per CPU second | against plain seek | cores per H200 |")
    print("|---|---|---|---|---|")
    for name, times in seconds.items():
        median = statistics.median(times)
        gain = statistics.median(b / t for b, t in zip(baseline, times, strict=True))
        print(
            f"| {name} | {median * 1e3:.2f} | {1 / median:.0f} | {gain:.2f} | {H200_CLIPS * median:.1f} |",
            flush=True,
        )


def built_in(side: int, rounds: int, windows: int) -> None:
    """What generating a clip of a built-in set costs, where there is nothing to read."""
    print("\nbuilt-in:\n\n| set | CPU ms per clip | against bouncing digits |\n|---|---|---|")
    sources = {"bouncing digits": BouncingDigits, "drifting clouds": DriftingClouds}
    generated: dict[str, list[float]] = {name: [] for name in sources}
    for _ in range(rounds):
        for name, source in sources.items():
            clips = source("train", windows, FRAMES, side)
            start = time.process_time()
            for index in range(windows):
                clips.read(index, 0, FRAMES, 1)
            generated[name].append((time.process_time() - start) / windows * 1000)
    for name, times in generated.items():
        ratio = statistics.median(b / a for a, b in zip(generated["bouncing digits"], times, strict=True))
        print(f"| {name} | {statistics.median(times):.2f} | {ratio:.2f} |")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=32)
    parser.add_argument("--frames", type=int, default=400, help="of each generated video")
    parser.add_argument("--height", type=int, default=240, help="of each generated video")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    assets = os.environ.get("VIDEODIFF_TEST_ASSETS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        generate(Path(folder, "generated"), 4, args.frames, args.height)
        roots = [Path(folder, "generated")]
        roots += [Path(assets, "data", "plain_mp4")] if assets else []
        for number, root in enumerate(roots):
            print(f"\n{root.name}: ", end="")
            compare(root, Path(folder, str(number)), args.size, args.rounds, args.windows)
    built_in(args.size, args.rounds, args.windows)


if __name__ == "__main__":
    main()
