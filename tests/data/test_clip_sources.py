"""Folders of videos and of frames: what is found, how it is split, what is refused."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from videodiff.data import FolderSource, VideoDataModule
from videodiff.data.clips import class_folders, find_videos, natural_key, split_videos
from videodiff.data.video_io import write_lossless

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")


def write_video(path: Path, num_frames: int = 4) -> None:
    write_lossless(path, torch.full((num_frames, 16, 16, 3), 7, dtype=torch.uint8))


def write_frames(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True)
    for level, name in enumerate(names):
        Image.new("RGB", (16, 16), (level, level, level)).save(folder / name)


def test_numbers_in_names_sort_as_numbers():
    names = ["f10.png", "f9.png", "f1.png", "a2b10", "a2b9", "a10b1"]
    assert sorted(names, key=natural_key) == ["a2b9", "a2b10", "a10b1", "f1.png", "f9.png", "f10.png"]


def test_unpadded_frames_are_read_in_their_order(tmp_path):
    write_frames(tmp_path / "a/clip", [f"{i}.png" for i in range(12)])
    (tmp_path / "a/clip/Thumbs.db").write_bytes(b"x")
    (tmp_path / "a/clip/.hidden.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (entry,) = find_videos(tmp_path)
    source = FolderSource(str(tmp_path), [entry], 12, 16)
    assert source.num_frames(0) == 12
    assert source.read(0, 2, 5, 2)[:, 0, 0, 0].tolist() == [2, 4, 6, 8, 10]


def test_hidden_files_and_folders_named_like_videos_are_passed_over(tmp_path):
    write_video(tmp_path / "deep/er/a.MKV")
    write_video(tmp_path / ".b.mkv")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "deep/loop").symlink_to(tmp_path)
    assert [e.relative for e in find_videos(tmp_path)] == ["deep/er/a.MKV"]


def test_classes_are_parent_folders_only_where_all_files_lie_in_some(tmp_path):
    for name in ("b/1.mkv", "b/2.mkv", "a/1.mkv", "a/2.mkv"):
        write_video(tmp_path / name)
    assert set(class_folders(find_videos(tmp_path)).values()) == {"a", "b"}
    module = VideoDataModule(root=str(tmp_path), num_frames=4, resolution=16, num_workers=0)
    assert (module.num_classes, module.class_names) == (2, ["a", "b"])
    source = module.source("train")
    assert [source.class_names[label] for label in source.labels] == [
        Path(source.name(i)).parent.name for i in range(len(source))
    ]
    assert VideoDataModule(root=str(tmp_path), classes="none").num_classes is None
    write_video(tmp_path / "3.mkv")
    assert class_folders(find_videos(tmp_path)) is None


def test_split_folders_are_used_and_missing_ones_are_drawn_by_hash(tmp_path):
    for split in ("train", "test"):
        for i in range(20):
            (tmp_path / split).mkdir(exist_ok=True)
            (tmp_path / split / f"{i}.mp4").write_bytes(b"x")
    splits = split_videos(tmp_path)
    train, val, test = ({e.path for e in splits[s]} for s in ("train", "val", "test"))
    assert not train & val
    assert len(train | val) == 20
    assert {Path(p).parent.name for p in val} == {"train"}
    assert {Path(p).parent.name for p in test} == {"test"}
    assert split_videos(tmp_path, val_fraction=0)["val"] == splits["test"]
    moved = tmp_path.with_name("elsewhere")
    tmp_path.rename(moved)
    assert [e.relative for e in split_videos(moved)["val"]] == [e.relative for e in splits["val"]]
    moved.rename(tmp_path)


@pytest.mark.parametrize(("count", "expected_val"), [(1, 1), (2, 1), (5, 1), (400, None)])
def test_a_plain_folder_has_disjoint_splits_and_one_val_video_at_least(tmp_path, count, expected_val):
    for i in range(count):
        (tmp_path / f"{i}.mp4").write_bytes(b"x")
    splits = split_videos(tmp_path)
    train, val = ({e.relative for e in splits[s]} for s in ("train", "val"))
    assert train
    assert val
    if count > 1:
        assert not train & val
        assert len(train | val) == count
    if expected_val is None:
        assert 0.05 < len(val) / count < 0.15
    assert splits["test"] == splits["val"]


def test_clips_of_one_source_video_stay_on_one_side(tmp_path):
    for video in range(12):
        for part in range(3):
            write_frames(tmp_path / f"v{video}" / f"v{video}_{part}", ["0.png"])
    splits = split_videos(tmp_path, val_fraction=0.3)
    groups = {s: {Path(e.relative).parent.name for e in splits[s]} for s in ("train", "val")}
    assert not groups["train"] & groups["val"]


def test_short_and_unreadable_videos_are_skipped_and_counted(tmp_path):
    write_video(tmp_path / "long.mkv", 7)
    write_video(tmp_path / "exact.mkv", 5)
    write_video(tmp_path / "short.mkv", 4)
    (tmp_path / "text.mp4").write_text("no video")
    source = FolderSource(str(tmp_path), find_videos(tmp_path), 5, 16)
    assert [Path(source.name(i)).name for i in range(len(source))] == ["exact.mkv", "long.mkv"]
    assert source.num_unreadable == 1
    reasons = {Path(path).name: reason for path, reason in source.skipped}
    assert reasons["short.mkv"] == "4 frames, 5 needed"
    assert "text.mp4" in reasons["text.mp4"]


def test_a_folder_that_gives_nothing_is_refused_in_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such data folder: .*absent"):
        VideoDataModule(root=str(tmp_path / "absent")).setup("fit")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(FileNotFoundError, match="no videos and no folders of images"):
        VideoDataModule(root=str(tmp_path)).setup("fit")
    write_video(tmp_path / "a.mkv", 4)
    write_video(tmp_path / "b.mkv", 6)
    with pytest.raises(ValueError, match=r"too short: the longest has 6 frames, 7 needed"):
        FolderSource(str(tmp_path), find_videos(tmp_path), 7, 16)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.mp4").write_text("x")
    with pytest.raises(
        ValueError, match=r"the only video of .* cannot be read; the first: .*a\.mp4"
    ) as caught:
        FolderSource(str(tmp_path / "bad"), find_videos(tmp_path / "bad"), 1, 16)
    assert "\n" not in str(caught.value)


@needs_assets
@pytest.mark.parametrize(
    ("folder", "videos", "classes"),
    [("plain_mp4", 8, None), ("sky_mini", 40, None), ("sky_mini/sky_train", 32, None), ("actions64/UCF-101", 28, 4),
     ("actions64", 28, 4), ("kinetics_mini", 16, 4), ("ucf_mini/UCF-101", 109, 6)],
)  # fmt: skip
def test_real_layouts_are_found_as_they_are(folder, videos, classes):
    module = VideoDataModule(root=f"{ASSETS}/data/{folder}", num_frames=16, resolution=32, num_workers=0)
    assert module.num_classes == classes
    assert len({e.path for entries in module.splits.values() for e in entries}) == videos
    module.setup("fit")
    sample = module.clips("train")[0]
    assert sample["video"].shape == (16, 32, 32, 3)
    assert sample["video"].float().std() > 1


@needs_assets
def test_damaged_frame_folders_are_read_or_skipped():
    folder = Path(ASSETS) / "data/bad/frame_folders"
    source = FolderSource(str(folder), find_videos(folder), 16, 32)
    names = {Path(source.name(i)).name: i for i in range(len(source))}
    assert {Path(path).name for path, _ in source.skipped} == {"short_12"}
    for name, index in names.items():
        if name == "one_truncated_jpeg":
            with pytest.raises(ValueError, match=r"00010\.jpg"):
                source.read(index, 0, 16, 1)
        else:
            assert source.read(index, 0, 16, 1).shape == (16, 32, 32, 3)
