"""What CLIP says of clips: how alike frames are to the words that a clip was told, and successive frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from videodiff.data.pixels import to_float
from videodiff.evaluation.detectors import Detector, to_array
from videodiff.evaluation.observed import Observed
from videodiff.metrics.clip_metric import undisturbed

FEATURES = "clip_frames"  # of a clip: the mean of its frames' vectors, each of length 1
SIMILARITY, CONSISTENCY = "text_similarity", "frame_consistency"
FRAMES = 64  # that the network sees at once


class ClipJudge:
    """Vectors of frames and of texts by one CLIP, and their cosines.

    Args:
        images: ``[N, 3, H, W]`` in [-1, 1] -> vectors ``[N, D]``.
        texts: of N texts vectors ``[N, D]``.
        digest: names both, as a SHA-256 does.
        device: where the images are looked at.
    """

    def __init__(
        self,
        images: Callable[[Tensor], Tensor],
        texts: Callable[[Sequence[str]], Tensor],
        digest: str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.images, self.texts, self.digest, self.device = images, texts, digest, device

    @classmethod
    def of_folder(cls, folder: str, device: torch.device | str = "cpu") -> ClipJudge:
        """CLIP as ``transformers`` saves it, as a whole or as a pipeline of both encoders.

        Raises:
            FileNotFoundError: in one line, without the folder or a file of it.
            UsageError: in one line, without the package ``transformers``.
            ValueError: for a folder of another architecture, damaged files, or encoders of two models.
        """
        from videodiff.text import ClipImages, ClipTexts

        with undisturbed():
            images, texts = ClipImages(folder).to(device), ClipTexts(folder).to(device)
        if images.dim != texts.dim:
            raise ValueError(
                f"{folder}: its vectors of images have {images.dim} numbers and those of texts {texts.dim}: "
                "they are not of one CLIP"
            )
        digest = hashlib.sha256(f"{images.digest} {texts.digest}".encode()).hexdigest()
        return cls(images, texts, digest, device)

    def detector(self) -> Detector:
        """Looks at clips: their vectors, and :data:`CONSISTENCY` where there are several frames."""
        return Detector(FEATURES, self.look, 1, lambda: self.digest)

    def look(self, clips: Tensor) -> dict[str, np.ndarray]:
        """Of clips uint8 ``[B, T, H, W, 3]`` vectors ``[B, D]``, and the mean cosine of successive frames ``[B]``."""
        frames = to_float(clips).flatten(0, 1).permute(0, 3, 1, 2)  # [B T, 3, H, W]
        with torch.no_grad():
            found = [self.images(part.to(self.device)).double().cpu() for part in frames.split(FRAMES)]
        units = F.normalize(torch.cat(found), dim=-1).unflatten(0, clips.shape[:2])  # [B, T, D]
        seen = {FEATURES: to_array(units.mean(1))}
        if clips.shape[1] > 1:
            seen[CONSISTENCY] = (units[:, 1:] * units[:, :-1]).sum(-1).mean(1).numpy()
        return seen

    def put_similarity(self, side: Observed, words: Sequence[str] | None) -> None:
        """Put the cosine of each clip's words and its frames, averaged over these, among its figures.

        Args:
            side: clips that :meth:`look` has seen.
            words: of each clip; an empty text has no similarity, None are no words at all.
        """
        stats = side.features.get(FEATURES)
        if words is None or stats is None or stats.features is None or not any(words):
            return
        texts = sorted({text for text in words if text})
        with torch.no_grad():
            found = [self.texts(texts[i : i + FRAMES]).double().cpu() for i in range(0, len(texts), FRAMES)]
        units = F.normalize(torch.cat(found), dim=-1).numpy()
        places = np.array([texts.index(text) if text else -1 for text in words])
        cosines = (units[places] * stats.features).sum(1)
        side.figures[SIMILARITY] = np.where(places < 0, np.nan, cosines)
