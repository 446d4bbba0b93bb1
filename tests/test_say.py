import pytest

from videodiff.say import all_too_short, none_can_be


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (none_can_be("read", 3, "video", "data"), "none of the 3 videos of data can be read"),
        (none_can_be("read", 1, "video", "data"), "the only video of data cannot be read"),
        (none_can_be("compared", 2, "run"), "none of the 2 runs can be compared"),
        (
            all_too_short(2, "data", "4 frames"),
            "all 2 videos of data are too short: the longest has 4 frames",
        ),
        (all_too_short(1, "data", "1 frame"), "the only video of data is too short: it has 1 frame"),
    ],
)
def test_a_line_about_one_thing_is_in_the_singular(text, said):
    assert text == said
