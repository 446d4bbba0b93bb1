"""Sampling in which every unit has a noise level of its own: in which order the levels fall, and the steps of each.

A matrix of levels (a scheduling matrix, Chen et al. 2024, "Diffusion Forcing", section 3.3) has a row for each moment
and a column for each unit: ``steps`` is noise, 0 is clean. From one row to the next a unit takes a step of the sampler
or rests. Times and coefficients of a step are those of any sampler (``step_table.py``), looked up by level.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from videodiff.diffusion.condition import Condition, UnitState
from videodiff.diffusion.denoiser import Denoiser
from videodiff.diffusion.noise import Generator, normal_like
from videodiff.diffusion.sampler import Sampler
from videodiff.diffusion.schedule import NoiseSchedule, over_latent
from videodiff.diffusion.step_table import EARLIER, NOISE, PREVIOUS, RAW, Plan, X


def pyramid(steps: int, units: int, delay: float) -> Tensor:
    """Levels of units that start ``delay`` steps behind each other: ``[steps + (units - 1) delay + 1, units]`` int64.

    Delay 0 is the whole sequence at once ("full"), 1 the published pyramid, ``steps`` unit by unit ("sequential"). A
    fraction groups units.

    Raises:
        ValueError: if a number is out of its range.
    """
    _check(steps, units, delay)
    return _levels(steps, [int(unit * delay) for unit in range(units)])


def trapezoid(steps: int, units: int, delay: float, as_published: bool = False) -> Tensor:
    """Levels that fall from both ends to the middle, for a video whose ends are to be made first.

    Args:
        steps: of the sampler.
        units: columns.
        delay: steps that a unit starts behind its neighbour nearer to an end.
        as_published: as in buoyancy99/diffusion-forcing, where the last unit starts one delay late, and of an even
            number of units one in the middle is never noisy; for comparison.

    Raises:
        ValueError: if a number is out of its range.
    """
    _check(steps, units, delay)
    if not as_published:
        return _levels(steps, [int(min(unit, units - 1 - unit) * delay) for unit in range(units)])
    half = (units + 1) // 2
    delays = [0] * units
    for unit in range(half):
        delays[unit] = delays[-unit] = int(unit * delay)
    levels = _levels(steps, delays, int(half * delay))
    if units % 2 == 0:
        levels[:, half] = 0
    return levels


def _check(steps: int, units: int, delay: float) -> None:
    if steps < 1 or units < 1 or not 0 <= delay < math.inf:
        raise ValueError(
            f"steps and units must be at least 1 and delay at least 0, got {steps}, {units} and {delay:g}"
        )


def _levels(steps: int, delays: Sequence[int], rests: int | None = None) -> Tensor:
    """Levels of units that start so many steps late, until all are clean, or for so many rows beyond ``steps``."""
    rows = steps + (max(delays) + 1 if rests is None else rests)
    moments = torch.arange(rows, device="cpu")[:, None]
    return (steps + torch.tensor(delays, device="cpu") - moments).clamp(0, steps)


class UnitSteps:
    """What each step of a sampler is to a unit, by its level.

    Args:
        plan: of the sampler; its rows are the levels.

    Raises:
        ValueError: for a sampler that asks the network for the variance of its steps.
    """

    def __init__(self, plan: Plan) -> None:
        if plan.log_bounds is not None:
            raise ValueError(
                "units with noise levels of their own need a sampler whose variance is known, such as AncestralSampler "
                "or DDIMSampler; LearnedRangeSampler asks the network for it"
            )
        self.steps = len(plan.times)
        table = plan.table.clone()
        if plan.ends_clean:
            table[-1] = 0.0
            table[-1, X] = 1.0
        # level k is row steps - k of the plan, so level 0, clean, has none: it rests
        self.table = torch.cat([table, torch.zeros_like(table[:1])]).flip(0)
        self.times = torch.cat([plan.times, torch.zeros_like(plan.times[:1])]).flip(0)

    def check(self, levels: Tensor) -> None:
        """Refuse levels that are not these steps, one after another.

        Raises:
            ValueError: naming them.
        """
        falls = levels[:-1] - levels[1:]
        if int(levels.max()) > self.steps or not bool(((falls == 0) | (falls == 1)).all()):
            raise ValueError(
                f"levels must fall by one or rest, from {self.steps}, the steps of the sampler, at most; got "
                f"{levels.tolist()}"
            )


def spans(levels: Tensor, width: int) -> list[tuple[int, int]]:
    """The units that the network sees at each moment, from one to before another: of at most ``width``.

    They end with the last unit that steps, as far as there are so many before it: the rest is what is clean already.

    Raises:
        ValueError: if more than ``width`` units would step at once.
    """
    units = levels.shape[1]
    found = []
    for moves in (levels[:-1] != levels[1:]).tolist():
        moving = [unit for unit, moves_now in enumerate(moves) if moves_now]
        if not moving:
            found.append((0, 0))
            continue
        start = max(min(moving[-1] + 1 - width, units - width), 0)
        if moving[0] < start:
            raise ValueError(
                f"{moving[-1] + 1 - moving[0]} units are noisy at once, and the network sees {width}: a larger delay "
                "between neighbours leaves fewer"
            )
        found.append((start, min(start + width, units)))
    return found


@torch.no_grad()
def sample_units(
    sampler: Sampler,
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    z: Tensor,
    cond: Condition,
    levels: Tensor,
    width: int | None = None,
    generator: Generator = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """From ``z [B, C, U, *S]`` to ``x``, each unit by its column of ``levels``, fp32 (fp64 if ``z`` is).

    Where no unit steps nothing is called; with delay d it is ``steps + (U - 1) d`` calls. The denoiser is told times
    ``[B, W]``, and by ``Condition.known`` which of its units are clean.

    Args:
        sampler: the steps of a unit.
        denoiser: estimate of x, already guided, of any ``W <= width`` units.
        schedule: noise level of each time.
        z: unit normal noise, and clean units where the first row of ``levels`` is 0: these are given.
        cond: what the samples are conditioned on.
        levels: ``[M, U]``, rows falling to 0 by single steps of the sampler.
        width: units that the denoiser takes at once; None is all.
        generator: source of fresh noise.
        progress: called with (calls done, calls in all).

    Raises:
        ValueError: if the levels are no steps of the sampler, more units than ``width`` would be noisy at once, or what
            is joined to the latent would have to be cut to a part of the units.
    """
    steps, units = UnitSteps(sampler.plan(schedule)), levels.shape[1]
    steps.check(levels)
    seen = spans(levels, units if width is None else min(width, units))
    if cond.concat is not None and any(end - start not in (0, units) for start, end in seen):
        raise ValueError(
            "a condition that is joined to the latent has no place in a window that moves along the video"
        )
    total, done = sum(end > start for start, end in seen), 0
    z = z.clone() if z.dtype == torch.float64 else z.float().clone()
    has = (steps.table != 0).any(0).tolist()
    columns = (
        PREVIOUS,
        *range(EARLIER, len(has)),
    )  # of the estimates of x one step of a unit before, two, ...
    table, times, places = steps.table.to(z), steps.times.to(z), levels.to(z.device)
    before = [torch.zeros_like(z) for _ in columns] if any(has[column] for column in columns) else []
    for now, then, (start, end), host in zip(places[:-1], places[1:], seen, levels.tolist(), strict=False):
        if start == end:
            continue
        part = slice(start, end)
        old, level = z[:, :, part], now[part]
        states = tuple(
            _state(first, level) for first, level in zip(levels[0, part].tolist(), host[part], strict=True)
        )
        x, raw = sampler.estimate(denoiser, old, times[level].expand(len(z), -1), replace(cond, units=states))
        rows = over_latent(table[level].T, z.ndim)  # five factors or more for each unit, [5, 1, W, 1, ...]
        new = torch.addcmul(old * rows[0], x, rows[1])
        if has[RAW]:
            new.addcmul_(raw, rows[RAW])
        for column, earlier in zip(columns, before, strict=False):
            new.addcmul_(earlier[:, :, part], rows[column])
        if has[NOISE]:
            new.addcmul_(normal_like(old, generator), rows[NOISE])
        moves = over_latent((level != then[part])[None], z.ndim)
        z[:, :, part] = torch.where(moves, new, old)  # a clean unit's coefficients may be infinite
        for kept, newer in zip(before[::-1], [*before[-2::-1], None], strict=False):
            latest = x if newer is None else newer[:, :, part]
            kept[:, :, part] = torch.where(moves, latest, kept[:, :, part])
        done += 1
        if progress is not None:
            progress(done, total)
    return z


def _state(first: int, level: int) -> UnitState:
    """What a unit is that was at one level at first and is at another now."""
    if level > 0:
        return "noisy"
    return "given" if first == 0 else "generated"
