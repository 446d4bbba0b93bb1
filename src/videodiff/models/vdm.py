"""VDM: video diffusion in pixel space (Ho et al. 2022, arXiv 2204.03458).

One 3-D U-Net with factorised space-time attention (``networks/unet3d.py``) learns clips of a fixed length and size.
Everything else is sampling: prediction, interpolation, extension and super-resolution all use the unconditional
network with reconstruction guidance (section 3.1, eq. 7 and 8; ``diffusion/guidance.py``).
"""

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor

from videodiff.diffusion import (
    Condition,
    Denoiser,
    KnownFrames,
    LowResolution,
    ReconstructionGuidance,
    Replacement,
    Window,
)
from videodiff.models.base import DiffusionModule
from videodiff.models.given import Given


class VDM(DiffusionModule):
    """Video diffusion model in pixel space (Ho et al. 2022).

    Args:
        conditioning: how known frames steer the sampler: reconstruction guidance (section 3.1) or the replacement
            baseline it is compared with.
        reconstruction_weight: w_r of eq. 7, for the sum of squared errors; the paper uses 50 (BAIR) and 9 (Kinetics).
        overlap_frames: known frames at the start of each further window of a long video (the paper does not say; half
            a clip here). None is half a clip.
    """

    def __init__(
        self,
        *args: Any,
        conditioning: Literal["reconstruction", "replacement"] = "reconstruction",
        reconstruction_weight: float = 9.0,
        overlap_frames: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        frames = self.net.num_frames
        self.conditioning, self.reconstruction_weight = conditioning, reconstruction_weight
        self.overlap_frames = frames // 2 if overlap_frames is None else overlap_frames
        if frames == 1 and self.overlap_frames != 0:
            raise ValueError(f"overlap_frames must be 0 with num_frames 1, got {overlap_frames}")
        if frames > 1 and not 0 < self.overlap_frames < frames:
            raise ValueError(
                f"overlap_frames must lie between 1 and {frames - 1} (num_frames - 1), got {overlap_frames}"
            )

    @property
    def video_shape(self) -> tuple[int, int, int, int]:
        return (3, self.net.num_frames, self.net.resolution, self.net.resolution)

    @property
    def overlap(self) -> int:
        return self.overlap_frames

    def plan(self, num_units: int, known: Sequence[int]) -> list[Window]:
        """As every model's; a model of single frames draws no longer video, whose frames would have nothing in common.

        Raises:
            ValueError: if it is asked for one.
        """
        if self.net.num_frames == 1 < num_units:
            raise ValueError(
                f"this model draws single frames (num_frames 1); ask for 1 (--frames 1), got {num_units}"
            )
        return super().plan(num_units, known)

    def prepare(self, batch: dict[str, Any]) -> tuple[Tensor, Condition]:
        """Pixels ``[B, 3, F + I, H, W]``: F frames of a clip, then I single images of other videos (section 3)."""
        conditional = getattr(self.net, "num_classes", None) is not None
        label = batch.get("label") if conditional else None
        return batch["video"], Condition(label=label, num_images=int(batch.get("num_images", 0)))

    def condition_on(
        self, denoiser: Denoiser, cond: Condition, known: Tensor, mask: Tensor, low: Tensor | None, noise: Any
    ) -> tuple[Denoiser, Condition]:
        observations: list[KnownFrames | LowResolution] = []
        if bool(mask.any()):
            if self.conditioning == "replacement" and low is None:
                return Replacement(denoiser, self.schedule, known, mask, noise), cond
            observations.append(KnownFrames(known, mask, self.reconstruction_weight))
        if low is not None:
            observations.append(LowResolution(low, self.reconstruction_weight))
        if not observations:
            return denoiser, cond
        return ReconstructionGuidance(denoiser, self.schedule, observations, noise), cond

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Continue each clip from its first quarter (at least one frame).

        Returns:
            ``video``: the clips with their continuation, ``truth``: the clips themselves, both
            ``[B, 3, F, H, W]`` in [-1, 1]; ``given``: how many leading frames were given; ``sample``: indices ``[B]``.
        """
        truth = batch["video"]
        count = max(truth.shape[2] // 4, 1)
        given = Given(truth[:, :, :count], tuple(range(count)))
        video = self.generate(
            len(truth), truth.shape[2], self.seed, indices=batch["sample"].tolist(), given=given
        )
        return {"video": video, "truth": truth, "given": count, "sample": batch["sample"]}
