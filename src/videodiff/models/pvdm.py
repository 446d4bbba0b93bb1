"""PVDM: projected latent video diffusion (Yu et al. 2023, arXiv 2302.07685).

Two stages. A :class:`~videodiff.networks.TriplaneAutoencoder` (trained by ``AutoencoderModule``) turns a clip into
three planes, concatenated as ``[B, C, N]``; here a :class:`~videodiff.networks.TriplaneUNet` denoises them,
half of the time given the planes of the clip before (section 3.3, eq. 8; ``conditioning/previous_clip.py``). A long
video is generated clip by clip, each given the finished planes of the clip before (algorithm 1).
"""

from typing import Any

from videodiff.conditioning import Label, OverlapGuidance, PreviousClip, Text
from videodiff.models.diffusion import DiffusionModule
from videodiff.models.options import OptionOf
from videodiff.sampling import ClipByClip
from videodiff.text import TextEncoder


class PVDM(DiffusionModule):
    """A 2-D U-Net on three planes of a clip; long video clip by clip (Yu et al. 2023, arXiv 2302.07685).

    The unit of a latent is a clip: a video of U clips is ``[B, C, U, N]``. A training clip of the data holds two
    neighbouring clips of the model (``data.num_frames`` twice the autoencoder's less `overlap_frames`), or just one if
    `conditional_share` is 0.

    Args:
        condition_drop: share of training samples whose class, caption and previous clip are dropped, for
            classifier-free guidance.
        text: encoder of captions and prompts, for a network with its ``context_dim``; None is a model without text.
        clip_drop: share of them whose previous clip is dropped, where it shall be another; 0 drops the class alone, and
            guidance then moves away from no class, the clip before in both estimates. None is ``condition_drop``.
        conditional_share: share of the samples that are the second clip given the first (lambda of eq. 8; the
            published code takes 0.3, and 0.2 on SkyTimelapse, for a whole batch at a time; here for each sample).
            The others are one clip without condition, starting at any frame of the pair.
        extension_steps: sampler steps of every clip after the first (the M of "N/M-s" in the paper's tables); none
            means as many as for the first.
        overlap_frames: frames that a clip has in common with the one before it; in a generated video one clip fades
            into the next over them, so that small differences between the two do not show as a jump. 0 as published.
        reconstruction_weight: how far each sampler step of a later clip moves towards the shared frames as the clip
            before shows them: 1 is the best step along the gradient through network and decoder, 0 (as published)
            none. It changes nothing in training.

    Raises:
        ValueError: if `conditional_share` or `clip_drop` is no share, `overlap_frames` are not fewer than a clip's or
            not what the network was told, the weight is negative or nothing is shared that it could weigh, the network
            takes no planes to condition on, or its planes are not the autoencoder's.
    """

    conditional_share = OptionOf(PreviousClip, "share")
    reconstruction_weight = OptionOf(OverlapGuidance, "weight")

    def __init__(
        self,
        *args: Any,
        condition_drop: float = 0.1,
        text: TextEncoder | None = None,
        clip_drop: float | None = None,
        conditional_share: float = 0.3,
        extension_steps: int | None = None,
        overlap_frames: int = 0,
        reconstruction_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        conditioners = [
            Label(condition_drop),
            PreviousClip(
                conditional_share, condition_drop if clip_drop is None else clip_drop, clip_drop != 0
            ),
            OverlapGuidance(reconstruction_weight),
            *Text.of(text, condition_drop),
        ]
        plan = ClipByClip(overlap_frames, extension_steps)
        super().__init__(*args, conditioners=conditioners, plan=plan, **kwargs)  # type: ignore[misc]  # args end before these
