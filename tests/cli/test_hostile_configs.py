"""Hostile configs: exit code 2, and the module they name is imported by nobody."""

import sys

import pytest

from videodiff.cli import main

CANARY = "config_canary"
NET = "{class_path: videodiff.networks.UNet3D, init_args: {resolution: 16, num_frames: 4, width: 16}}"
MODEL = f"""
    net: {NET}
    schedule: {{class_path: videodiff.diffusion.CosineSchedule}}
    sampler: {{class_path: videodiff.diffusion.DDIMSampler}}
"""
VDM = f"model:\n  class_path: videodiff.models.VDM\n  init_args:{MODEL}"
BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
)

CONFIGS = {
    "python object": "model: !!python/object/apply:config_canary.build []",
    "python name": "trainer: {callbacks: !!python/name:config_canary.Model }",
    "python module": "data: !!python/module:config_canary ",
    "model": "model: {class_path: config_canary.Model}",
    "model as text": "model: config_canary.Model",
    "data": "data: {class_path: config_canary.Model}",
    "callback": f"{VDM}trainer: {{callbacks: [{{class_path: config_canary.Model}}]}}",
    "callback alone": f"{VDM}trainer: {{callbacks: config_canary.Model}}",
    "logger": f"{VDM}trainer: {{logger: {{class_path: config_canary.Model}}}}",
    "logger as text": f"{VDM}trainer: {{logger: config_canary.Model}}",
    "strategy as text": f"{VDM}trainer: {{strategy: config_canary.Model}}",
    "plugin": f"{VDM}trainer: {{plugins: [{{class_path: config_canary.Model}}]}}",
    "profiler": f"{VDM}trainer: {{profiler: config_canary.Model}}",
    "optimizer": f"{VDM}    optimizer: {{class_path: config_canary.Model}}",
    "callable": f"{VDM}    optimizer: os.system",
    "callable of the canary": f"{VDM}    optimizer: config_canary.build",
    "callable by class_path": f"{VDM}    optimizer: {{class_path: os.system}}",
    "network": VDM.replace(NET, "config_canary.Model"),
    "network in short form": VDM.replace(NET, "{class_path: config_canary.Model}"),
    "rate of a type": f"{VDM}    optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: config_canary.Model}}}}",
    "LambdaCallback": (
        f"{VDM}trainer: {{callbacks: [{{class_path: pytorch_lightning.callbacks.LambdaCallback, "
        "init_args: {on_fit_start: config_canary.build}}]}"
    ),
    "LambdaCallback, short": f"{VDM}trainer: {{callbacks: [{{class_path: LambdaCallback}}]}}",
    "LambdaLR": (
        f"{VDM}    lr_scheduler: {{class_path: torch.optim.lr_scheduler.LambdaLR, "
        "init_args: {lr_lambda: config_canary.build}}"
    ),
    "re-export of a module": "model: {class_path: torch.nn.functional.os}",
    "re-export of a function": "model: {class_path: pytorch_lightning.cli.os.system}",
    "re-export, deeper": "model: {class_path: torch.optim.optimizer.functools.partial}",
    "submodule trick": "model: {class_path: torch.nn.config_canary.Model}",
    "relative": "model: {class_path: .config_canary.Model}",
    "prefix without a dot": "model: {class_path: torch.nnconfig_canary.Model}",
    "alias bomb": BOMB,
    "nesting": "model: " + "{a: " * 3000 + "1" + "}" * 3000,
    "self-containing alias": "model: &a {class_path: *a}",
    "class_path not text": "model: {class_path: {class_path: config_canary.Model}}",
    "hidden in a list": f"{VDM}trainer: {{devices: [{{class_path: config_canary.Model}}]}}",
    "hidden in dict_kwargs": (
        "model:\n  class_path: videodiff.models.VDM\n  dict_kwargs: {x: {class_path: config_canary.Model}}"
    ),
    "trust in the file": "trust: [config_canary]\nmodel: {class_path: config_canary.Model}",
    "part file": "model: part.yaml",
    "unknown place": "callbacks: [{class_path: config_canary.Model}]",
}

OPTIONS = {
    "model": ["--model", "config_canary.Model"],
    "model as a mapping": ["--model", "{class_path: config_canary.Model}"],
    "model.class_path": ["--model.class_path=config_canary.Model"],
    "callback": ["--trainer.callbacks", "config_canary.Model"],
    "callback appended": ["--trainer.callbacks+=config_canary.Model"],
    "callback in a list": ["--trainer.callbacks", "[{class_path: config_canary.Model}]"],
    "logger": ["--trainer.logger", "config_canary.Model"],
    "optimizer": ["--model.optimizer", "config_canary.build"],
    "network": ["--model.net", "config_canary.Model"],
    "network file": ["--model.net", "part.yaml"],
    "config as text": ["--config", "model: {class_path: config_canary.Model}"],
    "python tag": ["--model", "{class_path: !!python/object/apply:config_canary.build []}"],
}


@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    """A module that anybody may import, and nobody has; each test says so at its end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{CANARY}.py").write_text("class Model:\n    pass\ndef build(*args):\n    return Model()\n")
    (tmp_path / "part.yaml").write_text("class_path: config_canary.Model\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield
    imported = sys.modules.pop(CANARY, None)
    assert imported is None


SAID = (
    "not allowed in a config",
    "plain data only",
    "is not the dotted name",
    "must be the dotted name",
    "unknown model",
    "has no option",
    "aliases are written out",
    "contains itself",
    "nested more than",
    "must be a number",
    "command line only",
    "no config",
)
"""A refusal must be one of these: another error of code 2 would mean that the check let the config pass."""


def refused(words, capsys):
    code = main(words)
    err = capsys.readouterr().err
    assert code == 2, err
    assert any(words in err for words in SAID), err
    assert len(err.splitlines()) == 1, err
    assert len(err) < 700
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["fit", "info"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_hostile_config_is_refused(name, command, tmp_path, capsys):
    (tmp_path / "x.yaml").write_text(CONFIGS[name])
    refused([command, "--config", "x.yaml"], capsys)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_hostile_option_is_refused(name, tmp_path, capsys):
    (tmp_path / "x.yaml").write_text(VDM)
    refused(["fit", "--config", "x.yaml", *OPTIONS[name]], capsys)


def test_printing_the_config_or_help_imports_nothing_either(tmp_path, capsys):
    (tmp_path / "x.yaml").write_text(CONFIGS["callback"])
    refused(["fit", "--config", "x.yaml", "--print_config"], capsys)
    refused(["fit", "--config", "x.yaml", "--model.help", "config_canary.Model"], capsys)
    refused(["fit", "--data.help=config_canary.Model"], capsys)
