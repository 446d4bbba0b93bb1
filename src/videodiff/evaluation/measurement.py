"""One protocol on one set of real clips, against which whatever is generated is measured: of one run or of several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from videodiff.conditioning.asked import conditioned_on
from videodiff.conditioning.request import Request
from videodiff.data.captions import chosen
from videodiff.data.clips import ClipSource
from videodiff.data.resize import resize
from videodiff.evaluation.choice import choose
from videodiff.evaluation.clip_judge import CONSISTENCY, SIMILARITY, ClipJudge
from videodiff.evaluation.continued import ContinuedClips, compared, gains, repeated
from videodiff.evaluation.detectors import BUILT_IN, Detector, build_detectors
from videodiff.evaluation.generated import GeneratedClips
from videodiff.evaluation.observed import Observed, observe
from videodiff.evaluation.plan import Batch, plan_clips, read_batches
from videodiff.evaluation.protocol import Protocol
from videodiff.evaluation.real import data_record, further_clips, identity_of, labels_of, real_source
from videodiff.evaluation.reference import cached_reference, reference_key, reference_path
from videodiff.evaluation.results import Result
from videodiff.evaluation.run import evaluate
from videodiff.metrics.entry import Entry
from videodiff.metrics.features.lpips import SMALLEST, trunk_file
from videodiff.metrics.video_pairs import lpips_is_at_hand
from videodiff.sampling.video_model import VideoModel
from videodiff.say import counted

Progress = Callable[[str, int, int], None]

# Of a data set's fingerprint, what shapes the training stream and none of the real clips.
OF_TRAINING = ("seed", "images_per_video", "actions", "captions", "held_out_words")


class Processes(NamedTuple):
    """Which of how many processes this one is."""

    rank: int = 0
    world: int = 1

    def of_first(self, value: Any) -> Any:
        """The first process's value, on all of them."""
        if self.world == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, 0)
        return box[0]

    def share(self, count: int) -> range:
        """Which of so many clips are this process's."""
        return range(self.rank, count, self.world)


class Measurement:
    """One protocol on one set of real clips; every model is measured by it.

    Clip i of the real side depends on the plan alone, and every process looks at its share without padding, so neither
    processes nor batch sizes change a number. Real clips are decoded once per data set and protocol; all pass in
    batches, never as a whole.

    Args:
        data: whose real clips are taken.
        protocol: asked for, or the default; it is fitted to the data.
        num_clips: clips of each side; None is what the protocol wants.
        may_fall_back: measure with a random network where weights are missing; else that is an error.
        seed: of windows and shuffling.
        batch_size: clips read and looked at together.
        device: of the feature networks.
        c3d: also the inception score of C3D.
        make_detectors: builds what looks at the clips; None builds the protocol's.
        cache: folder of cached references; None is the user's.
        clip: CLIP, for the similarity of words and frames and of successive frames; None measures neither.
        processes: that measure together.
        progress: called with what is looked at, how many are done and how many there are.

    Attributes:
        protocol: fitted.
        detectors: whose weights were found.
        checksums: of their weights.
        notes: what a reader must know.
        source: the real videos.
        plan: which clips of them.
        count: clips that a model generates: as many as real ones on the built-in sets, else what is asked for; of a
            prediction all draws of every real clip.

    Raises:
        FileNotFoundError: if the weights of a protocol that was asked for are missing.
        ValueError: for clips too short for it.
    """

    def __init__(
        self,
        data: Any,
        protocol: Protocol,
        num_clips: int | None = None,
        *,
        may_fall_back: bool = False,
        seed: int = 0,
        batch_size: int = 16,
        device: torch.device | str = "cpu",
        c3d: bool = False,
        make_detectors: Callable[[Protocol], Sequence[Detector]] | None = None,
        cache: Path | None = None,
        clip: ClipJudge | None = None,
        processes: Processes | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.data, self.seed, self.batch_size, self.cache, self.clip = data, seed, batch_size, cache, clip
        self.processes, self.progress = processes or Processes(), progress or (lambda what, done, total: None)
        build = make_detectors or (lambda p: build_detectors(p, device, data.dataset, c3d))
        beside = [] if clip is None else [clip.detector()]
        self.protocol, self.detectors, self.checksums, self.notes = choose(
            protocol, data, num_clips, lambda p: [*build(p), *beside], may_fall_back
        )
        self.is_built_in = data.dataset in BUILT_IN
        self.source = real_source(data, self.protocol)
        plan = plan_clips(self.source, self.protocol, "real", seed)
        self.plan = plan if num_clips is None else plan.first(num_clips)
        wanted = min(num_clips or self.protocol.num_generated, self.protocol.num_generated)
        self.count = len(self.plan) if self.is_built_in else wanted
        if self.protocol.is_prediction:
            self.count = len(self.plan) * self.protocol.draws
            if min(data.frame_size) >= SMALLEST["alex"] and not lpips_is_at_hand():
                self.notes.append(
                    f"LPIPS is not measured: none of {', '.join(trunk_file('alex').filenames)} is here"
                )

    @cached_property
    def others(self) -> ClipSource | None:
        """Further real clips, as many, which only the built-in sets have."""
        return further_clips(self.source, len(self.plan)) if self.is_built_in else None

    @cached_property
    def real(self) -> Observed:
        """The real side; whole on the first process, which alone scores."""
        side = self.real_side(self.source, "real clips")
        if labels := self.source.labels:
            side.classes = np.array([labels[self.plan.windows[place][0]] for place in side.places.tolist()])
        side.facts = self.facts_behind(side.places.tolist())
        if self.clip is not None and self.source.has_captions:
            self.clip.put_similarity(side, self.captions_of(side.places.tolist()))
        return side

    @cached_property
    def floor(self) -> Observed | None:
        """What a perfect model would look like: further real clips, where there are some."""
        return None if self.others is None else self.real_side(self.others, "clips of the floor")

    def look_at_real_clips(self) -> None:
        """Look at both sets of real clips now: all processes together, where there are several."""
        _ = self.real, self.floor
        if self.protocol.is_prediction:
            _ = self.repeated

    @property
    def facts(self) -> dict[str, Any]:
        """What identifies the real clips, for records."""
        return data_record(self.data, self.protocol.split)

    @property
    def protocol_record(self) -> dict[str, Any]:
        """The protocol with the checksum of its network, for records."""
        return self.protocol.record(self.checksums[self.detectors[0].name])

    def labels(self, model: VideoModel, class_names: Sequence[str] | None = None) -> list[int] | None:
        """Classes of the real clips for a model that has classes, in its own numbers where it names them otherwise."""
        found, here = labels_of(model, self.source, self.plan), self.data.class_names
        if found is None or not class_names or not here:
            return found
        numbers = {name: number for number, name in enumerate(class_names)}
        return [numbers[here[label]] for label in found]

    def actions(self, model: VideoModel) -> Callable[[Sequence[int]], Tensor] | None:
        """Numbers of clips -> the actions of the real ones, for a model that takes them and data that hold them.

        Raises:
            ValueError: for a protocol that leaves out frames, and so actions.
        """
        plan, source = self.plan, self.source
        if source.action_dim is None or "actions" not in model.answers:
            return None
        if plan.stride != 1:
            raise ValueError(
                f"actions lead from a frame to the next, and the protocol takes every {plan.stride}th"
            )

        def of_clips(numbers: Sequence[int]) -> Tensor:
            windows = [plan.windows[number % len(plan)] for number in numbers]
            return torch.stack([source.actions(video, start, plan.frames) for video, start in windows])

        return of_clips

    def captions(self, model: VideoModel) -> Callable[[Sequence[int]], list[str]] | None:
        """Numbers of clips -> the captions of the real ones, for a model that takes words and data that hold them."""
        return self.captions_of if self.source.has_captions and "prompt" in model.answers else None

    def captions_of(self, numbers: Sequence[int]) -> list[str]:
        """Captions of the real clips that generated clips of these numbers stand beside."""
        plan, source = self.plan, self.source
        windows = [plan.windows[number % len(plan)] for number in numbers]
        return [
            chosen(source.captions_of(video, start, plan.frames, plan.stride), 0.0)
            for video, start in windows
        ]

    def facts_behind(self, places: Sequence[int]) -> Sequence[Mapping[str, Any]] | None:
        """The truth behind the captions of real clips, where their source states it of any."""
        plan = self.plan
        windows = [plan.windows[place % len(plan)] for place in places]
        facts = [self.source.told(video, start, plan.frames, plan.stride) for video, start in windows]
        return facts if any(facts) else None

    def told(
        self, model: VideoModel, conditions: Mapping[str, Any], class_names: Sequence[str] | None = None
    ) -> str:
        """What kind of condition the clips of a model have, in words.

        Args:
            model: that generates them.
            conditions: name of a flag -> plain value.
            class_names: as for :meth:`labels`.
        """
        return conditioned_on(
            conditions,
            self.labels(model, class_names) is not None,
            self.protocol.given,
            self.actions(model) is not None,
            self.captions(model) is not None,
        )

    def sized(self, clips: Tensor) -> Tensor:
        """Clips uint8 ``[B, T, H, W, 3]`` at the size of the real ones, brought there by the same rule."""
        size = self.data.frame_size
        return clips if clips.shape[2:4] == size else resize(clips, size, self.data.selection.rule.resize)

    def generated(
        self,
        model: VideoModel,
        request: Request,
        class_names: Sequence[str] | None = None,
        **options: Any,
    ) -> GeneratedClips:
        """This process's share of the clips of a model: generated from noise, or real ones that it continues.

        Args:
            model: in evaluation mode.
            request: what is asked of each.
            class_names: of the model, where it names its classes otherwise than the data.
            options: of :class:`~videodiff.evaluation.generated.GeneratedClips`.
        """
        protocol, mine = self.protocol, self.processes.share(self.count)
        options = {
            "request": request, "labels": self.labels(model, class_names), "rounding": protocol.rounding,
            "actions": self.actions(model), "captions": self.captions(model), **options,
        }  # fmt: skip
        if not protocol.is_prediction:
            return GeneratedClips(model, protocol.frames, mine, self.seed, self.batch_size, **options)
        rule = self.data.selection.rule.resize
        return ContinuedClips(
            model, protocol, lambda places: self.clips(places=places), rule, mine, self.seed, self.batch_size,
            **options,
        )  # fmt: skip

    def observe_generated(
        self, clips: GeneratedClips, what: str, batches: Iterable[Batch] | None = None
    ) -> Observed:
        """Show the detectors what the protocol compares of generated clips.

        Args:
            clips: this process's share, from :meth:`generated`.
            what: they are called in progress.
            batches: of them, where they pass by someone else first.
        """
        side = self.observe(self.as_compared(clips if batches is None else batches), what, len(clips.indices))
        side.classes = clips.classes_of(side.places.tolist())
        if self.clip is not None:
            self.clip.put_similarity(side, words := clips.words_of(side.places.tolist()))
            note = f"{SIMILARITY} is not measured of clips that were told no words"
            if not any(words or ()) and note not in self.notes:
                self.notes.append(note)
        if clips.tells_captions:
            side.facts = self.facts_behind([clips.told_as(place) for place in side.places.tolist()])
        return side

    def as_compared(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Generated clips at the size of the real ones, and of them what the protocol compares."""
        for batch in batches:
            clips = self.sized(batch.clips)
            pairs = batch.pairs and (batch.pairs[0], clips)
            yield compared(Batch(batch.places, clips, pairs), self.protocol)

    @cached_property
    def repeated(self) -> Observed:
        """Real clips whose last given frame is repeated, of a prediction; whole on the first process."""
        mine = self.processes.share(len(self.plan))
        batches = self.as_compared(repeated(self.clips(places=mine), self.protocol.given))
        return self.observe(batches, "clips of the last given frame", len(mine))

    @property
    def repeat_last(self) -> dict[str, Entry]:
        """The figures of these; on the first process."""
        alone = self.protocol.changed(draws=1, best_of=1)
        return evaluate(self.real, self.repeated, alone, detectors=self.detectors).metrics

    def gains(self, generated: Observed) -> dict[str, Entry]:
        """By how much continuations are above that in PSNR, SSIM and LPIPS, clip by clip; on the first process."""
        return gains(generated.pairs, self.repeated.pairs, self.protocol.draws)

    def real_side(self, source: ClipSource, what: str) -> Observed:
        """What the detectors say of the clips of the plan, from the cache or decoded by all processes together."""
        found = identity_of(self.data, self.protocol.split)
        facts = {k: v for k, v in found.items() if k not in OF_TRAINING} | {"side": what}
        key = reference_key(self.protocol, facts, self.checksums, len(self.plan), self.seed)
        path = reference_path(key, self.cache)
        is_first = self.processes.rank == 0
        if self.processes.of_first(path is not None and path.is_file()):
            return cached_reference(key, Observed, self.cache)[0] if is_first else Observed()
        mine = self.processes.share(len(self.plan))
        first = self.protocol.first_seen
        seen = (batch._replace(clips=batch.clips[:, first:]) for batch in self.clips(source, mine))
        side = self.observe(seen, what, len(mine))
        return cached_reference(key, lambda: side, self.cache)[0] if is_first else side

    def clips(self, source: ClipSource | None = None, places: Sequence[int] | None = None) -> Iterator[Batch]:
        """Real clips of the plan, all frames that are read; all clips or those of some places."""
        places = range(len(self.plan)) if places is None else places
        bad: list[str] = []
        yield from read_batches(source or self.source, self.plan, places, self.batch_size, bad)
        note = bad and f"{counted(len(bad), 'real clip')} could not be read; the first: {bad[0]}"
        if note and note not in self.notes:
            self.notes.append(note)

    def observe(self, batches: Iterable[Batch], what: str, total: int) -> Observed:
        """Show clips to the detectors: this process's share of them, of which all processes get the whole."""

        def report(done: int) -> None:
            self.progress(what, done, total)

        return observe(batches, self.detectors, report, together=self.processes.world > 1)

    def result(
        self, generated: Observed, model: dict[str, Any] | None = None, warnings: Sequence[str] = ()
    ) -> Result:
        """The numbers of generated clips; on the first process."""
        found = evaluate(
            self.real, generated, self.protocol, floor=self.floor, detectors=self.detectors, seed=self.seed,
            data=self.facts, model=model, warnings=warnings,
        )  # fmt: skip
        for name in (SIMILARITY, CONSISTENCY):
            if self.clip is not None and name in found.metrics:
                found.metrics[name]["network_sha256"] = self.clip.digest
        return found
