"""scripts/clip_boundaries.py on videos whose seams are known."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from videodiff.data.video_io import write_lossless

spec = importlib.util.spec_from_file_location(
    "clip_boundaries", Path(__file__).parent.parent / "scripts" / "clip_boundaries.py"
)
boundaries = importlib.util.module_from_spec(spec)
spec.loader.exec_module(boundaries)


def ramp(steps: list[int]) -> np.ndarray:
    """A video ``[T, 8, 8, 3]`` whose grey level rises by these steps."""
    levels = np.cumsum([0, *steps])
    return np.broadcast_to(levels[:, None, None, None], (len(levels), 8, 8, 3)).astype(np.uint8)


def test_a_jump_at_every_boundary_is_told_from_motion_inside():
    video = ramp([2, 2, 2, 9, 2, 2, 2, 13, 2, 2, 2])  # three clips of four frames
    assert boundaries.boundary_figures(video, 4) == {"boundary": 11.0, "inside": 2.0, "ratio": 5.5}
    assert boundaries.boundary_figures(video, 3)["ratio"] < 2  # cut elsewhere there are no seams


def test_every_step_of_a_fade_is_boundary():
    # clips of 6 frames that share 2: the second begins at frame 4 and is alone from frame 6 on
    video = ramp([1, 1, 1, 5, 6, 7, 1, 5, 6, 7, 1, 1])
    assert boundaries.boundary_figures(video, 6, shared=2) == {"boundary": 6.0, "inside": 1.0, "ratio": 6.0}
    with pytest.raises(ValueError, match="fewer than half"):
        boundaries.boundary_figures(video, 6, shared=3)


def test_a_pause_at_boundaries_is_seen_as_well():
    assert boundaries.boundary_figures(ramp([3, 3, 3, 0, 3, 3, 3]), 4)["ratio"] == 0


def test_frames_that_grow_darker_differ_as_much():
    video = 255 - ramp([2, 2, 2, 8, 2, 2, 2])
    assert boundaries.boundary_figures(video, 4)["ratio"] == 4


@pytest.mark.parametrize(
    ("video", "clip_frames", "message"),
    [
        (ramp([1, 1, 1]), 4, "longer than one, got 4 and 4"),
        (ramp([1, 1, 1]), 1, "at least 2 frames .*got 1"),
        (ramp([0, 5, 0]), 2, "nothing moves inside"),
    ],
)
def test_what_has_no_ratio_is_refused(video, clip_frames, message):
    with pytest.raises(ValueError, match=message):
        boundaries.boundary_figures(video, clip_frames)


def test_a_folder_gets_means_intervals_and_a_verdict(tmp_path, capsys):
    seams, smooth = tmp_path / "seams", tmp_path / "smooth"
    for folder, jump in ((seams, 8), (smooth, 2)):
        folder.mkdir()
        for i, extra in enumerate((0, 1, 2, 1)):
            video = torch.from_numpy(ramp([2, 2, 2, jump + extra, 2, 2, 2]).copy())
            write_lossless(folder / f"{i}.mkv", video.repeat_interleave(2, 1).repeat_interleave(2, 2))
    words = [str(seams), "--clip_frames", "4", "--real", str(smooth)]
    assert boundaries.main([*words, "--json", "--at_most", "1.5"]) == 1
    figures = json.loads(capsys.readouterr().out)
    assert figures["count"] == 4
    assert figures["boundary"][0] == pytest.approx(9)
    assert figures["inside"] == [pytest.approx(2)] * 3
    mean, low, high = figures["ratio"]
    assert mean == pytest.approx(4.5)
    half = 3.182 * (0.5 / 3) ** 0.5 / 2  # Student's t of four videos: 4, 4.5, 5 and 4.5
    assert (low, high) == (pytest.approx(4.5 - half, abs=0.02), pytest.approx(4.5 + half, abs=0.02))
    assert figures["real"]["ratio"][0] == pytest.approx(1.5)
    assert boundaries.main([str(smooth), "--clip_frames", "4", "--at_most", "2"]) == 0
    assert "| 4 | 3.000 [" in capsys.readouterr().out
    assert boundaries.main([str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
