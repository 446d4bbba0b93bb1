"""The caption of a clip: one of its texts, chosen by a number, of the frames that are seen."""

from __future__ import annotations

from collections.abc import Sequence

from videodiff.data.scenes import Scene


def lines_of(text: str) -> tuple[str, ...]:
    """The captions in a text: one a line, empty ones left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def chosen(captions: Sequence[str], u: float) -> str:
    """The caption that a number in [0, 1) chooses; an empty text where there is none."""
    return captions[int(u * len(captions))] if captions else ""


class SceneCaption:
    """Tells the caption of any part of one clip, for a model that learns a part of what it is given.

    Args:
        scene: what happens in the clip's video.
        start: the clip's first frame.
        stride: between the clip's frames.
        u: number in [0, 1) that chooses among the captions of a part.
    """

    def __init__(self, scene: Scene, start: int, stride: int, u: float) -> None:
        self.scene, self.start, self.stride, self.u = scene, start, stride, u

    def of(self, first: int, num_frames: int, step: int = 1) -> str:
        """The caption of the clip's frames ``first, first + step, ...``."""
        start = self.start + first * self.stride
        return chosen(self.scene.captions(start, num_frames, step * self.stride), self.u)
