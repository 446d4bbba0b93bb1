"""Diffusion forcing: a noise level of its own for each unit (Chen et al. 2024, arXiv 2407.01392; Song et al. 2025).

One network learns all mixtures of clean, noisy and absent units. Given frames are clean units at t = 0, so prediction,
filling in and long video need no mask and no further training; in which order the levels of a video fall is a choice of
sampling (``sampling/plans.py``), and so is how much the history counts (``diffusion/history.py``; arXiv 2502.06764).
"""

from typing import Any, Literal

from videodiff.conditioning import Forcing, Images, Label, Text
from videodiff.diffusion import History
from videodiff.models.diffusion import DiffusionModule
from videodiff.models.options import OptionOf
from videodiff.sampling import Autoregressive, Rolling
from videodiff.text import TextEncoder


class DiffusionForcing(DiffusionModule):
    """A noise level for each frame or latent frame; given frames are clean ones (Chen et al. 2024, arXiv 2407.01392).

    In pixels or on latents with a time axis, with a network that takes a time for each unit.

    Args:
        condition_drop: share of training samples whose class and caption are dropped, for classifier-free guidance.
        text: encoder of captions and prompts, for a network with its ``context_dim``; None is a model without text.
        levels: noise levels of the units of a training sample: each its own (independent); those after `context_units`
            alike (uniform_future); or, for comparison, these clean and the others alike (given), or all alike (one).
        context_units: first units that levels uniform_future and given tell apart.
        order: how the noise levels of a video fall. pyramid: each unit starts `delay` steps behind the one before it,
            in a window that moves along; sequential: unit by unit; trapezoid: from both ends, of one clip; full: all
            units of a window at once, window by window.
        delay: sampler steps between neighbours of pyramid and trapezoid; none is as few as `overlap_units` allows.
        overlap_units: clean units that the network sees at least beside those that it makes; none is one.
        stabilise: time from 0 (not at all) to 1 that units which are made already are shown at, against errors that
            add up in long video (0.02 in Song et al. 2025).
        stabilise_way: with fresh noise at every call, or scaled by alpha without noise (Chen et al. 2024).
        history_guidance: how much clean units count: 1 is conditional sampling, above it guidance by history, which
            takes twice the calls (three times with `history_time`).
        history_time: time that the history is noised to for it, from 0, the whole of it ("vanilla"), to 1: above 0 the
            conditional estimate is moved towards what the coarse history says ("fractional").

    Raises:
        ValueError: for choices that are none, and numbers out of their range or without effect.
    """

    stabilise = OptionOf(Forcing, "stabilise")

    def __init__(
        self,
        *args: Any,
        condition_drop: float = 0.1,
        text: TextEncoder | None = None,
        levels: Literal["independent", "uniform_future", "given", "one"] = "independent",
        context_units: int = 0,
        order: Literal["pyramid", "sequential", "trapezoid", "full"] = "pyramid",
        delay: int | None = None,
        overlap_units: int | None = None,
        stabilise: float = 0.0,
        stabilise_way: Literal["fresh", "scaled"] = "fresh",
        history_guidance: float = 1.0,
        history_time: float = 0.0,
        **kwargs: Any,
    ) -> None:
        histories = by_history(history_guidance, history_time)
        forcing = Forcing(levels, context_units, stabilise, stabilise_way, histories)
        overlap = 1 if overlap_units is None else overlap_units
        if order == "full" and delay is not None:
            raise ValueError(f"delay {delay} has no effect with order full, all units at once: leave it out")
        plan = Autoregressive(overlap) if order == "full" else Rolling(overlap, order, delay)
        conditioners = [Label(condition_drop), forcing, *Text.of(text, condition_drop), Images()]
        super().__init__(*args, conditioners=conditioners, plan=plan, **kwargs)  # type: ignore[misc]  # args end before these


def by_history(weight: float, time: float) -> list[History]:
    """Conditional sampling (none), vanilla or fractional guidance by history.

    Raises:
        ValueError: for a weight below 0, a time outside [0, 1], or one without effect.
    """
    if weight < 0:
        raise ValueError(f"history_guidance must be at least 0 (1 is none), got {weight}")
    if weight == 1:
        if time:
            raise ValueError(
                f"history_time {time} is of history_guidance and has no effect with 1, which is none"
            )
        return []
    return [History(1.0), History(weight - 1.0, time)] if time else [History(weight)]
