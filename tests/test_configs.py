"""Every shipped config is complete: it is checked, built at its own size on the meta device, and takes a step small."""

from pathlib import Path

import pytest
import torch

from videodiff.cli import main

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_a_config_takes_two_steps_in_its_small_form(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", str(config), "--config", "with/smoke", "--out", "run"]) == 0
    assert (tmp_path / "run" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.parametrize("config", CONFIGS, ids=lambda p: p.stem)
def test_a_config_says_on_its_first_line_what_it_is(config):
    first = config.read_text().splitlines()[0]
    assert first.startswith("# ")
    assert len(first) > 30


def test_a_shipped_config_is_found_by_name_from_anywhere(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["info", "vdm_bair", "--json"]) == 0
    # Ho et al. 2022, appendix A, BAIR column in our reading of the architecture
    assert '"net": 158760195' in capsys.readouterr().out
    assert torch.cuda.is_available() or torch.get_default_device().type == "cpu"
