"""docs/lvdm.md shows nothing that does not run: its commands, small, its counts and its links."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch

from videodiff.cli import main
from videodiff.data import BouncingDigits, video_io

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
TEXT = (Path(__file__).parent.parent / "docs/lvdm.md").read_text()
SMALLER = {
    "fit": "--config with/smoke",
    "predict": "--trainer.limit_predict_batches 1",
    "generate": "--steps 2/1 --num_samples 1",
}


def block(language: str, part: str) -> str:
    """The one code block of a language that has a certain word in it."""
    (found,) = (b for b in re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S) if part in b)
    return found


def run(line: str, capsys, more: str = "") -> str:
    code = main([*shlex.split(line, comments=True)[1:], *more.split()])
    output = capsys.readouterr()
    assert code == 0, f"{line}: exit {code}: {output.err[-600:]}"
    return output.err


def test_every_command_on_digits_runs_in_its_order(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    clip = BouncingDigits("test", 1, 64, 16).read(0, 0, 64, 1)
    video_io.write_mp4("clip.mp4", clip)
    lines = block("sh", "lvdm_autoencoder_digits").splitlines() + block("sh", "clip.mp4").splitlines()
    assert len(lines) == 8
    for line in lines:
        run(line.replace("--frames 1024", "--frames 48"), capsys, SMALLER[line.split()[1]])
    lengths = [
        video_io.probe(path).num_frames
        for path in sorted(Path("runs/lvdm_digits/1/generate").glob("*/clip*"))
    ]
    assert lengths == [20, 48, 48, 64, 64]


@pytest.mark.slow
@pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")
def test_both_stages_run_on_skytimelapse_with_the_overlay_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("sky_timelapse").symlink_to(Path(ASSETS) / "data" / "sky_mini")
    first, second, generate = block("sh", "with/laptop").splitlines()
    few = "--trainer.max_steps 3 --trainer.limit_val_batches 1 --samples.every_n_steps 3"
    for line in (first, second):
        assert "data     sky (" in run(line, capsys, few)
    run(generate, capsys, SMALLER["generate"])
    (clip,) = Path("runs/lvdm_sky/1/generate/1").glob("clip_*.mkv")
    assert video_io.read_video(clip).shape == torch.Size([16, 32, 32, 3])


def test_what_the_page_points_at_exists_and_its_options_are_real():
    root = Path(__file__).parent.parent
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (root / "docs" / link).exists(), link
    for name in re.findall(r"\bscripts/\w+\.py", TEXT):
        assert (root / name).exists()
    for name in re.findall(r"`(lvdm_\w+|with/\w+)`", TEXT):
        assert (root / "configs" / f"{name}.yaml").exists(), name
    from videodiff.models import LVDM, AutoencoderModule
    from videodiff.networks import UNet3D

    known = {n for c in (LVDM, AutoencoderModule, UNet3D, LVDM.__base__) for n in c.__init__.__annotations__}
    for name in ("prediction_share", "interpolation_share", "given_counts", "max_given_noise", "loss_on_given",
                 "given_noise", "strides", "overlap_frames", "pixel_loss", "kl_weight", "loss_norm",
                 "temporal_position", "start_step", "guidance_scale", "vector_dim"):  # fmt: skip
        assert f"`{name}" in TEXT or f".{name}" in TEXT or f"{name}:" in TEXT
        assert name in known, name
