"""Shares of clips that show what their captions name, beside chance; how varied clips are that were told the same."""

import numpy as np
import pytest
import torch

from videodiff.data import BouncingDigits, DriftingClouds
from videodiff.data.scenes import DIRECTIONS
from videodiff.evaluation.detectors import from_extractor, motion
from videodiff.evaluation.named import diversity, named_entries
from videodiff.evaluation.observed import Observed, observe
from videodiff.evaluation.protocol import get_protocol
from videodiff.evaluation.results import Result
from videodiff.evaluation.score import score
from videodiff.metrics.features.evaluator import EvaluatorFeatures
from videodiff.metrics.moments import FeatureStats
from videodiff.metrics.motion import COMPASS

PARTS = {"digit": slice(0, 10), "colour": slice(10, None)}
SETS = {"digit": "bouncing_digits", "colour": "drifting_clouds"}
ANGLES = np.pi / 4 * np.arange(8)


def side(digits, ways, facts=None):
    """Clips in which these digits are read, that set out in these of the eight directions; -1 stands still."""
    moves, angles = np.array(ways) >= 0, ANGLES[np.array(ways)]
    figures = {"digit_velocity_x": moves * np.cos(angles), "digit_velocity_y": moves * -np.sin(angles)}
    logits = FeatureStats.from_features(np.eye(10)[digits])
    return Observed({"evaluator_logits": logits}, figures, np.arange(len(digits)), facts=facts)


def facts(digits, ways, bounces_after=None):
    bounces = bounces_after or [9.0] * len(digits)
    told = zip(digits, ways, bounces, strict=True)
    return [{"digit": d, "direction": COMPASS[w], "bounces_after": b} for d, w, b in told]


def test_captions_and_the_compass_have_the_same_words():
    assert DIRECTIONS == COMPASS


def test_shares_are_of_what_captions_name_and_of_all_of_it():
    told = facts([0, 1, 2, 3], [0, 2, 4, 6])
    found = named_entries(side([0, 1, 2, 4], [0, 2, 4, 6], told), side([0, 1, 2, 2], [0, 2, 5, -1], told))
    shares = {name: entry["value"] for name, entry in found.items()}
    assert shares == {"named_digit": 0.75, "named_direction": 0.5, "named_all": 0.5}
    assert [entry["chance"] for entry in found.values()] == [0.1, 0.125, pytest.approx(1 / 80)]
    assert [entry["floor"] for entry in found.values()] == [0.75, 1, 0.75]
    assert all(
        0 <= entry["interval"][0] < entry["value"] < entry["interval"][1] <= 1 for entry in found.values()
    )


def test_a_clip_whose_caption_is_of_one_that_bounces_within_three_frames_has_no_direction():
    told = facts([0, 1, 2], [0, 2, 4], [2.9, 3.0, 50.0])
    found = named_entries(side([0, 1, 2], [1, 2, 4], told), side([0, 1, 2], [1, 2, 3], told))
    assert (found["named_direction"]["value"], found["named_direction"]["count"]) == (0.5, 2)
    assert found["named_digit"]["count"] == 3
    assert found["named_all"]["count"] == 2
    soon = facts([0, 1], [0, 2], [0.0, 1.0])
    assert set(named_entries(side([0, 1], [0, 2]), side([0, 1], [0, 2], soon))) == {"named_digit"}


@pytest.mark.parametrize(("kind", "name"), [(BouncingDigits, "digit"), (DriftingClouds, "colour")])
def test_real_clips_show_what_their_captions_name(kind, name):
    source = kind("test", 48, 20, 32)
    looks = [
        from_extractor("evaluator_logits", EvaluatorFeatures("logits"), part=PARTS[name]),
        motion(SETS[name]),
    ]
    seen = observe([torch.stack([source.read(i, 3, 16, 1) for i in range(48)])], looks)
    seen.facts = [source.told(place, 3, 16, 1) for place in seen.places.tolist()]
    found = named_entries(seen, seen)
    assert found["named_direction"]["value"] >= 0.95
    assert found["named_direction"]["count"] >= 24
    assert found[f"named_{name}"]["value"] >= 0.9
    assert found["named_all"]["value"] >= 0.85
    mirrored = observe([torch.stack([source.read(i, 3, 16, 1).flip(2) for i in range(48)])], looks)
    mirrored.facts = seen.facts
    assert named_entries(seen, mirrored)["named_direction"]["value"] < 0.4  # north and south are as they were


def test_clouds_are_judged_by_left_and_right():
    told = [{"direction": way} for way in ("left", "right", "right")]
    drift = {"cloud_drift_x": np.array([-0.4, 0.2, 0.0])}
    found = named_entries(Observed(), Observed({}, drift, np.arange(3), facts=told))
    assert found["named_direction"]["value"] == pytest.approx(2 / 3)
    assert found["named_direction"]["chance"] == 0.5
    assert "floor" not in found["named_direction"]


@pytest.mark.parametrize("told", [None, [{}, {}], [{"digit": None}] * 2])
def test_clips_that_were_told_nothing_have_no_share(told):
    real = side([0, 1], [0, 2], facts([0, 1], [0, 2]))
    assert named_entries(real, side([0, 1], [0, 2], told)) == {}


def test_guessing_gets_chance():
    """The same clips, told captions of others: shares are those that chance says, within their intervals."""
    draw = np.random.default_rng(0)
    told = facts(draw.integers(0, 10, 2000).tolist(), draw.integers(0, 8, 2000).tolist())
    shown = side(draw.integers(0, 10, 2000), draw.integers(0, 8, 2000), told)
    for entry in named_entries(shown, shown).values():
        assert entry["interval"][0] < entry["chance"] < entry["interval"][1]


def features(scale, classes, told=None, mean=3.0):
    rows = np.random.default_rng(1).normal(0, scale, (len(classes), 40)) + mean * np.array(classes)[:, None]
    return Observed({"evaluator": FeatureStats.from_features(rows)}, classes=np.array(classes), facts=told,
                    places=np.arange(len(classes)))  # fmt: skip


def test_diversity_is_the_variance_within_a_class_whatever_lies_between():
    classes = [0, 1, 2, 3] * 50
    real = features(1.0, classes, facts(classes, classes))
    for told in (None, facts(classes, classes)):
        entry = diversity(real, features(0.5, classes, told, mean=30.0), "evaluator")
        assert entry["value"] == pytest.approx(0.25, rel=1e-6)
        assert entry["floor"] == 1
        assert entry["interval"][0] < 0.25 < entry["interval"][1]
    few = diversity(real, features(1.0, [0, 1, 0, 1]), "evaluator")  # two of a class: no bias of so few
    assert few["value"] == pytest.approx(1, abs=0.4)
    alone = features(1.0, [0, 1, 2, 3])
    assert diversity(real, alone, "evaluator") is None
    alone.classes = None
    assert diversity(real, alone, "evaluator") is None


def test_the_table_of_a_result_has_chance_beside_what_has_it():
    told = facts([0, 1], [0, 2])
    sides = [Observed({**s.features, "evaluator": FeatureStats.from_features(np.eye(2))}, s.figures, s.places,
                      ["a", "b"], facts=told) for s in (side([0, 1], [0, 2]), side([0, 2], [0, 2]))]  # fmt: skip
    protocol = get_protocol("evaluator", num_real=2, num_generated=2)
    metrics, _ = score(*sides, protocol)
    assert metrics["named_digit"]["value"] == 0.5
    result = Result("evaluator", {**protocol.record(None)}, metrics, 2, 2, 0, {})
    head, *rows = result.table().splitlines()[1:]
    assert head.split()[-2:] == ["chance", "clips"]
    assert next(row for row in rows if row.startswith("named_digit")).split()[-2:] == ["0.1", "2"]
    told_nothing, _ = score(sides[0], Observed(**{**vars(sides[1]), "facts": None}), protocol)
    assert not {name for name in told_nothing if name.startswith("named_")}
    assert "chance" not in Result("evaluator", protocol.record(None), told_nothing, 2, 2, 0, {}).table()
    given = protocol.changed(given=4)
    assert "named_digit" not in score(*sides, given)[0]  # the frames that are given show it
