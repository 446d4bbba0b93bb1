"""VDM: video diffusion in pixel space (Ho et al. 2022, arXiv 2204.03458).

One 3-D U-Net with factorised space-time attention (``networks/unet3d.py``) learns clips of a fixed length and size.
Everything else is sampling: prediction, interpolation, extension and super-resolution all use the unconditional
network with reconstruction guidance (section 3.1, eq. 7 and 8; ``conditioning/reconstruction.py``).
"""

from typing import Any, Literal

from videodiff.conditioning import Actions, Images, Label, Reconstruction, Text
from videodiff.models.diffusion import DiffusionModule
from videodiff.models.options import OptionOf
from videodiff.sampling import Autoregressive
from videodiff.text import TextEncoder


class VDM(DiffusionModule):
    """A 3-D U-Net on pixels; given frames by guidance (Ho et al. 2022, arXiv 2204.03458).

    Args:
        condition_drop: share of training samples whose class, actions and caption are dropped, for classifier-free
            guidance. A network with ``vector_dim`` learns the actions of data that hold some (``with/actions``).
        text: encoder of captions and prompts, for a network with its ``context_dim``; None is a model without text.
        conditioning: how known frames steer the sampler: reconstruction guidance (section 3.1) or the replacement
            baseline it is compared with.
        reconstruction_weight: w_r of eq. 7, for the sum of squared errors; the paper uses 50 (BAIR) and 9 (Kinetics).
        overlap_frames: known frames at the start of each further window of a long video (the paper does not say; half
            a clip here). None is half a clip.
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
            Actions(condition_drop),
            Images(),
            Reconstruction(reconstruction_weight, conditioning),
            *Text.of(text, condition_drop),
        ]
        plan = None if overlap_frames is None else Autoregressive(overlap_frames)
        super().__init__(*args, conditioners=conditioners, plan=plan, **kwargs)  # type: ignore[misc]  # args end before these
