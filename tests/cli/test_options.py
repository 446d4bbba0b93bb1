import copy

import pytest

from videodiff.cli.commands import fit, test
from videodiff.config import check_config, check_options, find_config, load_yaml, merge, shipped_configs
from videodiff.config.merge import class_names
from videodiff.config.options import split_options
from videodiff.config.overlay import plain_config, words_of
from videodiff.config.signatures import accepts, class_hint, parameters
from videodiff.usage import UsageError

CONFIG = {
    "model": {
        "class_path": "videodiff.models.VDM",
        "init_args": {
            "net": {"class_path": "videodiff.networks.UNet3D", "init_args": {"width": 16}},
            "sampler": {
                "class_path": "videodiff.diffusion.DDIMSampler",
                "init_args": {"num_steps": 4, "eta": 1.0},
            },
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1e-4}},
        },
    },
    "data": {"class_path": "videodiff.data.VideoDataModule", "init_args": {"num_frames": 4}},
    "trainer": {"max_steps": 2},
}


def changed(*argv, config=CONFIG):
    return check_options(list(argv), "fit", config)


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_config_passes_the_check(name):
    if not name.startswith("with/"):
        check_config(load_yaml(find_config(name)), name, "fit")
        return
    for model in ("vdm_ucf101", "lvdm_sky", "pvdm_sky", "pvdm_autoencoder_sky"):
        before = load_yaml(find_config(model))
        overlay = load_yaml(find_config(name))
        used = class_names(before["model"])
        if "for" in overlay and not any(used.issuperset(words_of(key)) for key in overlay["for"]):
            continue  # an overlay that says nothing to this model
        check_config(merge(before, plain_config(overlay, before, name)), name, "fit")


@pytest.mark.parametrize(
    ("argv", "where", "value"),
    [
        (["--model.net.width", "8"], "model.init_args.net.init_args.width", "8"),
        (["--model.init_args.net.init_args.width=8"], "model.init_args.net.init_args.width", "8"),
        (["--model.optimizer.lr", "1e-3"], "model.init_args.optimizer.init_args.lr", "1e-3"),
        (["--data.root", "clips/mine.v2"], "data.init_args.root", "clips/mine.v2"),
        (["--trainer.max_steps", "-1"], "trainer.max_steps", "-1"),
        (["--trainer.devices", "[0, 1]"], "trainer.devices", [0, 1]),
        (["--trainer.strategy", "ddp"], "trainer.strategy", "ddp"),
        (["--trainer.precision", "bf16-mixed"], "trainer.precision", "bf16-mixed"),
        (["--trainer.max_time", "00:00:05:00"], "trainer.max_time", "00:00:05:00"),
        (["--trainer.logger", "false"], "trainer.logger", "false"),
        (["--trainer.profiler", "simple"], "trainer.profiler", "simple"),
        (["--trainer.limit_val_batches", "0.5"], "trainer.limit_val_batches", "0.5"),
        (["--seed_everything", "3"], "seed_everything", "3"),
        (
            ["--model.sampler.class_path", "AncestralSampler"],
            "model.init_args.sampler.class_path",
            "AncestralSampler",
        ),
        (["--trainer.callbacks", "EarlyStopping"], "trainer.callbacks", [{"class_path": "EarlyStopping"}]),
        (["--model.net.init_args", "{width: 9}"], "model.init_args.net.init_args.width", 9),
    ],
)
def test_an_option_lands_where_jsonargparse_would_put_it(argv, where, value):
    found = changed(*argv)
    for key in where.split("."):
        found = found[key]
    assert found == value


def test_a_new_class_drops_what_it_does_not_know_and_takes_its_own():
    sampler = changed("--model.sampler", "AncestralSampler", "--model.sampler.gamma", "0.3")
    sampler = sampler["model"]["init_args"]["sampler"]
    assert sampler["init_args"] == {"num_steps": 4, "gamma": "0.3"}


def test_options_go_to_the_last_of_a_list():
    argv = ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=val/loss"]
    argv += ["--trainer.callbacks+=LearningRateMonitor", "--trainer.callbacks.logging_interval=step"]
    names = [part["class_path"] for part in changed(*argv)["trainer"]["callbacks"]]
    assert names == ["EarlyStopping", "LearningRateMonitor"]
    with pytest.raises(UsageError, match=r"--trainer\.callbacks\.monitr.*'monitor'"):
        changed("--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitr=val/loss")


def test_the_config_given_is_left_alone():
    before = copy.deepcopy(CONFIG)
    changed("--model.net.width", "8", "--trainer.callbacks", "EarlyStopping")
    assert before == CONFIG


def test_our_own_flags_are_passed_over():
    argv = [
        "-c",
        "a",
        "--config",
        "b",
        "--trust",
        "x",
        "--out",
        "d",
        "--force",
        "-v",
        "--print_config=skip_default",
    ]
    assert list(split_options([*argv, "--a.b", "-5", "--c=d=e"])) == [("--a.b", "-5"), ("--c", "d=e")]


def test_parameters_follow_keywords_into_the_parents():
    class Parent:
        def __init__(self, a: int, b: str = "") -> None: ...

    class Child(Parent):
        def __init__(self, *args, c: float = 0.0, **kwargs) -> None: ...

    class Closed(Parent):
        def __init__(self, d: int) -> None: ...

    class Open:
        def __init__(self, **kwargs) -> None: ...

    assert set(parameters(Child).names) == {"a", "b", "c"}
    assert not parameters(Child).is_open
    assert parameters(Closed).names == ("d",)
    assert parameters(Open).is_open


def test_hints_are_read_one_by_one():
    """One annotation that cannot be evaluated hides no other, and text under it is not waved through."""
    from torch.optim.lr_scheduler import LambdaLR

    assert parameters(LambdaLR).hints["optimizer"] is not None
    config = copy.deepcopy(CONFIG)
    scheduler = {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "os.getcwd"}}
    config["model"]["init_args"]["lr_scheduler"] = scheduler
    with pytest.raises(UsageError, match=r"os\.getcwd"):
        check_config(config, "x.yaml", "fit")


@pytest.mark.parametrize(
    ("hint", "value", "verdict"),
    [
        (float, "1e-4", True),
        (float, "fast", False),
        (float, True, False),
        (int, "16", True),
        (int, 16.0, True),
        (int, 16.5, False),
        (int | None, None, True),
        (bool, "true", True),
        (bool, 1, False),
        (str, 3, True),
        (list[int], [1, 2], True),
        (list[int], [1, "x"], False),
        (tuple[int, ...], 3, False),
        (dict, {"a": 1}, None),
        (complex, "x", None),
    ],
)
def test_plain_values_are_judged_and_the_rest_is_left_open(hint, value, verdict):
    assert accepts(hint, value) is verdict


def test_the_class_wanted_by_a_hint():
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import torch

    assert class_hint(torch.nn.Module | None) is torch.nn.Module
    assert class_hint(Callable[[Iterable], torch.optim.Optimizer]) is torch.optim.Optimizer
    assert class_hint(str | Path | None) is None
    assert class_hint(list[torch.nn.Module]) is None


def test_classes_of_a_trusted_module_are_checked_like_ours(tmp_path, monkeypatch):
    source = "from torch import nn\n\nclass Net(nn.Module):\n    def __init__(self, width: int = 3): ...\n"
    (tmp_path / "my_parts.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    mine = {"model": {"init_args": {"net": {"class_path": "my_parts.Net"}}}}
    merged = merge(CONFIG, mine, trusted=["my_parts"])
    assert merged["model"]["init_args"]["net"]["init_args"] == {"width": 16}
    with pytest.raises(UsageError, match="--trust my_parts"):
        check_config(merged, "x.yaml", "fit")
    check_config(merged, "x.yaml", "fit", ["my_parts"])
    with pytest.raises(UsageError, match="did you mean 'width'"):
        check_options(["--model.net.widht=2"], "fit", merged, ["my_parts"])


def test_seed_is_short_for_seed_everything(monkeypatch):
    from videodiff.cli import main

    seen = []
    for verb, module in (("fit", fit), ("test", test)):
        monkeypatch.setattr(module, "run", lambda words, verb=verb: seen.append((verb, words)) or 0)
    assert main(["fit", "--seed", "3", "-v", "--data.seed=4"]) == 0
    assert main(["test", "--seed=3"]) == 0
    assert seen == [("fit", ["--seed_everything", "3", "--data.seed=4"]), ("test", ["--seed_everything=3"])]
