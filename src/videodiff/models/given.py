"""What is known of the videos to draw."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Given:
    """What is known of the videos to generate, besides their class.

    Attributes:
        frames: known frames ``[B, 3, n, H, W]`` in [-1, 1], or None.
        positions: where those ``n`` frames lie in the video, ascending.
        low_resolution: the whole video at a lower resolution ``[B, 3, T, h, w]`` in [-1, 1], or None.
    """

    frames: Tensor | None = None
    positions: tuple[int, ...] = field(default=())
    low_resolution: Tensor | None = None

    def __post_init__(self) -> None:
        count = 0 if self.frames is None else self.frames.shape[2]
        if count != len(self.positions):
            raise ValueError(f"{count} known frames were given for {len(self.positions)} positions")
        if list(self.positions) != sorted(set(self.positions)) or any(p < 0 for p in self.positions):
            raise ValueError(f"positions of known frames must ascend from 0, got {self.positions}")

    def expand(self, num_videos: int) -> "Given":
        """The same for ``num_videos`` videos, from what was given for one."""
        frames, low = (
            None if video is None else video.expand(num_videos, -1, -1, -1, -1)
            for video in (self.frames, self.low_resolution)
        )
        return Given(frames, self.positions, low)
