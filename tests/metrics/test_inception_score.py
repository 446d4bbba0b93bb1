"""The inception score against closed forms and fixtures: what splits and shuffles do."""

import numpy as np
import pytest
import torch

from eval_fixtures import eval_file, eval_folder, eval_recipe
from videodiff.metrics import inception_score, softmax


def some(count, classes=7, scale=2.0, seed=0):
    return softmax(scale * np.random.default_rng(seed).standard_normal((count, classes)))


def test_sure_and_evenly_spread_answers_score_the_number_of_classes():
    assert inception_score(np.eye(101), 1) == pytest.approx((101, 0), rel=1e-12)


def test_answers_that_do_not_depend_on_the_clip_score_one():
    assert inception_score(np.tile(some(1), (20, 1)), 4) == pytest.approx((1, 0), abs=1e-12)


def test_two_kinds_of_clips_have_a_closed_form():
    """Half the clips say (1-e, e), half (e, 1-e): log of the score is log 2 minus the entropy of e."""
    e = 0.1
    probs = np.array([[1 - e, e], [e, 1 - e]] * 10)
    entropy = -(e * np.log(e) + (1 - e) * np.log(1 - e))
    assert inception_score(probs, 1)[0] == pytest.approx(2 * np.exp(-entropy), rel=1e-12)
    assert inception_score(probs, 10) == pytest.approx((2 * np.exp(-entropy), 0), rel=1e-12)


def test_splits_are_consecutive_and_their_scores_are_averaged():
    probs = some(25)
    parts = [inception_score(part, 1)[0] for part in (probs[:8], probs[8:16], probs[16:])]
    assert inception_score(probs, 3) == pytest.approx((np.mean(parts), np.std(parts)), rel=1e-12)


def test_more_splits_give_a_smaller_score():
    probs = some(400)
    assert inception_score(probs, 10)[0] < inception_score(probs, 1)[0]


def test_the_order_matters_only_with_splits_and_a_shuffle_undoes_a_sorted_set():
    probs = some(40)
    ordered = probs[np.argsort(probs[:, 0])]
    assert inception_score(ordered, 1)[0] == pytest.approx(inception_score(probs, 1)[0], rel=1e-12)
    assert inception_score(ordered, 4)[0] != pytest.approx(inception_score(probs, 4)[0], rel=1e-3)
    by_hand = ordered.copy()
    np.random.RandomState(42).shuffle(by_hand)
    assert inception_score(ordered, 4, shuffle_seed=42) == inception_score(by_hand, 4)


def test_softmax_bears_large_logits_and_any_precision():
    logits = torch.tensor([[1000.0, 0.0, -1000.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(softmax(logits), [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]], atol=1e-15)
    assert softmax(logits.bfloat16()).dtype == np.float64
    with pytest.raises(ValueError, match="clip 1 are not finite"):
        softmax(np.array([[0.0, 1], [np.nan, 1]]))


@pytest.mark.parametrize(
    ("probs", "splits", "words"),
    [
        (some(5), 6, "between 1 and the number of clips, 5, got 6"),
        (some(5), 0, "between 1 and the number of clips, 5, got 0"),
        (some(1), 1, "of 2 clips or more"),
        (np.log(some(5)), 1, "rows must be probabilities"),
        (2 * some(5), 1, "rows must be probabilities"),
        (np.full((5, 3), np.nan), 1, "rows must be probabilities"),
    ],
)
def test_wrong_input_is_refused(probs, splits, words):
    with pytest.raises(ValueError, match=words):
        inception_score(probs, splits)


def test_fixture_values():
    expected = eval_file("math.json")["is"]
    probs = eval_recipe().probs(expected["seed"], expected["n"], expected["classes"], expected["logit_scale"])
    assert inception_score(probs, 1) == pytest.approx(expected["single_split"], rel=1e-10)
    assert inception_score(probs, 1, eps=1e-20) == pytest.approx(expected["tgan2_eps1e20"], rel=1e-10)
    assert inception_score(probs, 10) == pytest.approx(expected["ten_splits"], rel=1e-10)
    shuffled = inception_score(probs, 10, shuffle_seed=42)
    assert shuffled == pytest.approx(expected["ten_splits_shuffled42"], rel=1e-10)


def test_the_kinetics_stand_in_on_the_stored_logits():
    stored = np.load(eval_folder() / "i3d_c3d.npz")
    logits = np.concatenate([stored["a"], stored["b"]])
    expected = eval_file("expected.json")["is_k400"]["splits1"]
    assert inception_score(softmax(logits), 1)[0] == pytest.approx(expected, rel=1e-6)
