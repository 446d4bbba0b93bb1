"""What a notebook is shown: the pixels that were given, enlarged by the browser, and nothing from outside."""

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.report.notebook import show_clips, show_curves, show_frames, show_picture


def pictures(shown):
    """Every GIF inside, as uint8 [T, H, W, 3]."""
    found = []
    for data in re.findall(r"data:image/gif;base64,([^\"]+)", shown):
        image = Image.open(io.BytesIO(base64.b64decode(data)))
        frames = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            frames.append(np.asarray(image.convert("RGB")))
        found.append(np.stack(frames))
    return found


@pytest.fixture
def clips():
    """Two clips of three frames, each of one grey level, uint8 [2, 3, 4, 5, 3]."""
    levels = torch.tensor([[10, 100, 200], [250, 60, 0]], dtype=torch.uint8)
    return levels[:, :, None, None, None].expand(2, 3, 4, 5, 3).clone()


def test_clips_play_in_one_sheet_in_either_form(clips):
    floats = clips.movedim(-1, 1).float() / 127.5 - 1
    for form in (clips, floats):
        (sheet,) = pictures(show_clips(form, columns=2))
        assert sheet.shape == (3, 4, 12, 3)  # two of width 5, two white columns between
        assert sheet[:, 0, [0, 5, 11], 0].tolist() == [[10, 255, 250], [100, 255, 60], [200, 255, 0]]


def test_frames_lie_beside_each_other_a_row_for_each_clip(clips):
    (sheet,) = pictures(show_frames(clips, every=2))
    assert sheet.shape == (1, 10, 12, 3)
    assert sheet[0, [0, 9]][:, [0, 11], 0].tolist() == [[10, 200], [250, 0]]


def test_titles_are_escaped_and_each_has_its_sheet(clips):
    shown = show_clips({"a <b>": clips, "second": clips})
    assert len(pictures(shown)) == 2
    assert "a &lt;b&gt;" in shown
    assert "<b>" not in shown


def test_a_picture_keeps_its_pixels_and_its_size_on_the_screen():
    picture = torch.arange(6, dtype=torch.uint8).view(2, 3) * 40
    shown = show_picture(picture, scale=7)
    assert pictures(shown)[0][0, :, :, 1].tolist() == picture.tolist()
    assert "width:21px" in shown
    assert "image-rendering:pixelated" in shown


def test_curves_have_labels_a_legend_and_a_line_each():
    shown = show_curves({"one": [(1, 3.0), (2, 1.0)], "two": [(1, 2.0), (2, 2.5)]}, "step", "loss")
    assert shown.count('class="line"') == 2
    for word in ("step", "loss", "one", "two"):
        assert f">{word}<" in shown


def test_nothing_is_asked_of_a_network_and_jupyter_finds_the_html(clips):
    shown = show_clips(clips).join_with(show_curves({"a": [(0, 1.0), (1, 2.0)]}, "x", "y"))
    assert "http" not in shown.replace("http://www.w3.org", "")
    assert shown._repr_html_() == str(shown)


@pytest.mark.parametrize("shape", [(3, 4, 5, 3), (1, 4, 3, 5, 5)])
def test_clips_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"clips must be float \[N, 3, T, H, W\]"):
        show_clips(torch.zeros(shape))
