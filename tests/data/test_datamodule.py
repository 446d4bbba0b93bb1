"""VideoDataModule in Lightning's hands: same samples for any workers, accumulation and resume."""

import itertools
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from videodiff.data import ClipDataset, VideoDataModule
from videodiff.data.video_io import write_lossless


class Recorder(pl.LightningModule):
    """Writes down what it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[list[int]] = []
        self.sums: list[float] = []
        self.evaluated: list[int] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        assert batch["video"].dtype == torch.float32
        assert batch["video"].abs().max() <= 1
        self.seen.append(batch["sample"].tolist())
        self.sums.append(batch["video"].double().sum().item())
        return self.weight * batch["video"].mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.evaluated += batch["sample"].tolist()

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def trainer(tmp_path, max_steps: int, **kwargs: Any) -> pl.Trainer:
    settings = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
                "enable_model_summary": False, "use_distributed_sampler": False, "num_sanity_val_steps": 0,
                "check_val_every_n_epoch": None, "val_check_interval": 3}  # fmt: skip
    return pl.Trainer(max_steps=max_steps, default_root_dir=tmp_path, **{**settings, **kwargs})


def digits(num_workers: int = 0, **kwargs: Any) -> VideoDataModule:
    settings = {"num_frames": 4, "resolution": 16, "batch_size": 4, "num_train_clips": 10, "num_val_clips": 5}
    return VideoDataModule(dataset="bouncing_digits", num_workers=num_workers, **{**settings, **kwargs})


def test_workers_accumulation_and_resume_do_not_change_the_samples(tmp_path):
    whole = Recorder()
    trainer(tmp_path, 6).fit(whole, digits())
    assert list(itertools.chain(*whole.seen)) == list(range(24))

    half = Recorder()
    first = trainer(tmp_path, 2)
    first.fit(half, digits(num_workers=2))
    first.save_checkpoint(tmp_path / "a.ckpt")
    trainer(tmp_path, 6).fit(half, digits(num_workers=1), ckpt_path=tmp_path / "a.ckpt")
    assert half.seen == whole.seen
    assert half.sums == whole.sums

    accumulated = Recorder()
    trainer(tmp_path, 6, accumulate_grad_batches=2, val_check_interval=6).fit(accumulated, digits())
    assert list(itertools.chain(*accumulated.seen)) == list(range(24))
    assert all(len(batch) == 2 for batch in accumulated.seen)


def test_validation_and_test_see_every_clip_once(tmp_path):
    module = Recorder()
    trainer(tmp_path, 3).fit(module, digits())
    assert module.evaluated == list(range(5))
    module.evaluated = []
    trainer(tmp_path, 1).test(module, digits(num_test_clips=7, eval_batch_size=3), verbose=False)
    assert module.evaluated == list(range(7))


class Place:
    """What the module asks of a trainer, for one of several processes."""

    def __init__(self, world: int, rank: int, accumulate: int = 1, step: int = 0) -> None:
        self.world_size, self.global_rank, self.accumulate_grad_batches = world, rank, accumulate
        self.num_devices = world
        self.global_step = step
        self.strategy = type("Strategy", (), {"root_device": torch.device("cpu")})()


def test_two_processes_see_the_batches_of_one():
    parts = []
    for rank in range(2):
        module = digits()
        module.trainer = Place(world=2, rank=rank, step=3)
        parts.append(next(iter(module.train_dataloader())))
        assert len(module.val_dataloader()) == 2 - (rank == 1)
    alone = digits()
    alone.trainer = Place(world=1, rank=0, step=3)
    whole = next(iter(alone.train_dataloader()))
    assert whole["sample"].tolist() == [12, 13, 14, 15]
    for rank, part in enumerate(parts):
        assert torch.equal(part["video"], whole["video"][rank::2])
        assert torch.equal(part["label"], whole["label"][rank::2])


def test_a_process_without_a_validation_clip_sees_another_one_as_a_stand_in():
    for rank, stands_in in ((0, False), (1, True), (2, True)):
        module = digits(num_val_clips=1)
        module.trainer = Place(world=3, rank=rank)
        (batch,) = module.val_dataloader()
        assert (batch["sample"].tolist(), batch.get("stand_in", False)) == ([0], stands_in)


def test_a_batch_that_processes_cannot_share_out_evenly_is_refused():
    module = digits()
    module.trainer = Place(world=2, rank=0)
    module.batch_size = 3
    with pytest.raises(ValueError, match="use 2 or 4"):
        module.train_dataloader()


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"num_frames": 0}, "num_frames must be at least 1, got 0"), ({"resolution": 0}, "resolution"),
     ({"frame_stride": 0}, "frame_stride"), ({"batch_size": 0}, "batch_size"), ({"num_workers": -1}, "num_workers"),
     ({"images_per_video": -1}, "images_per_video"), ({"num_val_clips": 0}, "num_val_clips"),
     ({"eval_batch_size": 0}, "eval_batch_size"), ({"seed": -1}, "seed"), ({"val_fraction": 1.0}, "val_fraction"),
     ({"dataset": "ducks"}, "must be one of folder, bouncing_digits, drifting_clouds, got 'ducks'")],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(setting, message):
    with pytest.raises(ValueError, match=message):
        VideoDataModule(**setting)


def test_a_root_wins_over_a_built_in_set_and_a_folder_needs_one(tmp_path):
    for i in range(3):
        write_lossless(tmp_path / f"{i}.mkv", torch.full((6, 16, 16, 3), i, dtype=torch.uint8))
    module = digits(root=str(tmp_path))
    module.setup("fit")
    assert module.dataset == "folder"
    assert module.num_classes is None
    assert module.summary()["train"] == {"clips": 2, "too_short": 0, "unreadable": 0, "replaced": 0}
    with pytest.raises(ValueError, match=r"data\.root is missing"):
        VideoDataModule().setup("fit")


def test_the_fingerprint_changes_with_whatever_changes_a_sample(tmp_path):
    write_lossless(tmp_path / "0.mkv", torch.zeros(6, 16, 16, 3, dtype=torch.uint8))
    base = {"root": str(tmp_path), "num_frames": 4, "resolution": 16}
    fingerprint = VideoDataModule(**base).fingerprint()
    assert VideoDataModule(**base, num_workers=0, batch_size=3).fingerprint() == fingerprint
    changes = [{"num_frames": 5}, {"resolution": 32}, {"frame_stride": 2}, {"seed": 1}, {"horizontal_flip": True},
               {"images_per_video": 1}, {"random_crop": 0.5}]  # fmt: skip
    prints = [VideoDataModule(**{**base, **change}).fingerprint() for change in changes]
    write_lossless(tmp_path / "1.mkv", torch.zeros(6, 16, 16, 3, dtype=torch.uint8))
    prints.append(VideoDataModule(**base).fingerprint())
    assert all(other != fingerprint for other in prints)


@pytest.mark.parametrize("resolution", [[32, 20], (32, 20), "32x20"])
def test_clips_have_any_height_and_width_and_squares_are_recorded_as_ever(tmp_path, resolution):
    write_lossless(tmp_path / "a.mkv", torch.zeros(6, 40, 64, 3, dtype=torch.uint8))
    for place in ({"root": str(tmp_path)}, {"dataset": "drifting_clouds"}):
        data = VideoDataModule(**place, num_frames=4, resolution=resolution, num_workers=0, batch_size=2)
        data.setup("fit")
        assert next(iter(data.train_dataloader()))["video"].shape == (2, 3, 4, 32, 20)
        assert data.batch_bytes("train") == 2 * 3 * 4 * 32 * 20
        assert (data.resolution, data.frame_size) == ([32, 20], (32, 20))
        assert data.fingerprint()["resolution"] == [32, 20]
        square = VideoDataModule(**place, num_frames=4, resolution=[32, 32], num_workers=0)
        plain = VideoDataModule(**place, num_frames=4, resolution=32, num_workers=0)
        assert square.fingerprint() == plain.fingerprint()
        assert type(plain.fingerprint()["resolution"]) is int
        assert "centre crop to a square" in plain.fingerprint()["resize"]
        assert "the clips' proportions" in data.fingerprint()["resize"]


def test_random_parts_of_clips_have_their_proportions(tmp_path):
    write_lossless(tmp_path / "a.mkv", torch.zeros(6, 64, 64, 3, dtype=torch.uint8))
    data = VideoDataModule(
        root=str(tmp_path), num_frames=4, resolution=[24, 10], num_workers=0, random_crop=0.4, batch_size=1
    )
    data.setup("fit")
    assert data.clips("train").source.read(0, 0, 4, 1).shape == (4, 60, 25, 3)
    assert data.clips("train")[0]["video"].shape == (4, 24, 10, 3)


@pytest.mark.parametrize(
    ("resolution", "message"),
    [
        ([80, 48, 3], r"resolution must be 64 for a square, or \[height, width\].*got \[80, 48, 3\]"),
        (0, "resolution must be at least 1, got 0"),
        ("wide", "got 'wide'"),
        ([8, 48], "built-in sets must be at least 16, got 8x48; the nearest is 16x48"),
    ],
)
def test_what_is_no_size_is_refused(resolution, message):
    with pytest.raises(ValueError, match=message):
        VideoDataModule(dataset="bouncing_digits", resolution=resolution).source("test")


def test_random_crops_read_larger_frames_for_training_alone(tmp_path):
    for name in "ab":
        write_lossless(tmp_path / f"{name}.mkv", torch.zeros(6, 64, 64, 3, dtype=torch.uint8))
    data = VideoDataModule(
        root=str(tmp_path), num_frames=4, resolution=24, num_workers=0, random_crop=0.4, batch_size=1
    )
    data.setup("fit")
    assert data.clips("train").source.read(0, 0, 4, 1).shape == (4, 60, 60, 3)
    assert data.clips("train")[0]["video"].shape == (4, 24, 24, 3)
    assert data.clips("val").source.read(0, 0, 4, 1).shape == (4, 24, 24, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"root": "clips", "random_crop": 0.0}, r"random_crop must lie in \(0, 1\], got 0"),
        ({"dataset": "bouncing_digits", "random_crop": 0.5}, "left out with the built-in bouncing_digits"),
        ({"root": "clips", "latents": "kept", "random_crop": 0.5}, "left out with data.latents kept"),
    ],
)
def test_random_crops_are_refused_where_they_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        VideoDataModule(**options)


@pytest.mark.parametrize("dataset", ["bouncing_digits", "drifting_clouds"])
def test_the_built_in_sets_have_their_stated_sizes_and_classes(dataset):
    module = VideoDataModule(dataset=dataset, num_workers=0, num_frames=4, resolution=16)
    module.setup("fit")
    module.setup("test")
    assert {split: len(module.clips(split)) for split in ("train", "val", "test")} == {
        "train": 4096, "val": 512, "test": 2048,
    }  # fmt: skip
    assert isinstance(module.clips("train"), ClipDataset)
    assert module.num_classes == len(module.class_names) == (10 if dataset == "bouncing_digits" else 4)


def test_forked_workers_fill_one_store_of_clouds():
    module = VideoDataModule(
        dataset="drifting_clouds", num_frames=4, resolution=16, num_train_clips=8, num_workers=2, batch_size=4
    )
    loader = iter(module.train_dataloader())
    for _ in range(2):
        next(loader)
    source = module.clips("train").source
    assert source.cache.filled.all()  # by the workers, seen here


def test_bad_clips_are_counted_across_workers_and_recorded_where_the_caller_says(tmp_path):
    for i in range(6):
        write_lossless(tmp_path / "data" / f"{i}.mkv", torch.full((6, 16, 16, 3), 9 * i, dtype=torch.uint8))
    seen = []
    for num_workers in (0, 2):
        module = VideoDataModule(
            root=str(tmp_path / "data"), num_frames=4, resolution=16, batch_size=6, num_workers=num_workers
        )
        module.setup("fit")
        module.record_folder = str(tmp_path / f"run{num_workers}")
        good = (tmp_path / "data/0.mkv").read_bytes(), (tmp_path / "data/1.mkv").read_bytes()
        for name, data in zip(("0.mkv", "1.mkv"), good, strict=True):
            (tmp_path / "data" / name).write_bytes(data[: len(data) // 2])  # damaged after it was indexed
        batch = next(iter(module.train_dataloader()))
        for name, data in zip(("0.mkv", "1.mkv"), good, strict=True):
            (tmp_path / "data" / name).write_bytes(data)
        seen.append(batch["video"])
        assert module.summary()["train"]["replaced"] > 0
        assert (tmp_path / f"run{num_workers}" / "bad_clips.jsonl").exists()
    assert torch.equal(seen[0], seen[1])


def test_video_files_come_in_one_order_for_any_workers_processes_and_resume(tmp_path):
    for i in range(7):
        levels = (30 * i + torch.arange(9)).to(torch.uint8)
        write_lossless(tmp_path / f"{i}.mkv", levels[:, None, None, None].expand(9, 16, 16, 3))

    def module(num_workers=0, seed=0):
        return VideoDataModule(
            root=str(tmp_path), num_frames=4, resolution=16, batch_size=4, num_workers=num_workers, seed=seed,
            val_fraction=0,
        )  # fmt: skip

    def firsts(data, steps, world=1, rank=0, step=0):
        data.trainer = Place(world=world, rank=rank, step=step)
        batches = itertools.islice(iter(data.train_dataloader()), steps)
        return [batch["video"][:, 0, 0, 0, 0].tolist() for batch in batches]

    whole = firsts(module(), 6)
    assert firsts(module(1), 6) == firsts(module(4), 6) == whole
    assert firsts(module(1), 4, step=2) == whole[2:]  # a run that goes on in the middle of an epoch
    halves = [firsts(module(), 6, world=2, rank=rank) for rank in range(2)]
    assert [sorted(a + b) for a, b in zip(*halves, strict=True)] == [sorted(batch) for batch in whole]
    epoch = list(itertools.chain(*whole))[:7]
    assert sorted(level // 30 for level in epoch) == list(range(7))
    assert firsts(module(seed=1), 6) != whole
