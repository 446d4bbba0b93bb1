"""Detectors and sources of a few numbers, for tests of the evaluation that need no network and no file."""

import numpy as np
import torch

from videodiff.data.clips import ClipSource
from videodiff.evaluation.detectors import Detector

DIM = 6


def features_of(clips, shift=0.0):
    """Six plain statistics of a clip, [B, 6]: what a network would be, but in closed form."""
    x = clips.double().flatten(1) / 255
    diff = (clips[:, 1:].double() - clips[:, :-1].double()).flatten(1).abs() / 255
    parts = [x.mean(1), x.std(1), diff.mean(1), x[:, ::7].mean(1), x[:, 1::5].mean(1), x[:, 2::3].std(1)]
    return torch.stack(parts, 1).float().numpy() + np.float32(shift)


def fake_detector(name="i3d", sha256="f" * 64, shift=0.0, min_frames=2, calls=None):
    def look(clips):
        if calls is not None:
            calls.append(len(clips))
        return {name: features_of(clips, shift)}

    return Detector(name, look, min_frames, lambda: sha256)


class NoiseSource(ClipSource):
    """Videos of noise around a level of their own; counts reads."""

    def __init__(self, count, frames=8, size=8, seed=0, level=0, name="v", bad=()):
        self.count, self.frames, self.size, self.seed, self.level = count, frames, size, seed, level
        self.title, self.bad = name, bad
        self.reads = []

    def __len__(self):
        return self.count

    def num_frames(self, index):
        return self.frames

    def name(self, index):
        return f"{self.title}{index}"

    def read(self, index, start, num_frames, stride):
        self.reads.append((index, start))
        if index in self.bad:
            raise ValueError("broken")
        rng = np.random.default_rng([self.seed, index])
        video = (
            rng.integers(0, 120, (self.frames, self.size, self.size, 3)) + self.level + rng.integers(0, 60)
        )
        return torch.from_numpy(video.astype(np.uint8))[
            start : start + (num_frames - 1) * stride + 1 : stride
        ]
