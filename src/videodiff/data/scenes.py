"""What happens in the clips of the built-in sets, in words: captions of the frames that are seen, and their truth.

The words are those that a person would type. A video has three captions that say the same, or less of it; a single
frame of it has others, since nothing moves there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

DIGITS = ("a zero", "a one", "a two", "a three", "a four", "a five", "a six", "a seven", "an eight", "a nine")
# A direction is one word, so that "south" names one of eight; from the east on, against the clock.
DIRECTIONS = ("east", "northeast", "north", "northwest", "west", "southwest", "south", "southeast")
PLACES = (
    ("the upper left", "the top", "the upper right"),
    ("the left", "the middle", "the right"),
    ("the lower left", "the bottom", "the lower right"),
)
# By weather: the clouds, their colour, and the sky that they drift in.
SKIES = (
    ("a few white clouds", "white", "in a blue sky"),
    ("many white clouds", "white", "on a fair day"),
    ("thick grey clouds", "grey", "in an overcast sky"),
    ("pink clouds", "pink", "at sunset"),
)
SPEEDS = ("slowly", "steadily", "quickly")
SPEED_ENDS = (0.5, 0.9)  # between those words, in pixels per seen frame of a picture whose shorter side is 32


class Scene(ABC):
    """What happens in one video, for any of its frames."""

    @abstractmethod
    def captions(self, start: int, num_frames: int, stride: int) -> tuple[str, ...]:
        """Texts of the frames ``start, start + stride, ...``, the first one the plainest whole sentence."""

    @abstractmethod
    def facts(self, start: int, num_frames: int, stride: int) -> dict[str, Any]:
        """The truth that those texts tell, and how surely it can be seen."""

    @abstractmethod
    def every_caption(self, span: int, stride: int) -> set[str]:
        """Texts of all clips of the first `span` frames of the video, wherever they begin."""

    @staticmethod
    @abstractmethod
    def vocabulary() -> set[str]:
        """Texts that hold all words of its captions."""


def bounce(start: np.ndarray, velocity: np.ndarray, time: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Positions ``[T, 2]`` of a point that flies straight between elastic walls at 0 and `room`, ``(x, y)``."""
    return np.abs(_unfolded(start, velocity, time, room))


def _unfolded(start: np.ndarray, velocity: np.ndarray, time: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The same, its sign that of the flight: below 0 on the way back."""
    line = start + time[:, None] * velocity
    return np.mod(line + room, 2 * room) - room


@dataclass(frozen=True)
class Flight:
    """A digit that flies straight and bounces: its class, start and velocity ``(x, y)`` in pixels (per frame)."""

    digit: int
    start: np.ndarray
    velocity: np.ndarray


class DigitScene(Scene):
    """Bouncing digits: which, where each starts, and which of eight directions it takes before its first bounce.

    Args:
        flights: of the digits.
        room: how far the upper left corner of a digit can move, ``(x, y)`` in pixels.
    """

    def __init__(self, flights: Sequence[Flight], room: np.ndarray) -> None:
        self.flights, self.room = tuple(flights), room

    def captions(self, start: int, num_frames: int, stride: int) -> tuple[str, ...]:
        seen = [row for flight in self.flights for row in self._seen(flight, np.array([start]))]
        each = [_digit_texts(*row, moves=num_frames > 1) for row in seen]
        return tuple(" and ".join(texts) for texts in zip(*each, strict=True))

    def facts(self, start: int, num_frames: int, stride: int) -> dict[str, Any]:
        """Of the first digit: its class, place and direction, and the frames that are seen before its first bounce.

        Returns:
            ``digit`` 0 to 9, ``place`` and ``direction`` as captions say them, ``bounces_after`` in seen frames.
        """
        flight = self.flights[0]
        digit, place, direction = self._seen(flight, np.array([start]))[0]
        at = _unfolded(flight.start, flight.velocity, np.array([start]), self.room)[0]
        away = np.where((at < 0) == (flight.velocity < 0), self.room - np.abs(at), np.abs(at))
        frames = (away / np.maximum(np.abs(flight.velocity), 1e-9)).min() / stride
        facts = {"digit": digit, "place": place, "direction": DIRECTIONS[direction]}
        return {**facts, "bounces_after": float(frames)}

    def every_caption(self, span: int, stride: int) -> set[str]:
        # A clip shows what comes after a bounce as well: each of its frames could be another's first.
        time = np.arange(span)
        seen = {row for flight in self.flights for row in self._seen(flight, time)}
        return {text for row in seen for text in _digit_texts(*row, moves=True)}

    @staticmethod
    def vocabulary() -> set[str]:
        every = [place for row in PLACES for place in row]
        ways = range(len(DIRECTIONS))
        moving = [_digit_texts(way, place, way, moves=True) for place in every for way in ways]
        return {*DIGITS, "and", *(text for texts in moving for text in texts)}

    def _seen(self, flight: Flight, time: np.ndarray) -> list[tuple[int, str, int]]:
        """Class, place and number of the direction of a digit at some frames."""
        at = _unfolded(flight.start, flight.velocity, time, self.room)
        x, y = (flight.velocity * np.where(at < 0, -1, 1)).T
        thirds = np.minimum(3 * np.abs(at) / np.maximum(self.room, 1), 2).astype(int).tolist()
        ways = (np.rint(np.arctan2(-y, x) / (np.pi / 4)).astype(int) % 8).tolist()
        return [
            (flight.digit, PLACES[row][column], way) for (column, row), way in zip(thirds, ways, strict=True)
        ]


def _digit_texts(digit: int, place: str, direction: int, moves: bool) -> tuple[str, ...]:
    name, way, where = DIGITS[digit], DIRECTIONS[direction], f"{'in' if 'middle' in place else 'at'} {place}"
    if not moves:
        return f"{name} {where}", name
    return (
        f"{name} starts {where} and moves to the {way}",
        f"{name} moves to the {way} from {place}",
        f"{name} moving to the {way}",
    )


class CloudScene(Scene):
    """Drifting clouds: their colour, how fast they drift in the frames that are seen, and whither.

    Args:
        weather: number of the class.
        velocity: of the clouds, ``(x, y)`` in pixels per frame.
        unit: the shorter side of a frame in pixels.
    """

    def __init__(self, weather: int, velocity: np.ndarray, unit: int) -> None:
        self.weather, self.velocity, self.unit = weather, velocity, unit

    def captions(self, start: int, num_frames: int, stride: int) -> tuple[str, ...]:
        clouds, _, sky = SKIES[self.weather]
        if num_frames == 1:
            return f"{clouds} {sky}", clouds
        how = f"{self._speed(stride)} to the {self._way}"
        return f"{clouds} drift {how} {sky}", f"{clouds} drifting {how}", f"{clouds} that move {how} {sky}"

    def facts(self, start: int, num_frames: int, stride: int) -> dict[str, Any]:
        """The colour of the clouds, the word for their speed, and left or right."""
        return {"colour": SKIES[self.weather][1], "speed": self._speed(stride), "direction": self._way}

    def every_caption(self, span: int, stride: int) -> set[str]:
        return {text for frames in (1, 2) for text in self.captions(0, frames, stride)}

    @staticmethod
    def vocabulary() -> set[str]:
        scenes = [
            CloudScene(weather, np.array([way, 0.0]), 1) for weather in range(len(SKIES)) for way in (-1, 1)
        ]
        return {*SPEEDS, *(text for scene in scenes for text in scene.every_caption(2, 1))}

    def _speed(self, stride: int) -> str:
        seen = np.hypot(*self.velocity) * stride / self.unit * 32
        return SPEEDS[int(np.searchsorted(SPEED_ENDS, seen))]

    @property
    def _way(self) -> str:
        return "left" if self.velocity[0] < 0 else "right"
