"""The evaluation fixtures of the test assets; tests that read them are skipped where there are none."""

import json
import os
import sys
from importlib import util
from pathlib import Path

import pytest


def eval_folder():
    """The folder of the fixtures."""
    root = os.environ.get("VIDEODIFF_TEST_ASSETS")
    if not root:
        pytest.skip("VIDEODIFF_TEST_ASSETS is not set: no evaluation fixtures")
    return Path(root) / "fixtures/eval"


def eval_file(name):
    """A JSON file of expected values."""
    return json.loads((eval_folder() / name).read_text())


def eval_recipe():
    """The module that makes the inputs; nothing is written beside it."""
    spec = util.spec_from_file_location("recipe", eval_folder() / "recipe.py")
    recipe = util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        spec.loader.exec_module(recipe)
    finally:
        sys.dont_write_bytecode = before
    return recipe
