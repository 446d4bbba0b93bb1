"""Compares two folders of videos, or of folders of frames, without a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch

from videodiff.data.clips import ClipSource, Entry, FolderSource, listing_hash
from videodiff.data.entries import scan
from videodiff.data.frame_folder import uneven, without_masks
from videodiff.data.layouts.images import stills
from videodiff.data.passed_over import encoded_twice, encodings_note, passed_over
from videodiff.data.resize import SQUARE, rule_text
from videodiff.data.wrapped_sources import AtRate
from videodiff.evaluation.choice import find_detectors
from videodiff.evaluation.detectors import Detector, build_detectors
from videodiff.evaluation.observed import Observed, observe
from videodiff.evaluation.plan import ClipPlan, plan_clips, read_batches
from videodiff.evaluation.protocol import FEATURE_SWITCHES, Protocol
from videodiff.evaluation.reference import cached_reference, load_reference, read_file, reference_key
from videodiff.evaluation.results import Result
from videodiff.evaluation.run import evaluate
from videodiff.frame_size import FrameSize, Resolution
from videodiff.plain import parse_json
from videodiff.say import counted

LOSSLESS_CODECS = {"ffv1", "png", "apng", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "qtrle", "zlib", "bmp"}
LOSSLESS_IMAGES = {".png", ".bmp", ".ppm", ".tif", ".tiff"}
FEW_COLOURS = {".gif", ".webp"}
CODEC_SAMPLE = 64  # files whose codec is looked at
# Files hold bytes: how a model's output is rounded, and which split it learnt from, cannot be told from them.
WITHOUT_EFFECT = ("rounding", "split")

Progress = Callable[[str, int, int], None]


@dataclass
class Folder:
    """The videos of a folder.

    Args:
        root: the folder.
        resolution: height and width that frames are cropped and resized to, as for training, one number for a square;
            None keeps all pixels.
        layout: ``images`` takes every picture as a clip of one frame, where `generate` has not listed its clips.
        resize: rule by which they are brought to `resolution` (:mod:`videodiff.data.resize`).

    Raises:
        ValueError: for a rule that is none.
    """

    root: Path
    resolution: Resolution | list[int] | None = None
    layout: str = "auto"
    resize: str = "antialias"
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = None if self.resolution is None else FrameSize.of(self.resolution)
        self.resolution = self.size and self.size.written
        # What is recorded of the rule: nothing of the default, as before there were others.
        text = rule_text(self.resize, self.size or SQUARE)
        self.rule: dict[str, Any] = {} if self.resize == "antialias" else {"resize": text}
        self.record, listed = read_samples_record(self.root)
        tree, masks = without_masks(scan(self.root))
        pictures = self.layout == "images" and listed is None
        entries = stills(tree) if pictures else tree.videos or tree.folders
        if not entries:
            raise FileNotFoundError(tree.nothing())
        self.notes: list[str] = []
        if listed is not None:
            entries = [e for e in entries if e.relative in listed]
            if len(entries) < len(listed):
                raise FileNotFoundError(
                    f"{self.root}: samples.json lists {counted(len(listed), 'clip')}, of which {len(entries)} can be "
                    "found"
                )
        else:
            layout = "images" if pictures else "videos" if tree.videos else "frames"
            self.notes = [*masks, *passed_over(tree, entries, layout)]
            self.notes += uneven([entry for entry in entries if entry.kind == "frames"])
            videos = [entry for entry in entries if entry.kind == "video"]
            self.notes += encodings_note(videos, "one file of each is taken")
            entries = one_of_each(entries)
        self.entries: list[Entry] = entries
        self.sources: dict[tuple[int, float | None], ClipSource] = {}

    def source(self, needed: int, fps: float | None = None) -> ClipSource:
        """The videos of at least so many frames, or ticks of a clock of `fps`.

        Raises:
            ValueError: if there are none, or a clock is asked for and frames carry no times.
        """
        if (needed, fps) not in self.sources:
            frames = 1 if fps is not None else needed
            source = FolderSource(str(self.root), self.entries, frames, self.size, rule=self.resize)
            self.sources[needed, fps] = source if fps is None else AtRate(source, fps, needed)
        return self.sources[needed, fps]

    def identity(self) -> dict[str, Any]:
        """What the clips are: for keys of references, and for the record."""
        return {"dataset": "folder", "root": str(self.root), "listing": listing_hash({"all": self.entries}),
                "videos": len(self.entries), "resolution": self.resolution or "as stored", **self.rule}  # fmt: skip

    def lossy(self) -> str | None:
        """The first lossy format among the files, or None."""
        step = max(1, len(self.entries) // CODEC_SAMPLE)
        formats = (storage_format(entry) for entry in self.entries[::step])
        return next((name for name, is_lossless in formats if not is_lossless), None)


def one_of_each(entries: list[Entry]) -> list[Entry]:
    """The entries, but of a clip in more than one encoding a single file: no GIF if there is another."""
    surplus = {
        id(entry)
        for group in encoded_twice(e for e in entries if e.kind == "video")
        for entry in sorted(group, key=lambda e: Path(e.path).suffix.lower() in FEW_COLOURS)[1:]
    }
    return [entry for entry in entries if id(entry) not in surplus]


def read_samples_record(root: Path) -> tuple[dict[str, Any], set[str] | None]:
    """What ``videodiff generate`` wrote about a folder: how the clips were made, and which files they are.

    Raises:
        ValueError: if samples.json cannot be read.
    """
    path = root / "samples.json"
    if not path.is_file():
        return {}, None
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        listed = set(record.pop("clips"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no record of generate ({type(error).__name__}: {error})") from error
    return record, listed


def storage_format(entry: Entry) -> tuple[str, bool]:
    """How a video is stored, and whether that keeps every pixel."""
    if Path(entry.path).suffix.lower() in (".tif", ".tiff"):
        return "tiff", True
    if entry.frames or entry.kind == "image":
        suffix = Path(entry.frames[0] if entry.frames else entry.path).suffix.lower()
        return suffix.lstrip("."), suffix in LOSSLESS_IMAGES
    try:
        with av.open(entry.path) as container:
            name = container.streams.video[0].codec_context.name
    except Exception:  # whatever is wrong with it is told when it is read
        return "unknown", True
    return name, name in LOSSLESS_CODECS


@dataclass
class FolderComparison:
    """REAL against GENERATED under any number of protocols; clips are looked at once for each way of looking.

    Args:
        real: the real videos, or a file of cached statistics (``.npz``).
        generated: the generated videos.
        seed: of windows and shuffling.
        num_clips: clips of each side at most, fewer than the protocol wants; its name is not borne then.
        device: where the networks run.
        batch_size: clips read together.
        weights: file of the main network.
        c3d: also the inception score of C3D.
        cache: folder of cached references; None is the user's.
        make_detectors: builds what looks at the clips.
        progress: called as ``progress(side, done, total)``.
    """

    real: Folder | Path
    generated: Folder
    seed: int = 0
    num_clips: int | None = None
    device: torch.device | str = "cpu"
    batch_size: int = 16
    weights: str | None = None
    c3d: bool = False
    cache: Path | None = None
    make_detectors: Callable[[Protocol], Sequence[Detector]] | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self.bad: dict[str, list[str]] = {"real": [], "generated": []}
        self.missing: list[str] = []
        self.seen: dict[tuple[Any, ...], tuple[Observed, Observed]] = {}

    def detectors(self, protocol: Protocol) -> tuple[list[Detector], dict[str, str | None]]:
        """What looks at the clips, and its checksums; networks beside the main one may be missing.

        Raises:
            FileNotFoundError: if the main network's weights are nowhere.
            ValueError: if the clips of the protocol are too short for a network.
        """
        build = self.make_detectors or (
            lambda p: build_detectors(p, self.device, None, self.c3d, self.weights)
        )
        found, checksums, self.missing = find_detectors(protocol, build)
        return found, checksums

    def look(self, protocol: Protocol) -> tuple[Observed, Observed]:
        """Both sides under a protocol."""
        key = tuple(getattr(protocol, switch) for switch in FEATURE_SWITCHES if switch not in WITHOUT_EFFECT)
        key = (*key, protocol.num_real, protocol.num_generated)
        if key not in self.seen:
            detectors, checksums = self.detectors(protocol)
            generated_source = self.generated.source(
                protocol.frames
            )  # an empty or too short folder is told before any work
            real = self.look_at_real(protocol, detectors, checksums)
            generated = self.observe(generated_source, protocol, "generated", detectors)
            self.seen[key] = (real, generated)
        return self.seen[key]

    def look_at_real(
        self, protocol: Protocol, detectors: list[Detector], checksums: dict[str, str | None]
    ) -> Observed:
        """The real side: from a file of statistics, from the cache, or from the videos."""
        if isinstance(self.real, Path):
            asked = (
                {}
                if self.generated.resolution is None
                else {"resolution": self.generated.resolution, **self.generated.rule}
            )
            wanted = reference_key(protocol, asked, checksums, 0, self.seed)
            return load_reference(
                self.real, {key: wanted[key] for key in ("format", "data", "switches", "detectors")}
            )
        source = self.real.source(protocol.span, protocol.fps)
        count = len(self.plan(source, protocol, "real"))
        key = reference_key(protocol, self.real.identity(), checksums, count, self.seed)
        return cached_reference(key, lambda: self.observe(source, protocol, "real", detectors), self.cache)[0]

    def plan(self, source: ClipSource, protocol: Protocol, side: str) -> ClipPlan:
        """The clips of one side."""
        plan = plan_clips(source, protocol, side, self.seed)
        return plan if self.num_clips is None else plan.first(self.num_clips)

    def observe(
        self, source: ClipSource, protocol: Protocol, side: str, detectors: Sequence[Detector]
    ) -> Observed:
        """Read and look at the clips of one side."""
        plan = self.plan(source, protocol, side)
        progress = self.progress
        report = None if progress is None else (lambda done: progress(side, done, len(plan)))
        batches = read_batches(source, plan, range(len(plan)), self.batch_size, self.bad[side])
        return observe(batches, detectors, report)

    def warnings(self, protocol: Protocol) -> list[str]:
        """What the files themselves say that a reader must know."""
        said = []
        folders = {
            "real": (self.real, (protocol.span, protocol.fps)),
            "generated": (self.generated, (protocol.frames, None)),
        }
        for side, (folder, needed) in folders.items():
            if not isinstance(folder, Folder):
                continue
            said += [f"{side} folder: {note}" for note in folder.notes]
            name = folder.lossy()
            if name is not None and side == "generated":
                said.append(
                    f"generated videos are stored lossily ({name}), which moves FVD; write FFV1 or PNG frames"
                )
            elif name is not None:
                said.append(
                    f"real videos are stored lossily ({name}): right if the data set is published so, wrong for a copy "
                    "that was compressed again"
                )
            skipped = len(folder.sources[needed].skipped) if needed in folder.sources else 0
            if skipped:
                said.append(f"{counted(skipped, f'{side} video')} left out (too short or unreadable)")
            if self.bad[side]:
                said.append(
                    f"{counted(len(self.bad[side]), f'{side} clip')} could not be read; the first: {self.bad[side][0]}"
                )
        return said

    def identity(self) -> dict[str, Any]:
        """What the real clips are; statistics know what they were made of."""
        if isinstance(self.real, Folder):
            return self.real.identity()
        return {**read_file(self.real)[0]["key"]["data"], "reference": str(self.real)}

    def measurement(self, protocol: Protocol) -> tuple[dict[str, Any], dict[str, Any]]:
        """Record of the protocol and identity of the real clips, as a result will hold them; nothing is looked at.

        Raises:
            FileNotFoundError: if the main network's weights are nowhere.
            ValueError: if the clips of the protocol are too short for a network.
        """
        detectors, checksums = self.detectors(protocol)
        return protocol.record(checksums[detectors[0].name]), self.identity()

    def result(self, protocol: Protocol) -> Result:
        """Numbers under one protocol.

        Raises:
            ValueError: for folders or clips no number is defined for, in one line.
        """
        real, generated = self.look(protocol)
        detectors, _ = self.detectors(protocol)
        return evaluate(
            real, generated, protocol, detectors=detectors, device=self.device, seed=self.seed,
            data=self.identity(), model=self.made(), warnings=[*self.missing, *self.warnings(protocol)],
        )  # fmt: skip

    def made(self) -> dict[str, Any]:
        """What the generated clips are, and how they were made as far as their folder says."""
        made = {
            key: self.generated.record.get(key)
            for key in ("checkpoint", "sampler", "steps", "guidance", "ema")
        }
        listing = self.generated.identity()["listing"]
        return {
            **{k: v for k, v in made.items() if v is not None},
            "generated": str(self.generated.root),
            "listing": listing,
            "asked": {"num_clips": self.num_clips, "c3d": self.c3d, "weights": self.weights},
        }

    def call(self, protocol: Protocol) -> dict[str, Any]:
        """What tells one measurement from another before anything is looked at."""
        return call_of({
            "protocol": {"hash": protocol.hash}, "seed": self.seed, "data": self.identity(), "model": self.made()
        })  # fmt: skip


def call_of(record: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, out of the record of a result (``Result.to_dict``)."""
    data, model = record.get("data", {}), record.get("model", {})
    return {
        "protocol": record.get("protocol", {}).get("hash"),
        "seed": record.get("seed"),
        "real": data.get("root", data.get("reference")),
        "listing of real": data.get("listing"),
        "resolution": data.get("resolution"),
        "resize": data.get("resize"),
        "generated": model.get("generated"),
        "listing of generated": model.get("listing"),
        **model.get("asked", {}),
    }
