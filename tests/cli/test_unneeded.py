"""What the process of a command does not import."""

import sys

from lightning_utilities.core.imports import RequirementCache

from videodiff.cli.unneeded import WithoutTransformers, skip_transformers


def test_a_command_leaves_transformers_out_of_torchmetrics_and_nothing_else(monkeypatch):
    monkeypatch.setattr(RequirementCache, "__bool__", RequirementCache.__bool__)  # put back behind the test
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "torchmetrics", raising=False)
    skip_transformers()
    skip_transformers()
    (finder,) = [finder for finder in sys.meta_path if isinstance(finder, WithoutTransformers)]
    assert bool(RequirementCache("transformers>=4.4.0"))  # before torchmetrics is imported
    assert finder.find_spec("numpy") is finder.find_spec("torchmetrics") is None
    assert finder not in sys.meta_path
    assert not RequirementCache("transformers>=4.4.0")
    assert RequirementCache("torch>=2")
    monkeypatch.setitem(sys.modules, "torchmetrics", sys)
    skip_transformers()
    assert not any(isinstance(finder, WithoutTransformers) for finder in sys.meta_path)
