import importlib
import inspect
import os
import subprocess
import sys

import pytest

from videodiff.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(folder, *words):
    """The command as installed: Python's own path, without the current directory."""
    code = (
        "import sys; sys.path = [p for p in sys.path if p]; from videodiff.cli import main; sys.exit(main())"
    )
    env = {**os.environ, "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=folder, env=env, capture_output=True, text=True
    )


def test_the_files_run_at_once(here, capsys, monkeypatch):
    assert main(["new-model", "tiny_net"]) == 0
    out = capsys.readouterr().out
    commands = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    assert len(commands) == 3
    assert commands[0] == "pytest test_tiny_net.py"
    assert len((here / "tiny_net.py").read_text().splitlines()) < 60
    monkeypatch.syspath_prepend(str(here))
    module = vars(importlib.import_module("test_tiny_net"))
    tests = [value for name, value in module.items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test(**dict.fromkeys(inspect.signature(test).parameters, here / "trained"))
    few = ["--trainer.max_steps", "2", "--trainer.limit_val_batches", "0", "--samples.every_n_steps", "0"]
    assert main([*commands[1].split()[1:], *few]) == 0
    assert main([*commands[2].split()[1:-1], "2", "--steps", "2"]) == 0
    assert (here / "runs" / "tiny_net" / "1" / "generate" / "1").is_dir()


@pytest.mark.parametrize("name", ["1st", "my-net", "class", "match", "a.b", "../x", "_x", "x_", "é"])
def test_a_name_that_is_no_module_s_is_refused(here, capsys, name):
    assert main(["new-model", name]) == 2
    assert "must be a Python module name" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["random", "json", "torch", "sys", "videodiff"])
def test_a_name_that_is_taken_is_refused(here, capsys, name):
    assert main(["new-model", name]) == 2
    assert f"my_{name}" in capsys.readouterr().err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("file", ["x_net.py", "x_net.yaml", "test_x_net.py"])
def test_nothing_is_overwritten(here, capsys, file):
    (here / file).write_text("mine")
    assert main(["new-model", "x_net"]) == 2
    assert file in capsys.readouterr().err
    assert [(p.name, p.read_text()) for p in here.iterdir()] == [(file, "mine")]


def test_trust_reaches_the_named_module_here_and_no_other(here):
    for name in ("named_module", "other_module"):
        (here / f"{name}.py").write_text("import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n")
    code = (
        "import importlib, sys; sys.path = [p for p in sys.path if p]\n"
        "from videodiff.cli import main\n"
        "main(['info', 'nothing.yaml', '--trust', 'named_module.Net'])\n"
        "import named_module\n"
        "try: import other_module\n"
        "except ModuleNotFoundError: print('hidden')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=here,
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "hidden", done.stderr


def test_a_file_here_does_not_hide_an_installed_module(here):
    (here / "yaml.py").write_text("raise SystemExit('run')")
    done = command(here, "models", "--trust", "yaml")
    assert "run" not in done.stderr.split()
