"""Contact sheets: all frames of a set of clips in one image, which the page cuts into players.

Sheets rather than videos: every browser decodes the same pixels without a codec question, one clock draws all players,
so they cannot drift apart, a single step and a step back are exact, and equal clips give equal bytes. What motion
prediction would save is little at these sizes. All sheets of a page have one encoding, so that none looks better for
it: lossless WebP if the page's budget allows it, else the best quality that does.
"""

from __future__ import annotations

import base64
import io
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from PIL import Image, features
from torch import Tensor

LARGEST_SIDE = 128  # of a frame on the page, in pixels; larger ones are shrunk
LONGEST_SIDE = 8192  # of a sheet in pixels; WebP allows 16383
MOST_PIXELS = 2**24  # of a sheet
LOSSLESS = 0
QUALITIES = (LOSSLESS, 95, 90, 85, 80, 70, 60, 50)  # of WebP (or JPEG), best first


@dataclass(frozen=True)
class Sheet:
    """One picture that holds the frames of clips, row by row.

    Args:
        data: of the image file.
        mime: its type.
        clips: how many it holds.
        frames: of each clip.
        height: of a frame in pixels.
        width: of a frame in pixels.
        columns: frames in a row.
    """

    data: bytes
    mime: str
    clips: int
    frames: int
    height: int
    width: int
    columns: int

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        return f"data:{self.mime};base64,{base64.b64encode(self.data).decode()}"


def shown_size(clips: Tensor) -> Tensor:
    """Clips as the page shows them: uint8, at most :data:`LARGEST_SIDE` pixels a side, by area means.

    Raises:
        ValueError: unless they are uint8 ``[N, T, H, W, 3]`` with at least one pixel.
    """
    if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape or str(clips.dtype) != "torch.uint8":
        raise ValueError(
            f"clips of a page must be uint8 [N, T, H, W, 3], got {clips.dtype} {list(clips.shape)}"
        )
    clips = clips.detach().cpu()
    factor = -(-max(clips.shape[2:4]) // LARGEST_SIDE)
    frames = max(1, min(clips.shape[1], MOST_PIXELS // (clips.shape[2] * clips.shape[3] // factor**2)))
    clips = clips[:, :frames]
    if factor == 1:
        return clips
    flat = clips.flatten(0, 1).permute(0, 3, 1, 2).float()
    small = F.avg_pool2d(flat, factor, ceil_mode=True, count_include_pad=False)
    return small.add(0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).unflatten(0, clips.shape[:2])


def tile(clips: Tensor) -> tuple[np.ndarray, int]:
    """uint8 ``[N, T, H, W, 3]`` -> one picture ``[rows H, columns W, 3]`` and its columns, frames in reading order."""
    count, frames, height, width, _ = clips.shape
    columns = max(1, min(frames, LONGEST_SIDE // width))
    rows = -(-count * frames // columns)
    picture = np.zeros((rows * columns, height, width, 3), np.uint8)
    picture[: count * frames] = clips.reshape(count * frames, height, width, 3).numpy()
    grid = picture.reshape(rows, columns, height, width, 3).transpose(0, 2, 1, 3, 4)
    return grid.reshape(rows * height, columns * width, 3), columns


def encode(picture: np.ndarray, quality: int) -> tuple[bytes, str]:
    """A picture as WebP (PNG or JPEG with full colour where Pillow has no WebP), and the type."""
    image, file = Image.fromarray(picture), io.BytesIO()
    if features.check("webp"):
        options = {"lossless": True, "quality": 60} if quality == LOSSLESS else {"quality": quality}
        image.save(file, "webp", method=4, **options)
        return file.getvalue(), "image/webp"
    if quality == LOSSLESS:
        image.save(file, "png", optimize=True)
        return file.getvalue(), "image/png"
    image.save(file, "jpeg", quality=quality, subsampling=0, optimize=True)
    return file.getvalue(), "image/jpeg"


def split_clips(clips: Tensor) -> list[Tensor]:
    """Clips in groups whose sheets stay below :data:`MOST_PIXELS` and the longest side of a picture."""
    _, frames, height, width, _ = clips.shape
    rows = -(-frames // max(1, min(frames, LONGEST_SIDE // width)))
    most = max(1, min(MOST_PIXELS // (frames * height * width), LONGEST_SIDE // (rows * height)))
    return list(clips.split(most))


def encode_sheets(groups: Sequence[Tensor], budget: int) -> tuple[list[Sheet], int]:
    """All groups of clips as sheets of one quality.

    Args:
        groups: uint8 ``[N, T, H, W, 3]`` each, as :func:`shown_size` and :func:`split_clips` give them.
        budget: bytes of base64 text that all sheets together may take; the last quality is used where none fits.

    Returns:
        A sheet for each group, and the quality, 0 if lossless.
    """
    pictures = [tile(clips) for clips in groups]
    made: dict[int, list[tuple[bytes, str]]] = {}

    def fits(step: int) -> bool:
        files, size = [], 0
        for picture, _ in pictures:
            files.append(encode(picture, QUALITIES[step]))
            size += -(-len(files[-1][0]) // 3) * 4
            if size > budget:
                return False
        made[step] = files
        return True

    last = len(QUALITIES) - 1
    # by halves, since a sheet takes a good part of a second: files grow with the quality
    step = bisect_left(range(last), True, key=fits)
    files = made.get(step) or [encode(picture, QUALITIES[step]) for picture, _ in pictures]
    sheets = []
    for (data, mime), clips, (_, columns) in zip(files, groups, pictures, strict=True):
        count, frames, height, width, _ = clips.shape
        sheets.append(Sheet(data, mime, count, frames, height, width, columns))
    return sheets, QUALITIES[step]
