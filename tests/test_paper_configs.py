"""The papers' configs: what they leave to defaults.yaml has a source each, and one data set lies in one place."""

from pathlib import Path

import pytest
import yaml

import videodiff

CONFIGS = Path(__file__).parent.parent / "configs"
DEFAULTS = yaml.safe_load(Path(videodiff.__file__).with_name("defaults.yaml").read_text())
BUILT_IN = ("digits", "clouds")
PAPER = sorted(path for path in CONFIGS.glob("*.yaml") if not path.stem.endswith(BUILT_IN))

# Keys of defaults.yaml that decide where a run computes, or when it looks and writes, and no weight.
ANYWHERE = {
    "seed_everything": "ours: the papers name no seed",
    "trainer.accelerator": "the machine's",
    "trainer.devices": "the machine's; data.batch_size is that of a whole step",
    "trainer.strategy": "the machine's; DDP computes the same step",
    "trainer.val_check_interval": "ours: changes no weight",
    "trainer.check_val_every_n_epoch": "ours: changes no weight",
    "trainer.num_sanity_val_steps": "ours: changes no weight",
    "trainer.log_every_n_steps": "ours: changes no weight",
    "trainer.enable_progress_bar": "ours: changes no weight",
    "trainer.enable_model_summary": "ours: changes no weight",
}
NO_AVERAGE = "no effect: a first stage has no average of its weights, as in the published code"
# What else the configs of a family may take from defaults.yaml, and where its value is from.
INHERITED = {
    "vdm": {
        "trainer.precision": "ours: Ho et al. 2022 do not say",
        "trainer.gradient_clip_val": "ours: Ho et al. 2022 do not say",
    },
    "vdm_sky": {"ema.decay": "Ho et al. 2022, appendix A (0.9999 but for BAIR); the paper has no such run"},
    "lvdm": {"trainer.precision": "ours: YingqingHe/LVDM trains in fp32 (--trainer.precision 32-true)"},
    "lvdm_autoencoder": {
        "trainer.precision": "ours: YingqingHe/LVDM trains in fp32 (--trainer.precision 32-true)",
        "ema.decay": NO_AVERAGE,
    },
    "latte": {"trainer.precision": "ours: Ma et al. 2024 do not say"},
    "pvdm": {
        "trainer.precision": "ours: sihyun-yu/PVDM trains the U-Net in fp32 (--trainer.precision 32-true)"
    },
    "pvdm_autoencoder": {
        "trainer.precision": "ours: sihyun-yu/PVDM trains under fp16 autocast with a loss scale",
        "ema.decay": NO_AVERAGE,
    },
}


def flat(part, name=""):
    """Values of nested mappings by dotted key."""
    if not isinstance(part, dict):
        return {name: part}
    return {k: v for key, value in part.items() for k, v in flat(value, f"{name}.{key}".lstrip(".")).items()}


def sources(stem):
    """What a config may inherit: the entries of every family that its name begins with."""
    families = [family for family in INHERITED if stem == family or stem.startswith(family + "_")]
    if any(
        family.endswith("_autoencoder") for family in families
    ):  # a first stage is not of its second's family
        families = [family for family in families if family.endswith("_autoencoder")]
    return {key: source for family in families for key, source in INHERITED[family].items()}


@pytest.mark.parametrize("config", PAPER, ids=lambda path: path.stem)
def test_every_value_that_a_papers_config_takes_from_the_defaults_has_a_source(config):
    own = flat(yaml.safe_load(config.read_text()))
    inherited = {key for key in flat(DEFAULTS) if key not in own}
    known = ANYWHERE | sources(config.stem)
    assert all(known.values())
    assert inherited <= set(known), "find its source in the paper or the code, then set it or name it above"
    named_for_nothing = set(sources(config.stem)) - inherited - set(own)
    assert not named_for_nothing


@pytest.mark.parametrize("config", PAPER, ids=lambda path: path.stem)
def test_gradients_are_clipped_as_the_published_code_does(config):
    content = yaml.safe_load(config.read_text())
    clip = content["trainer"].get("gradient_clip_val", DEFAULTS["trainer"]["gradient_clip_val"])
    judges = content["model"]["init_args"].get("discriminator_clip")
    family = config.stem.partition("_")[0]
    is_first_stage = "autoencoder" in config.stem.split("_")
    assert clip == {"vdm": 1.0, "latte": 0.1}.get(family)
    assert judges == (1.0 if family == "pvdm" and is_first_stage else None)


def test_one_data_set_has_one_root_in_all_configs():
    roots = {}
    for config in PAPER:
        data_set = config.stem.rpartition("_")[2]
        roots.setdefault(data_set, {}).setdefault(
            yaml.safe_load(config.read_text())["data"]["init_args"]["root"], []
        ).append(config.stem)
    assert set(roots) >= {"sky", "ucf101", "taichi", "bair", "kinetics600"}
    assert {name: sorted(found) for name, found in roots.items() if len(found) > 1} == {}


@pytest.mark.parametrize("config", [c for c in PAPER if "autoencoder" in c.stem], ids=lambda path: path.stem)
def test_both_stages_read_one_data_set_in_one_way(config):
    second = config.with_name(config.name.replace("_autoencoder", ""))
    first, second = (yaml.safe_load(path.read_text())["data"]["init_args"] for path in (config, second))
    for key in ("root", "layout", "preset", "resolution", "resize", "fps", "frame_stride"):
        assert first.get(key) == second.get(key), key
