"""What ``generate --condition`` says is known of the videos to draw."""

import argparse
from pathlib import Path
from typing import Any

from videodiff.cli.errors import UsageError


def read_condition(args: argparse.Namespace, model: Any) -> tuple[Any, int]:
    """What ``--condition`` says is known, and the length of the videos to draw."""
    from videodiff.models import Given

    clip = model.video_shape[1]
    if args.condition is None:
        return Given(), args.frames or clip
    from videodiff.data import video_io

    if args.condition_as == "low_resolution":
        frames = video_io.to_float(video_tensor(args.condition, None))
        return Given(low_resolution=frames), args.frames or frames.shape[2]
    frames = video_io.to_float(video_tensor(args.condition, model.video_shape[-1]))
    positions, chosen, length = place_frames(args.condition_frames, frames.shape[2], args.frames, clip)
    return Given(frames[:, :, chosen], positions), length


def video_tensor(path: Path, size: int | None) -> Any:
    """A video file as uint8 ``[1, 3, T, H, W]``, cropped and resized to ``size`` if given."""
    from videodiff.data import video_io

    return video_io.read_video(path, resolution=size).permute(3, 0, 1, 2)[None]


def place_frames(
    words: str | None, count: int, length: int | None, clip: int
) -> tuple[tuple[int, ...], list[int], int]:
    """Positions of the known frames, which of the file's frames they are, and the length of the video.

    ``words`` is a comma-separated list (``0,15``) or a slice (``0:4``, ``::4``) of positions in the new video. A file
    with exactly as many frames as positions gives them in order; a longer one gives the frame at each position.
    """
    if words is None:
        length = length or max(clip, count + 1)
        positions = tuple(range(min(count, length - 1)))
        return positions, list(positions), length
    try:
        if ":" in words:
            start, stop, step = (int(w) if w else None for w in (words.split(":") + [""])[:3])
            if length is None:
                length = (count - 1) * step + 1 if step and step > 1 else max(clip, stop or 0)
            positions = tuple(range(length)[slice(start, stop, step)])
        else:
            positions = tuple(sorted({int(w) for w in words.split(",")}))
            length = length or max(clip, positions[-1] + 1)
    except ValueError:
        raise UsageError(f"--condition_frames must look like '0:4', '0,15' or '::4', got {words!r}") from None
    if not positions or positions[0] < 0 or positions[-1] >= length:
        raise UsageError(
            f"--condition_frames {words}: positions must lie in 0..{length - 1}, got {positions}"
        )
    if count == len(positions):
        return positions, list(range(count)), length
    if positions[-1] < count:
        return positions, list(positions), length
    raise UsageError(
        f"--condition_frames {words} asks for {len(positions)} frames up to position {positions[-1]}, "
        f"but the file has {count}"
    )
