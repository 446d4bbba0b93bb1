"""Tar shards read at random: against the files inside them, behind http, cut short, and shared by many workers."""

import json
import os
import tarfile
from functools import partial
from pathlib import Path

import pytest
import torch

from local_server import Server
from prepared_sets import clip, tar
from video_corpus import copy, from_second_key, h264_open
from videodiff.data import VideoDataModule, byte_ranges, shard_index
from videodiff.data.shard_index import expand_braces, find_shards, index_shard, split_key
from videodiff.data.shards import ShardSource
from videodiff.data.stream import ClipDataset, GlobalBatches
from videodiff.data.video_io import BadVideoError, read_clip, write_lossless

ASSETS = os.environ.get("VIDEODIFF_TEST_ASSETS")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return folder / "videodiff" / "shards"


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Ten lossless files: name -> path."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(10):
        write_lossless(folder / f"v{number}.mkv", clip(number, 4 + number % 3))
    return {path.stem: path for path in sorted(folder.iterdir())}


def members(videos, names, **texts):
    """Adjacent members of each video: ``key.mkv`` and, of each keyword, ``key.<keyword>`` made from the name."""
    for name in names:
        yield f"{name}.mkv", videos[name].read_bytes()
        for suffix, make in texts.items():
            yield f"{name}.{suffix}", make(name).encode()


@pytest.fixture
def shards(videos, tmp_path):
    """Three uneven shards (5, 4, 1) with numbered classes named by the json of some."""
    names = list(videos)
    texts = {
        "cls": lambda name: str(int(name[1:]) % 3),
        "json": lambda name: json.dumps({"label": f"class {int(name[1:]) % 3}"}),
    }
    for number, part in enumerate((names[:5], names[5:9], names[9:])):
        (tmp_path / f"clips-{number:03d}.tar").write_bytes(tar(members(videos, part, **texts)))
    return tmp_path


def keys(source):
    return [source.name(i).rpartition(": ")[2].removesuffix(".mkv") for i in range(len(source))]


def test_samples_are_the_files_inside(shards, videos):
    source = ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)
    assert keys(source) == list(videos)
    assert source.class_names == ["class 0", "class 1", "class 2"]
    assert source.labels == [int(key[1:]) % 3 for key in videos]
    assert source.captions is None
    assert source.skipped == []
    for index, path in enumerate(videos.values()):
        assert source.num_frames(index) == 4 + index % 3
        assert torch.equal(source.read(index, 1, 2, 2), read_clip(path, 1, 2, 2, 16))
        assert torch.equal(source.read_frames(index, [0, 3, 3]), read_clip(path, 0, 4, 1, 16)[[0, 3, 3]])
        assert source.times(index)[:3].tolist() == pytest.approx([0, 0.125, 0.25])


def test_every_pattern_names_the_same_shards(shards):
    wanted = [str(shards / f"clips-{n:03d}.tar") for n in range(3)]
    for pattern in [
        str(shards),
        str(shards / "clips-{000..002}.tar"),
        str(shards / "clips-*.tar"),
        f"file://{shards}/clips-{{000,001,002}}.tar",
        wanted,
        [wanted[0], str(shards / "clips-00{0..2}.tar")],
    ]:
        assert find_shards(pattern) == wanted
    assert expand_braces("a{1..3}b{x,y}") == ["a1bx", "a1by", "a2bx", "a2by", "a3bx", "a3by"]
    assert expand_braces("a{08..11}") == ["a08", "a09", "a10", "a11"]
    assert expand_braces("a{b}c") == ["a{b}c"]


def test_what_is_no_shard_is_told_in_one_line(shards, tmp_path):
    (tmp_path / "empty").mkdir()
    for paths, kind, said in [
        (str(tmp_path / "empty"), FileNotFoundError, "no tar shards below"),
        (str(tmp_path / "none-*.tar"), FileNotFoundError, "no file matches"),
        (str(tmp_path / "none.tar"), FileNotFoundError, "no such file"),
        ("pipe:cat x.tar", ValueError, "programs are not run"),
        ([], FileNotFoundError, "no shards"),
    ]:
        with pytest.raises(kind, match=said):
            ShardSource(paths, "train", 4, 16)
    (tmp_path / "text.tar").write_text("no tar" * 500)
    with pytest.raises(ValueError, match="no videos for train in 1 shard, the first"):
        ShardSource(str(tmp_path / "text.tar"), "train", 4, 16)


def test_keys_end_at_the_first_dot_of_the_last_part():
    assert split_key("a.b/clip.two.mp4") == ("a.b/clip", "two.mp4")
    assert split_key("clip") == ("clip", "")


def test_texts_of_any_kind_become_labels_and_captions(videos, tmp_path):
    texts = {
        "json": lambda name: json.dumps({"class": "odd" if int(name[1:]) % 2 else "even"}),
        "txt": lambda name: f"a clip called {name}",
    }
    (tmp_path / "a.tar").write_bytes(tar(members(videos, videos, **texts)))
    source = ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0)
    assert source.class_names == ["even", "odd"]
    assert source.labels == [n % 2 for n in range(10)]
    assert source.captions == [f"a clip called {name}" for name in videos]
    assert ShardSource(str(tmp_path), "train", 4, 16, classes=False).class_names is None
    (tmp_path / "a.tar").write_bytes(
        tar([*members(videos, ["v0"]), *members(videos, ["v1"], cls=lambda n: "x")])
    )
    with pytest.raises(ValueError, match="sample v0 has no class"):
        ShardSource(str(tmp_path), "train", 4, 16)


def test_a_sample_may_have_several_captions_or_none(videos, tmp_path):
    texts = [b"one\r\n\n eins \n", b"\xef\xbb\xbfonly\n", b"caf\xe9"]
    parts = []
    for name, text in zip(("v0", "v1", "v2"), texts, strict=True):
        parts += [*members(videos, [name]), (f"{name}.txt", text)]
    for name, value in (
        ("v3", {"caption": ["a", "b", "a"]}),
        ("v4", {"text": "c\nd"}),
        ("v5", {"caption": ["a", 1]}),
    ):
        parts += [*members(videos, [name]), (f"{name}.json", json.dumps(value).encode())]
    (tmp_path / "a.tar").write_bytes(tar(parts))
    source = ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0)
    assert [source.captions_of(i, 0, 4, 1) for i in range(6)] == [
        ("one", "eins"), ("only",), (), ("a", "b"), ("c d",), (),
    ]  # fmt: skip
    ((path, reason),) = source.skipped
    assert path.endswith("a.tar: v2.txt: this text is not UTF-8: 'caf\ufffd'")
    assert reason == "its video is used without it"
    data = VideoDataModule(
        str(tmp_path), num_frames=4, resolution=16, num_workers=0, val_fraction=0, missing_captions="leave_out",
        held_out_words=["only"],
    )  # fmt: skip
    clips = data.clips("train")
    assert len(clips) == 3
    assert {clips[i]["caption"] for i in range(60)} == {"one", "eins", "a", "b", "c d"}
    assert [clips.source.times(i).shape for i in range(3)] == [source.times(i).shape for i in (0, 3, 4)]


def test_damaged_texts_and_foreign_members_do_no_harm(videos, tmp_path):
    data = videos["v0"].read_bytes()
    odd = [
        ("notes.md", b"x"), (".hidden.mkv", data), ("v0.json", b"{no json"), ("v0.MKV", data), ("v0.json", b"[1]"),
        ("deep/v1.cam.mkv", data), ("lonely.cls", b"3"),
    ]  # fmt: skip
    (tmp_path / "a.tar").write_bytes(tar(odd))
    source = ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0)
    assert [source._sample(i).key for i in range(len(source))] == ["v0", "deep/v1"]


@pytest.mark.parametrize("where", ["in a video", "in a header", "between samples"])
def test_a_shard_that_ends_too_soon_keeps_what_is_whole_and_says_so(videos, tmp_path, where):
    whole = tar(members(videos, videos))
    index = index_shard(str(_written(tmp_path / "whole.tar", whole)))
    last = index.samples[-1]
    cut = {
        "in a video": last.offset + 100,
        "in a header": last.offset - 300,
        "between samples": last.offset - 512,
    }
    (tmp_path / "whole.tar").unlink()
    (tmp_path / "a.tar").write_bytes(whole[: cut[where]])
    source = ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0)
    assert keys(source) == list(videos)[:-1]
    ((path, reason),) = source.skipped
    assert path == str(tmp_path / "a.tar")
    assert "9 samples before that used" in reason
    assert source.num_unreadable == 1


def header(name, num_bytes, kind=tarfile.REGTYPE, layout=tarfile.GNU_FORMAT, **pax):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.pax_headers = (
        num_bytes,
        kind,
        {key.replace("_", "."): v for key, v in pax.items()},
    )
    return info.tobuf(layout)


ODD = {
    "a negative size": header("odd.mkv", -1536),
    "a negative size of a text": header("odd.json", -1024),
    "a size of minus one block": header("odd.mkv", -512),
    "a size of 2^80": header("odd.mkv", 2**80),
    "a negative size in an extended header": header("odd.mkv", 0, layout=tarfile.PAX_FORMAT, size="-1536"),
    "a size of 2^80 in an extended header": header("odd.mkv", 0, layout=tarfile.PAX_FORMAT, size=str(2**80)),
    "a long name of 2^60 bytes": header("././@LongLink", 2**60, tarfile.GNUTYPE_LONGNAME),
    "an extended header of 2^60 bytes": header("odd", 2**60, tarfile.XHDTYPE),
    "an extended header of negative size": header("odd", -1536, tarfile.XHDTYPE),
    "very many extended headers": header("odd", 0, tarfile.XHDTYPE) * 5000,
    "an old sparse header": header("odd.mkv", 512, tarfile.GNUTYPE_SPARSE)[:386] + b"\xff" * 126,
    "a sparse map of words": header(
        "odd.mkv", 512, layout=tarfile.PAX_FORMAT, GNU_sparse_major="0", GNU_sparse_map="a,b"
    ),
    "a sparse header of 1.0 without its map": header(
        "odd.mkv", 512, layout=tarfile.PAX_FORMAT, GNU_sparse_major="1", GNU_sparse_minor="0"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_a_shard_with_an_odd_header_is_named_and_the_others_train(name, videos, tmp_path):
    before, after = list(tar(members(videos, ["v0", "v1"]))[: -2 * 512]), tar(members(videos, ["v2"]))
    while before[-512:] == [0] * 512:  # the end mark, and what fills the last record
        del before[-512:]
    (tmp_path / "a.tar").write_bytes(bytes(before) + ODD[name] + after)
    (tmp_path / "b.tar").write_bytes(tar(members(videos, ["v3", "v4"])))
    source = ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0)
    assert [key for key in keys(source) if key != "v2"] == ["v0", "v1", "v3", "v4"]
    assert source.read(0, 0, 4, 1).shape == (4, 16, 16, 3)
    (path, reason), *more = source.skipped
    assert path.startswith(str(tmp_path / "a.tar"))
    assert not more
    assert len(reason.splitlines()) == 1
    assert [source.skipped, keys(source)] == [  # from the kept index, too
        (again := ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0)).skipped, keys(again),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        ("json", "[" * 60_000),
        ("json", '{"a":' * 10_000),
        ("json", "[1, 2]"),
        ("json", f'{{"caption": "c", "label": {10**30}}}'),
        ("cls", "999999999"),
        ("json", f'{{"videodiff_prepared": 1, "frames": {2**80}}}'),
    ],
)
def test_an_odd_side_file_costs_at_most_its_video_and_is_named(suffix, text, videos, tmp_path):
    parts = [*members(videos, ["v0", "v1"], cls=lambda name: "1"), ("v2.mkv", videos["v2"].read_bytes())]
    (tmp_path / "a.tar").write_bytes(tar([*parts, (f"v2.{suffix}", text.encode())]))
    classes = suffix == "cls" or "label" in text
    source = ShardSource(str(tmp_path), "train", 4, 16, val_fraction=0.0, classes=classes)
    assert keys(source)[:2] == ["v0", "v1"]
    assert len(source) == 3 or "v2" in source.skipped[0][0]
    if "frames" in text:
        assert source.num_frames(2) == 6
    else:
        ((path, reason),) = source.skipped
        assert path.startswith(f"{tmp_path}/a.tar: v2.")
        assert len(f"{path}{reason}") < 400
    assert [source.read(i, 0, 4, 1).shape for i in range(len(source))] == [(4, 16, 16, 3)] * len(source)


def _written(path, data):
    path.write_bytes(data)
    return path


def test_a_damaged_video_and_a_short_one_are_left_out_and_named(videos, tmp_path):
    parts = [*members(videos, videos), ("bad.mp4", b"no video" * 100)]
    (tmp_path / "a.tar").write_bytes(tar(parts))
    source = ShardSource(str(tmp_path), "train", 5, 16, val_fraction=0.0)
    assert keys(source) == [n for n in videos if int(n[1:]) % 3]
    reasons = dict(source.skipped)
    assert reasons[f"{tmp_path}/a.tar: v0.mkv"] == "4 frames, 5 needed"
    assert reasons[f"{tmp_path}/a.tar: bad.mp4"].startswith(f"{tmp_path}/a.tar: bad.mp4: cannot be read")
    assert source.num_unreadable == 1
    with pytest.raises(ValueError, match="too short: the longest has 6 frames, 7 needed"):
        ShardSource(str(tmp_path), "train", 7, 16)


def test_splits_come_from_names_or_are_held_out_by_key(shards, videos, tmp_path):
    held = {
        split: keys(ShardSource(str(shards), split, 4, 16, val_fraction=0.3)) for split in ("train", "val")
    }
    assert sorted(held["train"] + held["val"]) == list(videos)
    assert held["val"] == keys(ShardSource(str(shards), "test", 4, 16, val_fraction=0.3))
    for folder, pattern in [("names", "{split}-0.tar"), ("folders", "{split}/x.tar")]:
        root = tmp_path / folder
        for split, part in [("train", ["v0", "v1"]), ("val", ["v2"]), ("test", ["v3"])]:
            path = root / pattern.format(split=split)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar(members(videos, part)))
        found = {split: keys(ShardSource(str(root), split, 4, 16)) for split in ("train", "val", "test")}
        assert found == {"train": ["v0", "v1"], "val": ["v2"], "test": ["v3"]}


# --- the index is kept ----------------------------------------------------------------------------------------


def test_the_index_is_made_once_and_again_when_the_shard_changes(shards, videos, cache, monkeypatch):
    calls = []
    plain = shard_index.read_headers
    monkeypatch.setattr(shard_index, "read_headers", lambda file: calls.append(file.path) or plain(file))
    first = ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)
    assert len(calls) == 3
    assert len(list(cache.iterdir())) == 3
    probed = []
    monkeypatch.setattr("videodiff.data.shards._look", lambda *args: probed.append(args))
    again = ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)
    assert (len(calls), probed, keys(again)) == (3, [], keys(first))
    assert again.fingerprint == first.fingerprint
    monkeypatch.undo()
    os.environ["XDG_CACHE_HOME"] = str(cache.parent.parent)
    (shards / "clips-002.tar").write_bytes(tar(members(videos, ["v0"], cls=lambda name: "0")))
    changed = ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)
    assert keys(changed)[-1] == "v0"
    assert changed.fingerprint != first.fingerprint


def test_a_damaged_or_unwritable_cache_costs_nothing_but_time(shards, videos, cache, monkeypatch):
    ShardSource(str(shards), "train", 4, 16)
    for file in cache.iterdir():
        file.write_text('{"format": 1}')
    assert len(ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)) == 10
    for place in ("/proc/nowhere", str(next(cache.iterdir()))):  # the second is a file
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        assert len(ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)) == 10


# --- order, resume, workers -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 5])
def test_more_workers_than_shards_and_two_processes_see_each_sample_once(shards, workers):
    dataset = ClipDataset(ShardSource(str(shards), "train", 4, 16, val_fraction=0.0), 2, seed=3)
    alone = _epoch(dataset, 1, 0, 0)
    together = _epoch(dataset, 2, 0, workers) + _epoch(dataset, 2, 1, workers)
    assert sorted(n for n, _ in together) == list(range(10))
    assert dict(together) == dict(alone)
    assert dict(_epoch(dataset, 1, 0, 0, first=1)) == {n: h for n, h in alone if n >= 5}


def _epoch(dataset, world, rank, workers, first=0):
    """(position, pixel sum) of one rank's samples in the first epoch; `first` steps of 5 are skipped."""
    size = 10 if world == 2 else 5
    batches = iter(GlobalBatches(size, world=world, rank=rank, first_step=lambda: first))
    chosen = [next(batches) for _ in range(10 // size - first)]
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=chosen, num_workers=workers, collate_fn=list)
    return [(s["sample"], int(s["video"].long().sum())) for batch in loader for s in batch]


# --- http -----------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(byte_ranges.time, "sleep", lambda seconds: None)


def test_shards_behind_http_are_read_by_ranges_and_never_whole(shards, videos, cache):
    files = {path.name: path.read_bytes() for path in shards.glob("*.tar")}
    local = ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)
    with Server(files) as server:
        source = ShardSource(f"{server.url}/clips-{{000..002}}.tar", "train", 4, 16, val_fraction=0.0)
        assert keys(source) == keys(local)
        assert source.labels == local.labels
        assert len(list(cache.iterdir())) == 6
        server.requests.clear()
        assert torch.equal(source.read(7, 1, 2, 1), local.read(7, 1, 2, 1))
        assert source.num_frames(7) == local.num_frames(7)
        sample = source._sample(7)
        asked = f"bytes={sample.offset}-{sample.offset + sample.size - 1}"
        assert server.requests == [("clips-001.tar", asked)]
        server.requests.clear()
        ShardSource(f"{server.url}/clips-{{000..002}}.tar", "train", 4, 16)
        assert [asked for _, asked in server.requests] == ["bytes=0-0"] * 3


def test_a_remote_video_that_is_too_short_or_damaged_is_replaced(videos, tmp_path):
    data = tar([*members(videos, videos), ("bad.mp4", b"no video" * 100)])
    with Server({"a.tar": data}) as server:
        source = ShardSource(f"{server.url}/a.tar", "train", 5, 16, val_fraction=0.0)
        assert len(source) == 11  # nothing was looked into yet
        with pytest.raises(BadVideoError, match=r"a.tar: v0.mkv: 4 frames, 5 needed"):
            source.num_frames(0)
        with pytest.raises(BadVideoError, match=r"a.tar: bad.mp4: cannot be read"):
            source.num_frames(10)
        dataset = ClipDataset(source, 5, seed=0, max_bad_fraction=0.6)
        seen = [dataset[position]["video"].shape for position in range(11)]
        assert seen == [(5, 16, 16, 3)] * 11
        assert dataset.num_replaced >= 5


def test_prepared_shards_tell_their_frames_without_a_look(videos, tmp_path):
    told = {"json": lambda name: json.dumps({"videodiff_prepared": 1, "frames": 4 + int(name[1:]) % 3})}
    with Server({"a.tar": tar(members(videos, videos, **told))}) as server:
        source = ShardSource(f"{server.url}/a.tar", "train", 5, 16, val_fraction=0.0)
        server.requests.clear()
        assert [source.num_frames(i) for i in range(len(source))] == [5, 6, 5, 6, 5, 6]
        assert server.requests == []


def test_cut_connections_and_busy_servers_are_tried_again(shards, quick):
    data = (shards / "clips-000.tar").read_bytes()
    with Server({"a.tar": data}) as server:
        source = ShardSource(f"{server.url}/a.tar", "train", 4, 16, val_fraction=0.0)
        server.cuts["a.tar"] = [10, 0]
        assert source.read(0, 0, 2, 1).shape == (2, 16, 16, 3)
        server.codes["a.tar"] = [503, 500, 429]
        assert source.read(1, 0, 2, 1).shape == (2, 16, 16, 3)
        server.codes["a.tar"] = [503] * 4
        with pytest.raises(OSError, match="cannot be fetched: the server says 503"):
            source.read(2, 0, 2, 1)
        server.codes["a.tar"] = [403]
        with pytest.raises(OSError, match="403"):
            source.read(2, 0, 2, 1)


def test_servers_that_will_not_do_are_told_in_one_line(shards, videos, quick):
    data = (shards / "clips-000.tar").read_bytes()
    with Server({"a.tar": data}, ranges=False) as server, pytest.raises(ValueError, match="byte ranges"):
        ShardSource(f"{server.url}/a.tar", "train", 4, 16)
    with Server({}) as server, pytest.raises(FileNotFoundError, match="the server says 404"):
        ShardSource(f"{server.url}/a.tar", "train", 4, 16)
    with Server({"a.tar": data}) as server:
        source = ShardSource(f"{server.url}/a.tar", "train", 4, 16)
        server.files["a.tar"] = tar(members(videos, ["v9"]))
        with pytest.raises(ValueError, match="changed on the server"):
            source.read(0, 0, 2, 1)
        url = server.url
    with pytest.raises(OSError, match="cannot be fetched"):
        ShardSource(f"{url}/a.tar", "train", 4, 16)


def test_reading_leaves_no_file_open(shards):
    source = ShardSource(str(shards), "train", 4, 16, val_fraction=0.0)
    source.read(0, 0, 2, 1)
    before = os.listdir("/proc/self/fd")
    for index in range(40):
        source.read(index % 10, 0, 2, 1)
        with pytest.raises(ValueError, match="asked"):
            source.read(index % 10, 5, 9, 1)
    assert os.listdir("/proc/self/fd") == before


@pytest.mark.skipif(ASSETS is None, reason="VIDEODIFF_TEST_ASSETS (real clips) is not set")
def test_real_shards_equal_the_files_they_were_made_from():
    source = ShardSource(f"{ASSETS}/data/wds", "train", 16, 32, val_fraction=0.0)
    files = {path.name: path for path in Path(ASSETS, "data/actions64").rglob("*.avi")}
    assert len(source) == len(files) == 28
    for index in range(0, 28, 3):
        path = files[source.name(index).rpartition(": ")[2]]
        assert source.class_names[source.labels[index]] == path.parent.name
        assert torch.equal(source.read(index, 5, 8, 4), read_clip(path, 5, 8, 4, 32))


def test_a_cut_stream_in_a_shard_is_noted_again_from_the_kept_index(tmp_path):
    source = tmp_path / "whole.mkv"
    h264_open(source)
    copy(source, tmp_path / "a.mkv", partial(from_second_key, 0))
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "a.mkv", "a.mkv")
    for _ in range(2):
        shards = ShardSource(str(tmp_path / "a.tar"), "train", 4, 16, val_fraction=0)
        assert shards.num_frames(0) == 14
        ((name, reason),) = shards.shortened
        assert name.endswith("a.tar: a.mkv")
        assert reason == "14 of 17 frames, the first 3 refer to frames that were cut off"
    assert torch.equal(shards.read(0, 2, 4, 3), read_clip(tmp_path / "a.mkv", 2, 4, 3, 16))
