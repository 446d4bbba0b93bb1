import sys

import pytest

from videodiff.config import trust

ALLOWED = [
    "torch.optim.AdamW",
    "torch.optim.lr_scheduler.CosineAnnealingLR",
    "torch.nn.Linear",
    "torch.nn.modules.linear.Linear",
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.loggers.TensorBoardLogger",
    "pytorch_lightning.plugins.environments.SLURMEnvironment",
    "pytorch_lightning.strategies.DDPStrategy",
    "torchmetrics.MeanMetric",
    "videodiff.diffusion.CosineSchedule",
    "AdamW",
    "ModelCheckpoint",
]

OUTSIDE = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.load",
    "torch.hub.load",
    "torch.optimizer_of_mine.X",
    "torchmetrics_extra.X",
    "videodiff_evil.Model",
    "lightning_fabric.Fabric",
    "trust_canary.Model",
    "jsonargparse.set_parsing_settings",
]

ESCAPES = [
    "torch.nn.functional.os",
    "torch.nn.functional.importlib.import_module",
    "torch.optim.sys",
    "torch.optim.optimizer.functools.partial",
    "torch.optim.optimizer.defaultdict",
    "torch.nn.modules.module.torch.load",
    "pytorch_lightning.cli.os.system",
    "pytorch_lightning.trainer.trainer.os",
    "pytorch_lightning.callbacks.lambda_function.LambdaCallback",
    "pytorch_lightning.callbacks.LambdaCallback",
    "pytorch_lightning.cli.LightningCLI",
    "videodiff.config.trust.importlib.import_module",
    "videodiff.cli.errors.one_line",
]

NOT_CLASSES = [
    "torch.nn.functional.relu",
    "torch.nn.functional",
    "torch.nn",
    "torch.nn.Module.__init__",
    "torch.nn.Module.__init__.__globals__",
    "torch.nn.Module.apply",
    "videodiff.seeding.key_to_seed",
    "pytorch_lightning.seed_everything",
    "torch.optim.AdamW; import os",
    "../evil.Model",
    "",
    ".",
    "a b.c",
    "torch.nn..Linear",
]


@pytest.fixture
def canary(tmp_path, monkeypatch):
    (tmp_path / "trust_canary.py").write_text("class Model:\n    pass\ndef build():\n    return Model()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "trust_canary"
    sys.modules.pop("trust_canary", None)


@pytest.mark.parametrize("path", ALLOWED)
def test_classes_of_the_allowed_packages_pass(path):
    trust.check_class_path(path)


@pytest.mark.parametrize("path", [*OUTSIDE, *ESCAPES, *NOT_CLASSES])
def test_everything_else_is_refused_in_one_line(path, canary):
    with pytest.raises(ValueError) as error:
        trust.check_class_path(path)
    assert len(str(error.value).splitlines()) <= 1
    assert canary not in sys.modules


@pytest.mark.parametrize("value", [None, 3, ["os.system"], {"class_path": "x"}])
def test_a_path_must_be_text(value):
    with pytest.raises(ValueError, match="dotted name"):
        trust.check_class_path(value)


def test_a_trusted_module_is_allowed_and_only_that_one(canary):
    assert trust.resolve("trust_canary.Model", ["trust_canary"]).__name__ == "Model"
    with pytest.raises(ValueError, match="--trust"):
        trust.check_class_path("trust_canary2.Model", ["trust_canary"])
    with pytest.raises(ValueError, match="not a class"):
        trust.check_class_path("trust_canary.build", ["trust_canary"])


def test_a_class_planted_in_an_allowed_module_is_refused(canary, monkeypatch):
    import torch

    planted = type("Planted", (), {"__module__": "somewhere.else"})
    monkeypatch.setattr(torch.nn, "Planted", planted, raising=False)
    with pytest.raises(ValueError, match=r"defined in 'somewhere\.else'"):
        trust.check_class_path("torch.nn.Planted")


def test_a_builder_needs_a_return_annotation(monkeypatch):
    import videodiff.diffusion as room

    def annotated() -> room.CosineSchedule:
        return room.CosineSchedule()

    def bare():
        return room.CosineSchedule()

    for function in (annotated, bare):
        function.__module__, function.__qualname__ = "videodiff.diffusion", function.__name__
        monkeypatch.setattr(room, function.__name__, function, raising=False)
    assert trust.resolve("videodiff.diffusion.annotated") is annotated
    with pytest.raises(ValueError, match="not a class"):
        trust.resolve("videodiff.diffusion.bare")


def test_an_unknown_name_comes_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'AdamW'"):
        trust.check_class_path("torch.optim.AdmaW")
    with pytest.raises(ValueError, match="did you mean 'CosineSchedule'"):
        trust.check_class_path("CosineSchedul")


def test_a_tree_is_searched_everywhere(canary):
    hidden = {
        "a": [
            {
                "b": {
                    "class_path": "torch.nn.Linear",
                    "init_args": {"c": ({"class_path": "trust_canary.Model"},)},
                }
            }
        ]
    }
    with pytest.raises(ValueError, match=r"trust_canary\.Model"):
        trust.check_tree(hidden)
    trust.check_tree(hidden, ["trust_canary"])


def test_jsonargparse_has_the_same_wall_while_guarded(canary):
    import jsonargparse
    import torch

    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=torch.nn.Module)
    with trust.guarded_jsonargparse() as known:
        if not known:
            pytest.skip("this jsonargparse has no allow-list of its own")
        parser.parse_object({"part": {"class_path": "torch.nn.Identity"}})
        with pytest.raises(jsonargparse.ArgumentError):
            parser.parse_object({"part": {"class_path": "trust_canary.Model"}})
    assert canary not in sys.modules
    with pytest.raises(jsonargparse.ArgumentError, match="subclass"):
        parser.parse_object({"part": {"class_path": "collections.OrderedDict"}})
