"""videodiff prepare: reports, exit codes, and one line for everything that is wrong."""

import json
import os

import pytest
import torch

from local_server import Server
from prepared_sets import contents, folder_of_videos
from videodiff.cli import COMMANDS, help, main
from videodiff.data import VideoDataModule
from videodiff.data.download import SETS, Part, PublicSet


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return folder_of_videos(tmp_path_factory.mktemp("videos"), bad=("b/text.mp4",))


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def call(capsys):
    """Run prepare in this process: exit code, stdout, stderr."""

    def run(*words):
        code = main(["prepare", *map(str, words), "--workers", "0"])
        return code, *capsys.readouterr()

    return run


def refused(result, *said, code=2):
    got, out, err = result
    assert (got, out) == (code, ""), err
    line = err.splitlines()[-1]
    assert line.startswith("videodiff: error: ")
    for word in said:
        assert str(word) in line
    return line


def test_prepare_is_listed_and_helps(capsys):
    assert "prepare" in COMMANDS
    assert "prepare " in help.MAIN
    assert main(["prepare", "--help"]) == 0
    text = capsys.readouterr().out
    for word in ("--size", "--frames", "--out", "--form", "--check", "packed", "shards", "--layout"):
        assert word in text


def test_a_folder_is_prepared_reported_and_trained_from(call, videos, tmp_path):
    code, out, _ = call(videos, "--size", "16", "--frames", "5", "--form", "packed", "--out", "set")
    assert code == 0
    assert "7 videos, 5 good, 35 frames" in out
    assert "b/text.mp4: unopenable: text.mp4: cannot be read" in out
    assert "a/0.mkv: too_short: 4 frames, 5 needed" in out
    assert "--data.root set" in out
    module = VideoDataModule(root="set", num_frames=4, resolution=16, num_workers=0, batch_size=2)
    batch = next(iter(module.train_dataloader()))
    assert batch["video"].shape == (2, 3, 4, 16, 16)
    assert module.class_names == ["a", "b"]
    before = contents(tmp_path / "set")
    assert call(videos, "--size", "16", "--frames", "5", "--form", "packed", "--out", "set")[0] == 0
    assert contents(tmp_path / "set") == before


@pytest.mark.parametrize("form", ["video", "packed", "shards"])
def test_training_from_any_form_sees_the_same_lossless_clips(call, videos, form):
    words = (
        videos,
        "--size",
        "16",
        "--form",
        form,
        "--quality",
        "lossless",
        "--out",
        "set",
        "--layout",
        "videos",
    )
    assert call(*words)[0] == 0
    options = {"num_frames": 4, "resolution": 16, "num_workers": 0, "batch_size": 4}
    direct = VideoDataModule(root=str(videos), layout="videos", **options)
    prepared = VideoDataModule(root="set", **options)
    for split in ("train", "val"):
        one, two = direct.source(split), prepared.source(split)
        assert len(one) == len(two)
        assert one.labels == two.labels
        for index in range(len(one)):
            assert torch.equal(one.read(index, 0, 4, 1), two.read(index, 0, 4, 1))


def test_check_only_reports(call, videos, tmp_path):
    code, out, _ = call(videos, "--check", "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["videos"], report["skipped"], report["form"]) == (7, {"unopenable": 1}, None)
    assert report["bad"][0] | {"message": "", "split": ""} == {
        "path": "b/text.mp4", "split": "", "reason": "unopenable", "message": "",
    }  # fmt: skip
    assert os.listdir(tmp_path) == []


def test_check_of_a_prepared_folder_compares_its_hashes(call, videos, tmp_path):
    call(videos, "--size", "16", "--out", "set")
    assert call("set", "--check")[0] == 0
    victim = next((tmp_path / "set/train").rglob("*.mp4"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    code, out, _ = call("set", "--check")
    assert code == 0
    assert "damaged" in out
    assert victim.relative_to(tmp_path / "set").as_posix() in out


def test_bad_words_are_one_line_and_leave_nothing(call, videos, tmp_path):
    out = ("--out", "set")
    refused(call(videos), "--out DIR")
    refused(call("none", *out), "no folder and no public data set 'none'", "ucf101")
    refused(call("ufc101", *out), "did you mean 'ucf101'")
    refused(call(videos, *out, "--size", "0"), "--size must have sides of")
    refused(call(videos, *out, "--fps", "-1"), "--fps must be above 0")
    refused(call(videos, *out, "--form", "zip"), "--form must be one of video, packed, shards, got 'zip'")
    refused(call(videos, *out, "--resize", "cubic"), "--resize must be one of antialias")
    refused(call(videos, *out, "--layout", "ucf"), "layout", "ucf101")
    refused(call(videos, *out, "--quality", "best"), "--quality must be one of high, lossless")
    refused(call(videos, *out, "--sise", "3"), "did you mean '--size'")
    (tmp_path / "empty").mkdir()
    refused(call("empty", *out), "no videos and no folders of images")
    (tmp_path / "empty/a.mp4").write_text("x")
    refused(call("empty", *out), "the only video cannot be prepared")
    assert os.listdir(tmp_path) == ["empty"]


def test_workers_below_zero_are_refused(capsys, videos):
    assert main(["prepare", str(videos), "--out", "set", "--workers", "-1"]) == 2
    assert "--workers must be at least 0, got -1" in capsys.readouterr().err


def test_a_set_of_only_bad_files_fails_its_check(call, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/a.mp4").write_text("x")
    code, out, err = call("bad", "--check")
    assert code == 2
    assert "a.mp4: unopenable" in out
    assert "the only video" in err


def test_an_output_folder_that_holds_something_else_is_left_alone(call, videos, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/precious.txt").write_text("x")
    refused(call(videos, "--out", "set"), "set is not empty; name another --out")
    assert contents(tmp_path / "set").keys() == {"precious.txt"}
    assert call(videos, "--size", "16", "--out", "done")[0] == 0
    refused(
        call(videos, "--size", "8", "--out", "done"), "other settings (size 16 -> 8)", "name another --out"
    )
    refused(call("done", "--out", "again"), "done is prepared already")


@pytest.mark.parametrize("out", ["file/set", "/proc/nowhere/set", "file"])
def test_an_output_folder_that_cannot_be_written(call, videos, tmp_path, out):
    (tmp_path / "file").touch()
    refused(call(videos, "--out", out), out, "cannot be written", "--out")
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk_is_exit_code_1_and_goes_on(call, videos, tmp_path, monkeypatch):
    import errno

    from videodiff.data.prepare.forms import VideoForm

    def full(self, line, part):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(VideoForm, "take", full)
    refused(
        call(videos, "--size", "16", "--out", "set"), "no space left", "repeat the command to resume", code=1
    )
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert call(videos, "--size", "16", "--out", "set")[0] == 0


def test_ctrl_c_is_exit_code_130_and_goes_on(call, videos, tmp_path, monkeypatch):
    from videodiff.data.prepare.forms import VideoForm

    plain, calls = VideoForm.take, []

    def interrupted(self, line, part):
        calls.append(line)
        if len(calls) == 3:
            raise KeyboardInterrupt
        plain(self, line, part)

    monkeypatch.setattr(VideoForm, "take", interrupted)
    code, _, err = call(videos, "--size", "16", "--out", "set")
    assert code == 130
    assert "repeat the command to resume in set" in err
    assert (tmp_path / "set/.prepare").exists()
    assert call(videos, "--size", "16", "--out", "set")[0] == 0
    assert len(calls) == 7  # six videos, one of them twice


def test_a_public_set_without_a_link_says_where_to_get_it(call, tmp_path):
    line = refused(
        call("sky", "--out", "set"), "SkyTimelapse", "https://", "sky_train/<video>/<clip>", "--layout sky"
    )
    assert line.count("\n") == 0
    assert os.listdir(tmp_path) == []


def test_a_public_set_with_a_link_is_fetched_once_and_prepared(call, tmp_path, monkeypatch):
    import numpy as np

    np.save(tmp_path / "x.npy", np.zeros((4, 3, 16, 16), np.uint8))
    data = (tmp_path / "x.npy").read_bytes()
    with Server({"x.npy": data}) as server:
        parts = (Part(f"{server.url}/x.npy", num_bytes=len(data)),)
        monkeypatch.setitem(SETS, "moving_mnist", PublicSet("A set", "array", "page", "x.npy", parts))
        words = ("moving_mnist", "--size", "16", "--form", "packed", "--downloads", "raw")
        assert call(*words, "--out", "set")[0] == 0
        assert call(*words, "--out", "again")[0] == 0
        assert len(server.requests) == 1
    assert contents(tmp_path / "set") == contents(tmp_path / "again")
    assert json.loads((tmp_path / "set/prepared.json").read_text())["layout"] == "array"
