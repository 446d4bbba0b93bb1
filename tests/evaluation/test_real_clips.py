"""One list decides whether two numbers saw the same real clips; it is held against the clips themselves."""

from pathlib import Path

import pytest

from videodiff.data import VideoDataModule, video_io
from videodiff.data.real_clips import CHOOSES, DECIDES, differences
from videodiff.data.resize import rule_text
from videodiff.data.synthetic import BouncingDigits
from videodiff.evaluation.choice import fit_protocol
from videodiff.evaluation.plan import plan_clips
from videodiff.evaluation.protocol import get_protocol
from videodiff.evaluation.real import data_record, real_source

FRAMES = 4
# Entries of a fingerprint that shape the stream a model learns from, or that a protocol decides in their place.
NOT_ON_THE_LIST = {
    "preset": "its parts are entries of their own",
    "num_frames": "the protocol's",
    "windows": "of an epoch; clips_per_video is the protocol's",
    "short_videos": "a protocol leaves them out",
    "horizontal_flip": "of training",
    "images_per_video": "of training",
    "seed": "of training; a result has its own",
    "num_train_clips": "limits say it for every split",
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for split, count in (("train", 8), ("test", 4)):
        source = BouncingDigits(split, count, 60, 24)
        for i in range(count):
            place = folder / split / "ab"[i % 2]
            place.mkdir(parents=True, exist_ok=True)
            frames = source.read(i, 0, 60 if i else 30, 1)
            video_io.write_lossless(place / f"{i}.mkv", frames, fps=16.0)
    return folder


def module(root, **options):
    return VideoDataModule(**{"root": str(root), "num_frames": FRAMES, "resolution": 16, **options})


def seen(data, split):
    """The bytes of the real clips that a run of these data is compared with, and their classes."""
    protocol, _ = fit_protocol(
        get_protocol(f"random:{FRAMES}:split={split}"), data.frame_stride, data.selection.fps, None
    )
    source = real_source(data, protocol)
    plan = plan_clips(source, protocol, "real")
    clips = [source.read(video, start, plan.frames, plan.stride) for video, start in plan.windows]
    return [clip.numpy().tobytes() for clip in clips], source.class_names, source.labels


@pytest.mark.parametrize(
    ("change", "split", "said"),
    [
        ({"fps": 8.0}, "test", "fps every frame against 8"),
        ({"frame_stride": 3}, "test", "frame_stride 1 against 3"),
        ({"resolution": 12}, "test", "resolution 16 against 12"),
        ({"resize": "bilinear"}, "test", "resize antialias against bilinear"),
        ({"preset": "tats", "val_fraction": 0.1}, "test", "resize antialias against bilinear"),
        ({"classes": "none"}, "test", "classes 2 against none"),
        ({"num_test_clips": 2}, "test", "num_test_clips no limit against 2"),
        ({"num_train_clips": 2}, "train", "num_train_clips no limit against 2"),
        ({"train_split": "all"}, "train", "train_split train against all"),
        ({"val_fraction": 0.5}, "train", "val_fraction 0.1 against 0.5"),
        ({"clip_list": "{root}/list.txt"}, "train", "clip_list none against {root}/list.txt"),
        ({"num_train_clips": 2}, "test", None),
        ({"horizontal_flip": True}, "train", None),
        ({"windows": "all", "short_videos": "loop", "num_frames": 8, "seed": 3}, "train", None),
        ({"images_per_video": 2, "random_crop": 0.8, "batch_size": 3}, "train", None),
    ],
)
def test_what_differs_is_named_exactly_where_the_clips_do(root, change, split, said):
    (root / "list.txt").write_text("".join(f"train/{'ab'[i % 2]}/{i}.mkv\n" for i in range(5)))
    change = {k: v.format(root=root) if isinstance(v, str) else v for k, v in change.items()}
    one, other = module(root), module(root, **change)
    found = differences(data_record(one, split), data_record(other, split), split)
    assert (seen(one, split) != seen(other, split)) == bool(found) == (said is not None)
    assert said is None or said.format(root=root) in found


def test_a_minimum_of_frames_leaves_videos_out(root):
    """``min_frames`` is only a preset's: 49 frames of SkyTimelapse, in Latte's code."""
    one, other = (data_record(module(root), "train") | {"min_frames": least} for least in (0, 49))
    assert differences(one, other) == ["min_frames 0 against 49"]


def test_every_entry_of_a_fingerprint_is_on_the_list_or_known_not_to_matter(root):
    sometimes = {"clip_list", "clip_words", "missing_captions"}  # there only where they choose clips
    entries = {*module(root).fingerprint()} | sometimes
    assert entries - {"clip_list", *DECIDES, *CHOOSES} == {*NOT_ON_THE_LIST}
    assert {*DECIDES, *CHOOSES} <= entries


def test_other_videos_are_told_by_their_roots(root, tmp_path):
    Path(tmp_path / "more").symlink_to(root / "train")
    one, other = data_record(module(root), "train"), data_record(module(tmp_path), "train")
    assert differences(one, other) == [f"other videos ({root} against {tmp_path})"]
    one.pop("root")
    assert differences(one, other)[0].startswith(f"other videos (listing {one['listing'][:8]} against ")


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({"view": "image_main"}, {"view": "image_aux1"}, ["view image_main against image_aux1"]),
        ({"listing": "x", "view": "image_main"}, {"listing": "y", "view": "image_aux1"},
         ["view image_main against image_aux1"]),
        ({"listing": "x"}, {"listing": "y", "fold": 2}, ["fold 1 against 2"]),
        ({"layout": "shards", "val_fraction": 0.1}, {"layout": "shards", "val_fraction": 0.2},
         ["val_fraction 0.1 against 0.2"]),
        ({"classes": ["a", "b"]}, {"classes": ["b", "a"]}, ["classes of other names (number 0 is a against b)"]),
        ({"dataset": "bouncing_digits", "limits": {"test": 3}}, {"dataset": "bouncing_digits"}, []),
        # Older records lack entries; these read as their defaults.
        ({}, {"fps": None, "view": None, "frame_stride": 1, "min_frames": 0, "resize": rule_text("antialias")}, []),
        ({"view": None}, {"view": "image_main"}, []),
    ],
)  # fmt: skip
def test_records_are_compared_entry_by_entry(a, b, said):
    assert differences(a, b, "test") == said
