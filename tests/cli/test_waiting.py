"""Threads that wait for each other sleep, if the user has not said otherwise, by what torch's own OpenMP says."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from videodiff.cli import waiting

# Loads the library that torch will load, and nothing else of torch: with OMP_DISPLAY_ENV it tells what it goes by.
LOAD = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"
COMMAND = "from videodiff.cli import main; main(['--version']); "
MODULE = """
import contextlib, ctypes, runpy, sys
library, sys.argv[1:] = sys.argv[1], ["--version"]
with contextlib.suppress(SystemExit):
    runpy.run_module("videodiff", run_name="__main__")
ctypes.CDLL(library)
"""
LIBRARY = Path(importlib.util.find_spec("torch").origin).parent / "lib" / "libgomp.so.1"

SPINS = "300000"


def openmp(code: str, **variables: str) -> dict[str, str]:
    """The settings of torch's OpenMP library after some code of another process."""
    environ = {name: value for name, value in os.environ.items() if name not in waiting.CHOICES}
    environ |= {"OMP_DISPLAY_ENV": "VERBOSE", **variables}
    words = [sys.executable, "-c", code, str(LIBRARY)]
    done = subprocess.run(words, env=environ, capture_output=True, text=True, check=True)
    pairs = [line.split("=") for line in done.stderr.splitlines() if "=" in line]
    return {name.split()[-1]: value.strip(" '") for name, value in pairs}


@pytest.mark.skipif(not LIBRARY.is_file(), reason="torch's wheels for Linux bring this OpenMP library")
@pytest.mark.parametrize(
    ("code", "variables", "spins"),
    [
        (LOAD, {}, SPINS),  # what the library does by itself
        (COMMAND + LOAD, {}, "0"),
        (MODULE, {}, "0"),
        (COMMAND + LOAD, {"OMP_NUM_THREADS": "2"}, "0"),
        (COMMAND + LOAD, {"OMP_WAIT_POLICY": "ACTIVE"}, "30000000000"),
        (COMMAND + LOAD, {"GOMP_SPINCOUNT": "77"}, "77"),
        (COMMAND + LOAD, {"KMP_BLOCKTIME": "5"}, SPINS),
    ],
)
def test_waiting_threads_sleep_unless_the_user_says_how_they_wait(code, variables, spins):
    settings = openmp(code, **variables)
    assert settings["GOMP_SPINCOUNT"] == spins
    assert settings["OMP_NUM_THREADS"] == openmp(LOAD, **variables)["OMP_NUM_THREADS"]


def test_where_torch_is_loaded_nothing_is_chosen_too_late(monkeypatch):
    for name in waiting.CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "torch", sys)
    waiting.choose()
    assert not set(waiting.CHOICES) & set(os.environ)
    monkeypatch.delitem(sys.modules, "torch")
    waiting.choose()
    assert os.environ.pop("OMP_WAIT_POLICY") == "PASSIVE"
