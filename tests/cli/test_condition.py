"""What generate --condition takes, and how long the video becomes."""

import argparse

import pytest
import torch
from PIL import Image

from videodiff.cli.condition import read_request
from videodiff.conditioning.asked import place_frames
from videodiff.conditioning.request import Generated, flags
from videodiff.data import video_io


class Model:
    """Clips of 8 frames of 16 pixels; nothing else is asked of it."""

    video_shape = (3, 8, 16, 16)
    generated = Generated(video_shape)


def pictures(count):
    return torch.arange(count * 3 * 16 * 16).reshape(count, 16, 16, 3).mul(7).remainder(256).to(torch.uint8)


def asked(path, frames=None, places=None, what="frames"):
    told = {flag.name: None for flag in flags().values()} | {"condition": path, "frames": frames}
    return argparse.Namespace(**told | {"condition_frames": places, "condition_as": what})


def as_video(folder, shown):
    video_io.write_lossless(folder / "clip.mkv", shown)
    return folder / "clip.mkv"


def as_frames(folder, shown):
    (folder / "frames").mkdir()
    for number, picture in enumerate(shown):  # 10 comes after 9
        Image.fromarray(picture.numpy()).save(folder / "frames" / f"{number}.png")
    return folder / "frames"


@pytest.mark.parametrize("write", [as_video, as_frames])
@pytest.mark.parametrize(("count", "length"), [(3, 8), (7, 8), (8, 16), (11, 19)])
def test_a_short_start_becomes_a_clip_and_a_whole_one_is_continued_by_a_clip(
    write, count, length, tmp_path, capsys
):
    shown = pictures(count)
    given, frames = read_request(asked(write(tmp_path, shown)), Model())
    assert (given.positions, frames) == (tuple(range(count)), length)
    assert torch.equal(video_io.to_uint8(given.frames)[0].permute(1, 2, 3, 0), shown)
    assert f"{count} of {length} frames given by" in capsys.readouterr().err


def test_a_picture_is_the_first_frame(tmp_path, capsys):
    Image.fromarray(pictures(1)[0].numpy()).save(tmp_path / "first.PNG")
    given, frames = read_request(asked(tmp_path / "first.PNG"), Model())
    assert (given.positions, frames) == ((0,), 8)
    assert "1 of 8 frames given by" in capsys.readouterr().err
    given, frames = read_request(asked(tmp_path / "first.PNG", places="7"), Model())
    assert (given.positions, frames) == ((7,), 8)


@pytest.mark.parametrize(
    ("frames", "places", "told"),
    [
        (8, None, r"--frames 8: 8 frames are already given.*--condition_frames"),
        (5, None, "--frames 5: 8 frames are already given"),
        (None, "0:", "all 8 frames of the video would be given"),
        (8, "0:8", "all 8 frames of the video would be given"),
    ],
)
def test_a_video_with_nothing_new_is_refused(frames, places, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        read_request(asked(as_frames(tmp_path, pictures(8)), frames, places), Model())


@pytest.mark.parametrize(
    ("words", "count", "length", "wanted"),
    [
        ("0:4", 24, None, (range(4), 8)),
        ("0:8", 24, None, (range(8), 16)),
        ("0,7", 2, None, ((0, 7), 8)),
        ("::4", 3, None, (range(0, 9, 4), 9)),
        (None, 8, 9, (range(8), 9)),
    ],
)
def test_places_of_known_frames_and_length(words, count, length, wanted):
    positions, _, frames = place_frames(words, count, length, clip=8)
    assert (positions, frames) == (tuple(wanted[0]), wanted[1])


def test_a_folder_of_several_videos_is_none(tmp_path):
    as_frames(tmp_path, pictures(2))
    as_video(tmp_path, pictures(2))
    with pytest.raises(ValueError, match="1 video and 1 folder of frames below it; give one video"):
        read_request(asked(tmp_path), Model())
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="0 videos and 0 folders"):
        read_request(asked(tmp_path / "empty"), Model())
