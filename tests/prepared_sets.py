"""Small data sets for tests of preparing and of what was prepared, and ways to compare folders."""

import hashlib
import io
import tarfile
from pathlib import Path

import torch

from videodiff.data.video_io import write_lossless


def clip(seed, num_frames=6, height=20, width=28):
    """Noise, so that no two frames are alike: uint8 [T, H, W, 3]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, height, width, 3), dtype=torch.uint8, generator=generator)


def folder_of_videos(root, num_videos=6, classes=("a", "b"), bad=()):
    """``root/<class>/<n>.mkv`` of 4 + n lossless frames at 8 fps; `bad` adds files of those names that hold text."""
    for number in range(num_videos):
        name = f"{classes[number % len(classes)]}/{number}.mkv"
        (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
        write_lossless(Path(root) / name, clip(number, 4 + number))
    for name in bad:
        (Path(root) / name).parent.mkdir(parents=True, exist_ok=True)
        (Path(root) / name).write_text("no video")
    return Path(root)


def contents(root):
    """Relative path -> hash of every file below a folder."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(root).rglob("*"))
        if path.is_file()
    }


def tar(members, cut=None):
    """A tar archive of (name, bytes) pairs, cut to so many bytes if asked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()[:cut]
