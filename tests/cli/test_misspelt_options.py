"""A misspelt option is named before anything else is looked at, with the nearest right one, at every command."""

import shlex

import pytest

from videodiff.cli import main
from videodiff.cli.arguments import LightParser
from videodiff.usage import UsageError

MISSPELT = {  # a command line -> the right option that is named
    "fit --cofig x": "--config",
    "fit --cofig=x": "--config",
    "fit -config x": "--config",
    "fit --nmae q": "--name",
    "fit --inti_from none": "--init_from",
    "fit --ckpt_path none --otu x": "--out",
    "fit --config none --forec": "--force",
    "fit --forec --config none": "--force",
    "fit --config none --print_confg": "--print_config",
    "fit --config none --sede 3": "--seed",
    "fit --hepl": "--help",
    "fit --trianer.max_steps 3": "--trainer.max_steps",
    "fit --trainer.max_stpes 3": "max_steps",
    "fit --batch_size 3": "--data.batch_size",
    "fit --max_steps 3": "--trainer.max_steps",
    "fit --config vdm_digits --model.nt.width 3": "net",
    "validate --ckptpath run": "--ckpt_path",
    "test --protocl random": "--protocol",
    "test --ckpt_path none --num_clip 3": "--num_clips",
    "predict --ckpt_path none --otu q": "--out",
    "generate --ckpt run": "--ckpt_path",
    "generate --num_sample 3": "--num_samples",
    "generate --ckpt_path --otu": "--out",
    "evaluate --protcol x": "--protocol",
    "compare --num_clip 3": "--num_clips",
    "compare run run --dta.root x": "--data.root",
    "prepare --otu q": "--out",
    "encode --ckpt run": "--ckpt_path",
    "encode --config none --data.rot q --dta.root q": "--data.root",
    "import --fram 3": "--frames",
    "export --otu q": "--out",
    "models --jsn": "--json",
    "info --jsn": "--json",
    "info vdm_digits --modle.net.width 3": "--model.net.width",
    "doctor --jsn": "--json",
    "demo --minuts 3": "--minutes",
    "new-model --hlp": "--help",
    "completion --hlp": "--help",
}


@pytest.mark.parametrize("line", MISSPELT)
def test_a_misspelt_option_is_named_with_the_right_one(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert f"did you mean {MISSPELT[line]!r}" in said, said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("doctor extra", "unexpected argument 'extra'"),
        ("export --ckpt run", "no option '--ckpt'; see videodiff export --help"),
        ("export", "RUN, --out must be given"),
        ("generate --ckpt_path run --out", "--out needs a value"),
        ("generate --ckpt_path -x", "written --ckpt_path=-x"),
        ("generate --ckpt_path run --fps x", "--fps must be a whole number, got 'x'"),
        ("generate --ckpt_path run --sampler dim", "ancestral, ddim, dpmpp, langevin, got 'dim'; did you mean 'ddim'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_command_line_is_said_in_plain_words(line, words, capsys):
    assert main(shlex.split(line)) == 2
    assert words in capsys.readouterr().err


def test_values_that_look_like_options_are_values():
    parser = LightParser("videodiff try")
    parser.add_argument("-c", "--config", action="append")
    parser.add_argument("--shift", type=float)
    parser.add_argument("--flag", action="store_true")
    parser.add_argument("names", nargs="*")
    taken = parser.parse_intermixed_args(
        ["a", "-cx.yaml", "-c", "y.yaml", "--shift", "-.5", "--flag", "b", "-5", "-x y"]
    )
    assert taken.config == ["x.yaml", "y.yaml"]
    assert taken.shift == -0.5
    assert taken.names == ["a", "b", "-5", "-x y"]
    assert parser.parse_args(["--", "-name"]).names == ["-name"]
    assert parser.parse_args(["--config=-x"]).config == ["-x"]


def test_a_file_whose_name_begins_with_a_dash_is_told_how_it_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-clips").mkdir()
    with pytest.raises(UsageError, match=r"no option '-clips'; the file of that name is written ./-clips"):
        LightParser("videodiff try").parse_args(["-clips"])


@pytest.mark.parametrize(
    ("word", "meant"), [("train", "fit"), ("sample", "generate"), ("eval", "evaluate"), ("fti", "fit")]
)
def test_a_command_by_the_name_of_other_programs_is_told_what_it_is_called_here(word, meant, capsys):
    assert main([word, "--config", "vdm_digits"]) == 2
    assert f"did you mean {meant!r}?" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["generate", "test", "validate", "predict", "export --out x"])
def test_a_run_is_taken_as_the_first_word_and_by_its_option(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    verb, *rest = command.split()
    for words in ([verb, "runs/x", *rest], [verb, "--ckpt_path", "runs/x", *rest]):
        assert main(words) == 2
        assert "no run or checkpoint 'runs/x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--data.num_frames", "8"], "data.num_frames (8) must be what the model generates (16); set both"),
        (["--data.resolution", "16"], "set both parts, e.g. --model.net.resolution 16"),
        (["--data.resolution", "16", "--data.num_frames", "8"], "--model.net.num_frames 8 --model.net.resolution 16"),
    ],
)  # fmt: skip
def test_the_option_that_must_change_too_is_named_by_what_differs(
    options, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "vdm_digits", *options, "--out", "run"]) == 2
    assert words in capsys.readouterr().err
