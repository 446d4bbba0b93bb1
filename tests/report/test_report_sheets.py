import io

import numpy as np
import pytest
import torch
from PIL import Image, features

from report_records import moving_squares
from videodiff.report import contact_sheet as sheets
from videodiff.report.contact_sheet import LOSSLESS, QUALITIES, encode_sheets, shown_size, split_clips, tile
from videodiff.report.player import Reel


def cut(picture, sheet, clip, frame):
    """What the page's script draws: the frame of a clip, cut out of the decoded sheet."""
    place = clip * sheet.frames + frame
    row, column = divmod(place, picture.shape[1] // sheet.width)
    top, left = row * sheet.height, column * sheet.width
    return picture[top : top + sheet.height, left : left + sheet.width]


def decoded(sheet):
    return np.asarray(Image.open(io.BytesIO(sheet.data)).convert("RGB"))


@pytest.mark.parametrize("longest", [8192, 96, 40])
def test_a_lossless_sheet_holds_every_frame_bit_for_bit(monkeypatch, longest):
    monkeypatch.setattr(sheets, "LONGEST_SIDE", longest)
    clips = moving_squares(3, frames=5, size=16)
    (sheet,), quality = encode_sheets([clips], 10**7)
    assert quality == LOSSLESS
    picture = decoded(sheet)
    assert picture.shape[1] == sheet.columns * 16 <= max(longest, 16)
    for clip in range(3):
        for frame in range(5):
            assert np.array_equal(cut(picture, sheet, clip, frame), clips[clip, frame].numpy())


def test_a_lossless_sheet_needs_no_webp(monkeypatch):
    monkeypatch.setattr(features, "check", lambda name: False)
    clips = moving_squares(2, frames=3, size=16)
    (sheet,), _ = encode_sheets([clips], 10**7)
    assert sheet.mime == "image/png"
    assert np.array_equal(cut(decoded(sheet), sheet, 1, 2), clips[1, 2].numpy())
    (sheet,), quality = encode_sheets([clips], 1500)
    assert (sheet.mime, quality > 0) == ("image/jpeg", True)


def test_all_sheets_lose_alike_and_only_as_much_as_the_budget_asks():
    groups = [moving_squares(4, seed=s, noise=20) for s in range(2)]
    sizes = {}
    for budget in (10**7, 120_000, 60_000):
        found, quality = encode_sheets(groups, budget)
        sizes[quality] = sum(len(s.uri) for s in found)
        assert sum(-(-len(s.data) // 3) * 4 for s in found) <= budget
    qualities = list(sizes)
    assert qualities[0] == LOSSLESS
    assert [QUALITIES.index(q) for q in qualities] == sorted({QUALITIES.index(q) for q in qualities})
    worst, quality = encode_sheets(groups, 1)
    assert (quality, len(worst)) == (QUALITIES[-1], 2)
    error = np.abs(cut(decoded(worst[0]), worst[0], 0, 0).astype(int) - groups[0][0, 0].numpy()).mean()
    assert error < 20


def test_large_frames_are_shrunk_by_area_means():
    clips = torch.zeros(1, 2, 256, 200, 3, dtype=torch.uint8)
    clips[:, :, ::2] = 200
    small = shown_size(clips)
    assert small.shape == (1, 2, 128, 100, 3)
    assert small.unique().tolist() == [100]
    same = moving_squares(1)
    assert torch.equal(shown_size(same), same)


def test_sheets_stay_within_what_browsers_decode(monkeypatch):
    monkeypatch.setattr(sheets, "MOST_PIXELS", 16 * 16 * 12)
    clips = moving_squares(7, frames=4, size=16)
    parts = split_clips(clips)
    assert [len(part) for part in parts] == [3, 3, 1]
    assert torch.equal(torch.cat(parts), clips)
    reel = Reel()
    assert reel.add(clips) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert tile(parts[0])[0].shape == (3 * 16, 4 * 16, 3)
    assert shown_size(moving_squares(1, frames=20, size=16)).shape[1] == 12  # a longer video is cut


@pytest.mark.parametrize("clips", [torch.zeros(1, 2, 8, 8, 3), torch.zeros(2, 8, 8, 3, dtype=torch.uint8)])
def test_clips_of_another_kind_are_refused(clips):
    with pytest.raises(ValueError, match=r"must be uint8 \[N, T, H, W, 3\], got"):
        shown_size(clips)
