"""Names of earlier versions are read as those of today: silently if videodiff wrote them, else in one line."""

import pytest

from videodiff.checkpoints.config import stored_config
from videodiff.checkpoints.pipeline import parse
from videodiff.config import loader, read_configs, renamed, shipped_configs
from videodiff.migrations import numbered_config
from videodiff.usage import UsageError

OLD = {"model.net.size": "width", "data.clips": "num_train_clips", "trainer.steps": "max_steps"}
TEXT = (
    "trainer: {steps: 3}\nmodel: {init_args: {net: {init_args: {size: 24}}}}\ndata: {init_args: {clips: 5}}\n"
)


@pytest.fixture(autouse=True)
def names(monkeypatch, tmp_path):
    monkeypatch.setattr(renamed, "KEYS", OLD)
    monkeypatch.chdir(tmp_path)


def values(config):
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    return config["trainer"]["max_steps"], model["net"]["init_args"]["width"], data["num_train_clips"]


def written(tmp_path, text):
    (tmp_path / "own.yaml").write_text(text)
    return "own.yaml"


@pytest.mark.parametrize("text", [TEXT, f"for:\n  VDM:\n    {TEXT.replace(chr(10), chr(10) + '    ')}"])
def test_a_users_file_is_told_in_one_line_which_names_are_old(text, tmp_path, capsys):
    assert values(read_configs(["vdm_digits", written(tmp_path, text)], "fit")) == (3, 24, 5)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("videodiff: warning: own.yaml: ")
    for said in ("model.net.size is now called width", "data.clips is now called num_train_clips"):
        assert said in line


def test_what_a_run_or_checkpoint_holds_is_read_in_silence(tmp_path, capsys):
    own = numbered_config(TEXT)
    assert values(loader.load_yaml(written(tmp_path, own))) == (3, 24, 5)
    assert values(stored_config({"videodiff": {"config": own}}, tmp_path / "x.ckpt")) == (3, 24, 5)
    assert capsys.readouterr().err == ""


def test_an_option_is_told_too(capsys):
    words = ["--model.net.size", "24", "--data.init_args.clips=5", "--trainer.steps", "3"]
    assert values(read_configs(["vdm_digits"], "fit", words)) == ("3", "24", "5")
    assert "--data.init_args.clips is now called --data.init_args.num_train_clips" in capsys.readouterr().err


def test_a_pipeline_names_its_data_and_arguments_so_too(tmp_path, capsys):
    file = tmp_path / "pipeline.yaml"
    file.write_text("pipeline: [{run: x}]\ndata: {class_path: VideoDataModule, init_args: {clips: 5}}\n")
    assert parse(file)["data"]["init_args"] == {"num_train_clips": 5}
    assert "data.clips is now called num_train_clips" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["{clips: 5, num_train_clips: 6}", "{clips: 5, num_train_clips+: 6}"])
def test_a_key_under_both_names_is_refused(data, tmp_path):
    with pytest.raises(UsageError, match=r"own\.yaml: data\.clips is now called num_train_clips, and both"):
        read_configs(["vdm_digits", written(tmp_path, f"data: {{init_args: {data}}}")], "fit")


def test_the_same_word_elsewhere_is_another_key():
    config = {"model": {"init_args": {"size": 1, "net": {"init_args": {"net": {"size": 2}}}}}, "size": 3}
    assert renamed.renamed(config) == (config, [])


def test_a_config_is_found_by_its_old_name(monkeypatch, capsys):
    monkeypatch.setattr(loader, "CONFIGS", {"with/tiny": "with/smoke"})
    assert loader.find_config("with/tiny") == shipped_configs()["with/smoke"]
    assert "with/tiny is now called with/smoke" in capsys.readouterr().err


def test_every_name_leads_to_one_that_there_is(monkeypatch):
    monkeypatch.undo()
    assert set(renamed.CONFIGS.values()) <= set(shipped_configs())
    assert not set(renamed.CONFIGS) & set(shipped_configs())
