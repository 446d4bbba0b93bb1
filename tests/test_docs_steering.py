"""docs/steering.md shows nothing that does not run: its commands on the model in the package, in few steps."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.cli import main
from videodiff.conditioning.request import Generated
from videodiff.conditioning.source import mask_of_file
from videodiff.data import BouncingDigits, video_io

TEXT = (Path(__file__).parent.parent / "docs/steering.md").read_text()
SIDE = 32


def mask_picture(path: str) -> None:
    white = np.zeros((SIDE, SIDE, 3), np.uint8)
    white[:, SIDE // 2 :] = 255
    Image.fromarray(white).save(path)


def test_every_command_runs_and_keeps_what_it_is_told_to(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = BouncingDigits("test", 1, 16, SIDE).read(0, 0, 16, 1)
    video_io.write_lossless("clip.mp4", clip)
    mask_picture("right.png")
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, flags=re.S)
    lines = block.splitlines()
    stays = [np.zeros((16, SIDE, SIDE), bool) for _ in lines]
    stays[1][..., : SIDE // 2] = stays[3][..., : SIDE // 2] = True
    stays[2][[0, 1, 2, 3, 12, 13, 14, 15]] = True
    assert len(lines) == 4
    for number, (line, stay) in enumerate(zip(lines, stays, strict=True)):
        few = ["--num_samples", "1", "--steps", "2", "--out", f"out{number}"]
        assert main([*shlex.split(line)[1:], *few]) == 0
        drawn = video_io.read_video(f"out{number}/clip_00000.mkv")
        record = json.loads(Path(f"out{number}/samples.json").read_text())
        assert torch.equal(drawn[torch.from_numpy(stay)], clip[torch.from_numpy(stay)])
        assert not torch.equal(drawn, clip)
        assert ("known_pixels_error" in record) == bool(stay.any())
        assert record["init_video"] == "clip.mp4"
    assert "50% of the pixels of clip.mp4 stay" in capsys.readouterr().err


@pytest.mark.parametrize("as_array", [True, False])
def test_a_mask_is_cropped_and_scaled_as_a_video_is(as_array, tmp_path):
    shown = np.zeros((3, 32, 64), bool)  # the centre of it is what a square sees
    shown[1, :, 32:48] = True
    path = tmp_path / ("mask.npy" if as_array else "mask.mkv")
    if as_array:
        np.save(path, shown)
    else:
        white = torch.from_numpy(shown).to(torch.uint8).mul(255).unsqueeze(-1).expand(-1, -1, -1, 3)
        video_io.write_lossless(path, white.contiguous())
    mask = mask_of_file(str(path), Generated((3, 4, 16, 16)))
    assert mask.shape == (1, 1, 3, 16, 16)
    assert mask.dtype == torch.bool
    assert not mask[:, :, [0, 2]].any()
    assert mask[0, 0, 1, :, 8:].all()
    assert not mask[0, 0, 1, :, :8].any()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--init_video clip.mp4", "needs --strength S"),
        ("--mask right.png", "--mask says what becomes of a video: name it with --init_video"),
        ("--init_video clip.mp4 --keep_frames last:2", "holds 4 frames at a time; keep whole groups"),
        ("--init_video clip.mp4 --keep_frames last:99", "a video of 16 frames has no last 99"),
        (
            "--init_video clip.mp4 --keep_frames lats:2",
            "must look like '0:4'.*'last:1' or 'every:4', got 'lats:2'",
        ),
        ("--init_video clip.mp4 --strength 0", "must be above 0"),
        ("--init_video clip.mp4 --strength 0.5 --frames 20", "the video of --init_video has 16 frames"),
        ("--init_video clip.mp4 --mask three.npy", "--mask has 3 frames, the video 16"),
        ("--init_video clip.mp4 --mask bad.npy", "a mask is an array .T, H, W. or .H, W."),
        ("--init_video clip.mp4 --mask right.png --resample 2", "as ancestral and DDIM do"),
        ("--init_video clip.mp4 --strength 0.5 --condition clip.mp4", "kept by --keep_frames"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_line(words, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    video_io.write_lossless("clip.mp4", BouncingDigits("test", 1, 16, SIDE).read(0, 0, 16, 1))
    mask_picture("right.png")
    np.save("three.npy", np.ones((3, SIDE, SIDE)))
    np.save("bad.npy", np.ones(5))
    common = "generate --ckpt_path demo/lvdm_digits --num_samples 1 --class_id 6"
    try:
        code = main(shlex.split(f"{common} {words}"))
    except SystemExit as error:
        code = error.code
    assert code == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert re.search(told, line), line
    assert not list(tmp_path.glob("runs/**/samples*"))
