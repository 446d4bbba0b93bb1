"""Reads pictures through Pillow as uint8 RGB tensors, and files of many pictures as videos.

Values are brought to 0..255 by what the file's type says, never by its content: 16-bit integers lose their lower byte
(65535 is 255), floats must lie in [0, 1]. What fits neither is refused.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from videodiff.data.resize import resize
from videodiff.data.video_file import BadVideoError, check_size, reading, regular_file
from videodiff.data.video_probe import MAX_BYTES, VideoInfo
from videodiff.frame_size import FrameSize, Resolution

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
# Of these, a file may hold many pictures. An animated .png is read by FFmpeg, the others here.
ANIMATED_SUFFIXES = frozenset({".png", ".webp", ".tif", ".tiff"})
ORIENTATION = 274  # the tag of EXIF that says how a picture is turned; from 5 on its sides change places
STACK_SUFFIXES = ANIMATED_SUFFIXES - {".png"}
# A second page of a TIFF that is a smaller copy or a mask of the first (bits of NewSubfileType) makes no video.
SUBFILE_TYPE, SMALLER_OR_MASK = 254, 0b101


def read_image(
    path: str | os.PathLike[str], resolution: Resolution | None = None, rule: str = "antialias"
) -> Tensor:
    """Read one picture of any mode -> uint8 RGB ``[H, W, 3]``; half a file is an error, not a gray area.

    Raises:
        FileNotFoundError: if there is no such file.
        BadVideoError: if it cannot be read, is animated, or holds values that have no place in 0..255.
    """
    path = regular_file(path)
    with reading(path), Image.open(path) as image:
        check_size(path, *image.size)
        if is_stack(image):
            raise BadVideoError(
                f"{path}: an animated picture among stills; it is a video of its own, so give it a folder of its own"
            )
        picture = _to_rgb(path, image)
    return picture if resolution is None else resize(picture, resolution, rule)


def picture_size(path: str) -> FrameSize:
    """Height and width of a picture as it is shown, upright; its header is read.

    Raises:
        BadVideoError: if it cannot be opened.
    """
    path = regular_file(path)
    with reading(path), Image.open(path) as image:
        turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        return FrameSize(*(image.size if turned else reversed(image.size)))


def is_stack(image: Image.Image) -> bool:
    """Whether an opened picture is an animation or a stack of pages: a video and no still."""
    if image.format not in ("PNG", "WEBP", "TIFF") or not getattr(image, "is_animated", False):
        return False
    if image.format != "TIFF":
        return True
    image.seek(1)
    kind = image.tag_v2.get(SUBFILE_TYPE, 0)  # type: ignore[attr-defined]  # of the class for TIFF
    image.seek(0)
    return not kind & SMALLER_OR_MASK


def is_animated(path: str) -> bool:
    """Whether a picture file is a video: its header is read; False for what is no picture."""
    try:
        with Image.open(path) as image:
            return is_stack(image)
    except Exception:  # Pillow raises what it likes; whoever reads the file tells what is wrong with it
        return False


def _to_rgb(path: str, image: Image.Image) -> Tensor:
    """The picture that is being shown of a file -> uint8 ``[H, W, 3]``, upright."""
    upright = ImageOps.exif_transpose(image)
    if upright.mode == "F":
        upright = Image.fromarray(_from_float(path, np.asarray(upright)))
    elif upright.mode.startswith("I"):
        upright = Image.fromarray(_from_integers(path, np.asarray(upright).astype(np.int64)))
    return torch.from_numpy(np.array(upright.convert("RGB")))


def _from_float(path: str, values: np.ndarray) -> np.ndarray:
    low, high = float(values.min()), float(values.max())
    if not (low >= -0.5 / 255 and high <= 1 + 0.5 / 255):  # NaN too
        raise BadVideoError(
            f"{path}: float pixels from {low:.4g} to {high:.4g}; they must lie in [0, 1]: scale them, the same for the "
            "whole set, or store 8 bits"
        )
    return (values * 255).round().clip(0, 255).astype(np.uint8)


def _from_integers(path: str, values: np.ndarray) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise BadVideoError(
            f"{path}: integer pixels from {low} to {high}; more than 8 bits must be 16, from 0 to 65535"
        )
    return (values >> 8).astype(np.uint8)


# -- files of many pictures


def probe_stack(path: str | os.PathLike[str]) -> VideoInfo:
    """Count the pictures of an animated WebP or a TIFF, and tell when each is shown, where the file does.

    Raises:
        FileNotFoundError: if there is no such file.
        BadVideoError: if it cannot be opened.
    """
    path = regular_file(path)
    with reading(path), Image.open(path) as image:
        check_size(path, *image.size)
        count = getattr(image, "n_frames", 1)
        held = 3 * image.width * image.height * count
        shown = [_duration(image, number) for number in range(count)] if image.format == "WEBP" else [0]
        if 0 in shown or held > MAX_BYTES:  # no clock, or too much to decode for one
            return VideoInfo(path, count, None, 0.0, image.width, image.height)
        starts = np.asarray([0, *accumulate(shown[:-1])], dtype=np.int64)
        return VideoInfo(path, count, starts, 1000 * count / sum(shown), image.width, image.height, 0.001)


def _duration(image: Image.Image, number: int) -> int:
    """Milliseconds that a picture is shown for; 0 if the file does not say."""
    image.seek(number)
    image.load()
    return int(image.info.get("duration", 0))


def read_stack(
    info: VideoInfo, numbers: Sequence[int], resolution: Resolution | None = None, rule: str = "antialias"
) -> Tensor:
    """Read pictures of an animated WebP or a TIFF by number, as :func:`read_frames` does of a video file.

    Returns:
        uint8 ``[len(numbers), H, W, 3]``.

    Raises:
        ValueError: if a number lies outside the file.
        BadVideoError: if a picture cannot be read, or they differ in size and no resolution is given.
    """
    wanted = sorted(set(numbers))
    if list(numbers) != sorted(numbers) or not wanted or wanted[0] < 0 or wanted[-1] >= info.num_frames:
        raise ValueError(
            f"{info.path}: frames {min(numbers, default=0)} to {max(numbers, default=0)} asked, "
            f"{info.num_frames} there"
        )
    pictures: dict[int, Tensor] = {}
    path = regular_file(info.path)
    with reading(path), Image.open(path) as image:
        for number in wanted:
            image.seek(number)
            check_size(path, *image.size)
            picture = _to_rgb(path, image)
            pictures[number] = picture if resolution is None else resize(picture, resolution, rule)
    if len({picture.shape for picture in pictures.values()}) > 1:
        raise BadVideoError(f"{path}: the frame size changes within the file (read it with a resolution)")
    return torch.stack([pictures[number] for number in numbers])
