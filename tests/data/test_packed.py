"""Packed frames against the files they were made from, and against everything that can be wrong with them."""

import json
import os
import pickle

import pytest
import torch

from prepared_sets import folder_of_videos
from videodiff.data.clips import FolderSource
from videodiff.data.layouts import Options, list_videos
from videodiff.data.packed import PackedSource
from videodiff.data.prepare import Settings, prepare
from videodiff.data.prepared_source import prepared_source


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return folder_of_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def packed(videos, tmp_path):
    prepare(str(videos), str(tmp_path / "out"), Settings(size=16, form="packed", val_fraction=0.3))
    return tmp_path / "out"


def direct(videos, split, needed=1, size=16, rule="antialias"):
    listing = list_videos(videos, "videos", Options(val_fraction=0.3))
    return FolderSource(str(videos), listing.splits[split], needed, size, listing.class_names, rule)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_packed_windows_are_the_pixels_that_the_files_give(videos, packed, split):
    source, files = PackedSource(str(packed), split, 4, 16), direct(videos, split, 4)
    assert len(source) == len(files) > 0
    assert source.labels == files.labels
    assert source.class_names == files.class_names
    for index in range(len(files)):
        frames = files.num_frames(index)
        assert source.num_frames(index) == frames
        for start, count, stride in [(0, frames, 1), (1, 3, 1), (0, 2, 3), (frames - 1, 1, 1)]:
            assert torch.equal(
                source.read(index, start, count, stride), files.read(index, start, count, stride)
            )
        assert torch.equal(source.read_frames(index, [0, 0, 2]), files.read_frames(index, [0, 0, 2]))
        assert source.times(index).tolist() == pytest.approx(files.times(index).tolist())


def test_a_clip_is_writable_and_its_own(packed):
    source = PackedSource(str(packed), "train", 4, 16)
    clip = source.read(0, 0, 4, 1)
    clip.zero_()
    assert source.read(0, 0, 4, 1).any()


def test_a_source_travels_to_a_worker_without_its_frames(packed):
    source = PackedSource(str(packed), "train", 4, 16)
    source.read(0, 0, 4, 1)
    sent = pickle.dumps(source)
    assert len(sent) < 20_000
    assert torch.equal(pickle.loads(sent).read(1, 0, 4, 1), source.read(1, 0, 4, 1))


def test_windows_outside_a_video_are_refused(packed):
    source = PackedSource(str(packed), "train", 4, 16)
    for window in [(-1, 2, 1), (0, source.num_frames(0) + 1, 1), (2, 3, 4), (0, 0, 1)]:
        with pytest.raises(ValueError, match="asked"):
            source.read(0, *window)


def test_short_videos_are_counted_and_none_left_is_an_error(packed):
    source = PackedSource(str(packed), "train", 8, 16)
    whole = PackedSource(str(packed), "train", 1, 16)
    assert len(source) + len(source.skipped) == len(whole)
    assert all("8 needed" in reason for _, reason in source.skipped)
    with pytest.raises(ValueError, match="too short: the longest has 9 frames, 99 needed"):
        PackedSource(str(packed), "train", 99, 16)


def test_a_limit_takes_the_same_videos_each_time(packed):
    names = [
        [source.name(i) for i in range(len(source))]
        for source in (PackedSource(str(packed), "train", 1, 16, limit=2) for _ in range(2))
    ]
    assert names[0] == names[1]
    assert len(names[0]) == 2


def test_smaller_frames_are_resized_and_larger_ones_refused(packed):
    assert PackedSource(str(packed), "train", 1, 8).read(0, 0, 2, 1).shape == (2, 8, 8, 3)
    with pytest.raises(ValueError, match=r"holds frames of 16 pixels, resolution 32 asked.*--size 32"):
        PackedSource(str(packed), "train", 1, 32)
    with pytest.raises(ValueError, match="resized by 'antialias', 'lanczos' asked"):
        PackedSource(str(packed), "train", 1, 16, rule="lanczos")


def test_other_proportions_than_the_prepared_ones_are_refused_with_the_nearest(videos, tmp_path):
    prepare(str(videos), str(tmp_path / "out"), Settings(size=(20, 12), form="packed", val_fraction=0.3))
    assert PackedSource(str(tmp_path / "out"), "train", 1, "10x6").read(0, 0, 2, 1).shape == (2, 10, 6, 3)
    with pytest.raises(
        ValueError, match=r"frames of 20x12 pixels, resolution 10 asked.*--size 10, or ask for 10x6"
    ):
        PackedSource(str(tmp_path / "out"), "train", 1, 10)
    with pytest.raises(ValueError, match=r"frames of 20x12 pixels, resolution 12x20 asked.*--size 12x20"):
        PackedSource(str(tmp_path / "out"), "train", 1, [12, 20])


def overwrite(path, at, data=b"\xff\x00\xff"):
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


DAMAGES = {
    "manifest": (
        lambda out: overwrite(out / "manifest.jsonl", 20),
        "not the one that prepared.json was written for",
    ),
    "cut": (lambda out: os.truncate(out / "train.u8", 1000), "has 1000 bytes, the manifest says"),
    "grown": (lambda out: (out / "train.u8").open("ab").write(b"x"), "the manifest says"),
    "gone": (lambda out: (out / "train.u8").unlink(), "train.u8 is missing"),
    "other frames": (lambda out: overwrite(out / "train.u8", 0), "are not those of the manifest"),
    "header": (lambda out: (out / "prepared.json").write_text("{"), "prepared.json is damaged"),
    "header of a list": (lambda out: (out / "prepared.json").write_text("[1]"), "prepared.json is damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_data_that_are_not_the_manifests_are_refused_in_one_line(packed, name):
    damage, said = DAMAGES[name]
    damage(packed)
    with pytest.raises(ValueError, match=said) as caught:
        PackedSource(str(packed), "train", 1, 16)
    assert "\n" not in str(caught.value)
    assert "prepare" in str(caught.value)


def test_another_format_and_an_unprepared_folder_are_refused(packed, tmp_path):
    header = json.loads((packed / "prepared.json").read_text())
    (packed / "prepared.json").write_text(json.dumps({**header, "videodiff_prepared": 2}))
    with pytest.raises(ValueError, match="format 2, this version reads 1"):
        PackedSource(str(packed), "train", 1, 16)
    with pytest.raises(FileNotFoundError, match=r"prepared\.json"):
        PackedSource(str(tmp_path), "train", 1, 16)


@pytest.mark.parametrize(
    ("size", "written", "rule"),
    [(16, 16, "antialias"), ((25, 12), [25, 12], "letterbox"), ("10x24", [10, 24], "antialias")],
)
@pytest.mark.parametrize("form", ["video", "shards", "packed"])
def test_every_form_opens_to_the_same_lossless_clips(
    videos, tmp_path, monkeypatch, form, size, written, rule
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    settings = Settings(size=size, form=form, quality="lossless", val_fraction=0.3, resize=rule)
    prepare(str(videos), str(tmp_path / "out"), settings)
    header = json.loads((tmp_path / "out" / "prepared.json").read_text())
    assert header["size"] == header["settings"]["size"] == written
    for split in ("train", "val"):
        source = prepared_source(str(tmp_path / "out"), split, 4, size, rule=rule)
        files = direct(videos, split, 4, size, rule)
        assert [source.num_frames(i) for i in range(len(source))] == [
            files.num_frames(i) for i in range(len(files))
        ]
        assert source.labels == files.labels
        assert source.fingerprint
        for index in range(len(files)):
            assert torch.equal(source.read(index, 1, 3, 1), files.read(index, 1, 3, 1))
    with pytest.raises(ValueError, match="resolution 32 asked"):
        prepared_source(str(tmp_path / "out"), "train", 4, 32, rule=rule)
    assert prepared_source(str(tmp_path / "out"), "train", 4, size, None, rule, False).class_names is None
