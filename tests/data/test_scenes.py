"""Captions of the built-in sets: what they say is what the frames show, for the frames that are seen."""

import pickle

import numpy as np
import pytest
import torch

from data.test_synthetic_clips import reflected
from videodiff.conditioning.base import Example, Keys
from videodiff.data import BouncingDigits, DriftingClouds, VideoDataModule
from videodiff.data.captions import chosen
from videodiff.data.collate import Collate
from videodiff.data.real_clips import differences
from videodiff.data.scenes import DIGITS, DIRECTIONS, PLACES, SKIES, SPEEDS
from videodiff.data.stream import epoch_and_index
from videodiff.evaluation.real import further_clips, identity_of

COMPASS = {
    "east": (1, 0), "northeast": (1, -1), "north": (0, -1), "northwest": (-1, -1),
    "west": (-1, 0), "southwest": (-1, 1), "south": (0, 1), "southeast": (1, 1),
}  # fmt: skip


@pytest.mark.parametrize("resolution", [32, (32, 56)])
@pytest.mark.parametrize(("start", "stride"), [(0, 1), (5, 1), (12, 3)])
def test_a_digit_takes_the_direction_and_stands_where_its_caption_says(resolution, start, stride):
    source = BouncingDigits("val", 200, 48, resolution)
    directions, places = set(), set()
    for index in range(200):
        (path,) = source.paths(index)
        truth = source.told(index, start, 8, stride)
        here, there = (
            np.array([reflected(path.start[a], path.velocity[a], source.room[a], t) for a in (0, 1)])
            for t in (start, start + stride)
        )
        first, *_ = texts = source.captions_of(index, start, 8, stride)
        assert truth["digit"] == source.labels[index]
        assert first.startswith(DIGITS[path.digit])
        assert all(truth["direction"] in text.split() for text in texts)
        assert truth["place"] in first
        if truth["bounces_after"] > 1:  # else the walls have turned it before the next frame that is seen
            way = there - here
            cosines = {name: way @ np.array(v) / np.hypot(*v) for name, v in COMPASS.items()}
            assert truth["direction"] == max(cosines, key=cosines.get)
            assert np.hypot(*way) == pytest.approx(np.hypot(*path.velocity) * stride)
        else:
            assert np.hypot(*(there - here)) < np.hypot(*path.velocity) * stride
        column, row = (int(3 * place / room) for place, room in zip(here, source.room, strict=True))
        assert truth["place"] == PLACES[row][column]
        directions.add(truth["direction"])
        places.add(truth["place"])
    assert directions == set(DIRECTIONS) == set(COMPASS)
    assert places == {place for row in PLACES for place in row}


def test_clouds_have_the_colour_speed_and_way_that_their_caption_says():
    source = DriftingClouds("val", 200, 16, 32)
    speeds = {word: [] for word in SPEEDS}
    for index in range(200):
        sky, truth = source.sky(index), source.told(index, 0, 16, 1)
        texts = source.captions_of(index, 0, 16, 1)
        speeds[truth["speed"]].append(np.hypot(*sky.velocity))
        assert truth["direction"] == ("right" if sky.velocity[0] > 0 else "left")
        assert all({truth["colour"], truth["speed"], truth["direction"]} <= {*text.split()} for text in texts)
        assert texts[0].endswith(SKIES[sky.weather][2])
        # twice as far from frame to frame: faster, or as fast as words go
        assert SPEEDS.index(source.told(index, 0, 8, 2)["speed"]) >= SPEEDS.index(truth["speed"])
    assert min(map(len, speeds.values())) > 30
    assert max(speeds["slowly"]) < min(speeds["steadily"]) <= max(speeds["steadily"]) < min(speeds["quickly"])


@pytest.mark.parametrize("kind", [BouncingDigits, DriftingClouds])
def test_a_single_frame_is_told_without_motion(kind):
    source = kind("train", 50, 16, 32)
    moving = {text for i in range(50) for text in source.captions_of(i, 3, 2, 1)}
    still = {text for i in range(50) for text in source.captions_of(i, 3, 1, 1)}
    assert not moving & still
    assert not {word for text in still for word in text.split()} & {*DIRECTIONS, *SPEEDS, "moves", "drift"}


def captioned(**options) -> VideoDataModule:
    base = {
        "dataset": "bouncing_digits",
        "num_frames": 8,
        "resolution": 16,
        "num_workers": 0,
        "batch_size": 3,
    }
    return VideoDataModule(**{**base, "num_train_clips": 20, "captions": "generated", **options})


@pytest.mark.parametrize("options", [{}, {"frame_stride": 3}, {"images_per_video": 2}])
def test_batches_gain_captions_and_are_else_what_they_were(options):
    with_captions, without = (captioned(**options, captions=c).clips("train") for c in ("generated", None))
    source, texts = with_captions.source, set()
    for number in range(60):
        ours, theirs = with_captions[number], without[number]
        extra = {"caption", "scene_caption"} | (
            {"image_captions"} if options.get("images_per_video") else set()
        )
        assert ours.keys() - theirs.keys() == extra
        assert torch.equal(ours["video"], theirs["video"])
        assert {k: v for k, v in ours.items() if k in theirs and k != "video"} == {
            k: v for k, v in theirs.items() if k != "video"
        }
        _, index = epoch_and_index(number, 20, 0)
        known = source.captions_of(index, 0, 8, options.get("frame_stride", 1))
        assert ours["caption"] in known
        texts.add((index, known.index(ours["caption"])))
        for label, text in zip(ours.get("image_labels", []), ours.get("image_captions", []), strict=True):
            assert text.startswith(DIGITS[label])
            assert "moves" not in text
    assert len(texts) > 35  # another caption of the same clip in another epoch
    batch = Collate(with_captions.images_per_video)([with_captions[i] for i in range(3)])
    assert batch["caption"] == [with_captions[i]["caption"] for i in range(3)]
    pickle.loads(pickle.dumps(batch))  # it comes from a loader worker
    for split in ("val", "test"):
        clips = captioned(**options).clips(split)
        stride = options.get("frame_stride", 1)
        assert all(clips[i]["caption"] == clips.source.captions_of(i, 0, 8, stride)[0] for i in range(5))


def test_a_part_of_a_clip_that_becomes_the_target_brings_its_own_caption():
    data = captioned(num_frames=16, frame_stride=2)
    clips = data.clips("train")
    batch = Collate(0)([clips[i] for i in range(12)])
    example = Example(batch, None, Keys(0, "train", list(range(12))))
    firsts = [8 * (i % 2) for i in range(12)]
    parts = example.of_frames(firsts, 8, [1] * 12).batch["caption"]
    different = 0
    for number, (first, text) in enumerate(zip(firsts, parts, strict=True)):
        _, index = epoch_and_index(number, 20, 0)
        assert text in clips.source.captions_of(index, 2 * first, 8, 2)
        different += text != batch["caption"][number]
        if first == 0:
            assert text == batch["caption"][number]
    assert different >= 4
    assert example.batch["caption"] == batch["caption"]


def test_a_number_chooses_among_captions_evenly():
    assert [chosen(("a", "b"), u) for u in (0.0, 0.49, 0.5, 0.99)] == ["a", "a", "b", "b"]
    assert chosen((), 0.7) == ""


HELD_OUT = ["three southeast", "five north", "eight west", "zero south"]


def shows(source: BouncingDigits, index: int, frames: range) -> bool:
    """Whether a digit takes a direction that is held out for it, at any of these frames."""
    told = [source.told(index, frame, 2, 1) for frame in frames]
    return any(DIGITS[t["digit"]].split()[1] + " " + t["direction"] in HELD_OUT for t in told)


def test_held_out_combinations_are_never_seen_in_training_and_are_what_the_test_asks_for():
    options = {"num_train_clips": 300, "num_val_clips": 100, "held_out_words": HELD_OUT}
    data, every = (
        captioned(**options, test_clips="held_out", num_test_clips=20),
        captioned(num_train_clips=300),
    )
    for split in ("train", "val"):
        source = data.clips(split).source
        assert not any(shows(source, i, range(8)) for i in range(len(source)))
        assert len(source.labels) == len(source) == len(data.clips(split))
        assert source.labels == [source.paths(i)[0].digit for i in range(len(source))]
    train, whole = data.clips("train").source, every.clips("train").source
    names = {train.name(i) for i in range(len(train))}
    assert 230 < len(train) < 300
    left_out = [i for i in range(300) if whole.name(i) not in names]
    assert all(shows(whole, i, range(8)) for i in left_out)
    place = {whole.name(i): i for i in range(300)}
    for i in (0, len(train) - 1):
        assert torch.equal(train.read(i, 0, 8, 1), whole.read(place[train.name(i)], 0, 8, 1))
    test = data.clips("test").source
    assert len(test) == 20
    assert all(shows(test, i, range(1)) for i in range(20))
    assert len(captioned(**options).clips("test")) == 2048
    assert data.fingerprint()["held_out_words"] == HELD_OUT
    assert f"held out of train and val: {'; '.join(HELD_OUT)}" in "\n".join(data.describe())
    assert "held_out_words" not in every.fingerprint()
    further = further_clips(test, 10)
    assert not {test.name(i) for i in range(10)} & {further.name(i) for i in range(len(further))}


def test_real_clips_that_are_chosen_by_words_are_other_clips_than_all():
    words = captioned(held_out_words=HELD_OUT, test_clips="held_out", num_test_clips=8)
    records = [identity_of(data, "test") for data in (words, captioned(num_test_clips=8))]
    assert differences(*records) == [f"clip_words with {'; '.join(HELD_OUT)} against none"]
    left_out = [identity_of(captioned(held_out_words=w), "test") for w in (None, HELD_OUT)]
    assert not differences(*left_out)


def test_clouds_of_a_colour_and_speed_can_be_held_out():
    data = captioned(
        dataset="drifting_clouds", num_train_clips=100, held_out_words=["pink quickly"], test_clips="held_out",
        num_test_clips=5,
    )  # fmt: skip
    train, test = data.clips("train").source, data.clips("test").source
    told = [{train.told(i, 0, 8, 1)[key] for key in ("colour", "speed")} for i in range(len(train))]
    assert {"pink", "quickly"} not in told
    assert all(test.told(i, 0, 8, 1)["colour"] == "pink" for i in range(5))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"captions": "txt"}, "captions txt needs data.root, and bouncing_digits is built in; data.captions generated"),
     ({"horizontal_flip": True}, "horizontal_flip must be false with data.captions generated"),
     ({"held_out_words": ["tree north"]}, "no caption of bouncing_digits holds the word 'tree'; did you mean 'three'"),
     ({"held_out_words": ["three four"], "test_clips": "held_out", "num_test_clips": 2}, "none of 200 holds them"),
     ({"root": "."}, "captions generated is for the built-in sets")],
)  # fmt: skip
def test_captions_of_another_set_are_refused_in_one_line(options, said):
    with pytest.raises(ValueError, match=said) as caught:
        captioned(**options).clips("test")
    assert "\n" not in str(caught.value)
