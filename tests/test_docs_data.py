"""docs/data.md shows nothing that does not run: its commands on real data, small, and its tables against the code."""

import os
import re
import shlex
from pathlib import Path

import pytest

from videodiff.cli import main
from videodiff.data.layouts import LAYOUTS
from videodiff.data.presets import PRESETS
from videodiff.data.resize import RULE_NAMES

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
TEXT = (Path(__file__).parent.parent / "docs/data.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.S) for line in block.splitlines()]


def small(line: str) -> list[str]:
    """The command's words with an overlay, and its folder among the real data."""
    words = shlex.split(line)[1:]
    if words[0] == "generate":
        return [*words, "--num_samples", "2", "--steps", "2"]
    root = words.index("--data.root") + 1
    words[root] = f"{ASSETS}/data/{words[root]}"
    return ["fit", *words[1:3], "--config", "with/smoke", *words[3:]]


@pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")
def test_every_command_of_the_data_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) >= 7
    for line in COMMANDS:
        code = main(small(line))
        output = capsys.readouterr()
        assert code == 0, f"{line}: exit {code}: {output.err[-400:]}"
        if " fit " in line:
            layout = re.search(r"--data\.layout (\w+)", line)
            assert f"data     {layout[1] if layout else 'videos'} (" in output.err


def test_the_page_names_every_layout_preset_and_rule():
    for name in (*LAYOUTS, "shards", "prepared", *PRESETS):
        assert f"| `{name}` |" in TEXT, name
    for name in RULE_NAMES:
        assert f"`{name}`" in TEXT, name
