"""docs/pvdm.md shows nothing that does not run: its commands and its Python, small, and its counts."""

import os
import re
import shlex
from pathlib import Path

import pytest
import torch

from videodiff.checkpoints import FirstStage
from videodiff.cli import main
from videodiff.data import video_io

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
TEXT = (Path(__file__).parent.parent / "docs/pvdm.md").read_text()


def block(language: str, part: str) -> str:
    """The one code block of a language that has a certain word in it."""
    (found,) = (b for b in re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S) if part in b)
    return found


def run(line: str, capsys) -> None:
    code = main(shlex.split(line, comments=True)[1:])
    assert code == 0, f"{line}: exit {code}: {capsys.readouterr().err[-600:]}"


@pytest.mark.slow
@pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")
def test_both_stages_run_on_skytimelapse_with_the_overlay_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("sky_timelapse").symlink_to(Path(ASSETS) / "data" / "sky_mini")
    first, second, generate = block("sh", "with/laptop").splitlines()
    for line in (first, second):
        run(f"{line} --trainer.max_steps 3 --trainer.limit_val_batches 1 --samples.every_n_steps 3", capsys)
        assert "data     sky (" in capsys.readouterr().err
    run(generate.replace("--num_samples 8 --frames 128", "--frames 40 --steps 2/1 --num_samples 1"), capsys)
    (clip,) = Path("runs/pvdm_sky/1/generate/1").glob("clip_*.mkv")
    assert video_io.read_video(clip).shape == (40, 32, 32, 3)


def test_the_python_of_the_page_runs_on_a_first_stage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert block("sh", "50/20").splitlines()[0].startswith("videodiff fit --config pvdm_autoencoder_digits ")
    run("videodiff fit --config pvdm_autoencoder_digits --config with/smoke", capsys)
    names = {}
    exec(block("python", "plane_sheet"), names)
    assert names["sheet"].ndim == 2
    assert names["spatial"].shape == (2, 8, 4 * 8, 4 * 8)
    stage = FirstStage("pvdm_autoencoder_digits")  # the same, as a latent model holds it
    assert torch.equal(stage.picture(names["latent"]), names["sheet"])
    for name in ("rebuilt", "swapped", "still"):
        assert video_io.read_video(tmp_path / f"{name}.mp4").shape == (4, 16, 16, 3)


def test_the_files_the_page_points_at_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert links
    assert all((Path(__file__).parent.parent / "docs" / link).exists() for link in links)
    for name in re.findall(r"\bscripts/\w+\.py", TEXT):
        assert (Path(__file__).parent.parent / name).exists()


def test_without_a_first_stage_or_data_one_line_says_what_to_do(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "pvdm_sky", "--config", "with/small"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "make it with: videodiff fit --config pvdm_autoencoder_sky" in line
    words = [
        "--model.perceptual_weight",
        "0",
        "--trainer.accelerator",
        "cpu",
        "--model.autoencoder.width",
        "16",
    ]
    assert main(["fit", "--config", "pvdm_autoencoder_sky", *words]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "data/sky_timelapse" in line
    assert "--data.root" in line
