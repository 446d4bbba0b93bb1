"""VideoDataModule: one set of clips, split, batched and brought to the device."""

import os
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from videodiff.data.clips import ClipSource, Entry, FolderSource, class_folders, listing_hash, split_videos
from videodiff.data.pixels import RESIZE_RULE, to_float
from videodiff.data.stream import ClipDataset, Collate, GlobalBatches, ShardBatches
from videodiff.data.synthetic import BouncingDigits, DriftingClouds, GeneratedSource
from videodiff.seeding import uniform

GENERATED: dict[str, type[GeneratedSource]] = {
    "bouncing_digits": BouncingDigits,
    "drifting_clouds": DriftingClouds,
}
Split = Literal["train", "val", "test"]


class VideoDataModule(pl.LightningDataModule):
    """Clips from a folder of videos, a folder of frames, or one of the built-in sets.

    Batches are ``{"video": [B, 3, T + I, R, R], "sample": int64 [B], "num_images": I}`` and, if there are classes,
    ``"label"``: int64 [B]. Videos travel as uint8 and become fp32 in [-1, 1] on the device. `sample` is the position
    in the endless training stream, or the number of the validation or test clip.

    Training has no epochs for Lightning (the loader has no length): give `max_steps`, and `val_check_interval` with
    `check_val_every_n_epoch` null. Set `use_distributed_sampler` to false.

    Args:
        root: folder of video files, or of folders of images, at any depth; sub-folders train, val and test are used
            if present. Given, it wins over `dataset`.
        dataset: what to read without a root: a built-in set, or folder, which asks for one.
        num_frames: frames of a clip.
        resolution: side of the square frames, in pixels.
        frame_stride: distance between the frames of a clip in the video.
        batch_size: clips of one optimizer step, over all processes and accumulated batches.
        images_per_video: single frames of other videos appended to every training clip (joint image-video training).
        num_workers: loader processes for each training process.
        seed: of order, windows and flips; the content of the built-in sets does not follow it.
        horizontal_flip: mirror half of the training clips.
        eval_batch_size: clips of a validation or test batch of one process; by default as in a training batch.
        num_train_clips: limit of training videos; for built-in sets their number (4096).
        num_val_clips: limit of validation videos; for built-in sets their number (512).
        num_test_clips: limit of test videos; for built-in sets their number (2048).
        val_fraction: share of the training videos to validate with where the root has no val folder.
        classes: folder takes the names of the videos' parent folders as classes, none ignores them, auto takes them if
            all files lie equally deep in two or more folders with two files or more on average.
        max_bad_fraction: share of videos that may turn out unreadable before the run stops (four always may).

    Raises:
        ValueError: for a size below its minimum.
    """

    def __init__(
        self,
        root: str | None = None,
        dataset: Literal["folder", "bouncing_digits", "drifting_clouds"] = "folder",
        num_frames: int = 16,
        resolution: int = 64,
        frame_stride: int = 1,
        batch_size: int = 8,
        images_per_video: int = 0,
        num_workers: int = 2,
        seed: int = 0,
        horizontal_flip: bool = False,
        eval_batch_size: int | None = None,
        num_train_clips: int | None = None,
        num_val_clips: int | None = None,
        num_test_clips: int | None = None,
        val_fraction: float = 0.1,
        classes: Literal["auto", "folder", "none"] = "auto",
        max_bad_fraction: float = 0.05,
    ) -> None:
        super().__init__()
        at_least_one = {
            "num_frames": num_frames, "resolution": resolution, "frame_stride": frame_stride,
            "batch_size": batch_size, "eval_batch_size": eval_batch_size, "num_train_clips": num_train_clips,
            "num_val_clips": num_val_clips, "num_test_clips": num_test_clips,
        }  # fmt: skip
        for name, value in at_least_one.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name, value in {
            "images_per_video": images_per_video,
            "num_workers": num_workers,
            "seed": seed,
        }.items():
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        for name, share in {"val_fraction": val_fraction, "max_bad_fraction": max_bad_fraction}.items():
            if not 0 <= share < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {share}")
        self.dataset: str = "folder" if root is not None else dataset
        if self.dataset not in ("folder", *GENERATED):
            raise ValueError(f"dataset must be one of folder, {', '.join(GENERATED)}, got {dataset!r}")
        self.root = None if root is None else os.path.abspath(os.path.expanduser(root))
        self.num_frames, self.resolution, self.frame_stride = num_frames, resolution, frame_stride
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.images_per_video, self.horizontal_flip = images_per_video, horizontal_flip
        self.num_workers, self.seed = num_workers, seed
        self.limits = {"train": num_train_clips, "val": num_val_clips, "test": num_test_clips}
        self.val_fraction, self.classes, self.max_bad_fraction = val_fraction, classes, max_bad_fraction
        self.record_folder: str | None = (
            None  # where bad_clips.jsonl goes; the caller that knows the run sets it
        )
        self._splits: dict[str, list[Entry]] | None = None
        self._class_of: dict[str, dict[str, str] | None] = {}
        self._class_names: list[str] | None = None
        self._datasets: dict[str, ClipDataset] = {}

    # -- what there is

    @property
    def splits(self) -> dict[str, list[Entry]]:
        """The videos of a folder by split, listed once; no file is opened for it."""
        if self._splits is None:
            if self.root is None:
                raise ValueError(
                    "data.root is missing: give a folder of videos, or data.dataset bouncing_digits"
                )
            self._splits = split_videos(self.root, self.val_fraction)
            self._find_classes(self._splits)
        return self._splits

    def _find_classes(self, splits: dict[str, list[Entry]]) -> None:
        """Classes must be found in every split: a plain train folder has none, whatever test looks like."""
        if self.classes == "none":
            return
        if self.classes == "folder":
            found = {
                s: {e.relative: os.path.basename(os.path.dirname(e.path)) for e in es}
                for s, es in splits.items()
            }
        else:
            # Judged by all videos of a physical folder, before val is cut out of train.
            whole = [e for split in ("train", "val", "test") for e in splits[split]]
            classes = class_folders(list({e.path: e for e in whole}.values()))
            if classes is None:
                return
            found = {s: {e.relative: classes[e.relative] for e in es} for s, es in splits.items()}
        self._class_of = dict(found)
        self._class_names = sorted({name for split in found.values() for name in split.values()})

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in label order, or None."""
        if self.dataset != "folder":
            return list(GENERATED[self.dataset].class_names or ())
        return self._class_names if self.splits else None

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None if the set has none."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def span(self) -> int:
        """Frames of a video that a clip reaches over."""
        return (self.num_frames - 1) * self.frame_stride + 1

    def source(self, split: Split) -> ClipSource:
        """The videos of a split, indexed.

        Raises:
            FileNotFoundError: if the folder is missing or holds no videos.
            ValueError: if no video is long enough or readable.
        """
        limit = self.limits[split]
        if self.dataset != "folder":
            # Content does not follow the seed of training: two seeds of one experiment share their test clips.
            return GENERATED[self.dataset](split, limit, self.span, self.resolution)
        entries = self.splits[split]
        if limit is not None and limit < len(entries):
            kept = sorted(entries, key=lambda entry: uniform("limit", entry.relative))[:limit]
            names = {entry.relative for entry in kept}
            entries = [entry for entry in entries if entry.relative in names]
        classes = self._class_of.get(split)
        return FolderSource(str(self.root), entries, self.span, self.resolution, classes, self._class_names)

    def clips(self, split: Split) -> ClipDataset:
        """The samples of a split, built on first use."""
        if split not in self._datasets:
            self._datasets[split] = ClipDataset(
                self.source(split), self.num_frames, self.frame_stride, self.seed, split, self.horizontal_flip,
                self.images_per_video, max_bad_fraction=self.max_bad_fraction,
            )  # fmt: skip
        if self.record_folder is not None:  # may be known only after setup
            self._datasets[split].record = os.path.join(self.record_folder, "bad_clips.jsonl")
        return self._datasets[split]

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts of every split in use: clips, skipped as too short, unreadable, replaced while reading."""
        counts = {}
        for split, dataset in self._datasets.items():
            skipped = getattr(dataset.source, "skipped", [])
            unreadable = getattr(dataset.source, "num_unreadable", 0)
            counts[split] = {
                "clips": len(dataset), "too_short": len(skipped) - unreadable, "unreadable": unreadable,
                "replaced": dataset.num_replaced,
            }  # fmt: skip
        return counts

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides what a sample is; two runs with equal fingerprints see the same stream."""
        return {
            "dataset": self.dataset,
            "listing": listing_hash(self.splits) if self.dataset == "folder" else None,
            "num_frames": self.num_frames,
            "resolution": self.resolution,
            "frame_stride": self.frame_stride,
            "images_per_video": self.images_per_video,
            "seed": self.seed,
            "horizontal_flip": self.horizontal_flip,
            "num_train_clips": self.limits["train"],
            "val_fraction": self.val_fraction,
            "resize": RESIZE_RULE,
        }

    # -- Lightning's hooks

    def setup(self, stage: str) -> None:
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, ("test",)):
            self.clips(split)

    def train_dataloader(self) -> DataLoader:
        world, rank, accumulate = self._place()
        batches = GlobalBatches(self.batch_size, accumulate, world, rank, self._steps_done)
        return self._loader(self.clips("train"), batches)

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> Any:
        # Positions key the random numbers on the host: sent to a GPU, each step would wait to read them back.
        moved = super().transfer_batch_to_device(
            {k: v for k, v in batch.items() if k != "sample"}, device, dataloader_idx
        )
        return {**moved, "sample": batch["sample"]}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        if batch["video"].dtype == torch.uint8:
            batch = {**batch, "video": to_float(batch["video"])}
        return batch

    # -- loaders

    def _place(self) -> tuple[int, int, int]:
        """Processes, this process, micro-batches of a step."""
        if self.trainer is None:
            return 1, 0, 1
        return self.trainer.world_size, self.trainer.global_rank, self.trainer.accumulate_grad_batches

    def _steps_done(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_step

    def _evaluation_loader(self, split: Split) -> DataLoader:
        world, rank, accumulate = self._place()
        dataset = self.clips(split)
        if len(dataset) < world:
            raise ValueError(
                f"{split} has {len(dataset)} clips for {world} processes; each needs at least one"
            )
        batch_size = self.eval_batch_size or max(1, self.batch_size // (world * accumulate))
        return self._loader(dataset, ShardBatches(len(dataset), batch_size, world, rank))

    def _loader(self, dataset: ClipDataset, batches: GlobalBatches | ShardBatches) -> DataLoader:
        """Torch gives each worker one thread; a worker that hangs ends the run after two minutes."""
        on_cuda = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        return DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=Collate(dataset.images_per_video),
            pin_memory=on_cuda,
            timeout=120 if self.num_workers else 0,
            persistent_workers=self.num_workers > 0,
        )
