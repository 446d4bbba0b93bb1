"""The clips of a run: from a config to a source, by layout, preset and explicit options."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal

from videodiff.data.annotations import add_captions, take_clips
from videodiff.data.captions import HeldOut, words_of
from videodiff.data.clips import ClipSource, FolderSource
from videodiff.data.entries import Listing
from videodiff.data.layouts import LAYOUTS, Options, list_videos
from videodiff.data.presets import Preset, find_preset
from videodiff.data.resize import rule_text
from videodiff.data.splits import limited, listing_hash
from videodiff.data.synthetic import BouncingDigits, DriftingClouds, GeneratedSource
from videodiff.data.wrapped_sources import AtRate, Lengthened, by_captions
from videodiff.frame_size import FrameSize
from videodiff.say import counted
from videodiff.usage import did_you_mean

GENERATED: dict[str, type[GeneratedSource]] = {
    "bouncing_digits": BouncingDigits,
    "drifting_clouds": DriftingClouds,
}
GENERATED_CAPTIONS = "generated"
STORED = ("shards", "prepared")  # layouts that are one thing to open, not a tree to list
DEFAULTS = Preset("the defaults of this package", val_fraction=0.1)
CHOICES = {
    "train_split": ("train", "all"),
    "windows": ("one", "all"),
    "short_videos": ("skip", "loop", "pad_last"),
}


@dataclass
class Selection:
    """What decides the clips of a data set.

    Args:
        root: where the data lie, or None.
        dataset: the built-in set to use without a root.
        layout: name of a layout; auto to detect it.
        preset: name of a preset, or None for the defaults.
        num_frames: frames of a clip.
        resolution: height and width of the frames in pixels, one number for a square.
        fps: frames per second to read at, or None for every frame.
        view: camera of BAIR.
        classes: auto, folder or none.
        captions: where captions are, or None; ``generated`` for those of the built-in sets.
        clip_list: which clips to take, or None.
        held_out_words: texts whose words no caption of train and val may hold together.
        test_clips: all, or those whose captions hold them.
        missing_captions: empty, or leave_out for videos without one.
        actions: whether clips come with the actions of a robot.
        limits: limit of videos by split.
        explicit: values that win over the preset, None where unset.
    """

    root: str | None
    dataset: str
    layout: str
    preset: str | None
    num_frames: int
    resolution: int | list[int]
    fps: float | None
    view: str
    classes: str
    captions: str | None
    clip_list: str | None
    limits: dict[str, int | None]
    actions: bool = False
    held_out_words: tuple[str, ...] = ()
    test_clips: str = "all"
    missing_captions: str = "empty"
    explicit: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._opened: dict[tuple[str, FrameSize], ClipSource] = {}
        self.dataset = "folder" if self.root is not None else self.dataset
        if self.dataset not in ("folder", *GENERATED):
            raise ValueError(f"dataset must be one of folder, {', '.join(GENERATED)}, got {self.dataset!r}")
        if self.layout not in ("auto", *LAYOUTS, *STORED):
            known = ", ".join(("auto", *LAYOUTS, *STORED))
            raise ValueError(f"layout must be one of {known}, got {self.layout!r}")
        if self.fps is not None and not self.fps > 0:
            raise ValueError(f"fps must be above 0, got {self.fps}")
        for name, choices in CHOICES.items():
            if self.explicit.get(name) not in (None, *choices):
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {self.explicit[name]!r}")
        self._check_captions()
        if self.explicit.get("resize") is not None:
            rule_text(self.explicit["resize"])
        if self.preset is not None:
            find_preset(self.preset)
        if self.dataset in GENERATED:
            need = {
                "layout": None if self.layout == "auto" else self.layout, "preset": self.preset, "fps": self.fps,
                "captions": None if self.captions == GENERATED_CAPTIONS else self.captions,
                "clip_list": self.clip_list, "actions": self.actions or None,
            }  # fmt: skip
            for name, value in need.items():
                if value is not None:
                    way_out = f"; data.captions {GENERATED_CAPTIONS} tells what its clips show"
                    raise ValueError(
                        f"data.{name} {value} needs data.root, and {self.dataset} is built in"
                        + way_out * (name == "captions")
                    )
        if self.root is not None and "://" not in self.root:
            self.root = os.path.abspath(
                self.root if os.path.exists(self.root) else os.path.expanduser(self.root)
            )

    def _check_captions(self) -> None:
        """Refuse options of captions that leave each other without effect."""
        for name, choices in {
            "test_clips": ("all", "held_out"),
            "missing_captions": ("empty", "leave_out"),
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        for text in self.held_out_words:
            if not words_of(text):
                raise ValueError(f"data.held_out_words: {text!r} holds no word")
        if self.test_clips == "held_out" and not self.held_out_words:
            raise ValueError("data.test_clips held_out needs data.held_out_words, which say what is held out")
        if self.dataset not in GENERATED:
            if self.captions == GENERATED_CAPTIONS:
                raise ValueError(
                    f"data.captions {GENERATED_CAPTIONS} is for the built-in sets ({', '.join(GENERATED)}); those of a "
                    "data.root are txt, a .csv or a .jsonl file"
                )
            return
        if self.captions == GENERATED_CAPTIONS and self.explicit.get("horizontal_flip"):
            raise ValueError(
                f"data.horizontal_flip must be false with data.captions {GENERATED_CAPTIONS}: a mirrored clip does not "
                "do what its caption says"
            )
        known = frozenset().union(*map(words_of, GENERATED[self.dataset].vocabulary()))
        for word in sorted(frozenset().union(*map(words_of, self.held_out_words)) - known):
            raise ValueError(
                f"data.held_out_words: no caption of {self.dataset} holds the word {word!r}{did_you_mean(word, known)}"
            )

    # -- what the data are

    @cached_property
    def found(self) -> str:
        """Layout of the data, or of a built-in set its name."""
        if self.dataset in GENERATED:
            return self.dataset
        if self.root is None:
            raise ValueError("data.root is missing: give a folder of videos, or data.dataset bouncing_digits")
        if self.layout in STORED:
            return self.layout
        if self.layout == "auto":
            return stored_layout(self.root) or self.listing.layout
        return self.layout

    @cached_property
    def listing(self) -> Listing:
        """The videos by split."""
        if self.root is None:
            raise ValueError("data.root is missing: give a folder of videos, or data.dataset bouncing_digits")
        if self.layout in STORED or (self.layout == "auto" and stored_layout(self.root)):
            raise ValueError(f"{self.root} is not a tree of files that can be listed")
        listing = list_videos(self.root, self.layout, self._options)
        root = os.path.dirname(self.root) if os.path.isfile(self.root) else self.root
        if self.clip_list is not None:
            listing = take_clips(listing, root, self.clip_list)
        if self.captions is not None:
            if any(entry.caption is not None for entries in listing.splits.values() for entry in entries):
                raise ValueError(
                    f"data.captions {self.captions}: data.clip_list {self.clip_list} has captions too; leave out one"
                )
            listing = add_captions(listing, root, self.captions)
        return listing

    def _options(self, layout: str) -> Options:
        rule = self._rule(layout)
        return Options(rule.fold, rule.train_split, rule.val_fraction, self.view, self.classes)

    def _rule(self, layout: str) -> Preset:
        rule = DEFAULTS if self.preset is None else find_preset(self.preset).for_layout(layout)
        return replace(rule, **{name: value for name, value in self.explicit.items() if value is not None})

    @cached_property
    def rule(self) -> Preset:
        """How clips are taken: the preset for this data set, with what was asked explicitly in its place."""
        return self._rule(self.found)

    @property
    def departures(self) -> dict[str, tuple[Any, Any]]:
        """Explicit values that are not the preset's: name -> (published, used)."""
        if self.preset is None:
            return {}
        published = find_preset(self.preset).for_layout(self.found)
        names = [f.name for f in fields(published) if f.name in self.explicit]
        pairs = {name: (getattr(published, name), getattr(self.rule, name)) for name in names}
        pairs |= {
            name: (getattr(published, name), getattr(self, name)) for name in ("num_frames", "resolution")
        }
        return {name: (old, new) for name, (old, new) in pairs.items() if old != new}

    @property
    def span(self) -> int:
        """Frames of a video that a clip reaches over."""
        return (self.num_frames - 1) * self.rule.frame_stride + 1

    @cached_property
    def class_names(self) -> list[str] | None:
        """Classes in label order, or None."""
        if self.dataset in GENERATED:
            return list(GENERATED[self.dataset].class_names or ())
        if self.root is None:
            return None
        return (
            self._stored("train", self.frame_size).class_names
            if self.found in STORED
            else self.listing.class_names
        )

    # -- sources

    @property
    def frame_size(self) -> FrameSize:
        """Height and width of the frames."""
        return FrameSize.of(self.resolution)

    def source(self, split: Literal["train", "val", "test"], size: FrameSize | None = None) -> ClipSource:
        """The videos of a split as the rule wants them seen, at another size than the selection's if given."""
        size = size or self.frame_size
        if self.actions:
            self.check_actions()
        if self.dataset in GENERATED:
            # Content does not follow the seed of training: two seeds of one experiment share their test clips.
            limit, held_out = self.limits[split], self.held_out(split)
            generated = GENERATED[self.dataset](split, limit, self.span, size, held_out=held_out)
            generated.is_captioned = self.captions is not None
            return generated
        source = self._stored(split, size) if self.found in STORED else self._listed(split, size)
        if self.fps is not None:
            source = AtRate(source, self.fps, self._needed)
        if self.rule.short_videos != "skip":
            source = Lengthened(source, self.span, self.rule.short_videos)
        return by_captions(source, self.held_out(split), self.missing_captions == "leave_out", split)

    def held_out(self, split: str) -> HeldOut | None:
        """The words by which clips of a split are chosen; None where none are."""
        is_wanted = self.test_clips == "held_out"
        if not self.held_out_words or (split == "test" and not is_wanted):
            return None
        return HeldOut(self.held_out_words, split == "test", self.rule.frame_stride)

    def check_actions(self) -> None:
        """Refuse clips whose actions would not be those of their frames.

        Raises:
            ValueError: naming the option.
        """
        if self.found != "bair":
            raise ValueError(
                f"data.actions: the records of BAIR hold actions, {self.root} is {self.found}"
                + (" and has kept the frames alone" if self.found in STORED else "")
            )
        rule = self.rule
        because = "an action leads from a frame to the next one of the video"
        odd = {
            f"frame_stride {rule.frame_stride}": rule.frame_stride != 1,
            f"fps {self.fps}": self.fps is not None,
            f"short_videos {rule.short_videos}": rule.short_videos != "skip",
            "horizontal_flip true": rule.horizontal_flip,
        }
        for name, is_odd in odd.items():
            if is_odd:
                why = "no action is known of a mirrored robot" if "flip" in name else because
                raise ValueError(f"data.actions and data.{name} do not go together: {why}")

    @property
    def _needed(self) -> int:
        """Frames, or ticks, below which a video is left out."""
        return 1 if self.rule.short_videos != "skip" else max(self.span, self.rule.min_frames)

    def _listed(self, split: str, size: FrameSize) -> ClipSource:
        entries = limited(self.listing.splits[split], self.limits[split])
        needed = 1 if self.fps is not None else self._needed
        names = self.listing.class_names
        return FolderSource(str(self.root), entries, needed, size, names, self.rule.resize, self.actions)

    def _stored(self, split: str, size: FrameSize) -> ClipSource:
        """Shards or a prepared folder; what cannot be asked of them any more is refused."""
        if self.captions is not None or self.clip_list is not None:
            raise ValueError(
                f"data.captions and data.clip_list need a tree of files, {self.root} is {self.found}"
            )
        if self.rule.train_split == "all":
            raise ValueError(
                f"data.train_split all is not for {self.found} data; the split is chosen when they are prepared"
            )
        if (split, size) not in self._opened:
            needed = 1 if self.fps is not None else self._needed
            self._opened[split, size] = open_stored(self, split, needed, size)
        return self._opened[split, size]

    @cached_property
    def _content(self) -> str | None:
        """Hash of what there is to read; None for a built-in set."""
        if self.dataset in GENERATED:
            return None
        if self.found in STORED:
            return self._stored("train", self.frame_size).fingerprint
        return listing_hash(self.listing.splits)

    # -- what is told and recorded

    def describe(self, counts: str) -> list[str]:
        """One line on the data, one on the clips."""
        if self.dataset in GENERATED:
            line = f"{self.dataset} (built in): {counts} clips" + ", captioned" * (self.captions is not None)
            words = "; ".join(self.held_out_words)
            return [line, *([f"  held out of train and val: {words}"] if words else [])]
        how = "detected" if self.layout == "auto" else "named"
        classes = (
            "no classes" if self.class_names is None else counted(len(self.class_names), "class", "classes")
        )
        notes = [] if self.found in STORED else self.listing.notes
        lines = [f"{self.found} ({how}) {self.root}: {counts} clips, {classes}"]
        lines += [f"  {note}" for note in notes]
        rule = self.rule
        lines.append(
            f"  {self.num_frames} frames, stride {rule.frame_stride}"
            + (f" at {self.fps:g} fps" if self.fps is not None else "")
            + f", {rule.windows} window{'s' * (rule.windows == 'all')} per video, short videos {rule.short_videos}, "
            f"resize {rule.resize} ({rule_text(rule.resize, self.frame_size)})"
            + ", with actions"
            * self.actions
        )
        if self.preset is not None:
            line = f"  preset {self.preset} [{find_preset(self.preset).hash}] ({rule.source})"
            changed = [f"{name} {new} (published {old})" for name, (old, new) in self.departures.items()]
            lines.append(line + ("; but " + ", ".join(changed) if changed else ""))
        return lines

    def fingerprint(self) -> dict[str, Any]:
        """What decides which frames a clip holds."""
        rule = {k: v for k, v in asdict(self.rule).items() if k not in ("source", "by_layout")}
        rule |= {"num_frames": self.num_frames, "resolution": self.resolution}
        names = self.class_names if self.found != self.dataset else None
        return {
            "dataset": self.dataset,
            "layout": self.found,
            "listing": self._content,
            "classes": None if names is None else list(names),
            "preset": None if self.preset is None else f"{self.preset} {find_preset(self.preset).hash}",
            **rule,
            "resize": rule_text(self.rule.resize, self.frame_size),
            "fps": self.fps,
            "view": self.view if self.found == "bair" else None,
            "num_train_clips": self.limits["train"],
            **self._beside(),
        }

    def _beside(self) -> dict[str, Any]:
        """What clips come with; absent where not used: older checkpoints have no such key."""
        found: dict[str, Any] = {"actions": True} if self.actions else {}
        if self.captions == GENERATED_CAPTIONS:
            found["captions"] = GENERATED_CAPTIONS
        if self.held_out_words:
            found["held_out_words"] = list(self.held_out_words)
        if self.missing_captions != "empty":
            found["missing_captions"] = self.missing_captions
        return found

    def clip_words(self, split: str) -> str | None:
        """By which words the clips of a split are chosen, for records; None where none are."""
        chosen = self.held_out(split)
        return (
            None
            if chosen is None
            else f"{'with' if chosen.is_wanted else 'without'} {'; '.join(chosen.texts)}"
        )


def stored_layout(root: str) -> str | None:
    """Whether a root is tar shards or a prepared folder; None if it is neither. A folder is no pattern of shards."""
    if not os.path.isdir(root):
        is_pattern = "://" in root or any(mark in root for mark in "*{")
        return "shards" if is_pattern or root.lower().endswith(".tar") else None
    from videodiff.data.prepared import is_prepared

    if is_prepared(root):
        return "prepared"
    return "shards" if holds_shards(root) else None


def holds_shards(root: str) -> bool:
    """Whether tar files lie in a folder or its folders of splits, and no folder of anything else beside them."""
    names = [name for name in os.listdir(root) if not name.startswith(".")]
    splits = ("train", "val", "valid", "validation", "test")
    # Not the methods of scandir's entries: those raise on a link that leads in a circle.
    inside = [path for name in names if name in splits and os.path.isdir(path := os.path.join(root, name))]
    files = [
        name for name in names if name.lower().endswith(".tar") and os.path.isfile(os.path.join(root, name))
    ]
    for folder in inside:
        files += os.listdir(folder)
    return any(name.lower().endswith(".tar") for name in files)


def open_stored(selection: Selection, split: str, needed: int, size: FrameSize) -> ClipSource:
    """Open shards or a prepared folder, frames of a size."""
    from videodiff.data.prepared_source import prepared_source
    from videodiff.data.shards import ShardSource

    root, limit, rule = str(selection.root), selection.limits[split], selection.rule
    labelled = selection.classes != "none"
    if selection.found == "prepared":
        return prepared_source(root, split, needed, size, limit, rule.resize, labelled)
    return ShardSource(root, split, needed, size, rule.val_fraction, limit, labelled, rule.resize)
