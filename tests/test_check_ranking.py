"""scripts/check_ranking.py: what a model is ranked with is made of the data that the model was tested on."""

import importlib.util
from pathlib import Path

import pytest

from videodiff.data.selection import GENERATED

spec = importlib.util.spec_from_file_location(
    "check_ranking", Path(__file__).parent.parent / "scripts" / "check_ranking.py"
)
check_ranking = importlib.util.module_from_spec(spec)
spec.loader.exec_module(check_ranking)


@pytest.mark.parametrize("dataset", ["bouncing_digits", "drifting_clouds"])
def test_frozen_frames_are_those_of_the_data_set(dataset, monkeypatch):
    seen = {}

    def evaluate(real, fake, protocol, data):
        seen.update(real=next(iter(real)), fake=next(iter(fake)), data=data)

    monkeypatch.setattr(check_ranking, "evaluate", evaluate)
    check_ranking.baseline("frozen", 2, dataset)
    clips = GENERATED[dataset]("test", 4, 16, 32)
    assert (seen["real"][0] == clips.read(0, 0, 16, 1)).all()
    assert (seen["fake"][0] == clips.read(2, 0, 16, 1)[:1]).all()  # other clips, and each its first frame
    assert seen["data"]["dataset"] == dataset


def test_checkpoints_of_two_data_sets_are_not_ranked(monkeypatch, tmp_path, capsys):
    class Tested:
        def __init__(self, dataset):
            self.data = {"dataset": dataset}

    monkeypatch.setattr(check_ranking, "tested", lambda path, *rest: Tested(path))
    for words in (["bouncing_digits", "drifting_clouds"], ["sky"]):
        assert check_ranking.main(["--checkpoints", *words, "--out", str(tmp_path)]) == 2
        assert "must be of one of bouncing_digits, drifting_clouds" in capsys.readouterr().err
