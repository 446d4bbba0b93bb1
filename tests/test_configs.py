"""Every shipped config is complete: it is checked, built at its own size on the meta device, and takes a step small."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from videodiff.cli import main
from videodiff.config import read_configs

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


def first_stage(config):
    """The config of the first stage that a config stands on, or None."""
    part = yaml.safe_load(config.read_text())["model"]["init_args"].get("autoencoder", {})
    is_first_stage = part.get("class_path", "").rpartition(".")[2] == "FirstStage"
    return config.with_name(f"{part['init_args']['checkpoint']}.yaml") if is_first_stage else None


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where first stages are trained, once each, under the names that second stages look for."""
    return tmp_path_factory.mktemp("home")


# One of each kind of network, sampler, loss and rate; vdm_digits and others of digits are trained all over the suite.
TRAINED = {
    "causal_digits", "dit_clouds", "latte_ucf101", "lvdm_autoencoder_sky", "lvdm_interpolation_sky",
    "pvdm_autoencoder_sky", "pvdm_clouds", "pvdm_ucf101", "vdm_bair", "vdm_ucf101",
}  # fmt: skip


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_every_config_is_read_and_checked_as_it_is_and_in_its_small_form(config):
    for names in ([config.stem], [config.stem, "with/smoke"]):
        assert {"model", "data", "trainer"} <= set(read_configs(names, "fit"))


@pytest.mark.parametrize(
    "config",
    [pytest.param(c, marks=() if c.stem in TRAINED else pytest.mark.slow, id=c.stem) for c in CONFIGS],
)
def test_a_config_takes_two_steps_in_its_small_form(config, home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    before = first_stage(config)
    if before is not None and not Path("runs", before.stem).exists():
        assert main(["fit", "--config", str(before), "--config", "with/smoke", "--name", before.stem]) == 0
    out = tmp_path / "run"
    assert main(["fit", "--config", str(config), "--config", "with/smoke", "--out", str(out)]) == 0
    assert (out / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("config", [c for c in CONFIGS if first_stage(c)], ids=lambda p: p.stem)
def test_a_second_stage_reads_clips_of_the_size_of_its_first_stage(config):
    sizes = [
        yaml.safe_load(path.read_text())["data"]["init_args"]["resolution"]
        for path in (config, first_stage(config))
    ]
    assert sizes[0] == sizes[1]  # the small form has one size for both, and does not see it


@pytest.mark.parametrize(
    ("config", "net", "autoencoder"),
    [
        ("lvdm_sky", 548_904_580, 19_446_759),
        pytest.param("lvdm_ucf101", 548_904_580, 19_446_759, marks=pytest.mark.slow),
        pytest.param("lvdm_taichi", 548_904_580, 19_446_759, marks=pytest.mark.slow),
        ("lvdm_prediction_sky", 549_163_908, 19_446_759),
        ("lvdm_interpolation_sky", 549_181_060, 19_446_759),
        ("pvdm_sky", 528_273_412, 62_064_399),
        ("latte_ucf101", 673_780_624, 83_653_863),
        pytest.param("pvdm_ucf101", 528_273_412, 62_064_399, marks=pytest.mark.slow),
    ],
)
def test_published_sizes_without_a_trained_first_stage(
    config, net, autoencoder, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main(["info", config, "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == {"net": net, "autoencoder": autoencoder}


def test_the_first_stage_that_is_missing_is_named_with_its_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert (
        main(["fit", "--config", "pvdm_sky", "--config", "with/small", "--data.dataset", "bouncing_digits"])
        == 2
    )
    assert "videodiff fit --config pvdm_autoencoder_sky" in capsys.readouterr().err


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_a_config_says_on_its_first_line_what_it_is(config):
    first = config.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 30


def test_a_shipped_config_is_found_by_name_from_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["info", "vdm_bair", "--quick", "--json"]) == 0
    # Ho et al. 2022, appendix A, BAIR column in our reading of the architecture
    assert '"net": 158760195' in capsys.readouterr().out
    assert torch.cuda.is_available() or torch.get_default_device().type == "cpu"
