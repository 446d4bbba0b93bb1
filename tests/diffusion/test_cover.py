"""The one plan behind continuation, filling in, higher frame rates and long video."""

import pytest

from videodiff.diffusion.windows import autoregressive, cover


@pytest.mark.parametrize("num_frames", [16, 17, 24, 64, 128, 130])
@pytest.mark.parametrize("overlap", [1, 8, 15])
def test_without_known_frames_it_is_autoregressive(num_frames, overlap):
    assert cover(num_frames, 16, overlap) == autoregressive(num_frames, 16, overlap)


@pytest.mark.parametrize(
    "known", [(0,), (0, 1, 2, 3), (0, 63), tuple(range(0, 64, 4)), tuple(range(40)), (5, 6, 50)], ids=str
)
def test_every_unknown_frame_is_written_once_and_known_ones_never(known):
    windows = cover(64, 16, 8, known)
    written = [frame for window in windows for frame in window.new]
    assert sorted([*written, *known]) == list(range(64))
    seen = set(known)
    for window in windows:
        assert len(window.new) + len(window.context) == 16
        assert set(window.context) <= seen
        seen |= set(window.new)


def test_a_frame_rate_is_raised_between_frames_on_both_sides():
    first = cover(61, 16, 8, range(0, 61, 4))[0]
    assert first.context == (0, 4, 8, 12)
    assert first.new[-1] == 15


def test_nothing_unknown_needs_no_window():
    assert cover(20, 16, 8, range(20)) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 16, 4), "num_frames"),
        ((16, 0, 0), "clip"),
        ((32, 16, 16), "overlap"),
        ((32, 16, 8, (32,)), "known"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        cover(*arguments)
