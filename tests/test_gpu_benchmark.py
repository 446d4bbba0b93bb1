"""benchmarks/gpu.py: whole in its smallest form, and a record that survives whatever a case does."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import gpu  # noqa: E402
from in_sections import Record, Section, run_sections  # noqa: E402


def hang(tell):
    tell({"first": 1})
    time.sleep(60)


def end(tell):
    tell({"first": 1})
    os._exit(9)


def fail(tell):
    raise ValueError("no such thing")


def run_out(tell):
    import torch

    tell({"clips_1": 1})
    raise torch.OutOfMemoryError("asked for too much")


@pytest.mark.parametrize(
    ("case", "error", "kept"),
    [
        (hang, "cut after 2 s", {"first": 1}),
        (end, "ended by itself with exit code 9", {"first": 1}),
        (fail, "ValueError: no such thing", {}),
        (run_out, "OutOfMemoryError: asked for too much", {"clips_1": 1, "out_of_memory": True}),
    ],
)
def test_what_a_case_does_to_itself_is_named_and_the_next_goes_on(case, error, kept, tmp_path):
    record = Record(tmp_path / "record.json", {})
    sections = [Section("one", 1, {"bad": case, "good": lambda tell: tell({"figure": 2})})]
    run_sections(sections, record, 3 / 60)
    found = json.loads((tmp_path / "record.json").read_text())["sections"]["one"]
    assert found["cases"] == {"bad": {**kept, "error": error}, "good": {"figure": 2}}
    assert found["failed"] == ["bad"]


def test_what_no_time_was_left_for_stands_in_the_record(tmp_path):
    record = Record(tmp_path / "record.json", {"format": 1})
    started = []
    sections = [
        Section("one", 1, {"long": hang}),
        Section("two", 1e-9, {"late": lambda tell: started.append(1)}),
    ]
    run_sections(sections, record, 0.3 / 60)
    found = json.loads((tmp_path / "record.json").read_text())
    assert found["format"] == 1
    assert found["sections"]["one"]["cases"]["long"] == {"first": 1, "error": "cut after 0 s"}
    assert "late" not in found["sections"]["two"]["cases"] or found["sections"]["two"]["failed"] == ["late"]


def test_all_sections_run_whole_in_their_smallest_form(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    out = tmp_path / "gpu.json"
    assert gpu.main([*gpu.SMALLEST, "--out", str(out)]) == 0
    printed = capfd.readouterr().out
    record = json.loads(out.read_text())
    sections = record["sections"]
    assert {name: entry["state"] for name, entry in sections.items()} == dict.fromkeys(sections, "done")
    systems = sections["step"]["cases"]
    assert systems.keys() == record["estimate"].keys() > sections["compiled"]["cases"].keys()
    for figures in systems.values():
        assert figures["clips_per_second"] == pytest.approx(figures["batch"] / figures["seconds_per_step"])
        assert figures["forward_flop_per_clip"] > 0
    for figures in sections["agree"]["cases"].values():
        assert all(of[precision]["holds"] for of in figures.values() for precision in of)
        assert all(of["fp32"]["output"] == 0 and of["bf16"]["output"] > 0 for of in figures.values())
    assert sections["train"]["cases"]["vdm_digits"]["sheets_written"] == 2
    assert all(f"| {name} |" in printed for name in systems)
