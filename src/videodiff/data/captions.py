"""The caption of a clip: one of its texts, chosen by a number, of the frames that are seen; and words held out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from videodiff.data.scenes import Scene
from videodiff.names import is_text


def lines_of(text: str) -> tuple[str, ...]:
    """The captions in a text: one a line, empty ones left out."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def captions_in(row: dict[str, Any], where: str) -> list[str] | None:
    """The captions of a row, each on one line; None if it has no such entry.

    Raises:
        ValueError: for one that is not text.
    """
    given = row.get("caption")
    texts = [text for text in (given if isinstance(given, list) else [given]) if isinstance(text, str)]
    if not texts or (isinstance(given, list) and len(texts) < len(given)):
        return None
    return [" ".join(checked_caption(text, where).splitlines()).strip() for text in texts]


def joined(captions: Iterable[str]) -> str:
    """The text of a video: its captions, one a line, none twice."""
    return "\n".join(caption for caption in dict.fromkeys(captions) if caption)


def checked_caption(text: str, where: str) -> str:
    """The caption, which must be text: a path may be any bytes, words may not.

    Raises:
        ValueError: if it is not UTF-8.
    """
    if not is_text(text):
        raise ValueError(f"{where}: this caption is not UTF-8: {text[:80]!r}; save the file in that encoding")
    return text


def chosen(captions: Sequence[str], u: float) -> str:
    """The caption that a number in [0, 1) chooses; an empty text where there is none."""
    return captions[int(u * len(captions))] if captions else ""


@lru_cache(maxsize=8192)  # of the built-in sets there are fewer
def words_of(text: str) -> frozenset[str]:
    """The words of a text, without regard to case and punctuation."""
    return frozenset(re.findall(r"\w+", text.casefold()))


@dataclass(frozen=True)
class HeldOut:
    """Texts whose words no training clip may have together in its caption.

    Args:
        texts: a caption that has all words of one of them, in any order, is held out.
        is_wanted: whether the clips are those that are held out, or the others.
        stride: between the frames of the clips, for captions that follow it.
    """

    texts: tuple[str, ...]
    is_wanted: bool
    stride: int = 1

    @cached_property
    def words(self) -> tuple[frozenset[str], ...]:
        """The words of each text."""
        return tuple(map(words_of, self.texts))

    def holds(self, captions: Iterable[str]) -> bool:
        """Whether one of the captions is held out."""
        return any(words <= words_of(caption) for caption in captions for words in self.words)


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
