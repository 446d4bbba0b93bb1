"""Preparing a folder: what is kept, what is left out and why, the same bytes every time, and going on."""

import errno
import hashlib
import io
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from prepared_sets import clip, contents, folder_of_videos
from videodiff import atomic
from videodiff.data import VideoDataModule
from videodiff.data.clips import FolderSource
from videodiff.data.layouts import list_videos
from videodiff.data.packed import PackedSource
from videodiff.data.prepare import Settings, check, prepare, run, verify
from videodiff.data.prepare.forms import PackedForm
from videodiff.data.prepare.workers import Lost, ordered_map
from videodiff.data.prepared import read_manifest, read_prepared
from videodiff.data.shards import ShardSource
from videodiff.data.video_io import probe, read_video, write_lossless

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")
FORMS = ("video", "packed", "shards")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Six videos of 4 to 9 frames in two classes, and two files that are none."""
    return folder_of_videos(tmp_path_factory.mktemp("videos"), bad=("a/text.mp4", "b/zero.mp4"))


def small(form, **more):
    return Settings(**{"size": 8, "form": form, "layout": "videos", **more})


@pytest.mark.parametrize("form", FORMS)
def test_any_number_of_processes_makes_the_same_bytes(videos, tmp_path, form):
    for workers in (0, 2):
        report = prepare(str(videos), str(tmp_path / str(workers)), small(form, frames=5), workers)
        assert sum(report.kept.values()) == 5
        assert dict(report.reasons) == {"unopenable": 2, "too_short": 1}
    assert contents(tmp_path / "0") == contents(tmp_path / "2")
    assert "prepared.json" in contents(tmp_path / "0")


def test_every_video_has_a_line_with_its_source_and_its_fate(videos, tmp_path):
    prepare(str(videos), str(tmp_path / "out"), small("packed", frames=5))
    lines = {line["path"]: line for line in read_manifest(tmp_path / "out")}
    assert sorted(lines) == sorted(p.relative_to(videos).as_posix() for p in videos.rglob("*.m*"))
    good = lines["b/5.mkv"]
    data = (videos / "b/5.mkv").read_bytes()
    assert (good["bytes"], good["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (good["frames"], good["fps"], good["width"], good["height"], good["rotation"]) == (
        9,
        8.0,
        28,
        20,
        0,
    )
    assert (good["status"], good["reason"], good["label"], good["even"]) == ("ok", None, "b", True)
    short, text = lines["a/0.mkv"], lines["a/text.mp4"]
    assert (short["reason"], short["message"]) == ("too_short", "4 frames, 5 needed")
    assert (text["status"], text["reason"], text["out"]) == ("skipped", "unopenable", None)
    assert text["message"].startswith("text.mp4: cannot be read as video")
    assert str(videos) not in json.dumps(lines)  # the set may lie elsewhere tomorrow


@pytest.mark.parametrize("form", FORMS)
def test_captions_are_kept_with_their_videos(tmp_path, form):
    root = folder_of_videos(tmp_path / "videos", num_videos=4)
    texts = {}
    for number, path in enumerate(sorted(root.rglob("*.mkv"))[:3]):
        texts[path.stem] = tuple(f"{word} {path.stem}" for word in ("video", "clip")[: 1 + number % 2])
        path.with_suffix(".txt").write_text("\n".join(texts[path.stem]))
    report = prepare(str(root), str(tmp_path / "out"), small(form, captions="txt", val_fraction=0.0))
    assert "captions of 3 of 4 videos" in report.notes
    data = VideoDataModule(str(tmp_path / "out"), num_frames=2, resolution=8, num_workers=0)
    source = data.clips("train").source
    found = {captions for i in range(len(source)) if (captions := source.captions_of(i, 0, 2, 1))}
    assert found == {*texts.values()}
    assert {data.clips("train")[i]["caption"] for i in range(40)} == {
        t for those in texts.values() for t in those
    } | {""}
    with pytest.raises(ValueError, match="captions txt -> None"):
        prepare(str(root), str(tmp_path / "out"), small(form, val_fraction=0.0))


def test_splits_of_the_source_are_kept(tmp_path):
    for split, number in [("train", 0), ("train", 1), ("val", 2), ("test", 3)]:
        (tmp_path / "set" / split).mkdir(parents=True, exist_ok=True)
        write_lossless(tmp_path / "set" / split / f"{number}.mkv", clip(number))
    prepare(str(tmp_path / "set"), str(tmp_path / "out"), small("video"))
    assert sorted(contents(tmp_path / "out")) == [
        "manifest.jsonl", "prepared.json", "test/3.mp4", "train/0.mp4", "train/1.mp4", "val/2.mp4",
    ]  # fmt: skip


def test_videos_come_out_with_short_key_frame_distance_and_good_pixels(tmp_path):
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    moving = torch.stack([(torch.stack([x + t, y, x + y + t], -1) * 3 % 256) for t in range(30)]).to(
        torch.uint8
    )
    (tmp_path / "set").mkdir()
    write_lossless(tmp_path / "set/a.mkv", moving, fps=12.5)
    for quality in ("high", "lossless"):
        prepare(str(tmp_path / "set"), str(tmp_path / quality), small("video", size=32, quality=quality))
        path = tmp_path / quality / "train/a.mp4"
        assert probe(path).fps == pytest.approx(12.5)
        assert _key_frames(path) == [0, 12, 24]
        error = (read_video(path).float() - moving.float()).square().mean()
        assert error == 0 if quality == "lossless" else error < 12  # 37 dB on edges everywhere


def _key_frames(path):
    import av

    with av.open(str(path)) as container:
        return [i for i, frame in enumerate(container.decode(video=0)) if frame.key_frame]


def test_a_frame_rate_is_reached_by_the_nearest_frames(tmp_path):
    (tmp_path / "set").mkdir()
    write_lossless(tmp_path / "set/a.mkv", clip(1, 9), fps=8)
    prepare(str(tmp_path / "set"), str(tmp_path / "out"), small("packed", fps=4))
    source = PackedSource(str(tmp_path / "out"), "train", 1, 8)
    files = FolderSource("", list_videos(tmp_path / "set").splits["train"], 1, 8)
    assert torch.equal(source.read(0, 0, 5, 1), files.read(0, 0, 5, 2))
    assert source.times(0).tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_folders_of_frames_and_arrays_are_prepared_too(tmp_path):
    for name in ("one", "two"):
        for number, picture in enumerate(clip(len(name), 5)):
            (tmp_path / "frames" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture.numpy()).save(tmp_path / "frames" / name / f"{number}.png")
    (tmp_path / "frames/two/3.png").write_bytes(b"broken")
    report = prepare(str(tmp_path / "frames"), str(tmp_path / "a"), small("packed", layout="auto"))
    assert (dict(report.kept), dict(report.reasons)) == ({"train": 1}, {"damaged": 1}) or report.kept[
        "val"
    ] == 1
    (tmp_path / "array").mkdir()
    array = np.random.default_rng(0).integers(0, 256, (5, 4, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "array/x.npy", array)
    prepare(str(tmp_path / "array"), str(tmp_path / "b"), small("packed", layout="auto", val_fraction=0.0))
    source = PackedSource(str(tmp_path / "b"), "train", 5, 8)
    assert len(source) == 4
    assert (source.read(2, 0, 5, 1).numpy() == array[:, 2, :, :, None]).all()
    with pytest.raises(ValueError, match="no fps can be asked"):
        prepare(str(tmp_path / "array"), str(tmp_path / "c"), small("packed", layout="auto", fps=4.0))
    assert not (tmp_path / "c").exists()


def test_names_that_would_meet_are_kept_apart(tmp_path):
    names = ["a.b.mkv", "a.mkv", "a.avi.mkv", "ä #1.mkv", "A.mkv"]
    for number, name in enumerate(names):
        (tmp_path / "set").mkdir(exist_ok=True)
        write_lossless(tmp_path / "set" / name, clip(number, 4 + number))
    os.rename(tmp_path / "set/a.avi.mkv", tmp_path / "set/a.avi")  # told by its content
    for form in FORMS:
        report = prepare(str(tmp_path / "set"), str(tmp_path / form), small(form, val_fraction=0.0))
        assert sum(report.kept.values()) == 5
    files = [name for name in contents(tmp_path / "video") if name.endswith(".mp4")]
    assert len({name.lower() for name in files}) == 5
    source = ShardSource(str(tmp_path / "shards"), "train", 1, 8, val_fraction=0.0)
    assert sorted(source.num_frames(i) for i in range(5)) == [4, 5, 6, 7, 8]


def test_shards_are_cut_at_their_size_and_carry_what_is_known(videos, tmp_path):
    settings = small("shards", shard_bytes=6000, val_fraction=0.0)
    prepare(str(videos), str(tmp_path / "out"), settings)
    shards = sorted((tmp_path / "out").glob("train-*.tar"))
    assert len(shards) > 1
    source = ShardSource(str(tmp_path / "out"), "train", 1, 8, val_fraction=0.0)
    assert (len(source), source.class_names, source.labels) == (6, ["a", "b"], [0, 0, 0, 1, 1, 1])
    samples = [source._sample(i) for i in range(6)]
    assert [s.key for s in samples] == ["a/0", "a/2", "a/4", "b/1", "b/3", "b/5"]
    import tarfile

    with tarfile.open(shards[0]) as tar:
        facts = json.load(io.BytesIO(tar.extractfile("a/0.json").read()))
        assert {m.mtime for m in tar} == {0}
    assert (facts["frames"], facts["source"], facts["label"]) == (4, "a/0.mkv", "a")


def test_a_check_reads_everything_and_writes_nothing(videos, tmp_path):
    before = contents(videos)
    report = check(str(videos), small("video", frames=5), workers=0)
    assert contents(videos) == before
    assert dict(report.reasons) == {"unopenable": 2, "too_short": 1}
    assert {line["path"] for line in report.as_dict()["bad"]} == {"a/0.mkv", "a/text.mp4", "b/zero.mp4"}
    assert report.duplicates == 1  # the two files of text


def test_verify_finds_a_single_flipped_bit(videos, tmp_path):
    for form, name in [("packed", "train.u8"), ("video", "train/b/5.mp4"), ("shards", "train-000000.tar")]:
        out = tmp_path / form
        prepare(str(videos), str(out), small(form, val_fraction=0.0))
        assert not verify(str(out)).reasons
        last = [line for line in read_manifest(out) if line["status"] == "ok"][-1]["out"]
        data = bytearray((out / name).read_bytes())
        data[last.get("offset", 0) + last["bytes"] // 2] ^= 4
        (out / name).write_bytes(data)
        report = verify(str(out))
        assert dict(report.reasons) == {"damaged": 1}
        assert report.as_dict()["bad"][0]["path"] == "b/5.mkv"


# --- where it goes --------------------------------------------------------------------------------------------


def test_doing_it_again_changes_nothing_and_other_settings_are_refused(videos, tmp_path):
    out = str(tmp_path / "out")
    first = prepare(str(videos), out, small("packed"))
    before = {p: p.stat().st_mtime_ns for p in Path(out).rglob("*")}
    again = prepare(str(videos), out, small("packed"))
    assert again.as_dict() | {"notes": []} == first.as_dict() | {"notes": []}
    assert {p: p.stat().st_mtime_ns for p in Path(out).rglob("*")} == before
    with pytest.raises(
        ValueError, match=r"other settings \(size 8 -> 9, form packed -> video\); name another --out"
    ):
        prepare(str(videos), out, small("video", size=9))
    other = folder_of_videos(tmp_path / "other", num_videos=3)
    with pytest.raises(ValueError, match="prepared from other videos"):
        prepare(str(other), out, small("packed"))


def test_a_folder_with_something_else_is_refused(videos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("x")
    with pytest.raises(ValueError, match="is not empty; name another --out"):
        prepare(str(videos), str(tmp_path / "out"), small("packed"))
    assert contents(tmp_path / "out").keys() == {"precious.txt"}


def test_a_set_of_only_bad_files_is_one_line(tmp_path):
    (tmp_path / "set").mkdir()
    for name in "ab":
        (tmp_path / f"set/{name}.mp4").write_text("no video")
    with pytest.raises(
        ValueError, match=r"none of the 2 videos can be prepared; the first: (.)\.mp4: \1\.mp4: cannot be"
    ):
        prepare(str(tmp_path / "set"), str(tmp_path / "out"), small("packed"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("at", range(0, 7, 2))
def test_an_interrupted_preparation_ends_in_the_same_bytes(videos, tmp_path, form, at, monkeypatch):
    prepare(str(videos), str(tmp_path / "whole"), small(form, shard_bytes=6000))

    def stop(done, total, left_out):
        if done == at + 1:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        prepare(str(videos), str(out), small(form, shard_bytes=6000), progress=stop)
    assert not (out / "prepared.json").exists()
    for file in (out / ".prepare/data").glob("*.*"):  # what a kill in the middle of a write leaves
        if file.is_file():
            with file.open("ab") as half:
                half.write(b"half a video")
    with (out / ".prepare/journal.jsonl").open("a") as half:
        half.write('{"path": "half a li')
    done = []
    prepare(str(videos), str(out), small(form, shard_bytes=6000), progress=lambda n, *_: done.append(n))
    assert contents(out) == contents(tmp_path / "whole")
    assert done[0] == at + 2  # nothing was done twice


def interrupted(videos, out, settings):
    """A preparation that was ended after six of eight videos."""

    def stop(done, total, left_out):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(str(videos), str(out), settings, progress=stop)
    return out / ".prepare"


def flip(file, at):
    with file.open("r+b") as data:
        data.seek(at)
        (byte,) = data.read(1)
        data.seek(at)
        data.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    ("form", "damage"),
    [
        ("packed", "video"),
        ("shards", "behind"),
        *(
            pytest.param(form, damage, marks=pytest.mark.slow)
            for form in FORMS
            for damage in ("cut", "video", "behind")
            if (form, damage) not in (("packed", "video"), ("shards", "behind"))
        ),
    ],
)
def test_a_part_that_was_damaged_after_an_interruption_is_named_and_made_anew(
    videos, tmp_path, form, damage, capsys
):
    prepare(str(videos), str(tmp_path / "whole"), small(form))
    work = interrupted(videos, tmp_path / "out", small(form))
    lines = [json.loads(line) for line in (work / "journal.jsonl").read_text().splitlines()]
    second = [line for line in lines if line["status"] == "ok"][1]
    file, out = work / "data" / second["out"]["file"], second["out"]
    start = out.get("offset", 0)
    if damage == "cut":
        os.truncate(file, start + out["bytes"] // 2)
    elif damage == "video" or form != "shards":
        flip(file, start + out["bytes"] // 2)
    else:
        flip(file, out["end"] - 600)  # in its facts
    capsys.readouterr()
    done = []
    prepare(str(videos), str(tmp_path / "out"), small(form), progress=lambda n, *_: done.append(n))
    said = capsys.readouterr().err
    assert str(file) in said
    assert f"{second['path']} and the videos after it are prepared anew" in said
    assert done[0] == lines.index(second) + 1  # what lies before it is kept
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("settings.json", "cut"),
        *(
            pytest.param(*other, marks=pytest.mark.slow)
            for other in (
                ("settings.json", "flipped"),
                ("journal.jsonl", "cut"),
                ("journal.jsonl", "flipped"),
            )
        ),
    ],
)
def test_a_damaged_record_of_an_interrupted_preparation_is_named_and_made_anew(
    videos, tmp_path, name, damage, capsys
):
    prepare(str(videos), str(tmp_path / "whole"), small("packed"))
    file = interrupted(videos, tmp_path / "out", small("packed")) / name
    if damage == "cut":
        os.truncate(file, file.stat().st_size // 2)
    else:
        flip(file, 0)
    capsys.readouterr()
    prepare(str(videos), str(tmp_path / "out"), small("packed"))
    said = capsys.readouterr().err
    if (
        name != "journal.jsonl" or damage == "flipped"
    ):  # a journal that ends early is that of an earlier moment
        assert str(file) in said
        assert "prepared anew" in said
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("step", ["files.json", "copy_tree_up", "sha256_of"])
@pytest.mark.parametrize("form", FORMS)
def test_an_interrupted_end_is_finished(videos, tmp_path, form, step, monkeypatch):
    prepare(str(videos), str(tmp_path / "whole"), small(form))
    owner, name = (atomic, "write_text") if step == "files.json" else (run, step)
    plain, calls = getattr(owner, name), []

    def broken(*args):
        if step == "files.json" and args[0].name != step:
            return plain(*args)
        calls.append(args)
        if len(calls) == 1:
            if step == "copy_tree_up":  # half of it
                first = sorted(args[0].iterdir())[0]
                os.replace(first, args[1] / first.name)
            raise KeyboardInterrupt
        return plain(*args)

    monkeypatch.setattr(owner, name, broken)
    with pytest.raises(KeyboardInterrupt):
        prepare(str(videos), str(tmp_path / "out"), small(form))
    assert not (tmp_path / "out/prepared.json").exists()
    prepare(str(videos), str(tmp_path / "out"), small(form))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_full_disk_keeps_what_was_written(videos, tmp_path, monkeypatch):
    prepare(str(videos), str(tmp_path / "whole"), small("packed"))
    plain = PackedForm.take

    def full(self, line, part):
        if line["path"] == "b/1.mkv":
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(self, line, part)

    monkeypatch.setattr(PackedForm, "take", full)
    with pytest.raises(OSError, match=r"no space left on device. after \d of 8 videos; these are kept"):
        prepare(str(videos), str(tmp_path / "out"), small("packed"))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prepare(str(videos), str(tmp_path / "out"), small("packed"))
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("when", ["opened", "written", "closed"])
def test_a_full_disk_under_a_worker_is_not_the_videos_fault(videos, tmp_path, when, monkeypatch):
    from videodiff.data.prepare import encode

    plain = encode.FrameWriter._open_video

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    def opened(self):
        if when == "opened":
            full()
        plain(self)
        written = (
            full if when == "written" else lambda packets: None
        )  # what is buffered is not yet on the disk
        self.container = SimpleNamespace(mux=written, close=full)

    monkeypatch.setattr(encode.FrameWriter, "_open_video", opened)
    with pytest.raises(OSError, match=r"no space left on device. after 0 of 8 videos"):
        prepare(str(videos), str(tmp_path / "out"), small("video"))
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert sum(prepare(str(videos), str(tmp_path / "out"), small("video")).kept.values()) == 6


def test_two_processes_never_prepare_into_one_folder(videos, tmp_path):
    out, said = tmp_path / "out", []

    def meanwhile(done, *_):
        if done == 1:
            with pytest.raises(ValueError, match="is being prepared by another process"):
                prepare(str(videos), str(out), small("packed"))
            said.append(done)

    prepare(str(videos), str(out), small("packed"), progress=meanwhile)
    assert said == [1]
    assert read_prepared(out).form == "packed"


# --- workers --------------------------------------------------------------------------------------------------


def act(job, beat):
    """What a piece of work may do."""
    kind, value = job
    if kind == "die":
        os.kill(os.getpid(), value)
    if kind == "hang":
        time.sleep(value)
    if kind == "beat":
        for _ in range(6):
            time.sleep(0.3)
            beat()
    if kind == "raise":
        raise OSError(errno.ENOSPC, "No space left on device")
    return value


def test_pieces_that_crash_or_hang_are_answers_and_the_others_are_done():
    jobs = [("ok", 1), ("die", 11), ("ok", 2), ("hang", 600), ("die", 9), ("beat", 3), ("ok", 4)]
    answers = list(ordered_map(act, jobs, 2, silence_s=1.5))
    assert [a for a in answers if not isinstance(a, Lost)] == [1, 2, 3, 4]
    assert [a.reason for a in answers if isinstance(a, Lost)] == [
        "its process died (signal SIGSEGV)", "no progress for 1.5 s", "its process died (signal SIGKILL)",
    ]  # fmt: skip


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_the_work_itself_comes_through(workers):
    answers = ordered_map(act, [("ok", 1), ("raise", 0), ("ok", 2)], workers)
    assert next(answers) == 1
    with pytest.raises(OSError, match="No space left"):
        next(answers)


# --- real files -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")
def test_every_bad_file_is_kept_or_left_out_as_its_record_says(tmp_path):
    expected = json.loads(Path(ASSETS, "data/bad/expected.json").read_text())
    report = check(f"{ASSETS}/data/bad", Settings(size=16, layout="videos"))
    lines = {line["path"]: line for line in report.lines}
    for name, record in expected.items():
        if "/" in name or record["expect"] == "skip":
            assert name not in lines
            continue
        line = lines[name]
        reasons = {
            "ok": {None}, "partial": {None}, "damaged": {"damaged"}, "unopenable": {"unopenable"},
            "no_video": {"no_video"},
        }[record["expect"]]  # fmt: skip
        assert line["reason"] in reasons, name
        if line["reason"] is None:
            whole = record["decoded"] - (name == "header_lies.avi")  # its last frame is only partly there
            held = 2 if "error" in record else 0  # by the decoder when it met the error
            assert line["frames"] == whole + held, name
    assert lines["rotated_90.mp4"]["rotation"] == 90
    assert lines["rotated_180.mp4"]["rotation"] == 180
    assert not lines["vfr.mp4"]["even"]
