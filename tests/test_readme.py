"""The README shows nothing that does not run: every videodiff command in it, in order, small."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from videodiff.cli import main
from videodiff.data import video_io

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("videodiff ")]
SMALLER = {
    "fit": ["--config", "with/smoke"],
    "generate": ["--steps", "2", "--num_samples", "2"],
    "test": ["--data.num_test_clips", "2"],
    "evaluate": ["--frames", "4"],
    "compare": ["--frames", "4", "--num_clips", "4", "--steps", "2", "--shown", "2"],
    "info": ["--config", "with/smoke"],
    "predict": ["--data.num_test_clips", "2", "--model.sampler.num_steps", "2"],
}


def smaller(words: list[str]) -> list[str]:
    """The same command with an overlay or fewer steps; a user's own folder is kept as given."""
    extra = SMALLER.get(words[0], [])
    if words[0] == "fit":
        # The overlay goes before the options, which must win over it as they win over any config.
        last = max(i for i, word in enumerate(words) if word == "--config") + 2 if "--config" in words else 1
        return [*words[:last], *extra, *words[last:]]
    if words[0] == "generate" and "--frames" in words:
        words = [*words, "--frames", "9"]
    return [*words, *extra]


def test_every_command_of_the_readme_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "my_videos").mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdef":
        clip = torch.from_numpy(rng.integers(0, 255, (20, 24, 32, 3), dtype=np.uint8))
        video_io.write_mp4(tmp_path / "my_videos" / f"{name}.mp4", clip)
    for name in "ab":
        frames = tmp_path / "sky_timelapse" / "sky_train" / name / f"{name}_1"
        frames.mkdir(parents=True)
        for i in range(12):
            picture = rng.integers(0, 255, (24, 32, 3), dtype=np.uint8)
            Image.fromarray(picture).save(frames / f"{name}_frames_{i:08d}.jpg")
    assert len(COMMANDS) >= 10
    for line in COMMANDS:
        words = smaller(shlex.split(line)[1:])
        if words == ["doctor"]:  # half a minute of trying out: tests/cli/test_doctor_models.py
            continue
        code = main(words)
        output = capsys.readouterr()
        assert code == 0, f"{line}: exit {code}: {output.err[-400:]}"


@pytest.mark.parametrize("target", ["demo", "test", "lint", "format", "install", "help", "clean"])
def test_the_makefile_has_the_targets_that_are_promised(target):
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), flags=re.M)


def test_every_file_the_readme_points_at_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
