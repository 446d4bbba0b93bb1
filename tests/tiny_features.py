"""Feature networks of a few numbers, and clips to feed them: what the tests of metrics run instead of I3D."""

import torch
from einops import rearrange
from torch import nn

from videodiff.metrics.features import FeatureExtractor


class TinyFeatures(FeatureExtractor):
    """A fixed random projection of each clip's frames, pooled to 2x2 and averaged over time, plus their motion."""

    def __init__(self, dim=6, min_frames=2, name="tiny"):
        super().__init__()
        self.dim, self.min_frames, self.name = dim, min_frames, name

    def build(self):
        net = nn.Linear(24, self.dim)
        generator = torch.Generator().manual_seed(3)
        net.weight = nn.Parameter(torch.randn(self.dim, 24, generator=generator))
        net.bias = nn.Parameter(torch.zeros(self.dim))
        return net

    def extract(self, network, clips):
        frames = rearrange(clips.float() / 127.5 - 1, "b t h w c -> b t c h w")
        small = nn.functional.adaptive_avg_pool2d(frames.flatten(0, 1), 2).unflatten(0, frames.shape[:2])
        motion = torch.zeros_like(small[:, 0]).flatten(1)
        if clips.shape[1] > 1:
            motion = (small[:, 1:] - small[:, :-1]).abs().flatten(2).mean(1)
        return network(torch.cat([small.flatten(2).mean(1), motion], dim=1) * 4)


def clips(num, seed=0, frames=4, size=16, low=0, high=256):
    """uint8 ``[num, frames, size, size, 3]``: a random grey level, a random gradient and noise for each clip."""
    generator = torch.Generator().manual_seed(seed)
    level = torch.randint(low, high, (num, 1, 1, 1, 3), generator=generator)
    slope = torch.randint(-40, 41, (num, 1, 1, size, 3), generator=generator)
    noise = torch.randint(-20, 21, (num, frames, size, size, 3), generator=generator)
    return (level + slope + noise).clamp(0, 255).to(torch.uint8)
