"""What ``generate`` is told of the videos to draw: their class, and what ``--condition`` says is known."""

import argparse
from pathlib import Path
from typing import Any

from videodiff.cli.errors import UsageError


def read_request(args: argparse.Namespace, model: Any) -> tuple[Any, int]:
    """What is asked of one video, and the length of the videos to draw; one line says how much of them is new.

    Raises:
        UsageError: where nothing would be new, or positions and frames do not fit.
        ValueError: for a file or folder that cannot be read.
    """
    import torch

    from videodiff.cli.launch import say
    from videodiff.conditioning import Request

    clip = model.video_shape[1]
    label = None if args.class_id is None else torch.tensor([args.class_id])
    if args.condition is None:
        return Request(label), args.frames or clip
    from videodiff.data import video_io

    if args.condition_as == "low_resolution":
        frames = video_io.to_float(video_tensor(args.condition, None))
        return Request(label, low_resolution=frames), args.frames or frames.shape[2]
    frames = video_io.to_float(video_tensor(args.condition, model.video_shape[-1]))
    positions, chosen, length = place_frames(args.condition_frames, frames.shape[2], args.frames, clip)
    new = length - len(positions)
    if new == 0:
        raise UsageError(
            f"all {length} frames of the video would be known from {args.condition}; ask for more with --frames, "
            "or say which are known with --condition_frames"
        )
    say(f"{len(positions)} of {length} frames known from {args.condition}, {new} new")
    return Request(label, frames[:, :, chosen], positions), length


def video_tensor(path: Path, size: int | None) -> Any:
    """A video, a picture or a folder of frames as uint8 ``[1, 3, T, H, W]``, cropped and resized to ``size`` if given.

    Raises:
        UsageError: for a folder that is not one video's frames.
        ValueError: for a file that cannot be read, or frames of several sizes.
    """
    import torch

    from videodiff.data import video_io
    from videodiff.data.entries import scan

    if path.is_dir():
        tree = scan(path)
        if len(tree.folders) != 1 or tree.videos:
            raise UsageError(
                f"--condition {path}: {len(tree.videos)} videos and {len(tree.folders)} folders of frames below it; "
                "give one video, one picture or one folder of frames"
            )
        folder = tree.folders[0]
        pictures = [video_io.read_image(Path(folder.path, name), size) for name in folder.frames]
        if len({picture.shape for picture in pictures}) > 1:
            raise UsageError(f"--condition {path}: its frames are of several sizes")
        frames = torch.stack(pictures)
    elif path.suffix.lower() in video_io.IMAGE_SUFFIXES:
        frames = video_io.read_image(path, size)[None]
    else:
        frames = video_io.read_video(path, resolution=size)
    return frames.permute(3, 0, 1, 2)[None]


def continued(count: int, clip: int) -> int:
    """Frames of the video that begins with ``count`` known ones: a clip's, or as many and a clip of new ones."""
    return clip if count < clip else count + clip


def place_frames(
    words: str | None, count: int, length: int | None, clip: int
) -> tuple[tuple[int, ...], list[int], int]:
    """Positions of the known frames, which of the file's frames they are, and the length of the video.

    ``words`` is a comma-separated list (``0,15``) or a slice (``0:4``, ``::4``) of positions in the new video. A file
    with exactly as many frames as positions gives them in order; a longer one gives the frame at each position.

    Without a ``length`` the video has as many frames as a clip, or, where the known ones reach as far, a clip more.
    Without ``words`` all frames of the file are known, and a ``length`` of no more than them is refused.
    """
    if words is None:
        length = length or continued(count, clip)
        if length <= count:
            raise UsageError(
                f"--frames {length}: {count} frames are known already; give more than those, or say which are known "
                f"with --condition_frames (the first {max(length // 2, 1)}: 0:{max(length // 2, 1)})"
            )
        return tuple(range(count)), list(range(count)), length
    try:
        if ":" in words:
            start, stop, step = (int(w) if w else None for w in (words.split(":") + [""])[:3])
            if length is None:
                length = (count - 1) * step + 1 if step and step > 1 else continued(stop or 0, clip)
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
        f"but {count} are given"
    )
