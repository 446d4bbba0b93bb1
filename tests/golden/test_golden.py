"""Losses, gradients and clips of a model of each family are those that are kept, made by this file itself.

Bit for bit where torch and the kind of processor are those that they were made with; elsewhere sums are rounded in
other orders. ``python tests/golden/test_golden.py`` writes them anew: only where numbers are meant to change.
``scripts/golden.py`` compares two versions of the code over all the models of ``models.yaml``.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from golden.measure import measured

KEPT = Path(__file__).with_name("values.json")
NAMES = ("vdm", "lvdm_hierarchical", "pvdm_shared", "pvdm_autoencoder", "dit", "dit_text")
RELATIVE, SHOWN = 1e-5, 6


def summary(value: np.ndarray) -> dict:
    """A digest of every bit, and a few numbers that tell how far another value is."""
    flat = value.astype(np.float64).ravel()
    picked = flat[:: max(len(flat) // SHOWN, 1)][:SHOWN]
    digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:24]
    return {
        "shape": list(value.shape),
        "sha256": digest,
        "norm": float(np.linalg.norm(flat)),
        "values": picked.tolist(),
    }


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", NAMES)
def test_a_models_losses_gradients_and_clips_are_the_kept_ones(name, one_thread):
    kept = json.loads(KEPT.read_text())
    found = {key: summary(value) for key, value in measured((name,)).items() if key.startswith(f"{name}/")}
    wanted = {key: value for key, value in kept["values"].items() if key.startswith(f"{name}/")}
    assert found.keys() == wanted.keys()
    if kept["made_with"] == made_with():
        assert found == wanted
    for key, value in found.items():
        scale = wanted[key]["norm"] / max(np.prod(value["shape"]), 1) ** 0.5
        assert value["norm"] == pytest.approx(wanted[key]["norm"], rel=RELATIVE), key
        assert value["values"] == pytest.approx(wanted[key]["values"], rel=RELATIVE, abs=RELATIVE * scale), (
            key
        )


def made_with() -> dict[str, str]:
    return {"torch": torch.__version__, "cpu": torch.backends.cpu.get_cpu_capability()}


if __name__ == "__main__":
    torch.set_num_threads(1)
    values = {key: summary(value) for key, value in sorted(measured(NAMES).items())}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in values.items())
    KEPT.write_text(f'{{"made_with": {json.dumps(made_with())}, "values": {{\n{lines}\n}}}}\n')
