"""Training on stored latents: the stateless order of clips, without opening a video."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from videodiff.data.captions import SceneCaption, chosen
from videodiff.data.clips import ClipSource
from videodiff.data.collate import stacked_facts
from videodiff.data.latent_store import EntryReader, Latents, LatentSplit, read_latents
from videodiff.data.real_clips import shown
from videodiff.data.scenes import Scene
from videodiff.data.stream import epoch_and_index
from videodiff.seeding import uniform

# Of a fingerprint: what decides when a clip comes and what is said of it, not what it is.
ORDER = ("seed", "images_per_video", "latents", "captions")


def data_of(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """The part of a data fingerprint that latents depend on, as JSON would give it back."""
    return json.loads(json.dumps({k: v for k, v in fingerprint.items() if k not in ORDER}))


class LatentSource(ClipSource):
    """What is known of the videos of one split whose latents are kept; frames are not to be had from it.

    Args:
        latents: the manifest.
        split: name of the split.
        class_names: names of the classes of the data, or None to leave labels out.
        scenes: the built-in set that they are of, where captions are told from its scenes; else None.
    """

    def __init__(
        self,
        latents: Latents,
        split: str,
        class_names: list[str] | None,
        scenes: ClipSource | None = None,
    ) -> None:
        kept = latents.split(split)
        self.root, self.split, self.kept = latents.root, split, kept
        self.skipped, self.shortened, self.fingerprint = [], [], latents.sha256
        self.captions, self.scenes = kept.captions, scenes
        if scenes is not None and len(scenes) != kept.videos:
            raise ValueError(
                f"data.latents {latents.root} hold {kept.videos} {split} clips, the config's are {len(scenes)}; encode "
                "these data with videodiff encode, or set them as they were"
            )
        if class_names is not None and kept.labels is not None:
            self.class_names, self.labels = class_names, kept.labels

    def __len__(self) -> int:
        return self.kept.videos

    @property
    def has_captions(self) -> bool:
        return self.captions is not None or self.scenes is not None

    def scene(self, index: int) -> Scene | None:
        return None if self.scenes is None else self.scenes.scene(index)

    def num_frames(self, index: int) -> int:
        raise TypeError(f"{self.name(index)} is a latent; it has no frames")

    def read(self, index: int, start: int, num_frames: int, stride: int) -> Tensor:
        raise TypeError(f"{self.name(index)} is a latent; it has no frames")

    def name(self, index: int) -> str:
        return f"{self.root}: {self.split} video {index}"


class LatentDataset(Dataset[dict[str, Any]]):
    """Samples ``{"latent": fp32 [C, *S], "sample": number}``, with ``label`` and ``caption`` if there are any.

    Position ``p`` of the training stream is the clip that :class:`~videodiff.data.stream.ClipDataset` would read,
    but for the window: epoch ``e`` takes the kept window ``e mod N``. With another seed than that of the windows the
    order and the mirroring follow the new one. A clip that could not be read when it was encoded is replaced by the
    next of the same order, as it would be there.

    Args:
        latents: the manifest.
        split: train reads the endless stream; val and test read every video once.
        seed: of order and mirroring.
        class_names: names of the classes of the data, or None to leave labels out.
        scenes: the built-in set that they are of, where captions are told from its scenes; else None.
        shape: frames of a clip, and the distance between them.
    """

    images_per_video = 0
    num_replaced = 0

    def __init__(
        self,
        latents: Latents,
        split: str,
        seed: int,
        class_names: list[str] | None,
        scenes: ClipSource | None = None,
        shape: tuple[int, int] = (1, 1),
    ) -> None:
        self.source, self.shape = LatentSource(latents, split, class_names, scenes), shape
        self.kept: LatentSplit = latents.split(split)
        self.entries = EntryReader(latents, split)
        self.is_training, self.seed, self.record = split == "train", seed, None
        self.bad = frozenset(self.kept.bad)
        self.ends = None if self.kept.ends is None else torch.tensor(self.kept.ends)

    def __len__(self) -> int:
        """Number of clips in an epoch; the training stream itself has no end."""
        return self.kept.places

    def names_being_read(self) -> list[str]:
        """Nothing: a latent that is read cannot take a worker down."""
        return []

    def __getitem__(self, number: int) -> dict[str, Any]:
        epoch, place = self._clip(number)
        window = epoch % self.kept.windows
        entry = (window * self.kept.places + place) * self.kept.copies
        if self.kept.mirrored and uniform(self.seed, "flip", epoch, place, 0) < 0.5:
            entry += 1
        sample: dict[str, Any] = {"latent": self.entries.read(entry).float(), "sample": number}
        video = place if self.ends is None else int(torch.searchsorted(self.ends, place, right=True))
        if self.source.class_names is not None:
            sample["label"] = self.source.labels[video]
        if self.source.has_captions:
            sample |= self._caption(epoch, place, video)
        return sample

    def _caption(self, epoch: int, place: int, video: int) -> dict[str, Any]:
        """As :class:`~videodiff.data.stream.ClipDataset` gives it: a clip with a scene begins with its video."""
        u = uniform(self.seed, "caption", epoch, place, 0) if self.is_training else 0.0
        found: dict[str, Any] = {"caption": chosen(self.source.captions_of(video, 0, *self.shape), u)}
        if (scene := self.source.scene(video)) is not None:
            found["scene_caption"] = SceneCaption(scene, 0, self.shape[1], u)
        return found

    def _clip(self, number: int) -> tuple[int, int]:
        """Epoch and place of a position: that which stands there, or the next that could be read."""
        size = len(self)
        for attempt in range(size):
            epoch, place = 0, (number + attempt) % size
            if self.is_training:
                epoch, offset = divmod(number, size)
                epoch, place = epoch_and_index(epoch * size + (offset + attempt) % size, size, self.seed)
            if (epoch % self.kept.windows) * size + place not in self.bad:
                return epoch, place
        raise ValueError(
            f"{self.source.root}: none of the {self.source.split} videos could be read when encoded"
        )


def collate_latents(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples to ``{"latent": fp32 [B, C, *S], "sample": [B], "label": [B]}``; captions are a list of texts."""
    return {"latent": torch.stack([sample["latent"] for sample in samples]), **stacked_facts(samples)}


def open_latents(root: str, fingerprint: dict[str, Any], limits: dict[str, int | None]) -> Latents:
    """Open stored latents for data of a fingerprint.

    Raises:
        FileNotFoundError: if there are none, or a shard is missing.
        ValueError: if they are damaged, or of other data, with the first setting that differs.
    """
    latents = read_latents(root)
    ours = data_of(fingerprint)
    # the sets first: of two folders of videos many settings differ, and all for that reason
    for key in sorted(
        {*ours, *latents.data}, key=lambda key: (key not in ("dataset", "layout", "listing"), key)
    ):
        theirs = latents.data.get(key)
        if theirs != ours.get(key):
            told = [shown(key, v) if key in ("resolution", "resize") else v for v in (theirs, ours.get(key))]
            what = f"of data with {key} {told[0]}, the config's is {told[1]}"
            what = "of other videos" if key == "listing" else what
            raise ValueError(
                f"data.latents {root}: {what}; encode these data with videodiff encode, or set them as they were"
            )
    for split, kept in latents.splits.items():
        if kept.limit != limits[split]:
            raise ValueError(
                f"data.latents {root}: of data with num_{split}_clips {kept.limit}, the config's is {limits[split]}; "
                "encode these data with videodiff encode, or set them as they were"
            )
    return latents


def check_first_stage(latents: Latents, model: Any) -> None:
    """Refuse a model whose first stage is not the one that encoded the latents.

    Raises:
        ValueError: in one line, with both digests.
    """
    stage, name = model.first_stage, latents.first_stage["checkpoint"]
    if stage is None or stage.digest is None:
        raise ValueError(
            f"data.latents {latents.root} are of the first stage {name}, and {type(model).__name__} has none; "
            "leave data.latents out"
        )
    found = stage.digest
    if found != latents.first_stage["sha256"]:
        raise ValueError(
            f"data.latents {latents.root} are of another first stage ({name}, sha256 "
            f"{latents.first_stage['sha256'][:16]}) than the model's ({stage.checkpoint}, {found[:16]}); "
            "encode again with videodiff encode, or name the right run with --model.autoencoder.checkpoint"
        )
