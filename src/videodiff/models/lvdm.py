"""LVDM: latent video diffusion with masked conditioning (He et al. 2022, arXiv 2211.13221).

Two stages. An :class:`~videodiff.networks.Autoencoder3D` (trained by ``AutoencoderModule``) encodes a clip to a latent
with 4 times fewer frames and 8 times fewer rows and columns; here a :class:`~videodiff.networks.UNet3D` denoises those
latents. Some latent frames may be given (section 3.3; ``conditioning/frame_mask.py``): the first ones (prediction),
both ends (interpolation), or none. Long video is generated autoregressively, or hierarchically: first key frames, each
given those before, then every gap between two of them (``conditioning/strides.py``, ``sampling/plans.py``).
"""

from typing import Any, Literal

from videodiff.conditioning import FrameMask, Images, Label, Strides, Text
from videodiff.models.diffusion import DiffusionModule
from videodiff.models.options import OptionOf
from videodiff.sampling import Autoregressive, Hierarchical
from videodiff.text import TextEncoder


class LVDM(DiffusionModule):
    """A 3-D U-Net on small 3-D latents; given frames by a mask (He et al. 2022, arXiv 2211.13221).

    The unit of a latent is a latent frame. A network that is to be given frames takes the mask as one more channel
    (``concat_channels: 1``).

    Args:
        condition_drop: share of training samples whose class and caption are dropped, for classifier-free guidance; of
            a network without a mask the distance of frames too.
        text: encoder of captions and prompts, for a network with its ``context_dim``; None is a model without text.
        prediction_share: share of the training samples whose first frames are given.
        interpolation_share: share of the training samples whose first and last frame are given.
        given_counts: numbers of first frames that may be given; each training sample picks one at random.
        max_given_noise: given frames are noised to a random time from 0 to this (section 3.3, s_max / T = 0.25).
        given_noise: time that given frames are noised to in sampling (0.1 in the published script).
        loss_on_given: count the denoising of the given frames in the loss too, as the published code does.
        strides: distances between the latent frames of a training sample; each sample picks one at random. 1 is
            neighbours; a model of key frames has the distance of key frames. A network for several is conditioned on
            the distance (``vector_dim: 1``, log2 of it).
        long_video: how a video longer than a clip is generated: window by window, or key frames and then the gaps.
        overlap_frames: latent frames of one window that the next one sees; by default the largest of `given_counts`.

    Raises:
        ValueError: for shares, counts or times out of their range, or a network that does not take what it is given.
    """

    strides = OptionOf(Strides, "strides")
    given_noise = OptionOf(FrameMask, "given_noise")
    loss_on_given = OptionOf(FrameMask, "loss_on_given")
    interpolator: "LVDM"

    def __init__(
        self,
        *args: Any,
        condition_drop: float = 0.1,
        text: TextEncoder | None = None,
        prediction_share: float = 0.0,
        interpolation_share: float = 0.0,
        given_counts: tuple[int, ...] = (1,),
        max_given_noise: float = 0.25,
        given_noise: float = 0.1,
        loss_on_given: bool = False,
        strides: tuple[int, ...] = (1,),
        long_video: Literal["autoregressive", "hierarchical"] = "autoregressive",
        overlap_frames: int | None = None,
        **kwargs: Any,
    ) -> None:
        mask = FrameMask(
            prediction_share, interpolation_share, given_counts, max_given_noise, given_noise, loss_on_given
        )
        plan = Autoregressive(max(given_counts, default=1) if overlap_frames is None else overlap_frames)
        conditioners = [
            Label(condition_drop),
            Strides(strides),
            mask,
            *Text.of(text, condition_drop),
            Images(),
        ]
        super().__init__(*args, conditioners=conditioners, plan=plan, **kwargs)  # type: ignore[misc]  # args end before these
        if not mask.has_channel:
            self.conditioner(Strides).drop = condition_drop
        self.long_video = long_video

    @property
    def long_video(self) -> str:
        """Autoregressive or hierarchical."""
        return self._long_video

    @long_video.setter
    def long_video(self, way: str) -> None:
        self._long_video, overlap, stride = way, self.plan.overlap, self.strides[-1]
        has_keys = way == "hierarchical" and stride > 1
        self.plan = Hierarchical(overlap, stride) if has_keys else Autoregressive(overlap)
