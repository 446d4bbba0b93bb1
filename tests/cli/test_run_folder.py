"""A run's folder: nothing in it is lost when the disk fills up, nothing left behind blocks it, no link is followed."""

import errno
import json
import os
import shutil

import pytest

import tiny_run as tiny
from real_run import SMALLEST
from videodiff import atomic
from videodiff.cli import main
from videodiff.cli.run_folder import is_foreign, write_config

FIT = ["fit", *SMALLEST, "--ema.decay", "0.5", "--trainer.max_steps", "2"]


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("begun") / "run"
    assert main([*FIT, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def full_from(monkeypatch, number):
    """A disk on which every write of a file from the given one on finds no room."""
    plain, count = atomic.part_of, [0]

    def part_of(path):
        count[0] += 1
        if count[0] > number:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return plain(path)

    monkeypatch.setattr(atomic, "part_of", part_of)
    return count


def last(folder):
    return tiny.weights(folder / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("full_at", [0, 1])
def test_a_config_that_cannot_be_replaced_is_still_there(full_at, tmp_path, monkeypatch):
    write_config(tmp_path, "a: 1\n")
    full_from(monkeypatch, full_at)
    with pytest.raises(OSError, match=r"No space left"):
        write_config(tmp_path, "a: 2\n")
    monkeypatch.undo()
    assert (tmp_path / "config.yaml").read_text() == "a: 1\n"
    write_config(tmp_path, "a: 2\n")
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert kept.pop("config.yaml") == "a: 2\n"
    assert set(kept.values()) == {"a: 1\n"}  # config.1.yaml; config.2.yaml too where it was made before


def test_a_run_goes_on_in_whatever_state_a_full_disk_left_it(run, tmp_path, monkeypatch, said):
    folder, last_number = tmp_path / "run", 0
    for number in (0, 1, 3):  # before config.yaml, before env.json, before the last checkpoint
        with monkeypatch.context() as patch:
            count = full_from(patch, number)
            code, err = said(*FIT, "--out", folder)
            assert (code, "no space left" in err.lower() or "disk full" in err) == (1, True), err
            assert "Traceback" not in err
            last_number = count[0]
    assert last_number > 3
    assert said(*FIT, "--out", folder)[0] == 0
    assert tiny.same(last(folder), last(run))
    assert not list(folder.rglob("*.part"))


def test_a_run_without_its_config_goes_on_from_the_copy_in_its_checkpoint(copy, said):
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").rename(copy / "config.1.yaml")  # as a kill between two renames once left it
    code, err = said("fit", "--out", copy, "--trainer.max_steps", "3")
    assert code == 0, err
    assert f"{copy} has no config.yaml; using the copy inside {copy}/checkpoints/last.ckpt" in err
    assert "at step 2" in err
    assert (copy / "config.2.yaml").read_text() == text  # that of the first two steps


def test_a_run_of_damaged_checkpoints_alone_is_refused_by_name(copy, said):
    (copy / "config.yaml").unlink()
    for path in (copy / "checkpoints").iterdir():
        path.write_bytes(b"PK" + bytes(1000))
    code, err = said("fit", "--out", copy)
    assert code == 2
    assert f"none of the 2 checkpoints in {copy} is intact" in err


@pytest.mark.parametrize(
    ("name", "foreign"),
    [
        (".config.yaml.12-0.part", False), ("config.1.yaml", False), ("metrics.jsonl", False), ("run.lock", False),
        ("env.json", False), ("events.out.tfevents.1.host.2.0", False), ("skipped_videos.jsonl", False),
        ("checkpoints/.last.ckpt.12-0.part", False), ("samples/step_000100.mp4", False),
        ("thesis.tex", True), ("checkpoints/model.pt", True), ("samples/holiday.mp4", True), ("clip.mp4", True),
    ],
)  # fmt: skip
def test_what_a_run_leaves_behind_is_known_from_what_is_not_its_own(name, foreign, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    (top,) = tmp_path.iterdir()
    assert is_foreign(top) == foreign


# --- links -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["metrics.jsonl", "checkpoints", *(slow(n) for n in ("run.lock", "samples", "hparams.yaml"))]
)
def test_a_run_is_not_written_through_links_in_its_folder(name, copy, tmp_path, said):
    place = tmp_path / "precious"
    if (copy / name).exists():
        (copy / name).rename(place)
    elif name == "samples":
        place.mkdir()
    (copy / name).symlink_to(place)  # of a file that is not there, too
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and copy not in p.parents}
    code, err = said("fit", "--out", copy, "--trainer.max_steps", "3")
    assert code == 2
    assert f"{copy / name} is a link to {place}; nothing is written through it" in err
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and copy not in p.parents} == before


@pytest.mark.parametrize("name", ["env.json", slow("config.yaml")])
def test_a_file_that_is_written_anew_takes_the_place_of_a_link(name, copy, tmp_path, said):
    (copy / name).rename(tmp_path / "precious")
    (copy / name).symlink_to(tmp_path / "precious")
    before = (tmp_path / "precious").read_bytes()
    assert said("fit", "--out", copy, "--trainer.max_steps", "3")[0] == 0
    assert (tmp_path / "precious").read_bytes() == before
    assert not (copy / name).is_symlink()


def test_results_are_not_written_through_links_in_a_run(copy, tmp_path, said):
    place = tmp_path / "elsewhere"
    place.mkdir()
    for name, words in {
        "generate": ["generate", "--steps", "1"],
        "predict": ["predict"],
        "eval": ["test"],
    }.items():
        (copy / name).symlink_to(place)
        code, err = said(*words, "--ckpt_path", copy)
        assert (code, f"{copy / name} is a link to {place}" in err) == (2, True), err
    assert list(place.iterdir()) == []


def test_checkpoints_lie_on_another_disk_where_an_option_says_so(run, tmp_path, said):
    folder, place = tmp_path / "run", tmp_path / "other disk" / "kept"
    assert said(*FIT, "--out", folder, "--checkpoints", place)[0] == 0
    assert sorted(p.name for p in place.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert tiny.same(last(folder), last(run))
    more = ["fit", "--out", folder, "--trainer.max_steps", "3"]
    code, err = said(*more)
    assert (code, f"--checkpoints '{place}'" in err) == (2, True)
    assert said(*more, "--checkpoints", tmp_path / "third")[0] == 2
    assert said(*more, "--checkpoints", place)[0] == 0
    assert last(folder)[0] == 3
    assert not (folder / "origin.json").exists()  # it went on in its own folder
    code, err = said(*FIT, "--out", tmp_path / "next", "--checkpoints", place)
    assert (code, "of another run" in err) == (2, True)
    assert not (tmp_path / "next").exists()


# --- drawing goes on ---------------------------------------------------------------------------------------------


def clips(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("clip_*.mkv"))}


@pytest.mark.parametrize("damage", [slow(None), "clip", slow("plan")])
def test_generate_goes_on_where_it_was_interrupted_without_being_told_where(damage, copy, monkeypatch, said):
    words = ["generate", "--ckpt_path", copy, "--num_samples", "4", "--steps", "1", "--batch_size", "2"]
    assert said(*words)[0] == 0
    with monkeypatch.context() as patch:
        full_from(patch, 4)  # in the second of two batches
        code, err = said(*words)
    assert code == 1
    assert f"resume with --out {copy}/generate/2" in err
    begun = copy / "generate" / "2"
    if damage == "clip":
        (begun / "clip_00001.mkv").write_bytes((begun / "clip_00001.mkv").read_bytes()[:200])
    if damage == "plan":
        (begun / "samples.part.json").write_text("{")
        words += ["--out", begun]
    code, err = said(*words)
    assert code == 0, err
    if damage is None:
        assert f"going on in {begun}" in err
        assert "2 of 4 videos already there" in err
    else:
        assert {"clip": "clip_00001.mkv is damaged", "plan": "samples.part.json is damaged"}[damage] in err
    assert clips(begun) == clips(copy / "generate" / "1")
    assert json.loads((begun / "samples.json").read_text())["clips"] == [
        f"clip_{i:05d}.mkv" for i in range(4)
    ]
    assert said(*words[:9])[0] == 0
    assert (copy / "generate" / "3").is_dir()  # a finished one is not gone on with


def test_kept_latents_that_are_damaged_are_named_and_drawn_anew(copy, tmp_path, monkeypatch, said):
    words = ["generate", "--ckpt_path", copy, "--num_samples", "1", "--steps", "1", "--frames", "10"]
    assert said(*words, "--out", tmp_path / "whole")[0] == 0
    with monkeypatch.context() as patch:
        full_from(patch, 2)  # the plan and the latents of the first window
        assert said(*words, "--out", tmp_path / "out")[0] == 1
    (kept,) = (tmp_path / "out").glob(".latents_*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-40] ^= 1
    kept.write_bytes(content)
    code, err = said(*words, "--out", tmp_path / "out")
    assert code == 0
    assert f"{kept} is damaged; these videos are generated again" in err
    assert clips(tmp_path / "out") == clips(tmp_path / "whole")
    assert not kept.exists()


@pytest.mark.parametrize("named", [slow(True), False])
def test_predict_goes_on_in_the_folder_it_began(named, copy, monkeypatch, said):
    few = ["--data.num_test_clips", "4", "--data.batch_size", "2", "--model.sampler.num_steps", "1"]
    words = ["predict", "--ckpt_path", copy, *few]
    assert said(*words)[0] == 0
    whole, begun = copy / "predict" / "1", copy / "predict" / "2"
    words += ["--out", begun] if named else []
    with monkeypatch.context() as patch:
        count = full_from(patch, 4)  # the plan and three clips
        code, err = said(*words)
        assert (code, count[0]) == (1, 5), err
    if named:
        (begun / "clip_00000.mkv").write_bytes((begun / "clip_00000.mkv").read_bytes()[:-1])
    drawn = []
    from videodiff.models import VDM

    plain = VDM.predict_step
    monkeypatch.setattr(
        VDM, "predict_step", lambda self, batch, *a: (drawn.append(1), plain(self, batch, *a))[1]
    )
    code, err = said(*words)
    assert code == 0, err
    assert (f"{begun}/clip_00000.mkv is damaged or gone; it is generated again" in err) == named
    assert len(drawn) == (2 if named else 1)
    assert clips(begun) == clips(whole)
    for name in ("predictions.json", "sheet.mp4"):
        assert (begun / name).read_bytes() == (whole / name).read_bytes()
    assert not [name for name in os.listdir(begun) if "part" in name or name == "run.lock"]
    code, err = said(*words)
    assert code == (2 if named else 0)
    assert (copy / "predict" / "3").is_dir() is not named
