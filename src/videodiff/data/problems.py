"""Problems with the data of a run: counted, reported in lines, recorded by video."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from videodiff import atomic
from videodiff.data.bucket_stream import BucketDataset
from videodiff.data.latents import LatentDataset
from videodiff.data.stream import ClipDataset
from videodiff.say import counted

Datasets = Mapping[str, "ClipDataset | LatentDataset | BucketDataset"]


def summary(datasets: Datasets) -> dict[str, dict[str, int]]:
    """Counts of every split: clips, skipped as too short, unreadable, replaced while reading."""
    counts = {}
    for split, dataset in datasets.items():
        skipped, unreadable = dataset.source.skipped, dataset.source.num_unreadable
        counts[split] = {
            "clips": len(dataset), "too_short": len(skipped) - unreadable, "unreadable": unreadable,
            "replaced": dataset.num_replaced,
        }  # fmt: skip
    return counts


def report(datasets: Datasets) -> list[str]:
    """One line for each thing that was wrong; none if all is well."""
    lines = left_out(datasets)
    for split, dataset in datasets.items():
        if dataset.num_replaced:
            where = f", see {dataset.record}" if dataset.record else ""
            lines.append(
                f"{split}: {counted(dataset.num_replaced, 'clip')} unreadable, replaced by the next{where}"
            )
    return lines


def left_out(datasets: Datasets) -> list[str]:
    """What is known before the first clip is read: one line for videos left out, and one for those cut short."""
    lines = []
    for split, dataset in datasets.items():
        source = dataset.source
        for what in ("unreadable", "too short"):
            those = [(p, r) for p, r in source.skipped if r.endswith(" needed") == (what == "too short")]
            if those:
                path, reason = those[0]
                first = reason if os.path.basename(path) in reason else f"{path}: {reason}"
                lines.append(f"{split}: {counted(len(those), 'video')} left out, {what}; the first: {first}")
        for why in dict.fromkeys(reason for _, reason in source.unwanted):
            paths = [path for path, reason in source.unwanted if reason == why]
            lines.append(f"{split}: {counted(len(paths), 'video')} left out, {why}; the first: {paths[0]}")
        blank = [index for index, text in enumerate(source.captions or ()) if not text.strip()]
        if blank:
            lines.append(
                f"{split}: {len(blank)} of {counted(len(source), 'video')} without a caption, learnt as clips without "
                f"text (data.missing_captions leave_out leaves them out); the first: {source.name(blank[0])}"
            )
        if source.shortened:
            path, reason = source.shortened[0]
            count = len(source.shortened)
            lines.append(
                f"{split}: {counted(count, 'video')} with missing frames or leaps in time; the first: {path}: {reason}"
            )
    return lines


def write_skipped(datasets: Datasets, folder: str) -> None:
    """``skipped_videos.jsonl``: every video that is left out, with the reason; no file if none is."""
    lines = [
        json.dumps({"path": path, "reason": reason, "split": split})
        for split, dataset in datasets.items()
        for path, reason in [*dataset.source.skipped, *dataset.source.unwanted]
    ]
    if lines:
        os.makedirs(folder, exist_ok=True)
        atomic.write_text(os.path.join(folder, "skipped_videos.jsonl"), "\n".join(lines) + "\n")
