"""Prepares a whole set: lists it, examines every video in parallel, writes the good ones, reports the others.

Everything unfinished lies in ``OUT/.prepare``; data and lines are written in the order of the listing, so the bytes do
not depend on the number of processes or on interruptions. ``prepared.json`` is written last.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from videodiff import atomic
from videodiff.data.annotations import add_captions
from videodiff.data.entries import Entry, Listing
from videodiff.data.layouts import Options, list_videos
from videodiff.data.prepare.examine import Job, OutputError, entry_name, examine
from videodiff.data.prepare.forms import FORM_CLASSES, Form, copy_tree_up, count_whole
from videodiff.data.prepare.journal import (
    FILES,
    WORK,
    Journal,
    as_line,
    only_writer,
    refuse_other,
)
from videodiff.data.prepare.settings import Settings, listing_sha256
from videodiff.data.prepare.workers import Lost, ordered_map
from videodiff.data.prepared import HEADER, MANIFEST, NUMBER, read_manifest, read_prepared, sha256_of
from videodiff.migrations import FORMATS
from videodiff.reading import read_json
from videodiff.say import counted, none_can_be

Progress = Callable[[int, int, int], None]  # videos done, videos in all, videos left out


@dataclass
class Report:
    """What a preparation or a check found.

    Args:
        lines: of the manifest, one per video.
        notes: of the layout.
        form: of the data, None for a check.
        num_bytes: of the data written.
        formats: number of video files by suffix.
    """

    lines: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    form: str | None = None
    num_bytes: int = 0
    formats: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> Counter[str]:
        """Videos kept, by split."""
        return Counter(line["split"] for line in self.lines if line["status"] == "ok")

    @property
    def reasons(self) -> Counter[str]:
        """Videos left out, by reason."""
        return Counter(line["reason"] for line in self.lines if line["status"] != "ok")

    @property
    def duplicates(self) -> int:
        """Videos whose bytes another one before has too."""
        hashes = Counter(line["sha256"] for line in self.lines if line["sha256"] and "@" not in line["path"])
        return sum(count - 1 for count in hashes.values())

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``: counts, and every video left out with its reason."""
        return {
            "form": self.form, "videos": len(self.lines), "kept": dict(self.kept), "skipped": dict(self.reasons),
            "frames": sum(line["frames"] or 0 for line in self.lines if line["status"] == "ok"),
            "formats": self.formats, "duplicates": self.duplicates, "bytes": self.num_bytes, "notes": self.notes,
            "bad": [
                {key: line[key] for key in ("path", "split", "reason", "message")}
                for line in self.lines if line["status"] != "ok"
            ],
        }  # fmt: skip


def list_jobs(root: str, settings: Settings) -> tuple[Listing, list[tuple[str, Entry]]]:
    """The listing of a set, and ``(split, entry)`` of every video once, also where splits share videos."""
    options = Options(val_fraction=settings.val_fraction, classes=settings.classes)
    listing = list_videos(root, settings.layout, options, look_at_all=True)
    if settings.captions is not None:
        listing = add_captions(
            listing, os.path.dirname(root) if os.path.isfile(root) else root, settings.captions
        )
    jobs: dict[tuple[Any, ...], tuple[str, Entry]] = {}
    for split in ("train", "val", "test"):
        for entry in listing.splits[split]:
            jobs.setdefault((entry.path, entry.item, entry.first, entry.last), (split, entry))
    return listing, list(jobs.values())


def count_formats(jobs: list[tuple[str, Entry]]) -> dict[str, int]:
    """Number of video files by suffix."""
    return dict(Counter(os.path.splitext(e.path)[1].lower() for _, e in jobs if e.kind == "video"))


def hash_listing(jobs: list[tuple[str, Entry]]) -> str:
    """Hash of what there is to prepare; the root may move."""
    return listing_sha256([(s, entry_name(e), e.size, e.label, e.caption) for s, e in jobs])


def check(root: str, settings: Settings, workers: int = 0, progress: Progress | None = None) -> Report:
    """Read every video of a set to its end, and write nothing.

    Raises:
        FileNotFoundError: if there is no such set.
        ValueError: if its layout cannot be told.
    """
    listing, found = list_jobs(root, settings)
    lines: list[dict[str, Any]] = []
    jobs = [Job(entry, split, None, settings) for split, entry in found]
    for job, answer in zip(jobs, ordered_map(examine, jobs, workers), strict=True):
        lines.append(_as_line(job, answer))
        _tell(progress, lines, len(jobs))
    return Report(lines, [*listing.notes, *_cut_notes(lines)], formats=count_formats(found))


def verify(root: str, progress: Progress | None = None) -> Report:
    """Compare all data of a prepared folder with the hashes of its manifest.

    Raises:
        ValueError: if header, manifest and sizes do not belong together.
    """
    prepared = read_prepared(root)
    found = read_manifest(prepared.root)
    kept = [line for line in found if line["status"] == "ok"]
    lines: list[dict[str, Any]] = []
    for line in kept:
        out = line["out"]
        path = os.path.join(prepared.root, out["file"])
        reason = None
        if not os.path.isfile(path):
            reason = ("missing", f"{out['file']} is not there")
        elif sha256_of(path, out.get("offset", 0), out["bytes"]) != out["sha256"]:
            reason = ("damaged", f"{out['file']} does not have the bytes that were written")
        if reason is not None:
            line = {**line, "status": "skipped", "reason": reason[0], "message": reason[1]}
        lines.append(line)
        _tell(progress, lines, len(kept))
    return Report(lines, form=None, num_bytes=_data_bytes(Path(prepared.root)))


def prepare(
    root: str, out: str, settings: Settings, workers: int = 0, progress: Progress | None = None
) -> Report:
    """Write a set in the form that the settings name, resuming an interrupted call.

    Args:
        root: folder of the set.
        out: folder to write.
        settings: what to make of it.
        workers: processes; 0 works in this one.
        progress: told after every video.

    Raises:
        FileNotFoundError: if there is no such set.
        ValueError: if its layout cannot be told, no video is left, or `out` holds something else.
        OSError: if `out` cannot be written, or the disk is full; what was written is kept.
    """
    listing, found = list_jobs(root, settings)
    folder = Path(os.path.abspath(out))
    digest = hash_listing(found)
    done = _finished(folder, settings, digest)
    if done is not None:
        return replace(done, formats=count_formats(found))
    work = folder / WORK
    work.mkdir(parents=True, exist_ok=True)
    with only_writer(work):
        done = _finished(folder, settings, digest)  # by a process that held the folder until now
        if done is not None:
            return replace(done, formats=count_formats(found))
        journal = Journal(work, settings, digest)
        lines = journal.lines
        if not (work / FILES).exists():
            journal.keep(count_whole(work / "data", lines, settings, listing.class_names))
        if len(lines) < len(found):
            _work_off(work, journal, found, listing.class_names, settings, workers, progress)
        report = _finish(folder, lines, listing, settings, digest)
        return replace(report, formats=count_formats(found))


def _finished(folder: Path, settings: Settings, listing: str) -> Report | None:
    """The report of a folder that is finished; None for one that is new, or unfinished.

    Raises:
        ValueError: if it holds something else.
    """
    if (folder / HEADER).exists():
        prepared = read_prepared(folder)
        refuse_other(folder, read_json(folder / HEADER), settings, listing)
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return Report(read_manifest(folder), form=prepared.form, num_bytes=_data_bytes(folder))
    if folder.exists() and not (folder / WORK).exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty; name another --out")
    return None


def _work_off(
    work: Path, journal: Journal, found: list[tuple[str, Entry]], class_names: list[str] | None,
    settings: Settings, workers: int, progress: Progress | None,
) -> None:  # fmt: skip
    lines = journal.lines
    parts = work / "parts"
    shutil.rmtree(parts, ignore_errors=True)
    parts.mkdir()
    kept = [line for line in lines if line["status"] == "ok"]
    form = FORM_CLASSES[settings.form](work / "data", settings, class_names, kept)
    jobs = [
        Job(entry, split, str(parts / f"{number:08d}"), settings)
        for number, (split, entry) in enumerate(found) if number >= len(lines)
    ]  # fmt: skip
    try:
        with journal.writing() as add:
            for job, answer in zip(jobs, ordered_map(examine, jobs, workers), strict=True):
                line = _as_line(job, answer)
                _take(form, line, job)
                add(line)
                lines.append(line)
                _tell(progress, lines, len(found))
    except OSError as error:
        if error.filename is None:  # of a file that grows
            error.filename = str(work.parent)
        reason = (error.strerror or str(error)).lower()
        raise OSError(
            f"{work.parent} cannot be written ({reason}) after {len(lines)} of {len(found)} videos; these are kept, "
            "repeat the command to resume"
        ) from error


def _take(form: Form, line: dict[str, Any], job: Job) -> None:
    if line["status"] == "ok":
        assert job.part is not None
        form.take(line, Path(job.part))


def _as_line(job: Job, answer: dict[str, Any] | Lost) -> dict[str, Any]:
    if isinstance(answer, dict):
        return answer
    entry = job.entry
    return {
        "path": entry_name(entry), "split": job.split, "status": "skipped", "reason": "crash",
        "message": answer.reason, "bytes": None, "sha256": None, "frames": None, "fps": None, "even": None,
        "width": None, "height": None, "rotation": None, "label": entry.label, "caption": entry.caption, "out": None,
    }  # fmt: skip


def _cut_notes(lines: list[dict[str, Any]]) -> list[str]:
    """That good videos lack what was cut off, with the first; none if none does."""
    cut = [line for line in lines if line["status"] == "ok" and line["message"]]
    if not cut:
        return []
    return [
        f"{counted(len(cut), 'video')} with missing frames or leaps in time; the first: {cut[0]['path']}: "
        f"{cut[0]['message']}"
    ]


def _tell(progress: Progress | None, lines: list[dict[str, Any]], total: int) -> None:
    if progress is not None:
        progress(len(lines), total, sum(line["status"] != "ok" for line in lines))


def _finish(
    folder: Path, lines: list[dict[str, Any]], listing: Listing, settings: Settings, digest: str
) -> Report:
    report = Report(lines, [*listing.notes, *_cut_notes(lines)], settings.form)
    if not report.kept:
        first = next(line for line in lines if line["status"] != "ok")
        shutil.rmtree(folder / WORK)
        _remove_empty(folder)
        raise ValueError(
            f"{none_can_be('prepared', len(lines), 'video')}; the first: {first['path']}: {first['message']}"
        )
    data = folder / WORK / "data"
    sizes = folder / WORK / FILES
    if not sizes.exists():  # written before the data move, since closing them twice is not possible after
        kept = [line for line in lines if line["status"] == "ok"]
        files = FORM_CLASSES[settings.form](data, settings, listing.class_names, kept).finish()
        atomic.write_text(sizes, json.dumps(files))
    files = read_json(sizes)
    copy_tree_up(data, folder)
    atomic.write_bytes(folder / MANIFEST, b"".join(map(as_line, lines)))
    header = {
        NUMBER: FORMATS["prepared"], "form": settings.form, "size": settings.size, "frames": settings.frames,
        "fps": settings.fps, "resize": settings.resize, "class_names": listing.class_names,
        "layout": listing.layout, "kept": dict(report.kept), "skipped": dict(report.reasons), "files": files,
        "manifest_sha256": sha256_of(folder / MANIFEST), "settings": asdict(settings), "listing": digest,
    }  # fmt: skip
    atomic.write_json(folder / HEADER, header, indent=1, sort_keys=True)
    shutil.rmtree(folder / WORK)
    report.num_bytes = _data_bytes(folder)
    return report


def _remove_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _data_bytes(folder: Path) -> int:
    return sum(
        file.stat().st_size
        for file in folder.rglob("*")
        if file.is_file() and file.name not in (HEADER, MANIFEST)
    )


__all__ = ["OutputError", "Progress", "Report", "check", "list_jobs", "prepare", "verify"]
