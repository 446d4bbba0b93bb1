"""What every feature network has in common: uint8 clips in, fp32 features out, exact and in constant memory."""

from abc import abstractmethod

import torch
from torch import Tensor, nn

from .frozen import FrozenNetwork, exact_fp32

PIXELS_AT_ONCE = 512 * 224**2


class FeatureExtractor(FrozenNetwork):
    """A frozen network: uint8 clips ``[B, T, H, W, 3]`` -> features ``[B, dim]`` fp32.

    A subclass sets the attributes and writes ``build`` and ``extract``. Whatever surrounds the call, the network runs
    in eval and inference mode, in fp32 without autocast and TF32.

    Attributes:
        name: the network's name, as results carry it.
        dim: features of a clip.
        min_frames: shortest clip.
        weights_sha256: digest of the file of weights, None before the first use or without a file.
    """

    name: str = ""
    dim: int = 0
    min_frames: int = 1

    @abstractmethod
    def extract(self, network: nn.Module, clips: Tensor) -> Tensor:
        """Features ``[b, dim]`` of a few checked clips, uint8 ``[b, T, H, W, 3]`` on the network's device."""

    def clips_at_once(self, clips: Tensor) -> int:
        """How many of these clips the network takes in one call.

        One on a CPU: that keeps activations in the cache, and the features of a clip do not depend on its batch by
        the last bit. Elsewhere as many as 512 frames of 224 x 224 pixels.
        """
        frames, height, width = clips.shape[1:4]
        return (
            1
            if clips.device.type == "cpu"
            else max(1, PIXELS_AT_ONCE // (frames * max(height * width, 224**2)))
        )

    def extract_all(self, network: nn.Module, clips: Tensor) -> Tensor:
        """``extract`` piece by piece; pieces become smaller when memory runs out."""
        count, start, found = self.clips_at_once(clips), 0, []
        while start < len(clips):
            try:
                found.append(self.extract(network, clips[start : start + count]))
            except torch.OutOfMemoryError:
                if count == 1:
                    raise
                count = (count + 1) // 2
                continue
            start += count
        return torch.cat(found)

    def forward(self, clips: Tensor) -> Tensor:
        """Features of any number of clips, in constant memory.

        Args:
            clips: uint8 ``[B, T, H, W, 3]``.

        Returns:
            ``[B, dim]`` fp32 on the device of the clips.

        Raises:
            ValueError: for another shape, too few frames or an empty batch.
            TypeError: for another dtype.
        """
        check_clips(clips, self.name, self.min_frames)
        network = self.network(clips.device)
        with torch.inference_mode(), exact_fp32(clips.device.type):
            features = self.extract_all(network, clips).float()
        return features.clone()  # outside inference mode: an ordinary tensor

    def extra_repr(self) -> str:
        return f"{self.name}, dim={self.dim}, min_frames={self.min_frames}"


def check_clips(clips: Tensor, name: str, min_frames: int) -> None:
    """Refuse what is not a batch of long enough uint8 clips, in one line.

    Raises:
        ValueError: for a wrong shape, an empty batch or too few frames.
        TypeError: for another dtype than uint8.
    """
    if clips.dtype != torch.uint8:
        raise TypeError(
            f"{name} takes uint8 clips, got {str(clips.dtype).removeprefix('torch.')} "
            "(videodiff.data.pixels.to_uint8 converts videos in [-1, 1])"
        )
    if clips.ndim != 5 or clips.shape[-1] != 3 or 0 in clips.shape:
        raise ValueError(f"{name} takes clips [B, T, H, W, 3], got shape {list(clips.shape)}")
    if clips.shape[1] < min_frames:
        raise ValueError(f"{name} needs clips of at least {min_frames} frames, got {clips.shape[1]}")
