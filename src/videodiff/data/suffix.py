"""File suffixes of videos, pictures and their companions, and the lines on files that are not read."""

from __future__ import annotations

import os
from collections.abc import Mapping

from videodiff.data.image_read import IMAGE_SUFFIXES
from videodiff.data.video_file import VIDEO_SUFFIXES

# Read where a layout asks for them.
OTHER_SUFFIXES = frozenset({".npy", ".tar", ".tfrecord", ".tfrecords", ".csv", ".txt"})
# What lies beside videos and is none: text and tables, subtitles, sound, numbers of other tools, programs.
COMPANION_SUFFIXES = frozenset(
    {
        ".aac", ".ass", ".bib", ".bz2", ".cfg", ".db", ".flac", ".gz", ".h5", ".hdf5", ".htm", ".html", ".ini",
        ".ipynb", ".json", ".jsonl", ".lock", ".log", ".m4a", ".mat", ".md", ".md5", ".mp3", ".npz", ".ogg", ".opus",
        ".parquet", ".pdf", ".pickle", ".pkl", ".pt", ".pth", ".py", ".rst", ".safetensors", ".sh", ".sha256", ".srt",
        ".ssa", ".toml", ".tsv", ".vtt", ".wav", ".xlsx", ".xml", ".yaml", ".yml",
    }
)  # fmt: skip
COMPANION_NAMES = frozenset({"license", "readme", "copying", "notice", "makefile"})  # without a suffix
NOT_TOLD = VIDEO_SUFFIXES | IMAGE_SUFFIXES | COMPANION_SUFFIXES | OTHER_SUFFIXES
MOST_NAMED = 6  # suffixes in one line


def could_be_video(name: str) -> bool:
    """Whether a file that is not read should be told of: all but what commonly lies beside videos."""
    stem, suffix = os.path.splitext(name.lower())
    return suffix not in NOT_TOLD and not (suffix == "" and stem in COMPANION_NAMES)


def by_suffix(counts: Mapping[str, int]) -> str:
    """``3 .wmv, 2 .y4m``: the most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{count} {suffix or 'without a suffix'}" for suffix, count in ranked[:MOST_NAMED]]
    rest = ranked[MOST_NAMED:]
    if rest:
        shown.append(f"{sum(count for _, count in rest)} of {len(rest)} other suffixes")
    return ", ".join(shown)


def suffixes_read() -> str:
    """Every suffix of a file that can be read, in one line."""
    return " ".join(sorted(suffix[1:] for suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES))
