"""The real clips behind a number: the one list of settings that decide them, and how two records differ.

A record is a data set's :meth:`~videodiff.data.VideoDataModule.fingerprint`, with ``limits`` and whatever else is known
of it. Results, runs that are compared and kept statistics are all held against this list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videodiff.data.resize import RULE_NAMES, rule_text, rule_texts
from videodiff.frame_size import FrameSize

# Entry of a record -> what a record without it means: what held before there was such an entry, or its default.
DECIDES: dict[str, Any] = {
    "dataset": None,
    "layout": None,
    "resolution": None,
    "resize": rule_text("antialias"),
    "fps": None,
    "frame_stride": 1,
    "view": "image_main",
    "classes": None,
    "min_frames": 0,
    "listing": None,
    "missing_captions": None,
    "clip_words": None,
}
# These choose which videos are listed. Where the listings are equal they chose the same ones, except in shards, which
# are divided only when they are read.
CHOOSES: dict[str, Any] = {"train_split": "train", "fold": 1, "val_fraction": 0.1, "clip_list": None}
EXPLAINS_LISTING = ("dataset", "layout", "view", "classes", *CHOOSES)
WORDS = {"fps": "every frame", "resolution": "as stored", "classes": "none", "clip_list": "none"}  # for None


def real_clips(record: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a record that decide the real clips, older records filled up."""
    filled = {**DECIDES, **CHOOSES}
    return {key: default if record.get(key) is None else record[key] for key, default in filled.items()}


def differences(
    a: Mapping[str, Any], b: Mapping[str, Any], split: str | None = None, besides: tuple[str, ...] = ()
) -> list[str]:
    """In what the real clips of two records differ, each as ``fps 8 against 25``; empty where they are the same.

    Args:
        a: one record.
        b: the other.
        split: whose limit of videos counts; None where no limit does.
        besides: entries that something else decides, such as the stride of a protocol.
    """
    one, other = real_clips(a), real_clips(b)
    same_listing = one["listing"] == other["listing"]
    divided_late = "shards" in (one["layout"], other["layout"])
    compared = [key for key in DECIDES if key != "listing"]
    compared += CHOOSES if divided_late or not same_listing else []
    different = [key for key in compared if key not in besides and one[key] != other[key]]
    rules = {shown("resize", record["resize"]) for record in (one, other)}
    if len(rules) == 1:  # it is told in other words of squares
        different = [key for key in different if key != "resize"]
    found = [f"{key} {told(key, one[key], other[key])}" for key in different]
    if not same_listing and not {*different} & {*EXPLAINS_LISTING}:
        roots = a.get("root"), b.get("root")
        hashes = [f"listing {str(listing)[:8]}" for listing in (one["listing"], other["listing"])]
        names = roots if roots[0] != roots[1] and all(roots) else hashes
        found.append("other videos ({} against {})".format(*names))
    limits = [(record.get("limits") or {}).get(split) for record in (a, b)]
    # Clip i of a built-in set does not follow their number, which every result counts for itself.
    if limits[0] != limits[1] and one["dataset"] == other["dataset"] == "folder":
        found.append(f"num_{split}_clips {told('clips', *limits)}")
    return found


def told(key: str, a: Any, b: Any) -> str:
    """``8 against 25``: two values of an entry as a reader knows them."""
    if key == "classes" and a and b and len(a) == len(b):
        at = next(number for number, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
        return f"of other names (number {at} is {a[at]} against {b[at]})"
    return f"{shown(key, a)} against {shown(key, b)}"


def shown(key: str, value: Any) -> str:
    """One value as a reader knows it: a rule by its name, classes by their number, numbers without their zeros."""
    if value is None:
        return WORDS.get(key, "no limit" if key == "clips" else "none")
    if key == "classes":
        return str(len(value))
    if key == "resize":
        return next((name for name in RULE_NAMES if value in rule_texts(name)), str(value))
    if key == "resolution" and isinstance(value, int | list | tuple):
        return str(FrameSize.of(value))
    return f"{value:g}" if isinstance(value, float) else str(value)
