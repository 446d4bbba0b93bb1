"""The reference: one set of real clips for models that were trained on differently made ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from videodiff.data.real_clips import shown
from videodiff.frame_size import FrameSize

if TYPE_CHECKING:
    from videodiff.comparison.runs import Run

# Arguments of VideoDataModule that choose the videos: none is taken of the runs once other data are named.
PLACES = (
    "dataset", "root", "layout", "preset", "clip_list", "train_split", "fold", "val_fraction", "num_train_clips",
    "num_val_clips", "num_test_clips",
)  # fmt: skip
# What is said of the videos, and which of them are taken for it; of the same videos, as PLACES are.
WORDS = ("captions", "held_out_words", "test_clips", "missing_captions")
# Those that decide what a clip of them looks like.
LOOKS = ("resolution", "resize", "fps", "frame_stride", "view", "classes")
OF_RULE = ("train_split", "fold", "val_fraction", "resize", "frame_stride")  # what a preset sets
VALUES = {"resolution": "N", "resize": "RULE", "fps": "F", "frame_stride": "N", "root": "DIR"}


class UnequalRunsError(ValueError):
    """Runs that cannot stand in one table."""


def reference_arguments(runs: Sequence[Run], given: Mapping[str, Any], split: str) -> dict[str, Any]:
    """Arguments of the data module whose real clips all runs are judged on.

    What is given counts. The rest is what all runs have in common: where the videos lie only if no other place is
    given (whose own defaults hold then), and how a clip of them looks.

    Args:
        runs: that are compared.
        given: arguments of :class:`~videodiff.data.VideoDataModule`.
        split: of the real clips; a limit of another split does not matter.

    Raises:
        UnequalRunsError: naming what the runs differ in and nothing is given for, with the options to give.
    """
    moved = bool({"root", "dataset"} & {*given})
    names = [name for name in (*LOOKS, *(() if moved else (*PLACES, *WORDS))) if name not in given]
    if "preset" in given:
        names = [name for name in names if name not in OF_RULE]
    found, differing = dict(given), []
    for name in names:
        values = [argument_of(run.data, name) for run in runs]
        if all(value == values[0] for value in values):
            found[name] = values[0]
        elif name == "preset":
            found[name] = None  # its parts are compared one by one
        elif name == "classes":
            found[name] = "auto"  # for those models that have some
        elif name == "root" and len({run.data.fingerprint()["listing"] for run in runs}) == 1:
            found[name] = values[0]  # copies of the same videos
        elif name == "captions" and len({*values} - {None}) == 1:
            found[name] = next(
                value for value in values if value is not None
            )  # for those models that take words
        elif (
            name == "held_out_words"
            and split == "test"
            and all(run.data.selection.test_clips == "all" for run in runs)
        ):
            found[name] = None  # what was held out of training is tested on like all else
        elif name.startswith("num_") and (name != f"num_{split}_clips" or runs[0].data.dataset != "folder"):
            found[name] = values[0]
        else:
            differing.append((name, values))
    if differing:
        words = ", ".join(
            f"{name} {' against '.join(dict.fromkeys(shown(name, value) for value in values))}"
            for name, values in differing
        )
        options = options_for(name for name, _ in differing)
        raise UnequalRunsError(f"the runs differ in {words}; say what the reference has with {options}")
    return found


def argument_of(data: Any, name: str) -> Any:
    """What a data module has for an argument of its own; parts of a preset as they came out of it."""
    selection = data.selection
    if name in OF_RULE:
        return getattr(selection.rule, name)
    if name == "held_out_words":
        return list(selection.held_out_words) or None
    if name.startswith("num_"):
        return selection.limits[name.removeprefix("num_").removesuffix("_clips")]
    return getattr(selection, name)


def options_for(names: Iterable[str]) -> str:
    """``--data.resolution N --data.resize RULE``: what to write for arguments."""
    return " ".join(f"--data.{name} {VALUES.get(name, 'VALUE')}" for name in names)


def data_rule(data: Any) -> dict[str, Any]:
    """How clips of a data set are made, in the words of its options."""
    names = ("dataset", "root", "resolution", "resize", "fps", "frame_stride")
    return {name: argument_of(data, name) for name in names}


def departures(rule: Mapping[str, Any], reference: Mapping[str, Any]) -> list[str]:
    """Warnings of a model whose clips are brought to the reference's size, or that learnt another pace."""
    said = []
    if rule["resolution"] != reference["resolution"]:
        size, to = (FrameSize.of(made["resolution"]) for made in (rule, reference))
        said.append(
            f"generated at {size.height}x{size.width} and brought to the reference's {to.height}x{to.width} by "
            f"{reference['resize']}"
        )
    said += [
        f"learnt from clips of {name} {shown(name, rule[name])}, the real clips have {shown(name, reference[name])}"
        for name in ("fps", "frame_stride")
        if rule[name] != reference[name]
    ]
    return said


def check_classes(runs: Sequence[Run], reference: Any) -> None:
    """Refuse a model that cannot generate the classes of the reference.

    Raises:
        UnequalRunsError: naming the run and a class that it does not know.
    """
    wanted = reference.class_names
    for run in runs:
        known = run.data.class_names
        if wanted and known and run.model.num_classes is not None:
            strange = [name for name in wanted if name not in known]
            if strange:
                raise UnequalRunsError(
                    f"{run.spec} does not know the class {strange[0]} of the reference; give --data.classes none, or "
                    "other data"
                )
