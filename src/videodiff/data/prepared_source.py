"""The clips of a prepared folder of any form."""

from __future__ import annotations

import os

from videodiff.data.clips import ClipSource, FolderSource
from videodiff.data.entries import Entry
from videodiff.data.packed import PackedSource, choose
from videodiff.data.prepared import Prepared, read_manifest, read_prepared
from videodiff.data.shards import ShardSource
from videodiff.frame_size import Resolution


def prepared_source(
    root: str,
    split: str,
    needed: int,
    resolution: Resolution,
    limit: int | None = None,
    rule: str = "antialias",
    classes: bool = True,
) -> ClipSource:
    """The videos of one split of a folder that ``videodiff prepare`` wrote.

    Args:
        root: the folder.
        split: train, val or test; a split that is not there is replaced as in any folder of videos.
        needed: frames that a clip spans; shorter videos are skipped.
        resolution: height and width of the frames that are read, one number for a square; at most the prepared ones.
        limit: take this many videos, drawn by a hash of their names.
        rule: how frames are to be resized; it must be the one that they were.
        classes: whether to use the classes, if there are any.

    Returns:
        a source whose `fingerprint` is the hash of the manifest.

    Raises:
        FileNotFoundError: if the folder is not prepared.
        ValueError: if manifest and data do not belong together, size or resize rule differ, or no video is long enough.
    """
    prepared = read_prepared(root)
    prepared.check_request(resolution, rule)
    names = prepared.class_names if classes else None
    source: ClipSource
    if prepared.form == "packed":
        source = PackedSource(root, split, needed, resolution, limit, rule)
        source.class_names, source.labels = names, source.labels if names is not None else []
    elif prepared.form == "shards":
        paths = [os.path.join(prepared.root, name) for name in sorted(prepared.files)]
        source = ShardSource(paths, split, needed, resolution, 0.0, limit, names is not None, rule)
        source.class_names = names  # also those that have lost all their videos
    else:
        chosen = entries(prepared, split, limit)
        source = FolderSource(prepared.root, chosen, needed, resolution, names, rule)
    source.fingerprint = prepared.manifest_sha256
    return source


def entries(prepared: Prepared, split: str, limit: int | None = None) -> list[Entry]:
    """The video files of a split of a prepared folder of form video, as the manifest lists them."""
    lines = choose(read_manifest(prepared.root, split), limit)
    return [
        Entry(
            os.path.join(prepared.root, line["out"]["file"]),
            line["out"]["file"],
            line["out"]["bytes"],
            label=line["label"],
            caption=line["caption"],
            shown=line["out"].get("seeks", False),
        )
        for line in lines
    ]
