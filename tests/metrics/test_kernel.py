"""The kernel distance against its definition pair by pair, its unbiasedness, and fixtures."""

import itertools

import numpy as np
import pytest

from eval_fixtures import eval_file, eval_folder, eval_recipe
from videodiff.metrics import kernel_distance


def features(count, seed, shift=0.0):
    return np.random.default_rng(seed).standard_normal((count, 4)) + shift


def kernel(a, b):
    return (float(a @ b) / len(a) + 1) ** 3


def test_it_is_the_mean_over_pairs_of_different_clips():
    x, y = features(6, 1), features(5, 2, shift=0.5)
    within_x = np.mean([kernel(a, b) for a, b in itertools.permutations(x, 2)])
    within_y = np.mean([kernel(a, b) for a, b in itertools.permutations(y, 2)])
    across = np.mean([kernel(a, b) for a, b in itertools.product(x, y)])
    assert kernel_distance(x, y) == pytest.approx(within_x + within_y - 2 * across, rel=1e-12)
    assert kernel_distance(y, x) == pytest.approx(kernel_distance(x, y), rel=1e-12)


def test_it_does_not_depend_on_the_blocks_in_which_it_is_summed(monkeypatch):
    x, y = features(23, 1), features(17, 2, shift=0.5)
    whole = kernel_distance(x, y)
    monkeypatch.setattr("videodiff.metrics.kernel.BLOCK", 5)
    assert kernel_distance(x, y) == pytest.approx(whole, rel=1e-12)


def test_equal_distributions_give_zero_on_average_at_any_count():
    for count in (5, 40):
        values = [kernel_distance(features(count, 2 * k), features(count, 2 * k + 1)) for k in range(300)]
        assert abs(np.mean(values)) < 4 * np.std(values) / np.sqrt(300)
        assert min(values) < 0


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="got 1 real and 5 generated"):
        kernel_distance(features(1, 1), features(5, 2))
    with pytest.raises(ValueError, match="of 4 and of 3 numbers"):
        kernel_distance(features(5, 1), features(5, 2)[:, :3])
    broken = features(5, 1)
    broken[3, 0] = np.inf
    with pytest.raises(ValueError, match="features of generated clip 3 are not finite"):
        kernel_distance(features(5, 1), broken)


@pytest.mark.parametrize("name", ["full_rank", "rank_deficient", "i3d_like", "identical"])
def test_fixture_values(name):
    recipe, math = eval_recipe(), eval_file("math.json")
    case = next(case for case in math["frechet"] if case["name"] == name)
    expected = next(value for value in math["kvd"] if value["name"] == name)["kvd_unbiased"]
    x = recipe.feats(case["seed_x"], case["n"], case["d"], offset=case["offset"])
    y = recipe.feats(case["seed_y"], case["m"], case["d"], shift=case["shift"], offset=case["offset"])
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_kvd_of_the_stored_logits():
    stored = np.load(eval_folder() / "i3d_c3d.npz")
    assert kernel_distance(stored["a"], stored["b"]) == pytest.approx(
        eval_file("expected.json")["kvd"], rel=1e-6
    )
