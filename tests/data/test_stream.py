"""The order of samples: a function of the seed, whatever the workers, processes, accumulation or resume."""

import itertools
import json

import pytest
import torch

from videodiff.data import BadDataError, ClipDataset, ClipSource, GlobalBatches
from videodiff.data.collate import Collate
from videodiff.data.stream import ShardBatches, epoch_and_index


class Numbered(ClipSource):
    """Videos whose every pixel tells video (red), frame (green) and column (blue)."""

    class_names = ["even", "odd"]

    def __init__(self, size: int = 10, frames: int = 30, bad: tuple[int, ...] = ()) -> None:
        self.size, self.frames, self.bad = size, frames, bad
        self.labels = [i % 2 for i in range(size)]

    def __len__(self) -> int:
        return self.size

    def num_frames(self, index: int) -> int:
        return self.frames

    def read(self, index: int, start: int, num_frames: int, stride: int) -> torch.Tensor:
        if index in self.bad:
            raise ValueError(f"{self.name(index)}: damaged")
        video = torch.zeros(num_frames, 4, 4, 3, dtype=torch.uint8)
        video[..., 0] = index
        video[..., 1] = (start + stride * torch.arange(num_frames))[:, None, None]
        video[..., 2] = torch.arange(4)
        return video

    def name(self, index: int) -> str:
        return f"video{index}"


def steps(num: int, *args, **kwargs) -> list[list[int]]:
    return list(itertools.islice(GlobalBatches(*args, **kwargs), num))


def test_every_epoch_is_another_permutation_and_batches_may_straddle_epochs():
    order = [epoch_and_index(position, 10, seed=1) for position in range(30)]
    assert [epoch for epoch, _ in order] == [0] * 10 + [1] * 10 + [2] * 10
    epochs = [tuple(index for _, index in order[i : i + 10]) for i in (0, 10, 20)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({*epochs, tuple(range(10))}) == 4
    assert [epoch_and_index(position, 10, seed=2) for position in range(10)] != order[:10]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (4, 1), (1, 2), (2, 2), (4, 3), (3, 4)])
def test_all_ranks_and_micro_batches_share_out_the_same_global_batch(world, accumulate):
    for step in range(3):
        ranks = [
            steps(accumulate, 12, accumulate, world, rank, first_step=lambda step=step: step)
            for rank in range(world)
        ]
        for number, micro in enumerate(zip(*ranks, strict=True)):
            size = 12 // accumulate
            expected = list(range(step * 12 + number * size, step * 12 + (number + 1) * size))
            assert sorted(itertools.chain(*micro)) == expected
            assert all(batch == expected[rank::world] for rank, batch in enumerate(micro))


def test_a_resumed_stream_goes_on_and_asks_for_its_step_when_it_starts():
    step = 0
    batches = GlobalBatches(4, 2, first_step=lambda: step)
    step = 5
    assert list(itertools.islice(batches, 4)) == steps(14, 4, 2)[10:]


@pytest.mark.parametrize(("batch_size", "advice"), [(9, "use 8 or 12"), (3, "use 4$")])
def test_a_batch_that_cannot_be_shared_out_names_the_nearest_that_can(batch_size, advice):
    with pytest.raises(ValueError, match=rf"2 x 2 = 4, got {batch_size}; {advice}"):
        GlobalBatches(batch_size, accumulate=2, world=2)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_evaluation_sees_every_clip_once_for_any_number_of_processes(world):
    shards = [list(ShardBatches(20, 3, world, rank)) for rank in range(world)]
    assert sorted(i for shard in shards for batch in shard for i in batch) == list(range(20))
    assert all(shard[0][0] == rank for rank, shard in enumerate(shards))


def test_windows_and_flips_are_drawn_once_per_clip_and_epoch():
    dataset = ClipDataset(Numbered(frames=40), num_frames=4, frame_stride=3, horizontal_flip=True)
    again = ClipDataset(Numbered(frames=40), num_frames=4, frame_stride=3, horizontal_flip=True)
    starts, flips = set(), []
    for position in reversed(range(200)):
        sample = dataset[position]
        video = sample["video"]
        _, index = epoch_and_index(position, 10, 0)
        assert torch.equal(video, again[position]["video"])
        assert (video[..., 0] == index).all()
        assert sample["label"] == index % 2
        assert sample["sample"] == position
        frames = video[:, 0, 0, 1].tolist()
        assert frames == list(range(frames[0], frames[0] + 12, 3))
        columns = video[..., 2].reshape(-1, 4).unique(dim=0)
        assert len(columns) == 1  # the same way for all frames
        flips.append(columns[0].tolist() == [3, 2, 1, 0])
        starts.add(frames[0])
    assert starts == set(range(31))
    assert 60 < sum(flips) < 140


class Ramps(Numbered):
    """Frames of 64 pixels that tell row (red) and column (green), three grey levels a pixel."""

    def read(self, index: int, start: int, num_frames: int, stride: int) -> torch.Tensor:
        video = torch.zeros(num_frames, 64, 64, 3, dtype=torch.uint8)
        video[..., 0] = 3 * torch.arange(64)[:, None]
        video[..., 1] = 3 * torch.arange(64)
        return video


def test_random_crops_are_squares_of_every_size_and_place_drawn_once_per_clip_and_epoch():
    dataset, again = (ClipDataset(Ramps(), 3, random_crop=0.5, resolution=32) for _ in range(2))
    corners, sides = [], []
    for position in range(200):
        video = dataset[position]["video"]
        assert video.shape == (3, 32, 32, 3)
        assert (video == video[:1]).all()  # the same part of all frames
        assert torch.equal(video, again[position]["video"])
        # away from the edges resizing leaves a ramp a ramp: pixel j of 32 shows place offset + side (j + 1/2) / 32
        rows, columns = video[0, :, :, 0].float().mean(1) / 3, video[0, :, :, 1].float().mean(0) / 3
        side = (rows[24] - rows[8]).item() * 2
        assert (columns[24] - columns[8]).item() * 2 == pytest.approx(side, abs=0.7)
        corners.append([line[16].item() + 0.5 - 16.5 / 32 * side for line in (rows, columns)])
        sides.append(side)
    assert min(sides) == pytest.approx(32, abs=1)
    assert max(sides) == pytest.approx(64, abs=1)
    assert sum(sides) / 200 == pytest.approx(48, abs=2)
    top, left = torch.tensor(corners).T
    room = 64 - torch.tensor(sides)
    for corner in (top, left):
        assert (corner > -1).all()
        assert (corner < room + 1).all()
        share = (corner / room)[room > 8]
        assert share.mean().item() == pytest.approx(0.5, abs=0.08)
        assert share.std().item() == pytest.approx(12**-0.5, abs=0.05)


def test_evaluation_clips_are_whole():
    clips = ClipDataset(Ramps(), 3, split="val", random_crop=0.5, resolution=32)
    assert torch.equal(clips[0]["video"], Ramps().read(0, 0, 3, 1))


def test_evaluation_windows_never_change_and_are_not_mirrored():
    first, second = (
        ClipDataset(Numbered(), 4, seed=seed, split="val", horizontal_flip=True, images_per_video=2)
        for seed in (0, 1)
    )
    for index in range(10):
        sample = first[index]
        assert torch.equal(sample["video"], second[index]["video"])
        assert (sample["video"][..., 0] == index).all()
        assert len(sample["video"]) == 4
        assert sample["video"][0, 0, :, 2].tolist() == [0, 1, 2, 3]


def test_still_images_come_from_other_videos():
    dataset = ClipDataset(Numbered(), 4, images_per_video=3)
    sources = set()
    for position in range(100):
        sample = dataset[position]
        video = sample["video"]
        assert video.shape == (7, 4, 4, 3)
        clip, images = video[:4, 0, 0, 0].unique().tolist(), video[4:, 0, 0, 0].tolist()
        assert not set(clip) & set(images)
        assert sample["image_labels"] == [
            number % 2 for number in images
        ]  # a video's class is its number's parity
        sources |= set(images)
    assert sources == set(range(10))
    with pytest.raises(ValueError, match="at least 2 videos"):
        ClipDataset(Numbered(size=1), 4, images_per_video=1)


def test_a_bad_clip_is_replaced_by_the_next_of_its_epoch_counted_and_recorded(tmp_path):
    record = tmp_path / "run" / "bad_clips.jsonl"
    good, bad = ClipDataset(Numbered(), 4), ClipDataset(Numbered(bad=(3, 7)), 4, record=str(record))
    order = [epoch_and_index(position, 10, 0)[1] for position in range(10)]
    for position in range(10):
        index = order[position]
        following = next(i for i in order[position:] + order[:position] if i not in (3, 7))
        assert (bad[position]["video"][..., 0] == following).all()
        assert bad[position]["sample"] == position
        if index == following:
            assert torch.equal(bad[position]["video"], good[position]["video"])
    incidents = [json.loads(line) for line in record.read_text().splitlines()]
    assert bad.num_replaced == len(incidents) > 0
    assert {i["path"] for i in incidents} == {"video3", "video7"}
    assert incidents[0].keys() == {"path", "reason", "split", "epoch", "index", "sample"}


def test_too_many_bad_clips_stop_the_run_with_one_line():
    everything = ClipDataset(Numbered(size=3, bad=(0, 1, 2)), 4)
    with pytest.raises(BadDataError, match=r"none of the 3 videos .* the last: video\d: damaged$"):
        everything[0]
    dataset = ClipDataset(Numbered(size=40, bad=tuple(range(10))), 4)
    with pytest.raises(BadDataError, match=r"5 of 40 videos .* max_bad_fraction = 0\.05"):
        list(map(dataset.__getitem__, range(40)))


def test_a_worker_passes_the_one_line_on():
    dataset = ClipDataset(Numbered(size=2, bad=(0, 1)), 4)
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=[[0]], num_workers=1, collate_fn=Collate(0))
    with pytest.raises(BadDataError) as caught:
        next(iter(loader))
    assert str(caught.value).startswith("none of the 2 videos of the train data can be read")
    assert "\n" not in str(caught.value)


def test_batches_keep_channels_last_memory():
    dataset = ClipDataset(Numbered(), 4, images_per_video=1)
    batch = Collate(1)([dataset[i] for i in range(3)])
    assert batch["video"].shape == (3, 3, 5, 4, 4)
    assert batch["video"].permute(0, 2, 3, 4, 1).is_contiguous()
    assert batch["num_images"] == 1
    assert batch["sample"].tolist() == [0, 1, 2]
    assert batch["label"].dtype == batch["image_labels"].dtype == torch.int64
    assert batch["image_labels"].shape == (3, 1)
    assert "image_labels" not in Collate(0)([ClipDataset(Numbered(), 4)[0]])
