from dataclasses import replace

import numpy as np
import pytest

from eval_fakes import NoiseSource, fake_detector
from videodiff.evaluation.observed import observe
from videodiff.evaluation.plan import plan_clips, read_batches
from videodiff.evaluation.protocol import get_protocol
from videodiff.evaluation.reference import (
    cached_reference,
    load_reference,
    reference_key,
    reference_path,
    save_reference,
)

P = replace(get_protocol("styleganv", frames=4), num_real=12, num_generated=12)
DATA = {"listing": "abc", "split": "train", "resolution": 8}


def key_of(protocol=P, data=DATA, sha256="f" * 64, count=12, seed=0):
    return reference_key(protocol, data, {"i3d": sha256}, count, seed)


def looking(source, protocol=P):
    def look():
        plan = plan_clips(source, protocol, "real")
        return observe(read_batches(source, plan, range(len(plan)), 4, []), [fake_detector()])

    return look


def test_real_clips_are_decoded_once(tmp_path):
    source = NoiseSource(12)
    first, cached = cached_reference(key_of(), looking(source), tmp_path)
    assert (cached, len(source.reads)) == (False, 12)
    second, cached = cached_reference(key_of(), looking(source), tmp_path)
    assert (cached, len(source.reads)) == (True, 12)
    assert np.array_equal(first.features["i3d"].features, second.features["i3d"].features)
    assert np.array_equal(first.features["i3d"].outer, second.features["i3d"].outer)
    assert (first.digests, first.sizes, first.constant) == (second.digests, second.sizes, second.constant)
    assert [p.suffix for p in tmp_path.iterdir()] == [".npz"]


@pytest.mark.parametrize(
    "other",
    [
        key_of(P.changed(eps=1e-5)),
        key_of(P.changed(resize="tf1")),
        key_of(P.changed(frames=8)),
        key_of(P.changed(stride=2)),
        key_of(P.changed(fps=8.0)),
        key_of(P.changed(window="start")),
        key_of(P.changed(clips_per_video=2)),
        key_of(P.changed(split="test")),
        key_of(data={**DATA, "listing": "abd"}),
        key_of(data={**DATA, "resolution": 16}),
        key_of(sha256="e" * 64),
        key_of(count=13),
        key_of(seed=1),
    ],
)
def test_whatever_changes_the_numbers_changes_the_key(other, tmp_path):
    assert reference_path(other, tmp_path) != reference_path(key_of(), tmp_path)


@pytest.mark.parametrize(
    "same", [P.changed(ddof=1), P.changed(rounding="truncate"), P.changed(num_generated=99)]
)
def test_switches_that_real_clips_do_not_feel_share_a_reference(same, tmp_path):
    assert reference_path(key_of(same), tmp_path) == reference_path(key_of(), tmp_path)


def test_a_reference_of_something_else_is_an_error(tmp_path):
    """As when a file was copied to another's name, or handed over for the wrong protocol."""
    side = looking(NoiseSource(12))()
    save_reference(side, reference_path(key_of(), tmp_path), key_of(P.changed(eps=1e-5)))
    with pytest.raises(ValueError, match=r"switches\.eps is 1e-05, 0\.001 is asked for"):
        cached_reference(key_of(), looking(NoiseSource(12)), tmp_path)


def test_a_reference_older_than_a_switch_is_found_and_read_as_its_default(tmp_path):
    key = reference_key(
        get_protocol("styleganv"), {"dataset": "folder", "listing": "abc"}, {"i3d": "0" * 64}, 16, 0
    )
    assert reference_path(key).name == "9eb18ad16701c84d5fde9c44.npz"  # as it was named before `fps`
    assert "fps" not in key["switches"]
    path = tmp_path / "old.npz"
    save_reference(
        looking(NoiseSource(12))(), path, key_of(data={**DATA, "fps": 8.0})
    )  # before: the data's rate
    load_reference(path, key_of(P.changed(fps=8.0), data={"listing": "abc"}))
    with pytest.raises(ValueError, match=r"switches\.fps is 8\.0, None is asked for"):
        load_reference(path, key_of(data={"listing": "abc"}))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
def test_a_damaged_reference_is_an_error_in_one_line(tmp_path, damage):
    path = reference_path(key_of(), tmp_path)
    save_reference(looking(NoiseSource(12))(), path, key_of())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(
        {"cut": bytes(data[:-400]), "flipped": bytes(data), "empty": b"", "text": b"hello"}[damage]
    )
    with pytest.raises(ValueError, match="remove it to make it again") as caught:
        cached_reference(key_of(), looking(NoiseSource(12)), tmp_path)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="reference") as caught:  # named by the user: theirs to keep
        load_reference(path, key_of())
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "held"),
    [
        ({"mu": np.zeros(8), "sigma": np.eye(8)}, "it holds mu, sigma"),
        ({"arr_0": np.zeros((2, 4, 8, 8, 3), np.uint8)}, "it holds arr_0"),
    ],
    ids=["statistics", "samples"],
)
def test_a_file_of_another_tool_is_called_that(arrays, held, tmp_path):
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(ValueError, match=rf"not written by videodiff \({held}\); give the folder of videos"):
        load_reference(tmp_path / "stats.npz", key_of())


def test_without_a_home_nothing_is_kept_and_nothing_fails(monkeypatch):
    monkeypatch.setattr("videodiff.evaluation.reference.cache_folder", lambda: None)
    for _ in range(2):
        side, cached = cached_reference(key_of(), looking(NoiseSource(12)))
        assert (len(side), cached) == (12, False)


def test_clips_that_could_not_be_read_are_not_kept_for_good(tmp_path):
    side, _ = cached_reference(key_of(), looking(NoiseSource(12, bad=(3,))), tmp_path)
    assert len(side) == 11
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path):
    (tmp_path / "file").write_text("")
    side, cached = cached_reference(key_of(), looking(NoiseSource(12)), tmp_path / "file" / "below")
    assert (len(side), cached) == (12, False)


def test_figures_are_kept_too(tmp_path):
    detector = fake_detector()
    plain = detector.look
    detector.look = lambda clips: {**plain(clips), "level": clips.float().mean((1, 2, 3, 4)).numpy()}
    source = NoiseSource(12)
    plan = plan_clips(source, P, "real")
    side = observe(read_batches(source, plan, range(12), 5, []), [detector])
    save_reference(side, tmp_path / "x.npz", key_of())
    assert np.array_equal(
        load_reference(tmp_path / "x.npz", key_of()).figures["level"], side.figures["level"]
    )
