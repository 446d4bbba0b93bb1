"""What each paper's code does with its data, by name: split, fold, crop and filter, stride, windows, short clips.

A preset sets those arguments of :class:`~videodiff.data.VideoDataModule` that are left unset; what is given explicitly
wins and is recorded as a departure. Frames per clip and resolution stay the experiment's; the published ones are
carried for comparison. The hash covers every value, so that a result names exactly one protocol.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal


@dataclass(frozen=True)
class Preset:
    """How clips are taken from videos.

    Args:
        source: where the values were read.
        num_frames: published frames per clip (for comparison; not set).
        resolution: published side in pixels (for comparison; not set).
        train_split: train, or all for the union with the test split.
        fold: number of UCF-101's split files.
        resize: rule of :mod:`videodiff.data.resize`.
        frame_stride: distance between the frames of a clip.
        windows: one random window per video and epoch, or all windows of all videos (long ones weigh more).
        short_videos: skip, loop or pad_last.
        min_frames: videos with fewer frames are left out, whatever a clip spans; 0 for none.
        horizontal_flip: mirror half of the clips.
        val_fraction: share held out of the training videos where a set has no validation split.
        by_layout: values that differ for a data set, as ``((layout, ((name, value), ...)), ...)``.
    """

    source: str
    num_frames: int = 16
    resolution: int = 256
    train_split: str = "train"
    fold: int = 1
    resize: str = "antialias"
    frame_stride: int = 1
    windows: str = "one"
    short_videos: Literal["skip", "loop", "pad_last"] = "skip"
    min_frames: int = 0
    horizontal_flip: bool = False
    val_fraction: float = 0.0
    by_layout: tuple[tuple[str, tuple[tuple[str, str | int | float | bool], ...]], ...] = field(default=())

    def for_layout(self, layout: str) -> Preset:
        """The preset for one data set, without the others' values."""
        values: dict[str, Any] = dict(dict(self.by_layout).get(layout, ()))
        return replace(self, **values, by_layout=())

    @property
    def hash(self) -> str:
        """Hex digest of all values but the source."""
        values = {key: value for key, value in asdict(self).items() if key != "source"}
        return hashlib.blake2b(json.dumps(values, sort_keys=True).encode(), digest_size=8).hexdigest()


def _differs(**layouts: dict[str, str | int | float | bool]) -> tuple:
    return tuple((name, tuple(sorted(values.items()))) for name, values in sorted(layouts.items()))


PRESETS: dict[str, Preset] = {
    # Ho et al. 2022, section 4 and appendix A: all 13,320 UCF-101 clips; "left-right flip" for BAIR only.
    "vdm": Preset(
        "Ho et al. 2022 (arXiv 2204.03458), section 4 and appendix A",
        resolution=64,
        by_layout=_differs(ucf101={"train_split": "all"}, bair={"horizontal_flip": True}),
    ),
    # UCF-101 and Sky as folders of frames; Taichi through decord, which squeezes to a square and, the strided list
    # bounding only the start, reads consecutive frames although its configs say stride 4.
    "lvdm": Preset(
        "YingqingHe/LVDM:lvdm/data, configs",
        by_layout=_differs(ucf101={"train_split": "all"}, taichi={"resize": "squeeze"}),
    ),
    # One random window of a whole decoded video; the union of the lists is commented out.
    "pvdm": Preset("sihyun-yu/PVDM:tools/dataloader.py, tools/data_utils.py", resize="bilinear"),
    # The converter crops, resizes with LANCZOS and cuts at 1,024 frames; evaluation takes one window per video.
    "stylegan_v": Preset(
        "universome/stylegan-v:src/scripts, src/training/dataset.py, src/metrics",
        resize="lanczos",
        by_layout=_differs(ucf101={"train_split": "all"}),
    ),
    # VideoClips over the union of both lists: every window of every video; stride 4 on Taichi.
    "digan": Preset(
        "sihyun-yu/digan:src/training/dataset.py",
        resolution=128,
        resize="bilinear",
        windows="all",
        by_layout=_differs(ucf101={"train_split": "all"}, taichi={"frame_stride": 4}),
    ),
    # Every start of every video of the train list; frames of images go through Pillow's antialiased filter.
    "tats": Preset(
        "SongweiGe/TATS:tats/data.py",
        resolution=128,
        resize="bilinear",
        windows="all",
        by_layout=_differs(sky={"resize": "antialias"}, taichi={"frame_stride": 4}),
    ),
    # Every third frame; a folder of frames must hold more than 48.
    "latte": Preset(
        "Vchitect/Latte:datasets, configs", frame_stride=3, by_layout=_differs(sky={"min_frames": 49})
    ),
}


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: if there is none, with those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"data.preset must be one of {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
