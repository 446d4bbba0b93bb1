"""The real side of a comparison, and the figures of any clips beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from videodiff.comparison.drawing import Progress
from videodiff.comparison.settings import Settings
from videodiff.data.clips import ClipSource
from videodiff.data.resize import resize
from videodiff.evaluation.detectors import BUILT_IN, build_detectors
from videodiff.evaluation.of_run import (
    choose,
    default_protocol,
    facts_of,
    labels_of,
    other_draws,
    real_source,
    told_of,
)
from videodiff.evaluation.protocol import Protocol, get_protocol
from videodiff.evaluation.reference import cached_reference, reference_key
from videodiff.evaluation.run import evaluate
from videodiff.evaluation.sampling import Batch, plan_clips, read_batches
from videodiff.evaluation.sides import Side, observe
from videodiff.metrics.baselines import frozen_clips, noise_clips


class Judge:
    """One protocol on one set of real clips; every model is measured by it.

    Args:
        data: whose real clips are taken.
        settings: of the comparison.
        frames: of the clip that the models draw, where neither settings nor a published protocol say another.
        device: of the feature networks.
        progress: called with what is looked at, how many are done and how many there are.

    Raises:
        FileNotFoundError: if the weights of a protocol that was asked for are missing.
        ValueError: for clips too short for it.
    """

    def __init__(
        self, data: Any, settings: Settings, frames: int, device: torch.device, progress: Progress
    ) -> None:
        self.data, self.settings, self.progress = data, settings, progress
        found = choose(
            asked_protocol(data, settings, frames), data, settings.num_clips,
            lambda p: build_detectors(p, device, data.dataset), settings.protocol is None,
        )  # fmt: skip
        self.protocol, self.detectors, self.checksums, self.notes = found
        for note in self.notes:
            print(f"videodiff: warning: {note}", file=sys.stderr, flush=True)
        self.is_built_in = data.dataset in BUILT_IN
        self.source = real_source(data, self.protocol)
        plan = plan_clips(self.source, self.protocol, "real", settings.seed)
        self.plan = plan if settings.num_clips is None else plan.first(settings.num_clips)
        wanted = min(settings.num_clips or self.protocol.num_fake, self.protocol.num_fake)
        self.count = len(self.plan) if self.is_built_in else wanted
        self.real = self.real_side(self.source, "real clips")
        self.others = other_draws(self.source, len(self.plan)) if self.is_built_in else None
        self.floor = None if self.others is None else self.real_side(self.others, "clips of the floor")

    @property
    def facts(self) -> dict[str, Any]:
        """What identifies the real clips."""
        return {**told_of(self.data, self.protocol.split), "num_real": len(self.real)}

    def labels(self, model: Any, class_names: Sequence[str] | None) -> list[int] | None:
        """Classes of the real clips for a model that has classes, in its own numbers."""
        found, here = labels_of(model, self.source, self.plan), self.data.class_names
        if found is None or not class_names or not here:
            return found
        numbers = {name: number for number, name in enumerate(class_names)}
        return [numbers[here[label]] for label in found]

    def sized(self, clips: Tensor) -> Tensor:
        """Clips uint8 ``[B, T, H, W, 3]`` at the size of the real ones, brought there by the same rule."""
        size = self.data.frame_size
        return clips if clips.shape[2:4] == size else resize(clips, size, self.data.selection.rule.resize)

    def real_side(self, source: ClipSource, what: str) -> Side:
        """What the detectors say of the clips of the plan, from the cache or decoded now."""
        found = facts_of(self.data, self.protocol.split)
        facts = {k: v for k, v in found.items() if k not in ("seed", "images_per_video")} | {"side": what}
        key = reference_key(self.protocol, facts, self.checksums, len(self.plan), self.settings.seed)
        return cached_reference(key, lambda: self.look(self.clips(source), what, len(self.plan)))[0]

    def clips(self, source: ClipSource | None = None, first: int | None = None) -> Iterator[Batch]:
        """Real clips of the plan, or the first of them."""
        places = range(len(self.plan) if first is None else min(first, len(self.plan)))
        bad: list[str] = []
        yield from read_batches(source or self.source, self.plan, places, self.settings.batch_size, bad)
        note = bad and f"{len(bad)} real clips could not be read; the first: {bad[0]}"
        if note and note not in self.notes:
            self.notes.append(note)

    def shown(self, count: int) -> Tensor:
        """The first real clips, uint8 ``[count, T, H, W, 3]``."""
        found = [batch.clips for batch in self.clips(first=count)]
        return torch.cat(found) if found else torch.zeros(0, 1, 1, 1, 3, dtype=torch.uint8)

    def look(self, batches: Iterable[Batch], what: str, total: int) -> Side:
        """Show clips to the detectors."""
        return observe(batches, self.detectors, self.report(what, total))

    def report(self, what: str, total: int) -> Callable[[int], None]:
        """A one-argument form of the progress callback."""
        return lambda done: self.progress(what, done, total)

    def judge(self, side: Side, warn: bool = True) -> tuple[dict[str, dict[str, Any]], list[str]]:
        """Metrics of a side by name, and what a reader must know about it."""
        result = evaluate(
            self.real,
            side,
            self.protocol,
            floor=self.floor,
            detectors=self.detectors,
            seed=self.settings.seed,
        )
        return result.metrics, result.warnings if warn else []

    def baselines(self) -> list[dict[str, Any]]:
        """Noise and frozen frames, at the count of the models' clips.

        The frames are of other real clips on the built-in data; elsewhere there are no others, and those of the clips
        of the real side itself are harder to beat. Where the network sees one frame there are none: a frozen clip of
        one frame is a real picture.
        """
        sides = {"noise": self.noise(self.count)}
        if self.protocol.seen_frames > 1:
            sides["frozen frames"] = self.frozen(self.count)
        return [
            {"name": name, "metrics": self.judge(self.look(batches, name, self.count))[0]}
            for name, batches in sides.items()
        ]

    def noise(self, count: int) -> Iterator[Batch]:
        """So many clips of Gaussian noise of the size of real ones."""
        frames, (height, width) = self.protocol.seen_frames, self.data.frame_size
        for first in range(0, count, self.settings.batch_size):
            size = min(self.settings.batch_size, count - first)
            clips = noise_clips(size, frames, height, width, self.settings.seed, first)
            yield Batch(list(range(first, first + size)), clips)

    def frozen(self, count: int) -> Iterator[Batch]:
        """So many clips of one repeated frame: the first of every real clip, then later ones of the same clips."""
        done, rounds = 0, -(-count // len(self.plan))
        for turn in range(rounds):
            for batch in self.clips(self.others):
                clips = frozen_clips(batch.clips, turn * batch.clips.shape[1] // rounds)[: count - done]
                if len(clips):
                    yield Batch(list(range(done, done + len(clips))), clips)
                done += len(clips)


def asked_protocol(data: Any, settings: Settings, frames: int) -> Protocol:
    """The protocol at the length of the clips: what is asked for, what it says itself, or else the models'."""
    found = default_protocol(data, frames) if settings.protocol is None else get_protocol(settings.protocol)
    return found.changed(frames=frames_of(settings) or frames)


def frames_of(settings: Settings) -> int | None:
    """Frames of a clip where settings or protocol say so; None leaves them to the models.

    A published protocol brings its own number, ours (and the default) only a number that is named.
    """
    if settings.frames is not None:
        return settings.frames
    if settings.protocol is None:
        return None
    found = get_protocol(settings.protocol)
    words = settings.protocol.split(":")[1:]
    named = any(word.isdecimal() or word.startswith("frames=") for word in words)
    return found.frames if named or found.network == "i3d" else None
