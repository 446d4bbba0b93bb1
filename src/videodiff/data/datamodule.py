"""VideoDataModule: one set of clips, split, batched and brought to the device."""

import math
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from videodiff.data.argument_checks import check_combinations, check_numbers
from videodiff.data.bucket_stream import BucketBatches, BucketDataset, bucketed
from videodiff.data.buckets import Bucket, open_buckets, read_buckets
from videodiff.data.captions import lines_of
from videodiff.data.clips import ClipSource
from videodiff.data.collate import Collate, StandIn
from videodiff.data.latent_check import LatentCheck
from videodiff.data.latent_store import Latents
from videodiff.data.latents import LatentDataset, check_first_stage, collate_latents, open_latents
from videodiff.data.patient_loader import PatientLoader
from videodiff.data.pixels import to_float
from videodiff.data.problems import left_out, report, summary, write_skipped
from videodiff.data.selection import GENERATED, Selection
from videodiff.data.shared_memory import Piped, Route, choose_route, crowded, room, tell
from videodiff.data.stream import ClipDataset, GlobalBatches, ShardBatches
from videodiff.frame_size import FrameSize, Resolution
from videodiff.memory import check_fits
from videodiff.say import counted

WORKER_TIMEOUT = 120  # seconds that a loader worker may take for a batch
Split = Literal["train", "val", "test"]


class VideoDataModule(pl.LightningDataModule):
    """Clips from a public data set, any folder of videos or frames, tar shards, a prepared folder, or a built-in set.

    Batches are ``{"video": [B, 3, T + I, H, W], "sample": int64 [B], "num_images": I}`` and, where there are classes
    and captions, ``"label"``: int64 [B], ``"image_labels"``: int64 [B, I], ``"caption"``: B texts and
    ``"image_captions"``: B lists of I texts; with `actions` ``"actions"``: fp32 [B, T + I, D]. Videos travel as uint8
    and become fp32 in [-1, 1] on the device. `sample` is the position in the endless training stream, or the number of
    the validation or test clip. A process for which there is no validation or test clip sees one of another, with
    ``"stand_in": True``: it keeps the others company and counts in no mean.

    Training has no epochs for Lightning (the loader has no length): give `max_steps`, and `val_check_interval` with
    `check_val_every_n_epoch` null. Set `use_distributed_sampler` to false. There is no state to save: a checkpoint
    holds the fingerprint, which must be the same where a run goes on.

    Args:
        root: folder of the data (or a ``.npy`` array; or tar shards as a folder, file, glob, brace pattern or URL).
            Given, it wins over `dataset`.
        dataset: what to read without a root: a built-in set, or folder, which asks for one.
        layout: how the files are arranged; auto detects it by file names, and stops where two layouts fit.
        preset: take clips as a paper's code does (:mod:`videodiff.data.presets`); sets what is left unset of
            frame_stride, horizontal_flip, val_fraction, train_split, fold, resize, windows and short_videos.
        num_frames: frames of a clip.
        resolution: height and width of the frames in pixels, ``[H, W]`` or HxW; one number for a square.
        frame_stride: distance between the frames of a clip in the video (1), or in ticks of `fps`.
        fps: take the frames nearest to the ticks of this clock instead of every frame.
        batch_size: clips of one optimizer step, over all processes and accumulated batches.
        images_per_video: single frames of other videos appended to every training clip (joint image-video training).
        num_workers: loader processes for each training process.
        seed: of order, windows and flips; the content of the built-in sets does not follow it.
        horizontal_flip: mirror half of the training clips (false).
        random_crop: train on random parts of the clips, of this share of the frames' height and width at least; sizes
            and places are drawn evenly, once per clip and epoch. Frames are read so much larger that the smallest
            parts need no enlarging. Needs a root; not for `latents`.
        eval_batch_size: clips of a validation or test batch of one process; by default as in a training batch.
        num_train_clips: use at most this many training videos; for a built-in set their number (4096).
        num_val_clips: the same for validation videos (512).
        num_test_clips: the same for test videos (2048).
        val_fraction: share of the training videos to validate with where the root has no validation split (0.1).
        train_split: train = the training videos; all = those of val and test as well (train).
        fold: number of UCF-101's split files (1).
        resize: how frames get their size (antialias; :mod:`videodiff.data.resize`): all rules crop the centre to its
            proportions, but squeeze distorts whole frames and letterbox puts black bars beside them.
        windows: one random window per video makes an epoch, or all windows of all videos do (one).
        short_videos: skip videos shorter than a clip, loop them, or pad them with their last frame (skip).
        view: camera of BAIR.
        classes: folder takes the names of the videos' parent folders as classes, none ignores them, auto takes the
            layout's; of a plain folder, if all files lie equally deep in two or more folders with two files or more
            on average.
        captions: ``txt`` for a text file beside each video, or a ``.csv`` or ``.jsonl`` file of path and caption;
            ``generated`` for what the clips of a built-in set show. A video may have several: one a line, or row.
        held_out_words: texts such as ``three southeast``: a clip whose caption holds all words of one of them, in any
            order, is left out of train and val.
        test_clips: all test clips, or only those that are held out by their words.
        missing_captions: a clip without a caption has an empty one, or is left out.
        clip_list: text file of the videos to take: relative paths, optionally first frame and frame after the last.
        actions: read what the robot did at each frame of BAIR too, 4 numbers, as a condition (``with/actions``).
        max_bad_fraction: share of videos that may turn out unreadable before the run stops (four always may).
        latents: folder that ``videodiff encode`` wrote of these data: batches hold ``"latent"``: fp32 ``[B, C, *S]`` in
            place of ``"video"``, and no clip is read or encoded. Refused if the data or the first stage differ.
        buckets: shapes of training clips, ``[{num_frames: 16, resolution: 32x48, batch_size: 4}, {num_frames: 1}]``, or
            auto for those of the videos (:mod:`videodiff.data.buckets`); what one leaves out is as above, and
            validation and test keep to that. One with a ``share`` takes this share of the videos beside their own.

    Raises:
        ValueError: for a value out of its range, or an argument that needs a root without one.
    """

    def __init__(
        self,
        root: str | None = None,
        dataset: Literal["folder", "bouncing_digits", "drifting_clouds"] = "folder",
        layout: Literal[
            "auto",
            "videos",
            "frames",
            "images",
            "ucf101",
            "sky",
            "taichi",
            "kinetics",
            "bair",
            "array",
            "shards",
            "prepared",
        ]
        | None = "auto",
        preset: Literal["vdm", "lvdm", "pvdm", "stylegan_v", "digan", "tats", "latte"] | None = None,
        num_frames: int = 16,
        resolution: Resolution = 64,
        frame_stride: int | None = None,
        fps: float | None = None,
        batch_size: int = 8,
        images_per_video: int = 0,
        num_workers: int = 2,
        seed: int = 0,
        horizontal_flip: bool | None = None,
        random_crop: float | None = None,
        eval_batch_size: int | None = None,
        num_train_clips: int | None = None,
        num_val_clips: int | None = None,
        num_test_clips: int | None = None,
        val_fraction: float | None = None,
        train_split: Literal["train", "all"] | None = None,
        fold: Literal[1, 2, 3] | None = None,
        resize: Literal["antialias", "bilinear", "lanczos", "squeeze", "letterbox", "decoder"] | None = None,
        windows: Literal["one", "all"] | None = None,
        short_videos: Literal["skip", "loop", "pad_last"] | None = None,
        view: Literal["image_main", "image_aux1"] = "image_main",
        classes: Literal["auto", "folder", "none"] = "auto",
        captions: str | None = None,
        clip_list: str | None = None,
        held_out_words: list[str] | None = None,
        test_clips: Literal["all", "held_out"] = "all",
        missing_captions: Literal["empty", "leave_out"] = "empty",
        actions: bool = False,
        max_bad_fraction: float = 0.05,
        latents: str | None = None,
        buckets: list[dict[str, Any]] | str | None = None,
    ) -> None:
        super().__init__()
        size = FrameSize.of(resolution)
        check_numbers(
            at_least_1={
                "num_frames": num_frames, "frame_stride": frame_stride, "batch_size": batch_size,
                "eval_batch_size": eval_batch_size, "num_train_clips": num_train_clips,
                "num_val_clips": num_val_clips, "num_test_clips": num_test_clips,
            },
            at_least_0={"images_per_video": images_per_video, "num_workers": num_workers, "seed": seed},
            shares={"val_fraction": val_fraction, "max_bad_fraction": max_bad_fraction},
        )  # fmt: skip
        is_built_in = root is None and dataset in GENERATED
        check_combinations(random_crop, latents, images_per_video, buckets, dataset if is_built_in else None)
        if actions and (latents is not None or buckets is not None):
            given = "data.latents hold none" if latents is not None else "clips of data.buckets come without"
            raise ValueError(f"data.actions are of the frames, and {given}; leave out one of them")
        self.selection = Selection(
            root=root, dataset=dataset, preset=preset, num_frames=num_frames, resolution=size.written,
            layout=layout or "auto",  # so an overlay can unset it as it unsets a preset
            fps=fps, view=view, classes=classes, captions=captions, clip_list=clip_list,
            limits={"train": num_train_clips, "val": num_val_clips, "test": num_test_clips}, actions=actions,
            held_out_words=tuple(held_out_words or ()), test_clips=test_clips, missing_captions=missing_captions,
            explicit={
                "frame_stride": frame_stride, "horizontal_flip": horizontal_flip, "val_fraction": val_fraction,
                "train_split": train_split, "fold": fold, "resize": resize, "windows": windows,
                "short_videos": short_videos,
            },
        )  # fmt: skip
        self.num_frames, self.resolution, self.frame_size = num_frames, size.written, size
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.images_per_video, self.num_workers, self.seed = images_per_video, num_workers, seed
        self.max_bad_fraction, self.latents, self.random_crop = max_bad_fraction, latents, random_crop
        self._buckets = read_buckets(buckets, num_frames, size, batch_size)  # None until the videos are known
        # Where the record of bad clips goes; the caller that knows the run sets it.
        self.record_folder: str | None = None
        self._datasets: dict[str, ClipDataset | LatentDataset | BucketDataset] = {}
        self._route: Route | None = None
        self._check: LatentCheck | None = None

    # -- what there is

    @property
    def dataset(self) -> str:
        """The built-in set, or folder."""
        return self.selection.dataset

    @property
    def root(self) -> str | None:
        """Absolute path of the data; None for a built-in set."""
        return self.selection.root

    @property
    def splits(self) -> dict[str, list[Any]]:
        """The videos of a root by split, listed once; no video is opened for it."""
        return self.selection.listing.splits

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes in label order, or None."""
        return self.selection.class_names

    @property
    def num_classes(self) -> int | None:
        """Number of classes, or None if the set has none."""
        return None if self.class_names is None else len(self.class_names)

    @property
    def action_dim(self) -> int | None:
        """Numbers of a frame's action, or None where clips come without."""
        return self.clips("train").source.action_dim if self.selection.actions else None

    @property
    def frame_stride(self) -> int:
        """Distance between the frames of a clip."""
        return self.selection.rule.frame_stride

    @property
    def span(self) -> int:
        """Frames of a video that a clip reaches over."""
        return self.selection.span

    def source(self, split: Split) -> ClipSource:
        """The videos of a split, indexed.

        Raises:
            FileNotFoundError: if the root is missing or holds no videos.
            ValueError: if no video is long enough or readable.
        """
        return self.selection.source(split)

    @cached_property
    def kept(self) -> Latents:
        """The stored latents in `latents`.

        Raises:
            FileNotFoundError: if the folder holds no finished latents, or a shard is missing.
            ValueError: if they are damaged or of other data.
        """
        return open_latents(str(self.latents), self.selection.fingerprint(), self.selection.limits)

    @property
    def buckets(self) -> list[Bucket]:
        """Shapes of training clips where there are more than one; those of ``auto`` once the videos are read."""
        if self._buckets is None:
            self.clips("train")
        return self._buckets or []

    def clips(self, split: Split) -> ClipDataset | LatentDataset | BucketDataset:
        """The samples of a split, built on first use."""
        if split not in self._datasets and self.latents is not None:
            told = self.selection.captions is not None and self.dataset in GENERATED
            self._datasets[split] = LatentDataset(
                self.kept, split, self.seed, self.class_names,
                self.selection.source(split) if told else None, (self.num_frames, self.frame_stride),
            )  # fmt: skip
        if split not in self._datasets and split == "train" and self._buckets != []:
            base = Bucket(self.num_frames, self.frame_size, self.batch_size)
            self._buckets, parts = open_buckets(self.selection, self._buckets, base, self.seed)
            clips = bucketed(self.selection, self._buckets, parts, self.seed, self.max_bad_fraction)
            self._datasets[split] = clips
        if split not in self._datasets:
            rule, crop = self.selection.rule, self.random_crop if split == "train" else None
            if crop is None:
                source = self.source(split)
            else:
                larger = FrameSize(*(math.ceil(side / crop) for side in self.frame_size))
                source = self.selection.source(split, larger)
            self._datasets[split] = ClipDataset(
                source, self.num_frames, rule.frame_stride, self.seed, split,
                rule.horizontal_flip, self.images_per_video, max_bad_fraction=self.max_bad_fraction,
                windows=rule.windows, random_crop=crop, resolution=self.frame_size,
            )  # fmt: skip
        if self.record_folder is not None:  # may be known only after setup
            self._datasets[split].record = os.path.join(self.record_folder, "bad_clips.jsonl")
        return self._datasets[split]

    def annotations(self) -> dict[str, str]:
        """What training batches hold beside their clips, by its key in them, in words."""
        found = (
            {} if self.class_names is None else {"label": counted(len(self.class_names), "class", "classes")}
        )
        found |= {"caption": "captions"} if self.clips("train").source.has_captions else {}
        return found | ({"actions": "actions"} if self.selection.actions else {})

    def texts(self, splits: Sequence[Split]) -> list[str]:
        """Every caption that files give clips of some splits, once each; those told from scenes are not among them."""
        every = [text for split in splits for text in self.clips(split).source.captions or ()]
        return list(dict.fromkeys(line for text in every for line in lines_of(text)))

    def summary(self) -> dict[str, dict[str, int]]:
        """Counts of every split in use: clips, skipped as too short, unreadable, replaced while reading."""
        return summary(self._datasets)

    def describe(self) -> list[str]:
        """Lines for the head of a run: what the data were found to be, and how clips are taken from them."""
        counts = ", ".join(f"{len(dataset)} {split}" for split, dataset in self._datasets.items())
        bucketed = self._datasets.get("train")
        shapes = bucketed.describe() if isinstance(bucketed, BucketDataset) else []
        lines = [*self.selection.describe(counts), *shapes, *left_out(self._datasets)]
        return lines if self.latents is None else [*lines, self.kept.describe()]

    def report(self) -> list[str]:
        """Lines for the end of a run: what was wrong with the data, and how many files of latents were checked."""
        lines = report(self._datasets)
        if self._check is None:
            return lines
        self._check.finish(self.record_folder)
        return [*lines, self._check.describe()]

    def fingerprint(self) -> dict[str, Any]:
        """Everything that decides the content of a sample; runs with equal fingerprints see the same stream."""
        kept: dict[str, Any] = {} if self.latents is None else {"latents": self.kept.sha256}
        if self.random_crop is not None:  # absent where it is not used: older checkpoints have no such key
            kept["random_crop"] = self.random_crop
        if self._buckets != []:
            kept["buckets"] = [bucket.record() for bucket in self.buckets]
        return {
            **self.selection.fingerprint(),
            "images_per_video": self.images_per_video,
            "seed": self.seed,
            **kept,
        }

    # -- Lightning's hooks

    def setup(self, stage: str) -> None:
        if self.latents is not None and self.trainer is not None:
            check_first_stage(self.kept, self.trainer.lightning_module)
        used: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",)}
        splits = used.get(stage, ("test",))
        for split in splits:
            self.clips(split)
        if self.latents is not None and self.trainer is not None and self.trainer.local_rank == 0:
            readers = {split: self.clips(split) for split in splits}
            self._check = LatentCheck(
                self.kept,
                {
                    split: clips.entries.mapped
                    for split, clips in readers.items()
                    if isinstance(clips, LatentDataset)
                },
            )
            self._check.start()
        self._route = None
        for name in self._datasets:
            what = "the largest of data.buckets" if name == "train" and self.buckets else self.batch_size
            check_fits(self.batch_bytes(name), f"a {name} batch of data.batch_size {what}")
        if (note := self.route.note) is not None and self._place()[1] == 0:
            tell(note)
        if self.record_folder is not None and self._place()[1] == 0:
            write_skipped(self._datasets, self.record_folder)

    def teardown(self, stage: str) -> None:
        if self._check is not None:
            self._check.finish(self.record_folder)

    def on_exception(self, exception: BaseException) -> None:
        if self._check is not None:
            self._check.stop()
        # A decoder that takes its worker down leaves only a process number behind: add which video it was at.
        text = str(exception)
        names = [name for dataset in self._datasets.values() for name in dataset.names_being_read()]
        if isinstance(exception, RuntimeError) and "DataLoader" in text and names:
            exception.args = (
                f"{text.splitlines()[0].rstrip()} It was reading {' or '.join(names)}{crowded()}",
            )

    def train_dataloader(self) -> DataLoader:
        world, rank, accumulate = self._place()
        clips = self.clips("train")
        if isinstance(clips, BucketDataset):
            order = clips.order(self.seed)
            return self._loader(clips, BucketBatches(order, accumulate, world, rank, self._steps_done))
        return self._loader(clips, GlobalBatches(self.batch_size, accumulate, world, rank, self._steps_done))

    def val_dataloader(self) -> DataLoader:
        return self._evaluation_loader("val")

    def test_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def predict_dataloader(self) -> DataLoader:
        return self._evaluation_loader("test")

    def transfer_batch_to_device(
        self, batch: dict[str, Any], device: torch.device, dataloader_idx: int
    ) -> Any:
        if self._check is not None:
            self._check.check(self.record_folder)
        # Positions key the random numbers on the host: sent to a GPU, each step would wait to read them back.
        moved = super().transfer_batch_to_device(
            {k: v for k, v in batch.items() if k != "sample"}, device, dataloader_idx
        )
        return {**moved, "sample": batch["sample"]}

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        if "video" in batch and batch["video"].dtype == torch.uint8:
            batch = {**batch, "video": to_float(batch["video"])}
        return batch

    # -- loaders

    @property
    def route(self) -> Route:
        """How batches come from the workers; decided once for the loaders that are open together."""
        if self._route is None:
            processes = 1 if self.trainer is None else self.trainer.num_devices
            sizes = [self.batch_bytes(split) for split in self._datasets]
            self._route = choose_route(self.num_workers, sizes, processes, room())
        return self._route

    def batch_bytes(self, split: str) -> int:
        """Bytes of one process's batch."""
        world, _, accumulate = self._place()
        if split == "train" and self.buckets:
            return 3 * max(bucket.pixels for bucket in self.buckets) // (world * accumulate)
        size = max(1, self.batch_size // (world * accumulate))
        size = size if split == "train" else self.eval_batch_size or size
        if self.latents is not None:
            return size * 4 * math.prod(self.kept.shape)
        frames = self.num_frames + (self.images_per_video if split == "train" else 0)
        return size * frames * 3 * self.frame_size.pixels

    def _place(self) -> tuple[int, int, int]:
        """Processes, this process, micro-batches of a step."""
        if self.trainer is None:
            return 1, 0, 1
        return self.trainer.world_size, self.trainer.global_rank, self.trainer.accumulate_grad_batches

    def _steps_done(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_step

    def _evaluation_loader(self, split: Split) -> DataLoader:
        """Every clip once over all processes; one without a clip of its own sees another's, marked as a stand-in."""
        world, rank, accumulate = self._place()
        dataset = self.clips(split)
        if rank >= len(dataset):
            stand_in = ShardBatches(len(dataset), 1, len(dataset), rank % len(dataset))
            return self._loader(dataset, stand_in, StandIn)
        batch_size = self.eval_batch_size or max(1, self.batch_size // (world * accumulate))
        return self._loader(dataset, ShardBatches(len(dataset), batch_size, world, rank))

    def _loader(
        self,
        dataset: ClipDataset | LatentDataset | BucketDataset,
        batches: GlobalBatches | ShardBatches | BucketBatches,
        marked: Callable[[Any], Any] = lambda collate: collate,
    ) -> DataLoader:
        """Torch gives each worker one thread; a worker that hangs ends the run after two minutes."""
        on_cuda = self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
        collate = marked(Collate(dataset.images_per_video) if self.latents is None else collate_latents)
        workers = self.route.num_workers
        return PatientLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=Piped(collate) if self.route.by_pipe else collate,
            pin_memory=on_cuda,
            timeout=WORKER_TIMEOUT if workers else 0,
            persistent_workers=workers > 0,
        )
