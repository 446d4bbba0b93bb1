"""Pictures in, through Pillow: one file, one uint8 RGB tensor."""

from __future__ import annotations

import os

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from videodiff.data.resize import resize
from videodiff.data.video_probe import check_size, reading, regular_file

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


def read_image(
    path: str | os.PathLike[str], resolution: int | None = None, rule: str = "antialias"
) -> Tensor:
    """Read one picture of any mode -> uint8 RGB ``[H, W, 3]``; half a file is an error, not a gray area."""
    path = regular_file(path)
    with reading(path), Image.open(path) as image:
        check_size(path, *image.size)
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):  # 16 bit gray, which convert() would clip to white
            gray = (np.asarray(upright).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
            upright = Image.fromarray(gray)
        picture = torch.from_numpy(np.array(upright.convert("RGB")))
    return picture if resolution is None else resize(picture, resolution, rule)
