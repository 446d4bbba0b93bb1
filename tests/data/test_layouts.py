"""Public layouts: what is found, how it is split and labelled, what is refused, and that nothing is guessed."""

import os
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.data import VideoDataModule
from videodiff.data.collate import Collate
from videodiff.data.layouts import Options, list_videos
from videodiff.data.splits import listing_hash
from videodiff.data.tfrecord import HEADER, index_records, masked_crc, read_example
from videodiff.data.video_io import write_lossless

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
needs_assets = pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")


def touch(root: Path, *names: str) -> None:
    """Files that are listed and never opened."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def frames(folder: Path, count: int = 2) -> None:
    folder.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (16, 16), (i, i, i)).save(folder / f"{i}.png")


def paths(listing, split: str) -> list[str]:
    return [Path(entry.relative).as_posix() for entry in listing.splits[split]]


def ucf(root: Path, newline: str = "\n") -> Path:
    """Two classes of three groups; one folder and its files differ in case."""
    touch(root, *(f"UCF-101/Handstand/v_HandStand_g0{g}_c0{c}.avi" for g in (1, 2, 3) for c in (1, 2)))
    touch(root, *(f"UCF-101/Archery/v_Archery_g0{g}_c0{c}.avi" for g in (1, 2, 3) for c in (1, 2)))
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    for fold, group in ((1, 1), (2, 2)):
        names = [
            f"{n}/v_{n}_g0{g}_c0{c}.avi" for n in ("HandStand", "Archery") for g in (1, 2, 3) for c in (1, 2)
        ]
        test = [name for name in names if f"_g0{group}_" in name]
        train = [f"{name} {1 + ('HandStand' not in name)}" for name in names if name not in test]
        for kind, lines in (("test", test), ("train", [*train, "", "Archery/v_Archery_g09_c01.avi 2 "])):
            (lists / f"{kind}list0{fold}.txt").write_bytes(newline.join([*lines, ""]).encode())
    (lists / "classInd.txt").write_text(f"1 HandStand{newline}2 Archery{newline}")
    return root


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_ucf101_takes_lists_of_a_fold_and_classes_of_folders(tmp_path, newline):
    listing = list_videos(ucf(tmp_path, newline), options=Options(fold=2, val_fraction=0))
    assert listing.layout == "ucf101"
    assert listing.class_names == ["Handstand", "Archery"]  # classInd's order, the folders' spelling
    assert len(listing.splits["train"]) == 8
    assert {e.group.split("/")[1] for e in listing.splits["test"]} == {"g02"}
    assert all(e.label == Path(e.path).parent.name for entries in listing.splits.values() for e in entries)
    assert any("1 not there" in note for note in listing.notes)


def test_ucf101_groups_stay_on_one_side_and_all_is_the_union(tmp_path):
    root = ucf(tmp_path)
    for fraction in (0.1, 0.3, 0.5):
        splits = list_videos(root, "ucf101", Options(val_fraction=fraction)).splits
        groups = {split: {entry.group for entry in splits[split]} for split in splits}
        assert groups["val"]
        assert not groups["train"] & groups["val"]
        assert not (groups["train"] | groups["val"]) & groups["test"]
    both = list_videos(root, "ucf101", Options(train_split="all", val_fraction=0)).splits
    assert len(both["train"]) == 12
    assert both["val"] == both["test"]


def test_ucf101_without_its_lists_says_where_they_belong(tmp_path):
    touch(tmp_path, *(f"UCF/{n}/v_{n}_g0{g}_c01.avi" for n in ("A", "B") for g in (1, 2, 3)))
    with pytest.raises(FileNotFoundError, match=r"trainlist01\.txt .* data\.train_split all"):
        list_videos(tmp_path)
    listing = list_videos(tmp_path, options=Options(train_split="all"))
    groups = [{entry.group for entry in listing.splits[split]} for split in ("train", "val")]
    assert not groups[0] & groups[1]
    touch(tmp_path / "b", "a.mp4")
    with pytest.raises(FileNotFoundError, match="no videos <Class>/v_"):
        list_videos(tmp_path / "b", "ucf101")


def test_sky_is_split_by_its_top_folders_and_nothing_else(tmp_path):
    for split, video in (("sky_train", "xvalx"), ("sky_train", "testtrain"), ("sky_test", "train")):
        for clip in (1, 2):
            frames(tmp_path / split / video / f"{video}_{clip}")
    (tmp_path / "sky_train" / "gone" / "gone_1").mkdir(parents=True)
    listing = list_videos(tmp_path, options=Options(val_fraction=0.5))
    assert listing.layout == "sky"
    assert {p.split("/")[0] for p in paths(listing, "test")} == {"train"}
    sides = [{p.split("/")[0] for p in paths(listing, split)} for split in ("train", "val")]
    assert sorted([*sides[0], *sides[1]]) == ["testtrain", "xvalx"]
    assert any("1 empty folder" in note for note in listing.notes)


def test_taichi_keeps_clips_of_one_source_video_together(tmp_path):
    touch(tmp_path, *(f"train/v{i}#0000{k}0#0000{k}9.mp4" for i in range(6) for k in range(3)))
    touch(tmp_path, "test/w#000001#000100.mp4")
    listing = list_videos(tmp_path, options=Options(val_fraction=0.3))
    assert listing.layout == "taichi"
    sides = [{entry.group for entry in listing.splits[split]} for split in ("train", "val")]
    assert not sides[0] & sides[1]
    assert {entry.group for entry in listing.splits["test"]} == {"w"}
    for i in range(2):
        frames(tmp_path / "png" / "train" / f"v{i}#000000#000100.mp4")  # a folder named like a video
    assert list_videos(tmp_path / "png").layout == "taichi"


def kinetics(root: Path, nested: bool) -> Path:
    labels = ["arranging children's blocks", "pouring, coffee (kettle)"]
    rows = ["label,youtube_id,time_start,time_end,split"]
    for number, label in enumerate(labels):
        for k, split in enumerate(("train", "train", "validate")):
            name = f"id-_{number}{k}train_{k:06d}_{k + 10:06d}.mp4"
            folder = f"{'val' if split == 'validate' else split}/{label if nested else ''}"
            touch(root, f"{folder}/{name}")
            rows.append(f'"{label}",id-_{number}{k}train,{k},{k + 10},{split}')
    rows.append("gone,nothere,1,11,train")
    (root / "clips.csv").write_text("\r\n".join(rows) + "\r\n")
    touch(root, "train/notlisted_000001_000011.mp4")
    return root


@pytest.mark.parametrize("nested", [True, False])
def test_kinetics_takes_label_and_split_from_the_table(tmp_path, nested):
    listing = list_videos(kinetics(tmp_path, nested))
    assert listing.layout == "kinetics"
    assert listing.class_names == ["arranging children's blocks", "pouring, coffee (kettle)"]
    assert {split: len(entries) for split, entries in listing.splits.items()} == {
        "train": 4,
        "val": 2,
        "test": 2,
    }
    assert any("1 of 7 listed clips" in note for note in listing.notes)
    assert any("1 video in no CSV" in note for note in listing.notes)
    (tmp_path / "clips.csv").write_text("label,youtube_id,time_start,time_end,split\na,b,soon,later,train\n")
    with pytest.raises(ValueError, match=r"clips\.csv: cannot understand"):
        list_videos(tmp_path)


@pytest.mark.parametrize("colours", [(), (3,)])
def test_an_array_is_read_time_first(tmp_path, colours):
    videos = np.random.default_rng(0).integers(0, 255, (6, 9, 16, 16, *colours), dtype=np.uint8)
    np.save(tmp_path / "seq.npy", videos)
    for root in (tmp_path, tmp_path / "seq.npy"):
        module = VideoDataModule(root=str(root), num_frames=3, resolution=16, num_workers=0)
        module.setup("fit")
        source = module.clips("train").source
        entry = source.entries[2]
        clip = source.read(2, 1, 3, 2)
        expected = torch.from_numpy(videos[1:6:2, entry.item])
        assert torch.equal(clip, expected if colours else expected[..., None].expand(3, 16, 16, 3))
    np.save(tmp_path / "seq.npy", np.zeros((2, 2, 2), np.float32))
    with pytest.raises(ValueError, match=r"time first; got float32 \[2, 2, 2\]"):
        list_videos(tmp_path)
    (tmp_path / "seq.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"seq\.npy: no readable"):
        list_videos(tmp_path)


# --- TFRecords, written here by the definition of the format


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def record(features: dict[str, bytes], actions: np.ndarray) -> bytes:
    pairs = b"".join(
        field(1, field(1, k.encode()) + field(2, field(1, field(1, v)))) for k, v in features.items()
    )
    lists = b"".join(
        field(1, field(1, f"{t}/action".encode()) + field(2, field(2, field(1, row.astype("<f4").tobytes()))))
        for t, row in enumerate(actions)
    )
    data = field(1, lists + pairs)
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def bair(root: Path, num_frames: int = 5) -> np.ndarray:
    """Three training records and one for test; the pixels of image_aux1. Actions are 100 record + 10 frame + d."""
    videos = np.random.default_rng(1).integers(0, 255, (4, num_frames, 64, 64, 3), dtype=np.uint8)
    for name, numbers in (("train/a.tfrecords", (0, 1, 2)), ("test/b.tfrecords", (3,))):
        path = root / "softmotion30_44k" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"".join(
            record({f"{t}/image_aux1/encoded": videos[n, t].tobytes() for t in range(num_frames)}
                   | {f"{t}/image_main/encoded": bytes(64 * 64 * 3) for t in range(num_frames)},
                   100 * n + 10 * np.arange(num_frames)[:, None] + np.arange(4))
            for n in numbers
        ))  # fmt: skip
    return videos


def test_crc_is_castagnolis():
    crc = masked_crc(b"123456789") - 0xA282EAD8 & 0xFFFFFFFF
    assert (crc >> 17 | crc << 15) & 0xFFFFFFFF == 0xE3069283  # RFC 3720's check value


def test_bair_records_are_read_raw_from_the_named_camera(tmp_path):
    videos = bair(tmp_path)
    module = VideoDataModule(
        root=str(tmp_path), num_frames=2, resolution=64, num_workers=0, view="image_aux1", val_fraction=0
    )
    module.setup("fit")
    source = module.clips("train").source
    assert len(source) == 3
    assert len(module.splits["test"]) == 1
    for index in range(3):
        assert torch.equal(source.read(index, 1, 2, 2), torch.from_numpy(videos[index, 1:5:2]))
    other = VideoDataModule(root=str(tmp_path), num_frames=2, resolution=64, num_workers=0)
    assert (other.source("train").read(0, 0, 2, 1) == 0).all()
    assert module.fingerprint()["view"] == "image_aux1"


def with_actions(root: Path, **more) -> VideoDataModule:
    options = {
        "num_frames": 3,
        "resolution": 64,
        "num_workers": 0,
        "batch_size": 3,
        "view": "image_aux1",
        **more,
    }
    return VideoDataModule(root=str(root), actions=True, val_fraction=0, **options)


def test_every_frame_comes_with_its_own_action_and_an_image_with_none(tmp_path):
    videos = bair(tmp_path)
    module = with_actions(tmp_path, images_per_video=1)
    assert module.action_dim == 4
    assert module.annotations() == {"actions": "actions"}
    dataset = module.clips("train")
    batch = Collate(1)([dataset[number] for number in range(6)])
    assert batch["actions"].shape == (6, 4, 4)
    assert batch["actions"].dtype == torch.float32
    for clip, actions in zip(batch["video"], batch["actions"], strict=True):
        record, frame = divmod(int(actions[0, 0]), 100)
        frames = videos[record, frame // 10 : frame // 10 + 3]
        assert torch.equal(clip[:, :3].permute(1, 2, 3, 0), torch.from_numpy(frames))
        assert torch.equal(actions[:3], actions[:1] + torch.tensor([[0.0], [10], [20]]))
        assert not actions[3].any()
    assert module.clips("test")[0]["actions"][0, 0] >= 300
    assert "actions" not in VideoDataModule(root=str(tmp_path), num_frames=2, num_workers=0).fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"horizontal_flip": True},
            "data.actions and data.horizontal_flip true do not go together: no action",
        ),
        ({"frame_stride": 2}, "data.actions and data.frame_stride 2 do not go together: an action leads"),
        ({"short_videos": "loop"}, "data.actions and data.short_videos loop"),
        ({"layout": "array"}, "data.actions: the records of BAIR hold actions, .* is array"),
        ({"layout": "prepared"}, "is prepared and has kept the frames alone"),
        ({"latents": "x"}, "data.actions are of the frames, and data.latents hold none"),
    ],
)
def test_actions_that_would_not_be_those_of_the_frames_are_refused(options, words, tmp_path):
    bair(tmp_path)
    with pytest.raises(ValueError, match=words):
        with_actions(tmp_path, **options).source("train")


def test_a_record_without_actions_is_one_that_cannot_be_read(tmp_path):
    bair(tmp_path)
    path = tmp_path / "softmotion30_44k/train/a.tfrecords"
    pictures = {f"{t}/image_aux1/encoded": bytes(64 * 64 * 3) for t in range(5)}
    path.write_bytes(path.read_bytes() + record(pictures, np.zeros((2, 4))))
    dataset = with_actions(tmp_path, num_frames=4).clips("train")
    assert len(dataset) == 4
    assert all(dataset[number]["actions"].shape == (4, 4) for number in range(4))
    assert dataset.num_replaced == 1


def test_cut_and_damaged_records_are_told_and_never_read(tmp_path):
    bair(tmp_path)
    path = tmp_path / "softmotion30_44k/train/a.tfrecords"
    whole = path.read_bytes()
    (first, size), *_ = index_records(str(path))[0]
    for cut in (len(whole) - 1, len(whole) - 10**5, size + 20, size + 50):
        path.write_bytes(whole[:cut])
        records, fault = index_records(str(path))
        assert len(records) == cut // (size + HEADER.size + 4)
        assert "cut off after record" in fault
        assert any("cut off" in note for note in list_videos(tmp_path).notes)
    path.write_bytes(b"\xff" + whole[1:])
    assert index_records(str(path)) == ([], "damaged after record 0")
    with pytest.raises(FileNotFoundError, match="no record in train"):
        list_videos(tmp_path)
    for at in range(HEADER.size, HEADER.size + 400, 7):  # the message, not the header
        data = bytearray(whole)
        data[at] ^= 0xFF
        path.write_bytes(data)
        with suppress(ValueError):  # nothing else, and it ends
            read_example(str(path), first)


@pytest.mark.parametrize(
    "odd", [b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\xff" * 200, b"\x0a\x05ab", b"\x0f" * 50], ids=repr
)
def test_an_odd_record_is_named_and_the_others_train(odd, tmp_path):
    videos = bair(tmp_path)
    length = struct.pack("<Q", len(odd))
    odd = length + struct.pack("<I", masked_crc(length)) + odd + struct.pack("<I", masked_crc(odd))
    folder = tmp_path / "softmotion30_44k/train"
    (folder / "0.tfrecords").write_bytes(odd)
    (folder / "1.tfrecords").write_bytes(odd + (folder / "a.tfrecords").read_bytes())
    module = VideoDataModule(
        root=str(tmp_path), num_frames=2, resolution=64, num_workers=0, view="image_aux1", val_fraction=0
    )
    notes = "\n".join(list_videos(tmp_path, options=Options(view="image_aux1")).notes)
    assert "0.tfrecords: the record at byte 0 is damaged" in notes
    assert "the file is left out" in notes
    assert "others of the file are used" in notes
    dataset = module.clips("train")
    assert len(dataset) == 1 + 3 + 3  # of 1.tfrecords its odd record and three, of a.tfrecords three
    windows = [torch.from_numpy(videos[n, t : t + 2]) for n in range(3) for t in range(4)]
    for number in range(7):
        clip = dataset[number]["video"]
        assert any(torch.equal(clip, window) for window in windows)
    assert dataset.num_replaced == 1


# --- detection


def test_what_fits_more_than_one_layout_is_an_error_with_the_choices(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    frames(tmp_path / "clip")
    with pytest.raises(
        ValueError, match=r"2 video files, 1 folder of images\) could be videos or frames; .*layout"
    ):
        list_videos(tmp_path)
    assert len(list_videos(tmp_path, "videos", Options(val_fraction=0)).splits["train"]) == 2
    assert len(list_videos(tmp_path, "frames", Options(val_fraction=0)).splits["train"]) == 1
    ucf(tmp_path / "u")
    kinetics(tmp_path / "u", nested=True)
    with pytest.raises(ValueError, match="could be ucf101 or kinetics"):
        list_videos(tmp_path / "u")


def test_an_unset_layout_is_detected_like_auto(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4")
    modules = [VideoDataModule(root=str(tmp_path), layout=layout) for layout in (None, "auto")]
    assert modules[0].fingerprint() == modules[1].fingerprint()


def test_a_poster_beside_videos_is_no_video(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "poster.jpg", "back.jpg")
    assert list_videos(tmp_path).layout == "videos"


@pytest.mark.parametrize("layout", ["frames", "sky", "taichi", "kinetics", "bair", "array", "ucf101"])
def test_a_named_layout_that_is_not_there_is_refused_in_one_line(tmp_path, layout):
    touch(tmp_path, "a.mp4")
    with pytest.raises(FileNotFoundError) as caught:
        list_videos(tmp_path, layout)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="layout must be one of auto, videos"):
        VideoDataModule(root=str(tmp_path), layout="ducks")


def test_videos_outside_the_split_folders_are_counted(tmp_path):
    touch(tmp_path, "train/a.mp4", "train/b.mp4", "extra/c.mp4")
    listing = list_videos(tmp_path)
    assert any("1 video outside" in note for note in listing.notes)
    assert sorted(paths(listing, "train") + paths(listing, "val")) == ["a.mp4", "b.mp4"]


def test_layout_preset_and_content_are_in_head_and_fingerprint(tmp_path):
    for i in range(4):
        write_lossless(tmp_path / f"{i}.mkv", torch.full((8, 16, 20, 3), i, dtype=torch.uint8))
    module = VideoDataModule(
        root=str(tmp_path), num_frames=4, resolution=16, num_workers=0, preset="pvdm", fold=2
    )
    module.setup("fit")
    head = "\n".join(module.describe())
    assert "videos (detected)" in head
    assert "4 train" in head
    assert "preset pvdm [" in head
    assert "fold 2 (published 1)" in head
    assert "without antialias" in module.fingerprint()["resize"]
    named = VideoDataModule(
        root=str(tmp_path), layout="videos", num_frames=4, resolution=16, preset="pvdm", fold=2
    )
    assert named.fingerprint() == module.fingerprint()
    changed = {key: VideoDataModule(root=str(tmp_path), num_frames=4, resolution=16, **{key: value}).fingerprint()
               for key, value in {"preset": "pvdm", "fps": 3.0, "windows": "all", "short_videos": "loop",
                                  "resize": "lanczos", "train_split": "all", "frame_stride": 2}.items()}  # fmt: skip
    plain = VideoDataModule(root=str(tmp_path), num_frames=4, resolution=16).fingerprint()
    assert all(other != plain for other in changed.values())
    assert len({str(other) for other in changed.values()}) == len(changed)


def test_the_hash_of_a_listing_knows_class_caption_and_range(tmp_path):
    touch(tmp_path, "a.mp4")
    splits = list_videos(tmp_path).splits
    (entry,) = splits["train"]
    others = [{"label": "x"}, {"caption": "x"}, {"first": 1}, {"last": 5}]
    hashes = {listing_hash({"train": [replace(entry, **other)]}) for other in [{}, *others]}
    assert len(hashes) == 5


@pytest.mark.parametrize("setting", [{"preset": "vdm"}, {"layout": "sky"}, {"fps": 5.0}, {"captions": "txt"}])
def test_what_needs_a_root_is_refused_for_a_built_in_set(setting):
    with pytest.raises(ValueError, match=rf"data\.{next(iter(setting))} .* needs data\.root"):
        VideoDataModule(dataset="bouncing_digits", **setting)


@needs_assets
@pytest.mark.parametrize(
    ("folder", "layout", "options", "counts", "classes"),
    [("ucf_mini", "ucf101", {"fold": 1}, (74, 35), 6), ("ucf_mini", "ucf101", {"fold": 2}, (78, 31), 6),
     ("ucf_mini/UCF-101", "ucf101", {"fold": 3}, (85, 24), 6),
     ("ucf_mini", "ucf101", {"train_split": "all"}, (109, 35), 6),
     ("sky_mini", "sky", {}, (32, 8), None), ("kinetics_mini", "kinetics", {}, (12, 4), 4),
     ("plain_mp4", "videos", {}, (8, 8), None), ("moving_digits", "array", {}, (48, 48), None),
     ("actions64", "ucf101", {"train_split": "all"}, (28, 8), 4)],
)  # fmt: skip
def test_real_sets_are_detected_with_their_counts(folder, layout, options, counts, classes):
    listing = list_videos(f"{ASSETS}/data/{folder}", options=Options(**{"val_fraction": 0, **options}))
    assert listing.layout == layout
    assert (len(listing.splits["train"]), len(listing.splits["test"])) == counts
    assert (listing.class_names and len(listing.class_names)) == classes
    if folder == "ucf_mini":
        assert "CarTopView" in listing.class_names


@needs_assets
def test_real_sky_names_that_hold_the_words_of_splits_are_kept():
    listing = list_videos(f"{ASSETS}/data/sky_mini", options=Options(val_fraction=0))
    assert any(p.startswith("YvMItrain76") for p in paths(listing, "train"))
    assert any(p.startswith("val7zKUVQDT") for p in paths(listing, "test"))
