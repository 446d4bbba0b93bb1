import shutil
import subprocess
import sys

import pytest

from videodiff.cli import COMMANDS, VERBS, main
from videodiff.cli.commands import completion


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A directory with two runs and, on the path, a ``videodiff`` of this checkout."""
    monkeypatch.chdir(tmp_path)
    for name in ("alpha/1", "alpha/2", "beta/1"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    script = tmp_path / "bin" / "videodiff"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m videodiff "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")
    return tmp_path


def in_bash(line: str) -> list[str]:
    """What bash offers after a line, through the printed script."""
    words = line.split(" ")
    quoted = " ".join(f"'{word}'" for word in words)
    text = (
        f'eval "$(videodiff completion bash)"; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; '
        "_videodiff; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    done = subprocess.run(["bash", "-c", text], check=True, capture_output=True, text=True)
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("videodiff gen", ["generate"]),
        ("videodiff generate --num", ["--num_samples"]),
        ("videodiff generate --sampler d", ["ddim", "dpmpp"]),
        ("videodiff fit --config with/s", ["with/small", "with/smoke"]),
        ("videodiff generate --ckpt_path runs/al", ["runs/alpha", "runs/alpha/1", "runs/alpha/2"]),
        ("videodiff test --protocol sty", ["styleganv"]),
        ("videodiff completion ", ["bash", "zsh", "fish"]),
        ("videodiff info vdm_k", ["vdm_kinetics600"]),
        ("videodiff info --card h", ["h100", "h100-pcie", "h200"]),
        ("videodiff generate --out ", []),
    ],
)
def test_bash_completes(folder, line, expected):
    assert in_bash(line) == expected


def test_the_script_is_registered_in_bash(folder):
    done = subprocess.run(
        ["bash", "-c", 'eval "$(videodiff completion bash)"; complete -p videodiff'],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "-F _videodiff videodiff" in done.stdout


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_script_is_one_that_the_shell_reads(folder, shell):
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    source = 'autoload -Uz compinit; compinit -D; eval "$(videodiff completion zsh)"; echo $_comps[videodiff]'
    if shell == "fish":
        source = "videodiff completion fish | source; complete -C 'videodiff gen'"
    done = subprocess.run([program, "-c", source], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == (["generate"] if shell == "fish" else ["_videodiff"])


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in VERBS])
def test_options_are_those_of_the_command_s_help(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    options = completion.candidates([command, "-"])
    assert "--help" in options
    assert [option for option in options if option not in shown] == []
    import re

    listed = set(re.findall(r"(?m)^  (?:-\w(?: \w+)?, )?(--[a-z0-9_.]+)", shown))
    assert listed
    assert listed <= set(options)


@pytest.mark.parametrize("verb", VERBS)
def test_options_of_training_are_known_to_its_parsers(verb):
    from videodiff.cli.lightning import RunCLI  # noqa: F401 - the parser behind root_hints
    from videodiff.config.options import FLAGS, TAKES_VALUE, root_hints

    options = completion.candidates([verb, "--"])
    assert {"--config", "--trainer.max_steps", "--data.root"} - {"--trainer.max_steps"} <= set(options)
    own = {o for action in completion.actions_of(verb) for o in action.option_strings}
    roots = {*root_hints(verb), "help", "seed", "model"}
    unknown = [
        option
        for option in options
        if option not in own
        and option not in (*FLAGS, *TAKES_VALUE)
        and option[2:].split(".")[0] not in roots
    ]
    assert unknown == []


def test_protocols_are_those_of_the_table():
    from videodiff.evaluation.protocol import PROTOCOLS

    assert completion.protocols() == list(PROTOCOLS)


def test_completing_imports_nothing_heavy():
    code = (
        "import sys; from videodiff.cli import COMMANDS, main\n"
        "for c in COMMANDS: main(['completion', '--words', c, '-'])\n"
        "main(['completion', '--words', 'test', '--protocol', ''])\n"
        "main(['completion', '--words', 'info', '--card', ''])\n"
        "assert not {'torch', 'numpy', 'pytorch_lightning', 'jsonargparse'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_unknown_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert "bash" in capsys.readouterr().err


def test_nothing_is_offered_after_an_unknown_command():
    assert completion.candidates(["nonsense", "--x"]) == []
