"""Clips of mixed shapes: which bucket a video goes to, and an order that neither workers nor resumes can change."""

import itertools

import pytest
import torch
from PIL import Image

from videodiff.data import VideoDataModule
from videodiff.data.bucket_stream import BucketBatches, BucketOrder
from videodiff.data.buckets import Bucket, found_buckets, nearest
from videodiff.data.video_io import write_lossless
from videodiff.frame_size import FrameSize
from videodiff.seeding import generator

SQUARE, WIDE, TALL = FrameSize(32, 32), FrameSize(24, 48), FrameSize(48, 24)
THREE = [Bucket(16, SQUARE, 4), Bucket(16, WIDE, 4), Bucket(1, SQUARE, 8)]
DIGITS = [
    {"num_frames": 4, "resolution": 16},
    {"num_frames": 4, "resolution": [16, 32], "batch_size": 2, "share": 0.5},
    {"num_frames": 1, "resolution": 16, "batch_size": 6, "share": 0.5},
]


@pytest.mark.parametrize(
    ("frames", "size", "bucket"),
    [
        (20, SQUARE, 0),
        (20, FrameSize(50, 100), 1),
        (20, FrameSize(90, 100), 0),
        (15, SQUARE, 2),
        (15, FrameSize(50, 100), 2),  # the only one that it is long enough for
        (20, None, 1),  # all proportions are as near: the largest
    ],
)
def test_a_video_goes_to_the_nearest_proportions_and_the_longest_clip_it_holds(frames, size, bucket):
    assert nearest(THREE, frames, 1, size) == bucket


def test_of_equal_proportions_the_largest_that_enlarges_nothing_is_nearest():
    sizes = [Bucket(8, FrameSize(side, side), 1) for side in (16, 32, 64)]
    assert [nearest(sizes, 8, 1, FrameSize(s, s)) for s in (8, 16, 40, 64, 200)] == [0, 0, 1, 2, 2]
    assert nearest(sizes, 7, 1, SQUARE) is None
    assert nearest(sizes, 14, 2, SQUARE) is None  # 15 frames for 8 at stride 2
    assert nearest([Bucket(8, SQUARE, 1, share=1.0)], 8, 1, SQUARE) is None


def test_shapes_of_the_videos_give_buckets_of_about_the_same_pixels():
    base = Bucket(16, SQUARE, 4)
    found = found_buckets(base, [(16, SQUARE), (40, FrameSize(720, 1280)), (1, FrameSize(64, 48))], 1)
    assert [(b.num_frames, b.size.height, b.size.width) for b in found] == [
        (16, 32, 32),
        (16, 32, 48),
        (1, 48, 32),
    ]


def test_every_clip_comes_once_an_epoch_and_what_fills_no_batch_waits():
    clips, sizes = (10, 7, 3), (4, 2, 8)
    order = BucketOrder(clips, sizes, seed=3)
    taken = [[], [], []]
    for step in range(400):
        bucket, number = order.at(step)
        taken[bucket].append(number)
    for bucket, numbers in enumerate(taken):
        assert numbers == list(range(len(numbers)))  # none left out, none twice
        seen = len(numbers) * sizes[bucket] / clips[bucket]  # epochs
        assert abs(seen - 400 / sum(c / s for c, s in zip(clips, sizes, strict=True))) < 4
    for epoch in range(20):
        for (c, s), before, after in zip(
            order.pairs, order.before(epoch), order.before(epoch + 1), strict=True
        ):
            assert before * s <= epoch * c < before * s + s  # less than a batch is left over
            assert after >= before
    assert [order.at(step) for step in (399, 0, 170)] == [
        BucketOrder(clips, sizes, 3).at(s) for s in (399, 0, 170)
    ]
    assert [order.at(s)[0] for s in range(60)] != [BucketOrder(clips, sizes, 4).at(s)[0] for s in range(60)]


@pytest.mark.parametrize(("world", "accumulate"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_all_processes_of_a_step_have_one_bucket_and_together_the_clips_of_one_process(world, accumulate):
    order = BucketOrder((10, 7), (4, 8), seed=1)
    whole = list(itertools.islice(BucketBatches(order), 30))
    for first in (0, 13):
        ranks = [
            BucketBatches(order, accumulate, world, rank, lambda first=first: first) for rank in range(world)
        ]
        parts = [list(itertools.islice(rank, (30 - first) * accumulate)) for rank in ranks]
        for step in range(30 - first):
            mine = [part[step * accumulate + m] for part in parts for m in range(accumulate)]
            assert sorted(itertools.chain(*mine)) == sorted(whole[first + step])
            assert len({number % 2 for batch in mine for number in batch}) == 1
    with pytest.raises(ValueError, match=r"data\.buckets\.0: batch_size \(global\) must be divisible"):
        BucketBatches(order, accumulate=3)


def digits(**more):
    options = dict(num_frames=4, resolution=16, batch_size=4, num_workers=0, buckets=DIGITS) | more
    return VideoDataModule(dataset="bouncing_digits", num_train_clips=24, **options)


def batches(data, count):
    data.setup("fit")
    return list(itertools.islice(data.train_dataloader(), count))


def test_batches_have_the_shape_of_their_bucket_and_are_the_same_for_any_number_of_workers():
    alone, helped = batches(digits(), 14), batches(digits(num_workers=2), 14)
    shapes = {tuple(batch["video"].shape) for batch in alone}
    assert shapes == {(4, 3, 4, 16, 16), (2, 3, 4, 16, 32), (6, 3, 1, 16, 16)}
    for a, b in zip(alone, helped, strict=True):
        assert a["sample"].tolist() == b["sample"].tolist()
        assert torch.equal(a["video"], b["video"])
        assert a["label"].tolist() == b["label"].tolist()
    numbers = [n for batch in alone for n in batch["sample"].tolist()]
    assert len(set(numbers)) == len(numbers)  # they key the noise
    data = digits()
    data.setup("fit")
    assert "  bucket 0: 4 frames of 16x16, 24 clips, 4 a step" in data.describe()
    assert data.batch_bytes("train") == 3 * 4 * 4 * 16 * 16
    assert data.fingerprint() != digits(buckets=None).fingerprint()
    assert "buckets" not in digits(buckets=None).fingerprint()
    assert next(iter(data.val_dataloader()))["video"].shape[1:] == (3, 4, 16, 16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Square, wide and short wide videos, and one that is square and short."""
    place = tmp_path_factory.mktemp("mixed") / "train"
    place.mkdir()
    for name, frames, height, width in (
        ("a", 12, 32, 32), ("b", 12, 32, 32), ("c", 12, 24, 48), ("d", 12, 24, 48), ("e", 5, 32, 32), ("f", 9, 24, 48),
    ):  # fmt: skip
        video = torch.randint(256, (frames, height, width, 3), generator=generator(name)).byte()
        write_lossless(place / f"{name}.mkv", video)
    return place.parent


def mixed(folder, buckets, **more):
    options = {"num_frames": 8, "resolution": 16, "batch_size": 2, "num_workers": 0, **more}
    return VideoDataModule(root=str(folder), buckets=buckets, val_fraction=0.0, **options)


def test_videos_of_a_folder_go_to_the_buckets_of_their_own_shapes(folder):
    shapes = [{"resolution": 16}, {"resolution": [16, 32]}, {"num_frames": 4}]
    found = mixed(folder, shapes).clips("train")
    names = [[part.source.name(i)[-5:-4] for i in range(len(part))] for part in found.parts]
    assert names == [["a", "b"], ["c", "d", "f"], ["e"]]
    assert found.parts[1].source.read(0, 0, 8, 1).shape == (8, 16, 32, 3)
    auto = mixed(folder, "auto", resolution=32)
    assert [str(b) for b in auto.buckets] == ["8 frames of 32x32", "8 frames of 32x48", "1 frame of 32x32"]


def test_a_still_picture_is_a_clip_of_one_frame(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(4):
        size = (40, 20) if number % 2 else (20, 20)
        Image.new("RGB", size, (60 * number, 0, 0)).save(tmp_path / "train" / f"{number}.png")
    shapes = [{"num_frames": 1}, {"num_frames": 1, "resolution": [16, 32]}]
    found = mixed(tmp_path, shapes, layout="images", num_frames=1).clips("train")
    assert [len(part) for part in found.parts] == [2, 2]
    assert found[1]["video"].shape == (1, 16, 32, 3)


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        (
            [{"resolution": 16}, {"resolution": [64, 16]}],
            r"data\.buckets\.1 \(8 frames of 64x16\) holds no clip",
        ),
        ([{"resolution": 16}, {"num_frames": 40}], r"data\.buckets\.1 \(40 frames of 16x16\) holds no clip"),
        ([{"resolution": 16}, {}], r"buckets\.1: 8 frames of 16x16 is there twice"),
        ([{"resolutoin": 16}], "buckets.0: unknown key 'resolutoin'.*did you mean 'resolution'"),
        ([{"batch_size": 0}], r"buckets\.0\.batch_size must be a whole number of at least 1, got 0"),
        ([{"share": 1.5}], r"buckets\.0\.share must lie in \(0, 1\], got 1\.5"),
        ([{"resolution": "wide"}], r"buckets\.0\.resolution must be 64 for a square"),
        ([], "buckets is empty"),
        ("all", "buckets must be auto or a list"),
        ([7], r"buckets\.0 must be a mapping"),
    ],
)
def test_a_bucket_that_cannot_be_filled_is_one_line(folder, buckets, message):
    with pytest.raises(ValueError, match=message) as raised:
        mixed(folder, buckets).clips("train")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"images_per_video": 1}, "still images are a bucket of num_frames 1"),
        ({"random_crop": 0.5}, "random_crop must be left out"),
        ({"latents": "somewhere"}, "latents must be left out"),
    ],
)
def test_what_has_no_place_beside_buckets_is_refused(folder, option, message):
    with pytest.raises(ValueError, match=message):
        mixed(folder, [{"resolution": 16}], **option)
