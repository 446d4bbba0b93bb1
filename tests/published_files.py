"""Files as the projects publish them, filled by the rule of the fixtures: every tensor follows from its name."""

import json
import math
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
needs_assets = pytest.mark.skipif(not ASSETS, reason="VIDEODIFF_TEST_ASSETS names no folder of fixtures")


def stream(name, shape):
    state = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return torch.from_numpy(state.standard_normal(math.prod(shape)).astype(np.float32).reshape(shape))


def given(name, shape):
    return stream(f"input:{name}", shape)


def parameter(name, shape):
    r = stream(name, shape)
    if len(shape) >= 2:
        return r / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * r if name.endswith(("weight", "gamma", "g")) else 0.1 * r


def fixture(name):
    """The file of a fixture, of the core models' or of the further systems'."""
    folder = Path(ASSETS) / "fixtures"
    return next((file for part in ("official", "systems") if (file := folder / part / name).exists()), None)


def keys_of(name):
    return json.loads(fixture(f"{name}.json").read_text())["keys"]


def expected_of(name):
    return np.load(fixture(f"{name}.npz"))


def filled(name):
    """The state dict of a fixture."""
    keys, stored = (
        keys_of(name),
        expected_of(name) if fixture(f"{name}.npz") else {},
    )
    state = {}
    for key, entry in keys.items():
        kind = entry["kind"]
        if kind == "buffer":
            state[key] = torch.from_numpy(stored[f"buffer__{key}"])
        elif kind == "parameter":
            state[key] = parameter(key, tuple(entry["shape"]))
    for key, entry in keys.items():
        if entry["kind"].startswith("alias of "):
            state[key] = state[entry["kind"].removeprefix("alias of ")]
    return {key: state[key] for key in keys}


def shapes(name):
    """The state dict of a published size, without values."""
    return {key: torch.empty(entry["shape"], device="meta") for key, entry in keys_of(name).items()}


def pvdm_autoencoder(side=64):
    """A small autoencoder's state for frames of another side: its positions have a row for each row of patches."""
    keys, state = keys_of("pvdm_autoencoder_small"), filled("pvdm_autoencoder_small")
    for plane in ("xt", "yt"):
        name = f"{plane}_pos_embedding"
        state[name] = parameter(name, (1, side // 8 + 1, keys[name]["shape"][2]))
    return state


def pvdm_unet(side=8):
    """A small U-Net's state for planes of another side."""
    return filled("pvdm_unet_small") | {"zeros": torch.zeros(1, 4, side * side + 2 * 16 * side)}
