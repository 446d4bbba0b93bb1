"""Captions, clip lists, presets and all windows: what users and papers say about the clips."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.data import VideoDataModule
from videodiff.data.annotations import parse_line
from videodiff.data.collate import Collate
from videodiff.data.layouts import LAYOUTS
from videodiff.data.presets import PRESETS, find_preset
from videodiff.data.resize import RULE_NAMES
from videodiff.data.stream import ClipDataset
from videodiff.data.video_io import write_lossless

NAMES = ("a/one.mkv", "a/two 3 4.mkv", "b/three.mkv")


@pytest.fixture
def root(tmp_path):
    """Three videos of 12 frames; frame t of video v has level 20 v + t."""
    for v, name in enumerate(NAMES):
        levels = (20 * v + torch.arange(12)).to(torch.uint8)
        write_lossless(tmp_path / name, levels[:, None, None, None].expand(12, 16, 16, 3))
    return tmp_path


def module(root: Path, **settings) -> VideoDataModule:
    base = {"num_frames": 4, "resolution": 16, "num_workers": 0, "val_fraction": 0, "classes": "none"}
    data = VideoDataModule(root=str(root), **{**base, **settings})
    data.setup("fit")
    return data


# --- captions


@pytest.mark.parametrize("kind", ["txt", "captions.csv", "captions.jsonl"])
def test_captions_travel_with_their_clips(root, kind):
    texts = {NAMES[0]: 'a dog, "Rex"', NAMES[1]: "zwei Hünde"}
    if kind == "txt":
        for name, text in texts.items():
            (root / name).with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    elif kind.endswith("csv"):
        rows = [f'{name},"{text.replace(chr(34), 2 * chr(34))}"' for name, text in texts.items()]
        (root / kind).write_text("\r\n".join(["path,caption", *rows]), encoding="utf-8-sig")
    else:
        rows = [json.dumps({"path": name, "caption": text}) for name, text in texts.items()]
        (root / kind).write_text("\n".join([*rows, ""]), encoding="utf-8")
    data = module(root, captions=kind)
    dataset = data.clips("train")
    for position in range(3):
        sample = dataset[position]
        assert sample["caption"] == [*texts.values(), ""][int(sample["video"][0, 0, 0, 0]) // 20]
    assert "captions of 2 of 3 videos" in "\n".join(data.describe())
    assert sorted(Collate(0)([dataset[i] for i in range(3)])["caption"]) == sorted([*texts.values(), ""])
    assert data.fingerprint() != module(root).fingerprint()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [("c.csv", "file,text\na/one.mkv,x\n", "entry 1 lacks path or caption"), ("c.jsonl", "{", "line 1: no JSON"),
     ("c.jsonl", "[1]", "line 1: not an object"), ("c.yaml", "a: b", "must be txt, a .csv or a .jsonl"),
     ("c.csv", "path,caption\nnothere.mkv,x\n", "gives none of the 3 videos"),
     ("c.jsonl", '{"path": "a/one.mkv", "caption": ["x", 3]}', "entry 1 lacks path or caption")],
)  # fmt: skip
def test_a_captions_file_that_is_wrong_is_refused_in_one_line(root, name, text, message):
    (root / name).write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        module(root, captions=name)
    assert name in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"data\.captions: no file absent\.csv"):
        module(root, captions="absent.csv")


MANY = {NAMES[0]: ("a dog", "the dog Rex", "ein Hund"), NAMES[1]: ("two",), NAMES[2]: ()}


def write_captions(root: Path, kind: str) -> dict[str, str]:
    """Several captions of a video, none of another, in any of the ways there are; the options that read them."""
    rows = [(name, text) for name, texts in MANY.items() for text in texts]
    if kind == "txt":
        for name, texts in MANY.items():
            (root / name).with_suffix(".txt").write_text("\n\n".join(texts) + "\n" * bool(texts))
    elif kind == "csv":
        (root / "c.csv").write_text("\n".join(["path,caption", *(f'{name},"{text}"' for name, text in rows)]))
    elif kind == "jsonl":
        lines = [json.dumps({"path": name, "caption": text}) for name, text in rows[2:]]
        first = json.dumps({"path": NAMES[0], "caption": list(MANY[NAMES[0]][:2])})
        (root / "c.jsonl").write_text("\n".join([first, *lines]))
    elif kind == "list.csv":
        lines = [f"{name},0,{text}" for name, text in rows]
        (root / "list.csv").write_text("\n".join(["path,first,caption", *lines, f"{NAMES[2]},,"]))
    else:
        lines = [json.dumps({"path": name, "caption": list(texts)}) for name, texts in MANY.items() if texts]
        (root / "list.jsonl").write_text("\n".join([*lines, json.dumps({"path": NAMES[2]})]))
    if kind.startswith("list"):
        return {"clip_list": kind}
    return {"captions": "txt" if kind == "txt" else f"c.{kind}"}


def number_of(sample: dict) -> int:
    """Of the video that a sample is from, by its level."""
    return int(sample["video"].flatten()[0]) // 20


@pytest.mark.parametrize("kind", ["txt", "csv", "jsonl", "list.csv", "list.jsonl"])
def test_of_several_captions_training_draws_one_and_evaluation_takes_the_first(root, kind):
    options = write_captions(root, kind)
    data, again = module(root, **options), module(root, **options)
    seen: dict[str, set[str]] = {name: set() for name in NAMES}
    for position in range(60):
        sample = data.clips("train")[position]
        assert sample["caption"] == again.clips("train")[position]["caption"]
        seen[NAMES[number_of(sample)]].add(sample["caption"])
    assert seen == {name: {*texts} or {""} for name, texts in MANY.items()}
    for position in range(3):
        sample = data.clips("val")[position]
        assert sample["caption"] == (*MANY[NAMES[number_of(sample)]], "")[0]
    joint = module(root, **options, images_per_video=2).clips("train")
    for position in range(12):
        sample = joint[position]
        for frame, text in zip(sample["video"][4:], sample["image_captions"], strict=True):
            assert text in (MANY[NAMES[int(frame[0, 0, 0]) // 20]] or [""])
    told = "\n".join(data.describe())
    assert (
        "train: 1 of 3 videos without a caption, learnt as clips without text (data.missing_captions" in told
    )
    assert data.annotations() == {"caption": "captions"}


def test_a_text_beside_an_array_has_a_line_for_each_sequence(tmp_path):
    np.save(
        tmp_path / "train.npy",
        np.arange(3, dtype=np.uint8)[None, :, None, None].repeat(4, 0).repeat(16, 2).repeat(16, 3),
    )
    (tmp_path / "train.txt").write_text("none\none\ntwo\n")
    clips = module(tmp_path, captions="txt").clips("train")
    assert {(int(s["video"].flatten()[0]), s["caption"]) for s in (clips[i] for i in range(3))} == {
        (0, "none"), (1, "one"), (2, "two"),
    }  # fmt: skip
    (tmp_path / "train.txt").write_text("none\none\n")
    with pytest.raises(ValueError, match=r"train\.txt: 2 lines, and 3 sequences beside it"):
        module(tmp_path, captions="txt")


def test_a_text_beside_a_folder_of_frames_is_named_by_all_of_it(tmp_path):
    for name in ("a.1", "a.2"):
        (tmp_path / name).mkdir()
        for t in range(4):
            Image.new("RGB", (16, 16), (20 * int(name[-1]),) * 3).save(tmp_path / name / f"{t}.png")
        (tmp_path / f"{name}.txt").write_text(name)
    (tmp_path / "a.txt").write_text("of neither")
    clips = module(tmp_path, captions="txt", layout="frames").clips("train")
    assert {(number_of(s), s["caption"]) for s in (clips[i] for i in range(2))} == {(1, "a.1"), (2, "a.2")}


@pytest.mark.parametrize("kind", ["txt", "jsonl", "list.csv"])
def test_videos_without_a_caption_are_left_out_on_request_and_counted(root, kind):
    data = module(root, **write_captions(root, kind), missing_captions="leave_out")
    for split in ("train", "val"):
        clips = data.clips(split)
        assert {number_of(clips[i]) for i in range(len(clips))} == {0, 1}
    assert "train: 1 video left out, without a caption; the first: " in "\n".join(data.describe())
    assert data.clips("train").source.unwanted[0][0].endswith("b/three.mkv")
    assert data.fingerprint()["missing_captions"] == "leave_out"


def test_a_caption_of_a_listed_clip_is_its_own(root):
    rows = ["path,first,last,caption", "a/one.mkv,2,7,one", "a/one.mkv,6,12,two", "a/one.mkv,6,12,zwei"]
    (root / "list.csv").write_text("\n".join(rows))
    clips = module(root, clip_list="list.csv").clips("train")
    assert len(clips) == 2
    seen = {(int(s["video"][0, 0, 0, 0]), s["caption"]) for s in map(clips.__getitem__, range(200))}
    assert seen == {(2, "one"), (3, "one")} | {(t, word) for t in (6, 7, 8) for word in ("two", "zwei")}


def test_clips_with_held_out_words_are_seen_in_the_test_alone(root):
    options = write_captions(root, "csv") | {"held_out_words": ["Hund ein", "cat"]}
    data = module(root, **options, test_clips="held_out")
    numbers = {
        s: {number_of(c[i]) for i in range(len(c))} for s in ("train", "val", "test") for c in [data.clips(s)]
    }
    assert numbers == {"train": {1, 2}, "val": {1, 2}, "test": {0}}
    assert (
        "train: 1 video left out, held out by their captions (data.held_out_words); the first: "
        in "\n".join(data.describe())
    )
    assert len(module(root, **options).clips("test")) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [({"held_out_words": ["x"]}, "data.held_out_words goes by captions, and no train video has one"),
     ({"missing_captions": "leave_out"}, "data.missing_captions leave_out goes by captions"),
     ({"test_clips": "held_out"}, "test_clips held_out needs data.held_out_words"),
     ({"held_out_words": ["?!"], "captions": "c.csv"}, r"held_out_words: '\?!' holds no word"),
     ({"held_out_words": ["one"], "captions": "c.csv"}, "none of 1 train video is left by their captions; the first"),
     ({"captions": "c.csv", "clip_list": "list.csv"}, "clip_list list.csv has captions too; leave out one"),
     ({"clip_list": "bad.csv"}, r"bad\.csv, entry 1: first is no number of a frame: 'two'"),
     ({"clip_list": "nocaption.jsonl"}, r"entry 1: caption is no text and no list of texts: 7")],
)  # fmt: skip
def test_options_of_captions_that_cannot_be_followed_are_refused_in_one_line(root, options, said):
    (root / "c.csv").write_text("path,caption\na/one.mkv,one\n")
    (root / "list.csv").write_text("path,caption\na/one.mkv,one\n")
    (root / "bad.csv").write_text("path,first\na/one.mkv,two\n")
    (root / "nocaption.jsonl").write_text('{"path": "a/one.mkv", "caption": 7}\n')
    if "one" in options.get("held_out_words", ()):
        (root / "only.txt").write_text("a/one.mkv\n")
        options = {**options, "clip_list": "only.txt"}
    with pytest.raises(ValueError, match=said) as caught:
        module(root, **options)
    assert "\n" not in str(caught.value)


# --- clip lists


def test_a_clip_list_names_videos_and_ranges(root):
    (root / "list.txt").write_text("# mine\n\na/one.mkv 2 7\na/one.mkv,6,12\r\na/two 3 4.mkv\n")
    data = module(root, clip_list="list.txt")
    dataset = data.clips("train")
    windows = {dataset.source.name(i): dataset.source.num_frames(i) for i in range(len(dataset))}
    assert sorted(windows.values()) == [5, 6, 12]
    seen = set()
    for position in range(300):
        seen.add(int(dataset[position]["video"][0, 0, 0, 0]))
    assert seen == {2, 3} | {6, 7, 8} | set(range(20, 29))
    assert data.fingerprint() != module(root).fingerprint()


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [("a/gone.mkv", FileNotFoundError, "line 1: no such video .* a/gone.mkv"),
     ("\na/one.mkv 5 5", ValueError, "line 2"),
     ("", ValueError, "names no training video"), ("a/one.mkv 0 3", ValueError, "too short: .* has 3 frames")],
)  # fmt: skip
def test_a_clip_list_that_is_wrong_is_refused_with_its_line(root, text, error, message):
    (root / "list.txt").write_text(text)
    with pytest.raises(error, match=message):
        module(root, clip_list="list.txt")


def test_a_name_with_numbers_is_a_name_first():
    assert parse_line("take 3 4", {"take 3 4"}) == ("take 3 4", 0, None)
    assert parse_line("take 3 4", {"take"}) == ("take", 3, 4)
    assert parse_line("a b.mp4\t3\t4", set()) == ("a b.mp4", 3, 4)


# --- presets


def test_presets_hold_values_that_exist_and_have_names_of_their_own():
    assert set(PRESETS) == {"vdm", "lvdm", "pvdm", "stylegan_v", "digan", "tats", "latte"}
    assert len({preset.hash for preset in PRESETS.values()}) == len(PRESETS)
    for preset in PRESETS.values():
        for layout in LAYOUTS:
            rule = preset.for_layout(layout)
            assert rule.resize in RULE_NAMES
            assert rule.train_split in ("train", "all")
            assert rule.windows in ("one", "all")
    with pytest.raises(ValueError, match=r"data\.preset must be one of vdm, lvdm"):
        find_preset("sora")


@pytest.mark.parametrize(
    ("preset", "layout", "expected"),
    [("vdm", "ucf101", ("all", 1, "antialias", "one")), ("pvdm", "ucf101", ("train", 1, "bilinear", "one")),
     ("lvdm", "ucf101", ("all", 1, "antialias", "one")), ("lvdm", "taichi", ("train", 1, "squeeze", "one")),
     ("stylegan_v", "ucf101", ("all", 1, "lanczos", "one")), ("stylegan_v", "sky", ("train", 1, "lanczos", "one")),
     ("digan", "ucf101", ("all", 1, "bilinear", "all")), ("digan", "taichi", ("train", 4, "bilinear", "all")),
     ("tats", "ucf101", ("train", 1, "bilinear", "all")), ("latte", "sky", ("train", 3, "antialias", "one"))],
)  # fmt: skip
def test_presets_are_what_the_published_code_does(preset, layout, expected):
    rule = find_preset(preset).for_layout(layout)
    assert (rule.train_split, rule.frame_stride, rule.resize, rule.windows) == expected
    assert rule.val_fraction == 0
    assert rule.short_videos == "skip"


def test_what_is_given_explicitly_wins_over_the_preset_and_is_told(root):
    data = module(root, preset="latte", frame_stride=2)
    assert data.frame_stride == 2
    assert data.span == 7
    assert "frame_stride 2 (published 3)" in "\n".join(data.describe())
    assert module(root, preset="latte").frame_stride == 3
    mirrored = module(root, horizontal_flip=True).clips("train")
    assert mirrored.horizontal_flip


# --- all windows


def test_all_windows_of_all_videos_make_an_epoch(root):
    write_lossless(root / "b/four.mkv", torch.full((5, 16, 16, 3), 99, dtype=torch.uint8))
    data = module(root, windows="all")
    dataset = data.clips("train")
    assert len(dataset) == 3 * 9 + 2
    for epoch in range(2):
        firsts = [int(dataset[29 * epoch + i]["video"][0, 0, 0, 0]) for i in range(29)]
        assert sorted(firsts) == sorted([20 * v + t for v in range(3) for t in range(9)] + [99, 99])
    assert len(data.clips("val")) == 4  # evaluation keeps one window of each
    images = ClipDataset(dataset.source, 4, windows="all", images_per_video=2)
    assert images[3]["video"].shape == (6, 16, 16, 3)
