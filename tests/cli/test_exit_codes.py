import errno
import subprocess
import sys

import pytest

from videodiff import cli, usage
from videodiff.cli import errors, main
from videodiff.config.jsonargparse_errors import explain


def run_raising(error, monkeypatch, words=("models",)):
    def raising(_):
        raise error

    from videodiff.cli.commands import models

    monkeypatch.setattr(models, "run", raising)
    return main(list(words))


class MisconfigurationException(Exception):
    """As Lightning names its own."""


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (usage.UsageError("no such thing"), 2, "no such thing"),
        (
            ValueError("resolution must be divisible by 8, got 100"),
            2,
            "resolution must be divisible by 8, got 100",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.ckpt"), 2, "a.ckpt: no such file"),
        (FileNotFoundError("no clips in data/x"), 2, "no clips in data/x"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a"), 2, "a: not a directory"),
        (IsADirectoryError("a is a directory"), 2, "a is a directory"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x: permission denied"),
        (FileExistsError("runs/a holds a run"), 2, "runs/a holds a run"),
        (MisconfigurationException("devices"), 2, "devices"),
        (RuntimeError("disk full"), 1, "disk full"),
        (OSError(errno.ENOSPC, "No space left on device", "a.ckpt"), 1, "a.ckpt: no space left"),
        (TypeError("from a library"), 1, "from a library"),
        (KeyError("net"), 1, "KeyError: 'net'"),
        (ZeroDivisionError(), 1, "ZeroDivisionError"),
        (RecursionError("deep\nand long"), 1, "deep"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_error_is_one_line_and_its_code(error, code, text, monkeypatch, capsys):
    monkeypatch.delenv("VIDEODIFF_TRACEBACK", raising=False)
    assert run_raising(error, monkeypatch) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("videodiff: error: ")
    assert text in err


@pytest.mark.parametrize(("stop", "code"), [(143, 143), (130, 130), (0, 0), (None, 0), ("said", 1)])
def test_exits_pass_through(stop, code, monkeypatch):
    assert run_raising(SystemExit(stop), monkeypatch) == code


def test_a_type_error_of_ours_is_bad_input():
    def raised(function, *args):
        with pytest.raises(TypeError) as caught:
            function(*args)
        return caught.value

    ours = compile("def f():\n    raise TypeError('x must be a list')", errors.__file__, "exec")
    namespace = {}
    exec(ours, namespace)
    assert errors.exit_code(raised(namespace["f"])) == 2
    assert errors.exit_code(raised(int, [])) == 1


@pytest.mark.parametrize("asked", ["-v", "--verbose", "variable"])
def test_a_traceback_comes_only_when_asked_for(asked, monkeypatch, capsys):
    words = ["models"] if asked == "variable" else ["models", asked]
    if asked == "variable":
        monkeypatch.setenv("VIDEODIFF_TRACEBACK", "1")
    assert run_raising(ValueError("bad"), monkeypatch, words) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == "videodiff: error: bad"


def test_other_ranks_keep_silent(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_raising(ValueError("bad"), monkeypatch) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["fti"], "did you mean 'fit'?"),
        (["generat"], "did you mean 'generate'?"),
        (["--hlep"], "did you mean '--help'?"),
        (["models", "--jsno"], "did you mean '--json'?"),
        (["doctor", "now"], "'now'"),
        (["info"], "needs a config"),
        (["demo", "--minuts", "1"], "did you mean '--minutes'?"),
        (["fit", "--model.help"], "needs a class"),
        (["info", "vdm_digts"], "did you mean 'vdm_digits'?"),
        (["info", "vdm_digits", "--jsn"], "did you mean '--json'?"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(words, text, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert text in err


LIGHT = [
    [],
    ["--help"],
    ["-h"],
    ["--version"],
    ["models"],
    ["models", "--json"],
    ["models", "--help"],
    ["doctor", "--help"],
    ["doctor", "--nope"],
    ["info", "--help"],
    ["info"],
    ["info", "vdm_digts"],
    *([verb, "--help"] for verb in cli.VERBS),
    ["generate", "--help"],
    ["demo", "--help"],
    ["unknown"],
]


def test_light_commands_load_neither_torch_nor_lightning():
    """All in one process, so that what one loads would be seen after the others too."""
    code = (
        "import sys, contextlib, io\n"
        "from videodiff.cli import main\n"
        f"for words in {LIGHT!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "        main(words)\n"
        "    heavy = {m.split('.')[0] for m in sys.modules} & {'torch', 'pytorch_lightning', 'lightning_fabric',\n"
        "        'torchmetrics', 'jsonargparse', 'numpy', 'av', 'torchvision', 'tensorboard'}\n"
        "    assert not heavy, (words, heavy)\n"
        "print(len([m for m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 400  # modules in all: the standard library's and yaml's


UNION = """Parser key "model":
  Does not validate against any of the Union subtypes
  Subtypes: [<class 'pytorch_lightning.core.module.LightningModule'>, <class 'NoneType'>]
  Errors:
    - Problem with given class_path 'videodiff.models.VDM':
        Parser key "net":
          Problem with given class_path 'videodiff.networks.UNet3D':
            Parser key "width":
              Expected a <class 'int'>. Got value: x
    - Expected a <class 'NoneType'>
  Given value type: <class 'dict'>
  Given value: {'class_path': 'videodiff.models.VDM'}"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (UNION, "model.net.width: must be int, got x"),
        (
            "Parser key \"trainer.max_steps\":\n  Expected a <class 'int'>. Got value: abc",
            "trainer.max_steps: must be int, got abc",
        ),
        ("unrecognized arguments: --trainer.max_stpes 3", "unknown option --trainer.max_stpes 3"),
        ("Option 'foo' is not accepted", "has no option 'foo'"),
        ("", "the command line could not be understood"),
        ("usage: videodiff [-h]\nerror: Option 'foo' is not accepted", "has no option 'foo'"),
    ],
)
def test_sixty_lines_become_the_innermost_reason(text, line):
    assert explain(text) == line


def test_a_real_jsonargparse_error_is_explained():
    import jsonargparse
    import torch

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(torch.nn.Module, "net", required=True)
    cases = {
        "has no option 'in_featurs'": {"in_featurs": 3, "out_features": 1},
        "net.in_features: must be int, got x": {"in_features": "x", "out_features": 1},
        "net: needs out_features": {"in_features": 3},
    }
    for reason, init_args in cases.items():
        with pytest.raises(jsonargparse.ArgumentError) as caught:
            parser.parse_object({"net": {"class_path": "torch.nn.Linear", "init_args": init_args}})
        assert reason in explain(caught.value)
        assert len(explain(caught.value).splitlines()) == 1
