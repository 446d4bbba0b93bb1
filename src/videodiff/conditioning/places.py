"""Positions in a video, as words of the command line say them; integers only."""

from __future__ import annotations

import argparse

from videodiff.words import whole

NAMED = {
    "first": lambda n: slice(0, n),
    "last": lambda n: slice(-n, None),
    "every": lambda n: slice(None, None, n),
}


def parsed(words: str, option: str = "--condition_frames") -> list[slice | int]:
    """Numbers and slices out of ``0,15``, ``0:4``, ``::4``, ``first:4``, ``last:1``, ``every:4``, or several of them.

    Raises:
        ValueError: naming the option.
    """
    found: list[slice | int] = []
    try:
        for word in words.split(","):
            name, _, number = word.partition(":")
            if name in NAMED:
                found.append(NAMED[name](whole(1, 10_000_000)(number)))
            elif ":" in word:
                found.append(slice(*(int(w) if w else None for w in word.split(":"))))
                range(1)[found[-1]]  # refuses a step of 0
            else:
                found.append(int(word))
    except (ValueError, TypeError, argparse.ArgumentTypeError):
        raise ValueError(
            f"{option} must look like '0:4', '0,15', '::4', 'first:4', 'last:1' or 'every:4', got {words!r}"
        ) from None
    return found


def length_for(words: str, count: int, clip: int) -> int:
    """Frames of a video that nobody says the length of, by the positions of its ``count`` known frames."""
    parts = parsed(words)
    if len(parts) == 1 and isinstance(part := parts[0], slice):
        step = part.step
        return (count - 1) * step + 1 if step and step > 1 else continued(max(part.stop or 0, 0), clip)
    return max(clip, *(part + 1 for part in parts if isinstance(part, int)), 1)


def continued(count: int, clip: int) -> int:
    """Frames of the video that begins with ``count`` known ones: a clip's, or as many and a clip of new ones."""
    return clip if count < clip else count + clip


def places(words: str, length: int, option: str = "--condition_frames") -> tuple[int, ...]:
    """Positions in a video of so many frames, ascending, see :func:`parsed`.

    Raises:
        ValueError: naming the option, for none or one outside the video.
    """
    positions: set[int] = set()
    for part in parsed(words, option):
        if isinstance(part, slice) and part.stop is None and part.start is not None and -part.start > length:
            raise ValueError(f"{option} {words}: a video of {length} frames has no last {-part.start}")
        positions |= set(range(length)[part]) if isinstance(part, slice) else {part}
    if not positions or min(positions) < 0 or max(positions) >= length:
        raise ValueError(
            f"{option} {words}: positions must lie in 0..{length - 1}, got {tuple(sorted(positions))}"
        )
    return tuple(sorted(positions))
