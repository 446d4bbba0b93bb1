"""DiT: a diffusion transformer on pixels or on any latent (``networks/dit.py``)."""

from typing import Any, Literal

from videodiff.conditioning import Images, Label, Reconstruction, Text
from videodiff.models.diffusion import DiffusionModule
from videodiff.models.options import OptionOf
from videodiff.sampling import Autoregressive
from videodiff.text import TextEncoder


class DiT(DiffusionModule):
    """A transformer on pixels or latents; given frames by guidance (Peebles & Xie 2023, arXiv 2212.09748).

    What it learns is one clip, with still images beside it where the data have them, as Latte does (Ma et al. 2024).

    Args:
        condition_drop: share of training samples whose class and caption are dropped, for classifier-free guidance.
        text: encoder of captions and prompts, for a network with its ``context_dim``; None is a model without text.
        conditioning: how known frames steer the sampler: reconstruction guidance (Ho et al. 2022, section 3.1) or
            replacement.
        reconstruction_weight: w_r of its eq. 7, for the sum of squared errors.
        overlap_frames: known frames, of pixels or of the latent, at the start of each further window of a long video.
            None is half a clip.
    """

    conditioning = OptionOf(Reconstruction, "way")
    reconstruction_weight = OptionOf(Reconstruction, "weight")

    def __init__(
        self,
        *args: Any,
        condition_drop: float = 0.1,
        text: TextEncoder | None = None,
        conditioning: Literal["reconstruction", "replacement"] = "reconstruction",
        reconstruction_weight: float = 9.0,
        overlap_frames: int | None = None,
        **kwargs: Any,
    ) -> None:
        conditioners = [
            Label(condition_drop),
            Images(),
            Reconstruction(reconstruction_weight, conditioning),
            *Text.of(text, condition_drop),
        ]
        plan = None if overlap_frames is None else Autoregressive(overlap_frames)
        super().__init__(*args, conditioners=conditioners, plan=plan, **kwargs)  # type: ignore[misc]  # args end before these
