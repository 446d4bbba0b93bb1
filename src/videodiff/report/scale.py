"""Axes: from values to places along a line, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """A linear or logarithmic axis over ``[low, high]``, drawn from `start` to `end`.

    Args:
        low: smallest value.
        high: largest value, above `low`; both above 0 if `log`.
        start: place of `low` in the drawing.
        end: place of `high`; below `start` for an axis that points up.
        log: logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of `value`; beyond the ends it stays on the nearer one."""
        if self.log:
            share = (math.log(max(value, self.low)) - math.log(self.low)) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round values within the axis, two to seven of them."""
        return log_ticks(self.low, self.high) if self.log else linear_ticks(self.low, self.high)


def scale_for(values: Sequence[float], start: float, end: float, log: bool = False) -> Scale:
    """An axis that holds `values` with a little room; logarithmic ones need positive values and else become linear."""
    finite = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if log and low > 0:
        room = (high / low) ** 0.06 if high > low else 2.0
        return Scale(low / room, high * room, start, end, log=True)
    room = 0.06 * (high - low) or 0.5 * abs(high) or 1.0
    bottom = low - room
    # an axis of positive values that begins below zero would suggest values that cannot be
    return Scale(0.0 if low >= 0 > bottom else bottom, high + room, start, end)


def linear_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def log_ticks(low: float, high: float, most: int = 7) -> list[float]:
    """Powers of ten, with 2 and 5 between them if there are few; linear ticks within less than an octave or two."""
    if high / low < 4:
        return [tick for tick in linear_ticks(low, high, 4) if tick > 0]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for marks in ((1, 2, 5), (1, 3), (1,)):
        found = [k * 10.0**p for p in powers for k in marks if low <= k * 10.0**p <= high]
        if len(found) <= most and len(found) >= 2:
            return found
    stride = -(-len(found) // most)
    return found[::stride] if len(found) >= 2 else [low, high]
