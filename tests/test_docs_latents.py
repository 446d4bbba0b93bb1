"""docs/latents.md shows nothing that does not run, and names every option of encode."""

import re
import shlex
from pathlib import Path

from videodiff.cli import main
from videodiff.cli.commands.encode import parser

TEXT = (Path(__file__).parent.parent / "docs/latents.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, flags=re.S) for line in block.splitlines()]
SMALL = ["--config", "with/smoke"]
CLIPS = ["--data.num_train_clips", "8", "--data.num_val_clips", "2", "--data.num_test_clips", "2"]


def test_every_command_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 4
    for line in COMMANDS:
        words = shlex.split(line, comments=True)[1:]
        if "--config" in words:
            words = [*words[:3], *SMALL, *words[3:], *CLIPS]
        code = main(words)
        output = capsys.readouterr()
        assert code == 0, f"{line}: exit {code}: {output.err[-400:]}"
    assert "latents/lvdm_digits: [4, 17, 4, 4] fp16" in output.err


def test_the_page_names_every_option_with_its_default():
    rows = dict(re.findall(r"\| `(--\w+)[ \w]*` \| `?([\w,]+)", TEXT))
    for action in parser()._actions:
        option = action.option_strings[-1]
        if option in ("--help", "--config", "--ckpt_path", "--out", "--check", "--trust"):
            continue
        assert option in rows, option
        assert action.default in (None, rows[option], int(rows[option]) if rows[option].isdigit() else None)
