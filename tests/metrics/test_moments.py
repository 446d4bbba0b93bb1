"""Statistics of features: sums, merging, and files that are whole or refused."""

import json
import os
import zipfile

import numpy as np
import pytest
import torch

from videodiff.metrics import FeatureStats, frechet_distance, read_record

RECORD = {"data": "digits", "frames": 16, "stride": 1, "file_hash": "abc"}


def features(count, seed=0, dim=5, offset=0.0):
    return np.random.default_rng(seed).standard_normal((count, dim)) + offset


def in_batches(array, batch, keep=20_000):
    stats = FeatureStats.empty(array.shape[1], keep)
    for start in range(0, len(array), batch):
        stats.update(array[start : start + batch])
    return stats


@pytest.mark.parametrize("keep", [0, 20_000])
def test_mean_and_covariance_do_not_depend_on_the_batches(keep):
    array = features(50)
    for batch in (1, 3, 16, 50):
        stats = in_batches(array, batch, keep)
        assert stats.n == 50
        np.testing.assert_allclose(stats.mean(), array.mean(0), rtol=1e-12, atol=1e-15)
        for ddof in (0, 1):
            np.testing.assert_allclose(
                stats.covariance(ddof), np.cov(array.T, ddof=ddof), rtol=1e-10, atol=1e-13
            )


def test_sums_in_float64_bear_a_mean_of_a_thousand():
    array = features(4096, dim=20, offset=1000.0).astype(np.float32)
    covariance = in_batches(array, 16, keep=0).covariance()
    exact = np.cov(array.astype(np.float64).T, ddof=0)
    # 4096 roundings of 1e6 by 1e-16 each against a variance of 1; float32 sums would be off by 1e-1.
    assert np.abs(covariance - exact).max() / exact.max() < 1e-8


def test_merging_is_adding():
    array = features(30)
    merged = in_batches(array[:11], 4).merge(in_batches(array[11:], 7))
    np.testing.assert_array_equal(merged.features, array)
    whole = FeatureStats.from_features(array)
    for name in ("n", "sum", "outer"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-12, atol=1e-13)
    assert in_batches(array, 4).merge(in_batches(array, 4, keep=0)).features is None
    with pytest.raises(ValueError, match="of 5 and of 6 numbers"):
        whole.merge(FeatureStats.empty(6))


def test_features_are_kept_up_to_the_limit():
    assert in_batches(features(30), 7, keep=30).features.shape == (30, 5)
    assert in_batches(features(31), 7, keep=30).features is None
    assert in_batches(features(31), 7, keep=30).n == 31


def test_a_tensor_of_any_precision_is_taken():
    array = torch.from_numpy(features(6))
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        stats = FeatureStats.from_features(array.to(dtype))
        assert stats.sum.dtype == stats.outer.dtype == stats.features.dtype == np.float64
        np.testing.assert_array_equal(stats.features, array.to(dtype).double().numpy())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_names_its_clip(bad):
    stats, array = in_batches(features(20), 8), features(4)
    array[2, 1] = bad
    with pytest.raises(ValueError, match="clip 22 are not finite"):
        stats.update(array)
    assert stats.n == 20
    array[3, 1] = bad
    with pytest.raises(ValueError, match=r"clip 22 \(and 1 more\)"):
        stats.update(array)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape \[clips, dim\]"):
        FeatureStats.from_features(np.zeros(5))
    with pytest.raises(ValueError, match="have 4 numbers per clip, earlier ones had 5"):
        FeatureStats.empty(5).update(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="do not fit"):
        FeatureStats(3, np.zeros(5), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="at least 2 clips, got 1"):
        FeatureStats.from_features(features(1)).covariance()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("keep", [0, 20_000])
def test_a_file_gives_back_what_was_written(suffix, keep, tmp_path):
    stats, path = in_batches(features(20), 8, keep), tmp_path / f"deeper/real{suffix}"
    stats.save(path, RECORD)
    again = FeatureStats.load(path, expect=RECORD)
    assert (again.n, read_record(path)) == (20, RECORD)
    for name in ("sum", "outer", "features"):
        np.testing.assert_array_equal(getattr(again, name), getattr(stats, name))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    other = features(25, seed=1)
    assert frechet_distance(again, other) == frechet_distance(stats, other)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_statistics_of_other_data_are_an_error(suffix, tmp_path):
    path = tmp_path / f"real{suffix}"
    FeatureStats.from_features(features(4)).save(path, RECORD)
    with pytest.raises(ValueError, match="frames is 16, wanted 128"):
        FeatureStats.load(path, expect={**RECORD, "frames": 128})
    with pytest.raises(ValueError, match="split is None, wanted 'train'"):
        FeatureStats.load(path, expect={"split": "train"})


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_every_flipped_byte_and_every_cut_is_found(suffix, tmp_path):
    path = tmp_path / f"real{suffix}"
    FeatureStats.from_features(features(3, dim=2)).save(path, RECORD)
    whole = path.read_bytes()
    reference = FeatureStats.load(path)
    rng = np.random.default_rng(0)
    for position in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[position] ^= 0x10
        path.write_bytes(damaged)
        try:
            again = FeatureStats.load(path)
        except ValueError:
            continue
        else:  # padding and the zip's dates mean nothing; numbers must be untouched
            np.testing.assert_array_equal(again.features, reference.features)
            np.testing.assert_array_equal(again.outer, reference.outer)
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"no readable statistics file|damaged"):
            FeatureStats.load(path)


def test_a_pickle_inside_a_statistics_file_is_not_run(tmp_path):
    path, marker = tmp_path / "real.npz", tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    np.savez(path, header=np.array(json.dumps({})), n=np.array([Hostile()], dtype=object))
    with pytest.raises(ValueError, match="no readable statistics file"):
        FeatureStats.load(path)
    assert not marker.exists()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "real.npz"
    FeatureStats.from_features(features(4)).save(path, RECORD)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        FeatureStats.from_features(features(9)).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"written to .npz or .safetensors, got 'real.pt'"):
        FeatureStats.from_features(features(4)).save(tmp_path / "real.pt")
    with pytest.raises(FileNotFoundError, match="no statistics at"):
        FeatureStats.load(tmp_path / "none.npz")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("a.txt", "hello")
    with pytest.raises(ValueError, match=r"not written by videodiff \(it holds a.txt\)"):
        FeatureStats.load(tmp_path / "other.npz")
