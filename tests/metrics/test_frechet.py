"""The Frechet distance against closed forms, the definition's matrix root, fixtures, and what rounding does to it."""

import warnings

import numpy as np
import pytest

from eval_fixtures import eval_file, eval_recipe
from videodiff.metrics import (
    FeatureStats,
    frechet_distance,
    frechet_distance_from_moments,
    frechet_infinity,
)

# The singular covariance of a published fixture; the value comes from 40-digit arithmetic.
SINGULAR_A = [
    [3.2570428353712466, -0.41426420213232606, 2.240473902634763],
    [-0.41426420213232606, 3.809598226522926, -1.9793164808803272],
    [2.240473902634763, -1.9793164808803272, 5.27850943456389],
]
SINGULAR_B = [
    [5.966106597473486, 1.2247354681077176, -1.277998400591666],
    [1.2247354681077176, 1.9239012632924801, 0.822278634848538],
    [-1.277998400591666, 0.822278634848538, 0.9771562360995389],
]


def features(count, seed, dim=12, shift=0.0, offset=0.0):
    rng = np.random.default_rng(seed)
    scale = 4 * np.arange(1, dim + 1) ** -0.5
    return (rng.standard_normal((count, dim)) * scale) @ _turn(dim) + shift + offset


def _turn(dim):
    return np.linalg.qr(np.random.default_rng(99).standard_normal((dim, dim)))[0]


def by_definition(x, y, ddof=0):
    """tr (S1 S2)^(1/2) from the eigenvalues of the product; good for full rank."""
    a, b = np.cov(x.T, ddof=ddof), np.cov(y.T, ddof=ddof)
    root = np.sqrt(np.linalg.eigvals(a @ b).astype(complex)).real.sum()
    return np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a) + np.trace(b) - 2 * root


def sums(x):
    stats = FeatureStats.empty(x.shape[1], keep_features=0)
    for start in range(0, len(x), 16):
        stats.update(x[start : start + 16])
    return stats


def test_diagonal_covariances_have_a_closed_form():
    rng = np.random.default_rng(0)
    mean_a, mean_b, var_a, var_b = (
        rng.standard_normal(6),
        rng.standard_normal(6),
        *rng.uniform(0.1, 4, (2, 6)),
    )
    expected = np.sum((mean_a - mean_b) ** 2) + np.sum((np.sqrt(var_a) - np.sqrt(var_b)) ** 2)
    value = frechet_distance_from_moments(mean_a, np.diag(var_a), mean_b, np.diag(var_b))
    assert value == pytest.approx(expected, rel=1e-12)


def test_a_singular_covariance_needs_no_ridge():
    value = frechet_distance_from_moments(np.zeros(3), SINGULAR_A, np.array([1.0, 0, -1]), SINGULAR_B)
    assert value == pytest.approx(10.63105876738397, abs=1e-7)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_features_and_sums_give_the_definition(ddof, offset):
    x, y = features(60, 1, offset=offset), features(50, 2, shift=0.3, offset=offset)
    expected = by_definition(x, y, ddof)
    assert frechet_distance(x, y, ddof) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(sums(x), sums(y), ddof) == pytest.approx(expected, rel=1e-6 if offset else 1e-9)
    assert frechet_distance(FeatureStats.from_features(x), sums(y), ddof) == pytest.approx(expected, rel=1e-6)


@pytest.mark.filterwarnings("ignore:.*fewer clips than numbers")
def test_fewer_clips_than_numbers_agree_with_the_space_they_span():
    x, y = features(9, 1, dim=40), features(7, 2, dim=40)
    basis = np.linalg.svd(np.concatenate([x, y]), full_matrices=False)[2]
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(x @ basis.T, y @ basis.T), rel=1e-10)
    assert frechet_distance(sums(x), sums(y)) == pytest.approx(frechet_distance(x, y), rel=1e-9)


@pytest.mark.filterwarnings("ignore:.*fewer clips than numbers")
@pytest.mark.parametrize(("count", "dim", "offset"), [(300, 12, 0.0), (20, 60, 0.0), (300, 12, 1000.0)])
def test_a_set_has_no_distance_from_itself_and_never_a_negative_one(count, dim, offset):
    x = features(count, 1, dim=dim, offset=offset)
    variance = x.var(axis=0).sum()
    for a, b in ((x, x), (sums(x), sums(x)), (x, sums(x)), (x, x[::-1].copy())):
        assert 0 <= frechet_distance(a, b) <= 1e-6 * variance


def test_it_is_symmetric_and_blind_to_rotation_and_scales_as_a_square():
    x, y = features(60, 1), features(50, 2, shift=0.4)
    value, turn = frechet_distance(x, y), np.linalg.qr(np.random.default_rng(5).standard_normal((12, 12)))[0]
    assert frechet_distance(y, x) == pytest.approx(value, rel=1e-12)
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(value, rel=1e-10)
    for scale in (1e-100, 1e-3, 1e6, 1e100):
        assert frechet_distance(scale * x, scale * y) == pytest.approx(scale**2 * value, rel=1e-10)


def test_fewer_clips_than_numbers_warn_and_enough_do_not():
    with pytest.warns(UserWarning, match="of 11 and 30 clips with 12 numbers"):
        frechet_distance(features(11, 1), features(30, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frechet_distance(features(12, 1), features(30, 2))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_clips_are_refused_in_one_line(count):
    for small in (features(count, 1), sums(features(count, 1))):
        with pytest.raises(ValueError, match=f"at least 2 clips on each side, got {count}$"):
            frechet_distance(features(30, 2), small)


def test_wrong_input_is_refused():
    x = features(30, 1)
    with pytest.raises(ValueError, match="of 12 and of 5 numbers"):
        frechet_distance(x, features(30, 2, dim=5))
    with pytest.raises(ValueError, match="ddof must be 0"):
        frechet_distance(x, x, ddof=2)
    broken = x.copy()
    broken[17, 3] = np.nan
    with pytest.raises(ValueError, match="clip 17 are not finite"):
        frechet_distance(x, broken)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        frechet_distance_from_moments(np.zeros(2), np.diag([1.0, -0.1]), np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance_from_moments(np.zeros(2), np.diag([1.0, np.inf]), np.zeros(2), np.eye(2))
    with pytest.raises(ValueError, match="do not fit"):
        frechet_distance_from_moments(np.zeros(3), np.eye(2), np.zeros(2), np.eye(2))


def test_two_draws_of_constant_clips_differ_by_their_means():
    black, white = np.zeros((20, 12)), np.full((20, 12), 2.0)
    assert frechet_distance(black, white) == pytest.approx(48.0)
    x = features(30, 1)
    expected = np.sum((x.mean(0) - 2) ** 2) + x.var(axis=0).sum()
    assert frechet_distance(x, white) == pytest.approx(expected, rel=1e-12)
    assert frechet_distance(sums(x), sums(white)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings("ignore:.*fewer clips than numbers")
@pytest.mark.parametrize("name", ["full_rank", "rank_deficient", "i3d_like", "identical", "offset"])
def test_fixture_values(name):
    recipe = eval_recipe()
    case = next(case for case in eval_file("math.json")["frechet"] if case["name"] == name)
    x = recipe.feats(case["seed_x"], case["n"], case["d"], offset=case["offset"])
    y = recipe.feats(case["seed_y"], case["m"], case["d"], shift=case["shift"], offset=case["offset"])
    for ddof in (0, 1):
        expected = case[f"fd_ddof{ddof}"]
        assert frechet_distance(x, y, ddof) == pytest.approx(expected, abs=1e-9)
        # Streamed sums: the mean of 1000 costs digits, far inside the fixture's tolerance.
        assert frechet_distance(sums(x), sums(y), ddof) == pytest.approx(expected, abs=1e-6)


def test_fixture_values_of_given_moments():
    for case in eval_file("math.json")["closed_form"]:
        moments = [case.get(f"cov{k}", np.diag(case.get(f"var{k}", [0]))) for k in (1, 2)]
        value = frechet_distance_from_moments(case["mu1"], moments[0], case["mu2"], moments[1])
        assert value == pytest.approx(case["fd"], abs=1e-7)


@pytest.mark.filterwarnings("ignore:.*fewer clips than numbers")
def test_fvd_of_the_stored_logits():
    from eval_fixtures import eval_folder

    stored, expected = np.load(eval_folder() / "i3d_c3d.npz"), eval_file("expected.json")["fvd"]
    assert frechet_distance(stored["a"], stored["b"], 0) == pytest.approx(expected["styleganv"], abs=1e-3)
    assert frechet_distance(stored["a"], stored["b"], 1) == pytest.approx(
        expected["divisor_n_minus_1"], abs=1e-3
    )


def test_the_distance_at_infinity_takes_away_most_of_the_bias():
    true = 20 * 0.1**2
    draws = [(features(600, k, dim=20), features(600, 100 + k, dim=20, shift=0.1)) for k in range(12)]
    fits = [frechet_infinity(x, y) for x, y in draws]
    plain = np.mean([frechet_distance(x, y) for x, y in draws])
    assert abs(np.mean([fit.value for fit in fits]) - true) < 0.25 * (plain - true)
    assert min(fit.slope for fit in fits) > 0
    assert fits[0].fractions[0] == 0.25
    assert fits[0].distances[-1] == pytest.approx(frechet_distance(*draws[0]), rel=1e-9)
    assert fits[0] == frechet_infinity(FeatureStats.from_features(draws[0][0]), draws[0][1])


def test_the_fit_recovers_an_exact_law():
    """Clips that come as copies of one block have the same distance at every share: slope 0, value that distance."""
    block_x, block_y = features(40, 1), features(40, 2, shift=0.5)
    fit = frechet_infinity(np.tile(block_x, (28, 1)), np.tile(block_y, (28, 1)), num_sizes=4, seed=None)
    assert fit.value == pytest.approx(frechet_distance(block_x, block_y), rel=1e-9)
    assert abs(fit.slope) < 1e-6


def test_infinity_without_features_or_clips_is_refused():
    x = features(30, 1)
    with pytest.raises(ValueError, match="these statistics hold sums alone"):
        frechet_infinity(x, sums(x))
    with pytest.raises(ValueError, match="at least 8 clips on each side"):
        frechet_infinity(x, x[:7])
    with pytest.raises(ValueError, match="num_sizes must be at least 2"):
        frechet_infinity(x, x, num_sizes=1)
