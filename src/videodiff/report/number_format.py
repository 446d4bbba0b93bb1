"""Numbers as people read them: four digits, powers of a thousand, seconds, bytes."""

from __future__ import annotations

import math

STEPS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
NONE = "–"


def plain(value: float | None, digits: int = 4) -> str:
    """A number with `digits` significant digits and no exponent where none is needed."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{digits - 1}e}".replace("-", "−")
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:.{decimals}f}".replace("-", "−")


def short(value: float | None, unit: str = "") -> str:
    """A large number with its prefix: ``1.23 M``, ``45.6 GFLOP``; below a thousand as it is."""
    if value is None or not math.isfinite(value):
        return NONE
    for size, prefix in STEPS:
        if abs(value) >= size:
            return f"{plain(value / size, 3)} {prefix}{unit}"
    return f"{plain(value, 3)} {unit}".rstrip()


def memory(value: float | None) -> str:
    """Bytes as MiB or GiB."""
    if value is None:
        return NONE
    return f"{plain(value / 2**30, 3)} GiB" if value >= 2**30 else f"{plain(value / 2**20, 3)} MiB"


def duration(seconds: float | None) -> str:
    """Seconds as ms, s, minutes or hours."""
    if seconds is None:
        return NONE
    for least, size, unit in ((5400, 3600, "h"), (90, 60, "min"), (0.1, 1, "s")):
        if seconds >= least:
            return f"{plain(seconds / size, 3)} {unit}"
    return f"{plain(1000 * seconds, 3)} ms"
