# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: -all
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
# ---

# %% [markdown]
# # 1. The data
#
# What you learn here: what a training sample is, where it comes from, and why two runs see the same samples. The two
# built-in sets need no download, and their ground truth is known exactly.

# %%
import tempfile
from pathlib import Path

import torch

from videodiff.data import BouncingDigits, DriftingClouds, VideoDataModule, to_float, video_io
from videodiff.report.notebook import show_clips, show_frames

digits = BouncingDigits("train", size=None, num_frames=16, resolution=32)
clouds = DriftingClouds("train", size=None, num_frames=16, resolution=32)
show_clips(
    {
        f"{len(source)} clips of {type(source).__name__}": torch.stack(
            [source.read(i, 0, 16, 1) for i in range(8)]
        )
        for source in (digits, clouds)
    }
)

# %% [markdown]
# As data, a clip is uint8 `[T, H, W, 3]`; for a model it is fp32 `[3, T, H, W]` in [-1, 1]. The conversion there and
# back loses nothing. Clip *i* is a function of (seed, split, *i*) alone, so its true motion is known. A
# metric that measures speed can therefore be right or wrong, not merely plausible.

# %%
clip = digits.read(3, 0, 16, 1)
assert torch.equal(video_io.to_uint8(to_float(clip)), clip)
for index in range(4):
    (path,) = digits.paths(index)
    sky = clouds.sky(index)
    print(
        f"clip {index}: digit {path.digit} moves {path.velocity.round(2)} pixels per frame; "
        f"{clouds.class_names[sky.weather]}, drift {sky.velocity.round(2)}"
    )

# %% [markdown]
# A clip may skip frames. With `frame_stride=4` the same video shows the same digit four times as fast: a result that
# does not name the stride says little. Every row below starts at the same frame.

# %%
show_frames({f"stride {stride}": digits.read(3, 0, 10, stride)[None] for stride in (1, 2, 4)}, scale=2)

# %% [markdown]
# `VideoDataModule` makes batches. `sample` is the position of a clip in an endless stream. Which clip has this
# position, where it starts and whether it is mirrored are functions of the seed and the position. There is no other
# state, so a run that resumes at step 1000 sees the same clips as the uninterrupted one.

# %%
built_in = {"dataset": "bouncing_digits", "num_frames": 16, "resolution": 32, "num_workers": 0}


def stream(count, **options):
    """The first samples of training: position in the stream -> the clip's first pixel row, as numbers."""
    batches = iter(VideoDataModule(**built_in, **options).train_dataloader())
    clips = {}
    while len(clips) < count:
        batch = next(batches)
        clips.update(zip(batch["sample"].tolist(), batch["video"], strict=True))
    return clips


by_four, by_eight = stream(16, batch_size=4), stream(16, batch_size=8)
print("positions", sorted(by_four))
print("same clips for both batch sizes:", all(torch.equal(by_four[p], by_eight[p]) for p in by_four))
print(
    "other seed, same clips:",
    all(torch.equal(by_four[p], c) for p, c in stream(16, batch_size=4, seed=1).items()),
)

# %% [markdown]
# Your own videos can be in any folder. Sizes and lengths may differ, bad files are named and counted, and sub-folders
# may be classes. The cell below writes four short videos and one file that is not a video, which is named and left
# out.

# %%
with tempfile.TemporaryDirectory() as folder:
    for number in range(4):
        video_io.write_mp4(Path(folder) / f"clouds_{number}.mp4", clouds.read(number, 0, 40, 1))
    (Path(folder) / "damaged.mp4").write_bytes(b"not a film")
    mine = VideoDataModule(root=folder, num_frames=16, resolution=32, batch_size=3, num_workers=0)
    batch = next(iter(mine.train_dataloader()))
    print({key: list(getattr(value, "shape", [value])) for key, value in batch.items()})
    print(mine.summary()["train"])
    left_out = mine.source("train").skipped
    print("left out:", *(reason.removeprefix(f"{folder}/") for _, reason in left_out))
    shown = show_clips(batch["video"].movedim(1, -1))
shown

# %% [markdown]
# Next: `videodiff prepare my_videos/ --check` lists the bad files of a folder before training starts, and
# [docs/data.md](../docs/data.md) lists the public data sets.
