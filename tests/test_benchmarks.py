"""Every script of benchmarks/ runs whole in its smallest form, and prints the rows that README quotes."""

import importlib
import re
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = sorted(
    file.stem for file in BENCHMARKS.glob("*.py") if re.search(r"^def main\(", file.read_text(), re.MULTILINE)
)
ELSEWHERE = {"gpu"}  # test_gpu_benchmark.py runs it, and reads its record


@pytest.fixture(autouse=True)
def apart(monkeypatch, tmp_path):
    """What a script does to this process ends with it: folder, variables, threads, random numbers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delenv("VIDEODIFF_TEST_ASSETS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.set_rng_state(state)


@pytest.mark.parametrize("name", sorted({*SCRIPTS} - ELSEWHERE))
def test_a_benchmark_runs_whole_in_its_smallest_form(name, capfd, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    script = importlib.import_module(name)
    assert not script.main(list(script.SMALLEST))
    out = capfd.readouterr().out
    rows = [line for line in out.splitlines() if line.startswith(("| ", "{")) and re.search(r"\d", line)]
    assert rows, out
    assert not any(re.search(r"\b(nan|inf|None)\b", row) for row in rows), out


def test_the_command_that_runs_them_all_names_every_one():
    listed = (BENCHMARKS / "run.sh").read_text()
    by_hand = set(re.findall(r"^# by hand: (\w+)", listed, re.MULTILINE))
    assert sorted(by_hand | set(re.findall(r"^(?:\w+=\S+ )?run (\w+)", listed, re.MULTILINE))) == SCRIPTS
