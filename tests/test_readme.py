"""The README shows nothing that does not run: every videodiff command in it, in order, small, and its Python."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from videodiff.cli import main
from videodiff.data import video_io
from videodiff.data.one_video import read_one

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = (ROOT / "docs/results.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", README, flags=re.S)
LINES = [line.split("#")[0].strip() for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if line.startswith("videodiff ")]
(PYTHON,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
SMALLER = {
    "fit": ["--config", "with/smoke"],
    "generate": ["--steps", "2", "--num_samples", "2"],
    "test": ["--data.num_test_clips", "2", "--num_clips", "4", "--model.sampler.num_steps", "2"],
}


def smaller(words: list[str]) -> list[str]:
    """The same command with an overlay or fewer steps; a user's own folder is kept as given."""
    extra = SMALLER.get(words[0], [])
    if words[0] == "fit":
        # The overlay goes before the options, which must win over it as they win over any config.
        last = max(i for i, word in enumerate(words) if word == "--config") + 2
        return [*words[:last], *extra, *words[last:]]
    return [*words, *extra]


def test_every_command_of_the_readme_runs_and_so_does_its_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "my_videos").mkdir()
    rng = np.random.default_rng(0)
    for name in "abcdef":
        clip = torch.from_numpy(rng.integers(0, 255, (20, 24, 32, 3), dtype=np.uint8))
        video_io.write_mp4(tmp_path / "my_videos" / f"{name}.mp4", clip)
    assert len(COMMANDS) >= 7
    for line in COMMANDS:
        code = main(smaller(shlex.split(line)[1:]))
        output = capsys.readouterr()
        assert code == 0, f"{line}: exit {code}: {output.err[-400:]}"
    exec(compile(PYTHON, "README.md", "exec"), {"__name__": "__main__"})
    assert "identity" in capsys.readouterr().out
    assert read_one("four.mp4", None).shape[2] == 4


def measured_minutes() -> dict[str, str]:
    """Config, or command, -> minutes of the table of docs/results.md."""
    table = RESULTS.split("## How long training takes")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([^`]+)` \|.*\| (\d+) \|$", table, flags=re.M))


def test_every_time_of_the_readme_and_of_a_config_was_measured():
    minutes = measured_minutes()
    assert minutes["make demo"] in re.search(r"`make demo` takes (\d+) minutes", README)[1]
    stated = {name: found for name, found in re.findall(r"fit --config (\w+) +# (\d+) minutes", README)}
    assert stated
    for path in (ROOT / "configs").glob("*.yaml"):
        if found := re.search(r"(\d+) minutes", path.read_text()):
            stated[path.stem] = found[1]
        vague = re.search(r"(?<!\d )(?:minutes|hour)\b", path.read_text())
        assert not vague, f"{path.name}: a time without a number"
    assert {name: minutes.get(name) for name in stated} == stated


def test_the_results_of_the_readme_are_those_of_the_results_page():
    rows = re.findall(r"`(\w+_digits)` \| (\d+ \(\d+ to \d+\)), (0\.\d+) \|$", README, flags=re.M)
    assert [name for name, _, _ in rows] == ["vdm_digits", "lvdm_digits", "pvdm_digits"]
    for name, distance, identity in rows:
        plain = RESULTS.replace("**", "")
        assert re.sub(r"\s+", " ", distance) in re.sub(r"\s+", " ", plain), name
        assert identity in plain, name


def test_the_systems_of_the_readme_name_configs_that_are_shipped():
    for name in re.findall(r"`((?:vdm|lvdm|pvdm)_[a-z0-9_]+)`", README):
        assert yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())["model"], name


@pytest.mark.parametrize(
    "target", ["demo", "test", "lint", "format", "install", "help", "clean", "docs", "notebooks"]
)
def test_the_makefile_has_the_targets_that_are_promised(target):
    assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), flags=re.M)


def test_every_file_the_readme_points_at_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    for link in links:
        assert (ROOT / link).exists(), link
