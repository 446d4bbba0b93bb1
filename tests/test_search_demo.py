"""scripts/search_demo.py: equal seconds, a table, and no setting done twice."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from videodiff.cli.demo_plan import MODELS
from videodiff.config import find_config, read_configs

SCRIPT = Path(__file__).parent.parent / "scripts" / "search_demo.py"
spec = importlib.util.spec_from_file_location("search_demo", SCRIPT)
search_demo = importlib.util.module_from_spec(spec)
spec.loader.exec_module(search_demo)


def test_every_candidate_is_an_overlay_that_its_stage_takes_and_changes_it(tmp_path):
    for model, name, setting in search_demo.settings(search_demo.CANDIDATES, list(MODELS)):
        assert {*setting.get("stages", {})} <= {stage.config for stage in MODELS[model]}
        for config, overlay in setting.get("stages", {}).items():
            path = tmp_path / "overlay.yaml"
            path.write_text(yaml.safe_dump(overlay))
            names = [find_config(config), find_config(search_demo.OVERLAY)]
            assert read_configs([*names, path], "fit") != read_configs(names, "fit"), name


def test_an_interrupted_search_goes_on_and_its_table_has_the_best_first(tmp_path, monkeypatch, capsys):
    done = []

    def trained(model, setting, seed, seconds, overlays, place):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((setting.get("share"), seed))
        return place, {
            "steps": {"first": 10, "second": 20},
            "cpu_seconds": {"first": 4.0, "second": seconds - 4},
        }

    def measured(run, num_clips, steps):
        share, seed = done[-1]
        value = 100 * (share or 0.9) + seed
        return {"evaluator_fd": {"value": value, "interval": [value - 1, value + 1]}, "frozen_frames": 137.0}

    monkeypatch.setattr(search_demo, "trained", trained)
    monkeypatch.setattr(search_demo, "measured", measured)
    candidates = tmp_path / "candidates.yaml"
    candidates.write_text(yaml.safe_dump({"lvdm_digits": {"as it is": {}, "half": {"share": 0.5}}}))
    words = ["--out", str(tmp_path / "out"), "--candidates", str(candidates), "--models", "lvdm_digits"]
    words += ["--seeds", "0", "1", "--seconds", "9"]
    with pytest.raises(KeyboardInterrupt):
        search_demo.main(words)
    results = tmp_path / "out" / "results.jsonl"
    results.write_text(results.read_text() + '{"model": "lv')  # as an interruption may leave it
    first, done[:] = list(done), []
    assert first == [(None, 0), (0.5, 0), (None, 1)]
    results.write_text(results.read_text().rpartition("\n")[0] + "\n")
    assert search_demo.main(words) == 0
    assert done == [(0.5, 1)]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| lvdm")]
    assert rows == [
        "| lvdm_digits | half | 10 / 20 | 9 | 50 (49 to 51); 51 (50 to 52) | –; – | 50.5 / – |",
        "| lvdm_digits | as it is | 10 / 20 | 9 | 90 (89 to 91); 91 (90 to 92) | –; – | 90.5 / – |",
    ]
    assert (
        search_demo.main([*words, "--table", "--num_clips", "7"]) == 0
    )  # asked for otherwise: another table
    assert "| lvdm" not in capsys.readouterr().out
    assert all(json.loads(line)["seconds"] == 9 for line in results.read_text().splitlines())


@pytest.mark.slow
def test_the_search_trains_and_measures_in_its_smallest_form(tmp_path, capsys):
    words = [
        "--out",
        str(tmp_path),
        "--models",
        "lvdm_digits",
        "--seeds",
        "0",
        "--seconds",
        "0.5",
        "--num_clips",
        "4",
    ]
    candidates = tmp_path / "candidates.yaml"
    candidates.write_text(yaml.safe_dump({"lvdm_digits": {"half": {"share": 0.5}}}))
    words += ["--steps", "1", "--overlay", "with/smoke", "--candidates", str(candidates)]
    assert search_demo.main(words) == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| lvdm")]
    assert "nan" not in row
    (line,) = (tmp_path / "results.jsonl").read_text().splitlines()
    record = json.loads(line)
    assert {*record["steps"]} == {"lvdm_autoencoder_digits", "lvdm_digits"}
    assert record["metrics"]["evaluator_fd"]["value"] > 0
