"""Wrong configs and options: exit code 2, at most three lines, the key and the nearest valid name, no traceback."""

import pytest

from videodiff.cli import main

RIGHT = """
model:
  class_path: videodiff.models.VDM
  init_args:
    net: {class_path: videodiff.networks.UNet3D, init_args: {resolution: 16, num_frames: 4, width: 16}}
    schedule: {class_path: videodiff.diffusion.CosineSchedule}
    sampler: {class_path: videodiff.diffusion.DDIMSampler, init_args: {num_steps: 4}}
    optimizer: {class_path: torch.optim.AdamW, init_args: {lr: 1e-4}}
data:
  class_path: videodiff.data.VideoDataModule
  init_args: {dataset: bouncing_digits, num_frames: 4, resolution: 16, batch_size: 2}
trainer: {max_steps: 2, callbacks: [{class_path: pytorch_lightning.callbacks.LearningRateMonitor}]}
"""

# (what is wrong in the file: old text -> new text, words that the error line must hold)
FILES = {
    "unknown top-level key": ("trainer:", "trianer:", ["'trianer'", "'trainer'"]),
    "unknown trainer key": ("max_steps", "max_stpes", ["max_stpes", "'max_steps'"]),
    "unknown model": (
        "videodiff.models.VDM",
        "videodiff.models.VDMX",
        ["unknown model", "VDMX", "'VDM'", "Models: ", "VDM"],
    ),
    "unknown model, short": ("videodiff.models.VDM", "VDMX", ["unknown model 'VDMX'", "'VDM'"]),
    "unknown network": ("videodiff.networks.UNet3D", "videodiff.networks.UNet", ["unknown net", "'UNet3D'"]),
    "unknown schedule": ("CosineSchedule", "CosinSchedule", ["unknown schedule", "'CosineSchedule'"]),
    "unknown sampler, short": (
        "videodiff.diffusion.DDIMSampler",
        "DIMSampler",
        ["unknown sampler", "'DDIMSampler'"],
    ),
    "unknown optimizer": ("torch.optim.AdamW", "torch.optim.AdmaW", ["unknown optimizer", "'AdamW'"]),
    "unknown data module": (
        "VideoDataModule",
        "VideoDatamodul",
        ["unknown data module", "'VideoDataModule'"],
    ),
    "unknown callback": (
        "LearningRateMonitor",
        "LearnigRateMonitor",
        ["unknown callback", "'LearningRateMonitor'"],
    ),
    "unknown model option": ("schedule:", "shcedule:", ["model", "'shcedule'", "'schedule'"]),
    "unknown parent's option": ("optimizer:", "optimiser:", ["'optimiser'", "'optimizer'"]),
    "unknown network option": ("width", "widht", ["model.net UNet3D", "'widht'", "'width'"]),
    "unknown sampler option": ("num_steps", "num_step", ["model.sampler", "'num_step'", "'num_steps'"]),
    "unknown optimizer option": (
        "lr:",
        "learning_rate:",
        ["model.optimizer AdamW", "'learning_rate'", "Options: "],
    ),
    "unknown data option": ("batch_size", "batchsize", ["'batchsize'", "'batch_size'"]),
    "not a subclass": ("videodiff.diffusion.CosineSchedule", "torch.nn.Linear", ["Linear", "NoiseSchedule"]),
    "a network for a model": (
        "videodiff.models.VDM",
        "videodiff.networks.UNet3D",
        ["UNet3D", "LightningModule", "VDM"],
    ),
    "key beside class_path": ("init_args: {num_steps", "initargs: {num_steps", ["'initargs'", "'init_args'"]),
    "arguments not a mapping": ("{num_steps: 4}", "[4]", ["init_args", "model.sampler", "mapping"]),
    "text for a number": ("max_steps: 2", "max_steps: abc", ["trainer.max_steps", "'abc'"]),
    "list for a number": ("width: 16", "width: [16]", ["model.net.width", "whole number"]),
    "fraction for a whole number": ("width: 16", "width: 16.5", ["model.net.width", "16.5"]),
    "wrong choice": ("bouncing_digits", "bouncing_digit", ["data.dataset", "'bouncing_digits'"]),
    "negative rate": ("lr: 1e-4", "lr: -1", ["model.optimizer.lr", "above 0"]),
    "zero rate": ("lr: 1e-4", "lr: 0", ["model.optimizer.lr", "above 0"]),
    "rate nan": ("lr: 1e-4", "lr: nan", ["model.optimizer.lr", "finite"]),
    "rate .nan": ("lr: 1e-4", "lr: .nan", ["model.optimizer.lr", "finite"]),
    "rate inf": ("lr: 1e-4", "lr: .inf", ["model.optimizer.lr", "finite"]),
    "rate not a number": ("lr: 1e-4", "lr: fast", ["model.optimizer.lr", "'fast'"]),
    "no batch": ("batch_size: 2", "batch_size: 0", ["data.batch_size", "1 or above"]),
    "no frames": (
        "num_frames: 4, resolution: 16, batch",
        "num_frames: 0, resolution: 16, batch",
        ["num_frames", "1 or"],
    ),
    "negative devices": ("max_steps: 2", "devices: -5", ["trainer.devices", "-5"]),
    "zero steps": ("max_steps: 2", "max_steps: 0", ["trainer.max_steps", "from 1 to"]),
    "duplicate key": ("trainer:", "data: {}\ntrainer:", ["'data'", "twice", ":12"]),
    "broken YAML": ("{class_path: videodiff.diffusion.CosineSchedule}", "{class_path: [", ["x.yaml:"]),
    "trainer not a mapping": ("{max_steps: 2, callbacks", "[{max_steps: 2, callbacks", ["x.yaml"]),
    "trust in a file": ("trainer:", "trust: [os]\ntrainer:", ["command line only"]),
    "loading without weights_only": ("trainer:", "weights_only: false\ntrainer:", ["weights_only"]),
    "missing part file": (
        "{class_path: videodiff.diffusion.CosineSchedule}",
        "nets/small.yaml",
        ["nets/small.yaml"],
    ),
    "not a class": (
        "videodiff.diffusion.CosineSchedule",
        "videodiff.seeding.uniform",
        ["uniform", "not a class"],
    ),
    "Trainer's own literal": ("max_steps: 2", "precision: bf17-mixed", ["trainer.precision", "'bf16-mixed'"]),
}

OPTIONS = {
    "unknown class": (["--model", "VDMX"], ["--model", "unknown model 'VDMX'", "'VDM'"]),
    "unknown trainer option": (["--trainer.max_stpes", "3"], ["--trainer.max_stpes", "'max_steps'"]),
    "unknown deep option": (["--model.net.init_args.widht", "3"], ["--model.net.init_args.widht", "'width'"]),
    "unknown deep option, short": (["--model.net.widht=3"], ["--model.net.widht", "'width'"]),
    "unknown data option": (["--data.rooot", "x"], ["--data.rooot", "'root'"]),
    "unknown group": (["--modle.net.width", "3"], ["--modle.net.width", "'--model.net.width'"]),
    "unknown callback option": (["--ema.decya", "0.9"], ["--ema.decya", "'decay'"]),
    "no value": (["--trainer.max_steps"], ["--trainer.max_steps", "needs a value"]),
    "no value before another": (
        ["--trainer.max_steps", "--data.root", "x"],
        ["--trainer.max_steps", "needs a value"],
    ),
    "stray word": (["max_steps=3"], ["max_steps=3", "start with --"]),
    "bad number": (["--trainer.max_steps", "abc"], ["--trainer.max_steps", "'abc'"]),
    "bad range": (["--data.batch_size", "0"], ["--data.batch_size", "1 or above"]),
    "bad rate": (["--model.optimizer.lr", "nan"], ["--model.optimizer.lr", "finite"]),
    "bad rate, inf": (["--model.optimizer.init_args.lr=inf"], ["--model.optimizer.init_args.lr", "finite"]),
    "negative number": (["--trainer.devices", "-5"], ["--trainer.devices", "-5"]),
    "wrong kind of class": (["--model.sampler", "CosineSchedule"], ["--model.sampler", "Sampler"]),
    "old class's option": (
        ["--model.sampler", "AncestralSampler", "--model.sampler.eta", "1"],
        ["--model.sampler.eta", "eta"],
    ),
    "unknown class in a list": (
        ["--trainer.callbacks", "LearningRateMonitr"],
        ["--trainer.callbacks", "'LearningRateMonitor'"],
    ),
    "broken flow mapping": (["--trainer.callbacks", "[{class_path: "], ["--trainer.callbacks"]),
    "unknown config": (["--config", "vdm_digts"], ["vdm_digts", "'vdm_digits'"]),
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.yaml").write_text(RIGHT)
    return tmp_path / "x.yaml"


def refused(words, capsys):
    assert main(words) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert 1 <= len(err.splitlines()) <= 3
    return err


@pytest.mark.parametrize("command", ["fit", "info"])
@pytest.mark.parametrize("name", FILES)
def test_a_wrong_config_is_refused(name, command, config, capsys):
    old, new, words = FILES[name]
    assert RIGHT.count(old) >= 1
    config.write_text(RIGHT.replace(old, new, 1))
    err = refused([command, "--config", "x.yaml"], capsys)
    assert all(word in err for word in words), err


@pytest.mark.parametrize("name", OPTIONS)
def test_a_wrong_option_is_refused(name, config, capsys):
    options, words = OPTIONS[name]
    err = refused(["fit", "--config", "x.yaml", *options], capsys)
    assert all(word in err for word in words), err


def test_an_overlay_is_checked_with_what_it_changes(config, tmp_path, capsys):
    (tmp_path / "over.yaml").write_text("model: {init_args: {net: {init_args: {widht: 8}}}}")
    err = refused(["info", "x.yaml", "over.yaml"], capsys)
    assert "over.yaml" in err
    assert "'width'" in err


def test_a_part_in_a_file_of_its_own_is_checked_too(config, tmp_path, capsys):
    (tmp_path / "net.yaml").write_text("class_path: UNet3D\ninit_args: {widht: 8}\n")
    err = refused(["info", "x.yaml", "--model.net", "net.yaml"], capsys)
    assert "net.yaml" in err
    assert "'width'" in err
