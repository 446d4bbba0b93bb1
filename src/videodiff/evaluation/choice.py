"""Which protocol a run is measured under: asked for or by default, fitted to its data, its weights found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from videodiff.evaluation.detectors import BUILT_IN, Detector, prepare_all
from videodiff.evaluation.protocol import Protocol, get_protocol
from videodiff.sampling.video_model import generates_video

EVALUATOR_FRAMES = 4  # the shortest clip of the evaluator
FALLBACK = "random"  # what is measured where there are no weights
EVERY_FRAME = {"stride": 1, "fps": None}  # switches that follow the data where a protocol leaves them so


class Chosen(NamedTuple):
    """What to measure with: the protocol, its detectors with their checksums, and what a reader must know."""

    protocol: Protocol
    detectors: list[Detector]
    checksums: dict[str, str | None]
    notes: list[str]


def default_protocol(data: Any, frames: int) -> Protocol:
    """``evaluator`` at `frames` for the built-in sets, ``styleganv`` for all others; ``random`` for single frames.

    The networks of the first two look at motion, and need 4 and 9 frames.
    """
    if frames == 1 or (data.dataset in BUILT_IN and frames < EVALUATOR_FRAMES):
        return get_protocol(FALLBACK, frames=frames)
    if data.dataset in BUILT_IN:
        return get_protocol("evaluator", frames=frames)
    return get_protocol("styleganv")


def choose(
    protocol: Protocol,
    data: Any,
    num_clips: int | None,
    build: Callable[[Protocol], Sequence[Detector]],
    may_fall_back: bool,
) -> Chosen:
    """Fit a protocol to the data and find its weights.

    Args:
        protocol: asked for, or the default.
        data: of the run.
        num_clips: asked for, or None.
        build: makes the detectors of a protocol.
        may_fall_back: measure with a random network if the weights are missing; else that is an error.

    Raises:
        FileNotFoundError: if the first detector has no weights.
        ValueError: for clips shorter than a detector needs.
    """
    fitted, notes = fit_protocol(protocol, data.frame_stride, data.selection.fps, num_clips)
    try:
        kept, checksums, missing = find_detectors(fitted, build)
    except FileNotFoundError as error:
        if not may_fall_back:
            raise
        what = "FVD" if fitted.network == "i3d" else fitted.label
        notes.append(f"{what} is not measured: {error}")
        other = get_protocol(FALLBACK, frames=fitted.frames)
        found = choose(other, data, num_clips, build, False)
        return found._replace(notes=notes + found.notes)
    return Chosen(fitted, kept, checksums, notes + missing)


def find_detectors(
    protocol: Protocol, build: Callable[[Protocol], Sequence[Detector]]
) -> tuple[list[Detector], dict[str, str | None], list[str]]:
    """The detectors of a protocol, their checksums, and a line for each that has no weights.

    Raises:
        ValueError: for clips shorter than a detector needs.
    """
    found = list(build(protocol))
    for detector in found:
        if protocol.seen_frames < detector.min_frames:
            raise ValueError(
                f"{detector.name} needs clips of at least {detector.min_frames} frames, the protocol "
                f"{protocol.label} shows it {protocol.seen_frames}; ask for more, e.g. {protocol.name}:"
                f"{protocol.first_seen + 16}"
            )
    return prepare_all(found)


def fit_protocol(
    protocol: Protocol, stride: int, fps: float | None, num_clips: int | None
) -> tuple[Protocol, list[str]]:
    """The protocol at the data's frame stride and rate, and with more clips if more are asked for.

    It is a custom one then, and told so; a stride or rate that a protocol has of its own stays.
    """
    notes = []
    own: dict[str, Any] = {"stride": stride, "fps": fps}
    for switch, value in own.items():
        there = getattr(protocol, switch)
        if there == EVERY_FRAME[switch] != value:
            notes.append(
                f"the data are read at {pace(switch, value)}, and so are the real clips: not comparable with "
                f"{protocol.label} at {pace(switch, there)}"
            )
        elif there != value:
            notes.append(
                f"the model learnt from clips at {pace(switch, value)}, {protocol.label} compares them with real "
                f"clips at {pace(switch, there)}"
            )
            own[switch] = there
    protocol = protocol.changed(**own)
    wanted = ("num_real",) if protocol.is_prediction else ("num_real", "num_generated")
    names = [k for k in wanted if (num_clips or 0) > getattr(protocol, k)]
    return (protocol.changed(**dict.fromkeys(names, num_clips)) if names else protocol), notes


def pace(switch: str, value: float | None) -> str:
    """``stride 3``, ``8 fps`` or ``every frame``."""
    if switch == "stride":
        return f"stride {value}"
    return "every frame" if value is None else f"{value:g} fps"


def why_not_measured(data: Any, model: Any) -> str | None:
    """Why clips of these data or this model cannot be evaluated; None if they can."""
    if not hasattr(data, "selection"):
        return f"{type(data).__name__} is not a VideoDataModule, whose clips a protocol can choose"
    if not generates_video(model):
        return f"{type(model).__name__} does not generate videos"
    return None
