"""A frame's size in all its spellings."""

import argparse
import json

import pytest

from videodiff.frame_size import FrameSize, size_option


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (64, (64, 64)), ("64", (64, 64)), ([64, 64], (64, 64)), ([80, 48], (80, 48)), ((80, 48), (80, 48)),
        ("80x48", (80, 48)), (" 64X112 ", (64, 112)), (FrameSize(80, 48), (80, 48)),
    ],
)  # fmt: skip
def test_every_spelling_of_a_size_is_read(value, size):
    assert FrameSize.of(value) == size


@pytest.mark.parametrize(
    "value", [None, True, 6.5, "abc", "80x", "80x48x3", [80], [80, 48, 3], [80.0, 48], [True, 48], "[80, 48]"]
)
def test_what_is_no_size_is_refused_in_one_line(value):
    with pytest.raises(ValueError, match=r"^data.resolution must be 64 for a square, or \[height, width\]"):
        FrameSize.of(value, "data.resolution")


@pytest.mark.parametrize("value", [0, -4, [80, 0], "0x8"])
def test_a_side_below_one_is_refused(value):
    with pytest.raises(ValueError, match="resolution must be at least 1, got"):
        FrameSize.of(value)


def test_a_square_is_written_as_the_number_it_always_was():
    assert [FrameSize.of(size).written for size in ([64, 64], "80x48")] == [64, [80, 48]]
    assert [str(FrameSize.of(size)) for size in ([64, 64], [80, 48])] == ["64", "80x48"]
    for size in (FrameSize(64, 64), FrameSize(64, 112)):
        assert FrameSize.of(json.loads(json.dumps(size.written))) == FrameSize.of(str(size)) == size


@pytest.mark.parametrize(
    ("size", "multiple", "nearest"),
    [
        ((80, 48), 8, (80, 48)),
        ((81, 45), 8, (80, 48)),
        ((3, 100), 16, (16, 96)),
        ((30, 30), (4, 8), (32, 32)),
    ],
)
def test_the_nearest_size_that_can_be_taken(size, multiple, nearest):
    size = FrameSize(*size)
    assert size.nearest(multiple) == nearest
    if size == nearest:
        size.check_multiple(multiple, "three halvings")
        return
    with pytest.raises(ValueError, match=f"got {size}; the nearest is {FrameSize(*nearest)}$"):
        size.check_multiple(multiple, "three halvings")


def test_an_option_takes_one_side_or_height_and_width():
    convert = size_option(least=16, most=4096)
    assert [convert("64"), convert("80x48")] == [(64, 64), (80, 48)]
    for text in ("8x48", "80x5000", "eighty", "80x"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"must (be N|have sides)"):
            convert(text)
