"""scripts/measure_drift.py on videos whose drift is known, and whole on an untrained run."""

import importlib.util
import json
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from videodiff.cli import main
from videodiff.data import BouncingDigits
from videodiff.metrics.features import EvaluatorFeatures

spec = importlib.util.spec_from_file_location(
    "measure_drift", Path(__file__).parent.parent / "scripts" / "measure_drift.py"
)
drift = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = drift  # dataclasses look their module up
spec.loader.exec_module(drift)


def digits(split: str, count: int, frames: int) -> torch.Tensor:
    return drift.real_videos(split, count, frames, 32)


def test_real_videos_do_not_drift_and_another_digit_is_seen():
    videos = digits("test", 4, 64)
    other = BouncingDigits("test", 40, 64, 32)
    labels = [other.labels[i] for i in range(4)]
    for row in range(4):  # from the third window on another digit flies
        index = next(i for i in range(40) if other.labels[i] != labels[row])
        videos[row, 32:48] = other.read(index, 32, 16, 1)
    videos[:, 48:] //= 4  # and the fourth is darker
    found = drift.figures(videos, EvaluatorFeatures())
    assert found["kept"][:, :2].min() == 1
    assert found["kept"][:, 2].mean() <= 0.25  # the reader of digits mistakes a few
    assert found["present"][:, :3].min() == 1
    assert found["brightness"][:, 3].max() < 0.5 * found["brightness"][:, 0].min()
    assert found["features"].shape == (4, 4, 128)
    curves = drift.curves(found, torch.randn(40, 128, generator=torch.Generator().manual_seed(0)).numpy(), 2)
    assert [p["frame"] for p in curves["kept"]] == [16, 48]
    assert curves["kept"][0]["value"] == 1
    assert all(p["low"] <= p["value"] <= p["high"] for curve in curves.values() for p in curve)


@pytest.mark.parametrize(
    ("config", "settings", "ways"),
    [
        ("lvdm_digits", drift.SETTINGS, 2),
        pytest.param("forcing_digits", drift.OF_FORCING, 3, marks=pytest.mark.slow),
    ],
)
def test_every_setting_of_a_run_is_measured_and_drawn(config, settings, ways, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("lvdm_autoencoder_digits", config):
        assert main(["fit", "--config", name, "--config", "with/smoke"]) == 0
    words = [f"runs/{config}", "--num_videos", "4", "--num_real", "4", "--frames", "32", "--bins", "2"]
    assert drift.main([*words, "--steps", "2/1", "--out", "pictures/drift"]) == 0
    result = json.loads(Path("pictures/drift.json").read_text())
    assert len(result["settings"]) == len(settings) == {2: 8, 3: 9}[ways]
    assert len({json.dumps(entry["setting"]) for entry in result["settings"]}) == len(settings)
    for entry in (result["real"], *(entry["curves"] for entry in result["settings"])):
        assert set(drift.PANELS) <= set(entry)
        assert all([p["frame"] for p in curve] == [8, 24] for curve in entry.values())
    lines = ElementTree.parse("pictures/drift.svg").findall(".//{*}polyline")
    assert len(lines) == len(drift.PANELS) * (
        ways + len(settings)
    )  # real clips beside the settings of each way
    with pytest.raises(SystemExit, match="bins that divide"):
        drift.main([*words, "--bins", "3"])
    with pytest.raises(SystemExit, match="AutoencoderModule; drift is measured of LVDM and Diff"):
        drift.main(["runs/lvdm_autoencoder_digits", *words[1:]])
