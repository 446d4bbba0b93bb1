"""Settings of a preparation: the choices that decide its bytes, checked on construction."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from videodiff.data.resize import RULE_NAMES
from videodiff.frame_size import FrameSize, Resolution

FORMS = ("video", "packed", "shards")
QUALITIES = ("high", "lossless")
MAX_SHARD_BYTES = 512 * 2**20


@dataclass(frozen=True)
class Settings:
    """Choices of one preparation.

    Args:
        size: height and width of the frames in pixels, one number for a square; kept as 64 or [80, 48].
        frames: frames that a video must have at the least; shorter ones are left out.
        form: video (one file each), packed (uint8 frames in one file per split) or shards (tar files of videos).
        fps: frame rate to bring every video to, by its nearest frames; None keeps every frame.
        resize: name of the resize rule (:mod:`videodiff.data.resize`).
        quality: of videos: high (H.264 4:4:4, crf 8) or lossless (H.264 in RGB, bit for bit).
        val_fraction: share of the videos to validate with, where the set has no validation split.
        layout: how the source folder is laid out.
        classes: auto, folder or none: whether folders are classes.
        captions: where captions are, as in ``data.captions``; None for none.
        shard_bytes: size at which a new shard is begun.

    Raises:
        ValueError: for a value outside its range.
    """

    size: Resolution | list[int] = 64
    frames: int = 1
    form: str = "video"
    fps: float | None = None
    resize: str = "antialias"
    quality: str = "high"
    val_fraction: float = 0.1
    layout: str = "auto"
    classes: str = "auto"
    captions: str | None = None
    shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        size = FrameSize.of(self.size, "size")
        object.__setattr__(self, "size", size.written)
        for name, least in {"frames": 1, "shard_bytes": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if max(size) > 4096:
            raise ValueError(f"size must be at most 4096 pixels a side, got {size}")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {self.fps}")
        if not 0 <= self.val_fraction < 1:
            raise ValueError(f"val_fraction must lie in [0, 1), got {self.val_fraction}")
        for name, known in {"form": FORMS, "quality": QUALITIES, "resize": RULE_NAMES}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @property
    def frame_size(self) -> FrameSize:
        """Height and width of the frames."""
        return FrameSize.of(self.size, "size")

    def differences(self, other: dict[str, object]) -> list[str]:
        """``name old -> new`` of every choice that differs from another preparation's."""
        mine = asdict(self)
        return [f"{name} {other.get(name)} -> {mine[name]}" for name in mine if other.get(name) != mine[name]]


def listing_sha256(rows: list[tuple[object, ...]]) -> str:
    """Hash of what was found to prepare: split, relative path, bytes, class and caption of every video."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row).encode() + b"\n")
    return digest.hexdigest()
