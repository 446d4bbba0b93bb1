"""The 16-bit copies of the feature networks among the test assets; tests that need them are skipped without."""

import os
from pathlib import Path

import pytest


def weights_file(name):
    """Path of a file of weights, in the folder of the assets or in the user's own."""
    folders = [os.environ.get("VIDEODIFF_WEIGHTS")]
    if assets := os.environ.get("VIDEODIFF_TEST_ASSETS"):
        folders.append(f"{assets}/weights")
    for folder in filter(None, folders):
        if (Path(folder) / name).is_file():
            return str(Path(folder) / name)
    return pytest.skip(f"{name} is in neither VIDEODIFF_TEST_ASSETS/weights nor VIDEODIFF_WEIGHTS")
