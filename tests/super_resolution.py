"""A conditioner as a user writes one: the video at a lower resolution and rate, joined to ``z`` (Ho et al. 2022b)."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from videodiff.conditioning import Conditioner, Example, Keys, Request, View
from videodiff.diffusion import Condition, Denoiser, KnownUnits


class SmallVideo(Conditioner):
    """What makes a model of pixels a super-resolution stage, in space and time; further windows see the one before.

    Args:
        frames_each: frames for each frame of the small video.
        factor: of height and width.
        max_noise: the small video is noised to a time from 0 to this in training.
        given_share: share of training clips whose first half is given.
    """

    fields = ("concat", "concat_time")
    is_guided = False
    answers = ("low_resolution", "frames")

    def __init__(
        self, frames_each: int = 1, factor: int = 2, max_noise: float = 0.1, given_share: float = 0.3
    ) -> None:
        super().__init__()
        self.frames_each, self.factor = frames_each, factor
        self.max_noise, self.given_share = max_noise, given_share

    def learn(self, example: Example) -> Example:
        x, keys = example.x, example.keys
        small = nn.functional.avg_pool3d(x[:, :, :: self.frames_each], (1, self.factor, self.factor))
        level = self.max_noise * keys.uniforms(keys.split, "small noise level")
        small = small + level.view(-1, 1, 1, 1, 1) * keys.normals(
            keys.split, "small noise", shape=tuple(small.shape[1:])
        )
        mask = self.mask_of(keys, x)
        cond = replace(example.cond, concat=self.join(small, range(x.shape[2]), mask), concat_time=level)
        known = KnownUnits(mask, torch.zeros_like(x), torch.zeros_like(level), False)
        return replace(example, target=x, cond=cond, known=known)

    def mask_of(self, keys: Keys, x: Tensor) -> Tensor:
        is_given = keys.uniforms(keys.split, "given") < self.given_share
        first = torch.arange(x.shape[2]) < x.shape[2] // 2
        return (is_given[:, None] & first).view(len(x), 1, -1, 1, 1)

    def join(self, small: Tensor, units, mask: Tensor) -> Tensor:
        """``[B, 4, U, H, W]``: the frame of the small video that each unit is of, enlarged, and the mask."""
        frames = small[:, :, [min(u // self.frames_each, small.shape[2] - 1) for u in units]]
        large = nn.functional.interpolate(frames, scale_factor=(1, self.factor, self.factor), mode="nearest")
        return torch.cat([large, mask.to(large).expand(len(large), 1, -1, *large.shape[3:])], dim=1)

    def check_request(self, request: Request) -> None:
        if request.low_resolution is None:
            raise ValueError("this model enlarges a video: draw it as a stage of a pipeline, or give it one")

    def tell(self, cond: Condition, view: View) -> Condition:
        mask = view.mask.view(1, 1, -1, 1, 1)
        concat = self.join(view.request.low_resolution, view.units, mask)
        return replace(cond, concat=concat, concat_time=torch.zeros(len(concat)))

    def within(self, denoiser: Denoiser, view: View) -> Denoiser:
        return Kept(denoiser, view.known, view.mask.view(-1, 1, 1))


class Kept(Denoiser):
    """Known units as they are, whatever the sampler made of them."""

    def __init__(self, denoiser: Denoiser, known: Tensor, mask: Tensor) -> None:
        self.denoiser, self.known, self.mask = denoiser, known, mask

    def __call__(self, z: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return self.denoiser(torch.where(self.mask, self.known, z), t, cond)
