"""Stored latents: what an entry is, in which order training meets them, and when they are refused."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader

from prepared_sets import clip, contents, folder_of_videos
from videodiff.data import FolderSource, VideoDataModule, to_float
from videodiff.data.encode import encode_data
from videodiff.data.encode_plan import Encoding, locked
from videodiff.data.latent_check import LatentCheck
from videodiff.data.latent_store import EntryReader, LatentSplit, damaged_shards, read_latents
from videodiff.data.latents import LatentDataset, check_first_stage
from videodiff.data.stream import BadDataError
from videodiff.data.video_io import write_lossless

FACTS = {
    "first_stage": {"checkpoint": "stage", "sha256": "ab" * 32, "scale": 1.0, "shift": 0.0},
    "model": "Toy",
}


def halve(video):
    """A first stage of which one knows the answer."""
    return video * 0.5


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return folder_of_videos(tmp_path_factory.mktemp("videos"), num_videos=7)


def data_of(root, **options):
    options = {
        "num_frames": 3,
        "resolution": 8,
        "batch_size": 4,
        "num_workers": 0,
        "classes": "folder",
        **options,
    }
    return VideoDataModule(None if root is None else str(root), **options)


def kept(root, out, how=None, **options):
    """Latents of a folder of videos, written in one go."""
    out.mkdir(exist_ok=True)
    how = how or Encoding(windows=2, dtype="fp32", shard_clips=4, batch_size=3)
    assert encode_data(data_of(root, **options), halve, out, FACTS, how)
    return out


def encoded(dataset, number):
    video = dataset[number]["video"]
    return halve(to_float(video.permute(3, 0, 1, 2)[None]))[0]


# --- what training sees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"horizontal_flip": True, "resolution": [12, 8]},
        {"windows": "all", "resolution": "8x12", "resize": "letterbox"},
        {"windows": "all", "horizontal_flip": True},
    ],
    ids=str,
)
def test_training_meets_the_latents_of_the_clips_that_it_would_have_read(videos, tmp_path, options):
    out = kept(videos, tmp_path / "out", **options)
    clips = data_of(videos, **options).clips("train")
    latents = data_of(videos, latents=str(out), **options).clips("train")
    epochs = 2 if "windows" not in options else 1
    assert len(latents) == len(clips)
    for position in range(epochs * len(clips)):
        theirs, ours = clips[position], latents[position]
        assert torch.equal(ours["latent"], encoded(clips, position)), position
        assert (ours["label"], ours["sample"]) == (theirs["label"], position)
    for split in ("val", "test"):
        theirs, ours = (
            d.clips(split) for d in (data_of(videos, **options), data_of(videos, latents=str(out), **options))
        )
        assert len(ours) == len(theirs)
        assert all(torch.equal(ours[i]["latent"], encoded(theirs, i)) for i in range(len(ours)))


def test_clips_that_are_cropped_anew_cannot_be_kept(videos, tmp_path):
    with pytest.raises(
        ValueError, match=r"data\.random_crop 0\.5 cannot be stored as latents; set it to null"
    ):
        kept(videos, tmp_path / "out", random_crop=0.5)


def test_later_epochs_meet_the_kept_windows_again_in_another_order_mirrored_anew(videos, tmp_path):
    out = kept(videos, tmp_path / "out", horizontal_flip=True)
    data = data_of(videos, latents=str(out), horizontal_flip=True)
    latents, clips = data.clips("train"), data_of(videos, horizontal_flip=True).clips("train")
    size = len(latents)
    mirrored = 0
    for position in range(2 * size, 6 * size):
        epoch, place = latents._clip(position)
        window = clips.source.read(clips.video(place), clips.start(epoch % 2, place), 3, 1)
        plain = halve(to_float(window.permute(3, 0, 1, 2)[None]))[0]
        ours = latents[position]["latent"]
        assert torch.equal(ours, plain) or torch.equal(ours, plain.flip(-1))
        mirrored += not torch.equal(ours, plain)
    assert 0.2 < mirrored / (4 * size) < 0.8
    assert {latents._clip(p)[1] for p in range(2 * size, 3 * size)} == set(range(size))


def test_a_clip_that_cannot_be_read_is_replaced_as_it_would_have_been(videos, tmp_path, monkeypatch):
    read = FolderSource.read_frames

    def fails(self, index, numbers):
        if self.name(index).endswith("3.mkv"):
            raise ValueError(f"{self.name(index)}: damaged")
        return read(self, index, numbers)

    monkeypatch.setattr(FolderSource, "read_frames", fails)
    out = kept(videos, tmp_path / "out")
    clips, latents = (data_of(videos, **o).clips("train") for o in ({}, {"latents": str(out)}))
    assert len(read_latents(out).split("train").bad) == 2
    for position in range(2 * len(clips)):
        assert torch.equal(latents[position]["latent"], encoded(clips, position))
        assert latents[position]["label"] == clips[position]["label"]
    assert clips.num_replaced > 0


def test_too_many_unreadable_videos_stop_the_encoding(videos, tmp_path, monkeypatch):
    def fails(self, index, numbers):
        raise ValueError(f"{self.name(index)}: damaged")

    monkeypatch.setattr(FolderSource, "read_frames", fails)
    with pytest.raises(BadDataError, match="cannot be read, more than max_bad_fraction"):
        kept(videos, tmp_path / "out")


def batches(data, count):
    loader = iter(data.train_dataloader())
    return [next(loader) for _ in range(count)]


def test_batches_are_the_same_for_any_workers_and_shared_among_processes(videos, tmp_path, monkeypatch):
    out = str(kept(videos, tmp_path / "out"))
    whole = batches(data_of(videos, latents=out), 5)
    assert set(whole[0]) == {"latent", "sample", "label"}
    assert whole[0]["latent"].shape == (4, 3, 3, 8, 8)
    assert whole[0]["latent"].dtype == torch.float32
    for ours, theirs in zip(batches(data_of(videos, latents=out, num_workers=2), 5), whole, strict=True):
        assert torch.equal(ours["latent"], theirs["latent"])
        assert torch.equal(ours["sample"], theirs["sample"])
    for rank in range(2):
        data = data_of(videos, latents=out)
        monkeypatch.setattr(data, "_place", lambda rank=rank: (2, rank, 1))
        for ours, theirs in zip(batches(data, 5), whole, strict=True):
            assert torch.equal(ours["latent"], theirs["latent"][rank::2])
    other = batches(data_of(videos, latents=out, seed=1), 5)
    assert any(not torch.equal(a["latent"], b["latent"]) for a, b in zip(other, whole, strict=True))


def test_a_resumed_stream_goes_on_where_it_stopped(videos, tmp_path, monkeypatch):
    out = str(kept(videos, tmp_path / "out"))
    whole = batches(data_of(videos, latents=out), 6)
    data = data_of(videos, latents=out)
    monkeypatch.setattr(data, "_steps_done", lambda: 3)
    for ours, theirs in zip(batches(data, 3), whole[3:], strict=True):
        assert torch.equal(ours["latent"], theirs["latent"])


def test_captions_come_along(tmp_path):
    root = folder_of_videos(tmp_path / "videos", num_videos=6)
    for path in root.rglob("*.mkv"):
        path.with_suffix(".txt").write_text(f"video {path.stem}\nclip {path.stem}\nnumber {path.stem}")
    out = kept(root, tmp_path / "out", captions="txt")
    clips, latents = (data_of(root, captions="txt", **o).clips("train") for o in ({}, {"latents": str(out)}))
    assert [latents[i]["caption"] for i in range(20)] == [clips[i]["caption"] for i in range(20)]
    assert len({latents[i]["caption"] for i in range(20)}) > 8


@pytest.mark.parametrize("captions", [None, "generated"])
def test_captions_of_a_built_in_set_are_told_from_its_scenes_also_of_latents_kept_without(tmp_path, captions):
    options = {"dataset": "bouncing_digits", "num_train_clips": 6, "num_val_clips": 2, "num_test_clips": 2}
    options |= {"resolution": 16, "num_frames": 8}
    out = kept(None, tmp_path / "out", captions=captions, **options)
    told = {"captions": "generated", **options}
    for split in ("train", "val"):
        clips, latents = (data_of(None, **told, **o).clips(split) for o in ({}, {"latents": str(out)}))
        for number in range(len(clips)):
            assert latents[number]["caption"] == clips[number]["caption"]
            assert latents[number]["scene_caption"].of(2, 4) == clips[number]["scene_caption"].of(2, 4)
    assert "caption" not in data_of(None, **options, latents=str(out)).clips("train")[0]


# --- the files ----------------------------------------------------------------------------------------------------


def test_processes_and_interruptions_leave_no_trace_in_the_bytes(videos, tmp_path):
    how = Encoding(windows=3, shard_clips=4, batch_size=3)
    whole = kept(videos, tmp_path / "whole", how, horizontal_flip=True)
    out = tmp_path / "shared"
    out.mkdir()
    done = [
        encode_data(data_of(videos, horizontal_flip=True), halve, out, FACTS, how, rank=rank, world=3)
        for rank in range(3)
    ]
    assert done == [False, False, True]
    assert contents(out) == contents(whole)
    (out / "latents.json").unlink()  # as if killed before the end
    shutil.copy(whole / "latents.json", tmp_path / "manifest")
    (out / "train-00001.safetensors").unlink()
    (out / ".train-00001.safetensors.part").write_bytes(b"half")
    plan = json.loads((tmp_path / "manifest").read_text())
    (out / "latents.part.json").write_text(json.dumps(plan))
    assert kept(videos, out, how, horizontal_flip=True) == out
    assert contents(out) == contents(whole)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert kept(videos, out, how, horizontal_flip=True) == out  # finished: nothing is written again
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.parametrize("damage", ["cut", "head", "latents", "record"])
def test_a_shard_that_was_damaged_after_an_interruption_is_named_and_encoded_anew(
    videos, tmp_path, damage, capsys
):
    whole, out = kept(videos, tmp_path / "whole"), tmp_path / "out"
    out.mkdir()

    def stop(done, total, bad):
        if done > 8:  # two shards of four clips are written
            raise KeyboardInterrupt

    how = Encoding(windows=2, dtype="fp32", shard_clips=4, batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        encode_data(data_of(videos), halve, out, FACTS, how, report=stop)
    shard, other = sorted(out.glob("*.safetensors"))
    before, size = other.stat().st_mtime_ns, shard.stat().st_size
    if damage == "cut":
        shard.write_bytes(shard.read_bytes()[: size // 2])
    elif damage == "record":
        record = out / ".sha256.part"
        record.write_text(record.read_text()[1:])
    else:
        content = bytearray(shard.read_bytes())
        content[9 if damage == "head" else -9] ^= 1
        shard.write_bytes(content)
    capsys.readouterr()
    assert kept(videos, out) == out
    said = capsys.readouterr().err
    assert (f"{shard} is damaged" in said) == (damage != "record")
    assert ("it is encoded anew" in said) == (damage != "record")
    assert other.stat().st_mtime_ns == before
    assert contents(out) == contents(whole)


def test_two_processes_do_not_write_one_shard(tmp_path):
    path = tmp_path / "train-00000.safetensors"
    with locked(path) as file:
        file.write(b"first")
        with pytest.raises(ValueError, match="is being written by another process"), locked(path):
            pytest.fail("locked twice")
    assert path.read_bytes() == b"first"
    with pytest.raises(OSError, match="full"), locked(path):
        raise OSError("full")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == b"first"


def test_half_precision_is_rounded_and_takes_half_the_room(videos, tmp_path):
    full = kept(videos, tmp_path / "full")
    half = kept(videos, tmp_path / "half", Encoding(windows=2, shard_clips=4))
    a, b = (data_of(videos, latents=str(out)).clips("train") for out in (full, half))
    assert torch.equal(a[0]["latent"].half().float(), b[0]["latent"])
    sizes = [sum(p.stat().st_size for p in out.glob("*.safetensors")) for out in (full, half)]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_latent_that_is_not_finite_is_refused(videos, tmp_path):
    data = data_of(videos)
    with pytest.raises(ValueError, match=r"not finite in fp16; --dtype fp32"):
        encode_data(data, lambda v: halve(v) * 1e6, tmp_path, FACTS, Encoding(windows=1))
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_folder_with_anything_else_is_refused(videos, tmp_path):
    out = kept(videos, tmp_path / "out")
    with pytest.raises(ValueError, match=r"holds other latents \(data.num_frames 3, now 2\)"):
        kept(videos, out, num_frames=2)
    with pytest.raises(ValueError, match=r"other latents \(dtype fp32, now fp16\)"):
        kept(videos, out, Encoding(windows=2, shard_clips=4))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(ValueError, match="is not empty and holds no latents"):
        kept(videos, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"num_frames": 2}, "num_frames 3, the config's is 2"),
        ({"resolution": 16}, "resolution 8, the config's is 16"),
        ({"resolution": [8, 16], "resize": "squeeze"}, "resize antialias, the config's is squeeze"),
        ({"frame_stride": 2, "num_frames": 2}, "frame_stride 1, the config's is 2"),
        ({"horizontal_flip": True}, "horizontal_flip False, the config's is True"),
        ({"preset": "stylegan_v"}, "data with "),
        ({"num_train_clips": 3}, "num_train_clips None, the config's is 3"),
        ({"num_val_clips": 1}, "num_val_clips None, the config's is 1"),
        ({"root": None, "dataset": "bouncing_digits"}, "dataset folder, the config's is bouncing_digits"),
    ],
    ids=str,
)
def test_latents_of_other_data_are_refused(videos, tmp_path, options, said):
    out = kept(videos, tmp_path / "out")
    options = {"root": videos, **options}
    if options["root"] is None:
        options["classes"] = "auto"
        options.pop("root")
        data = VideoDataModule(num_frames=3, resolution=8, latents=str(out), dataset="bouncing_digits")
    else:
        data = data_of(latents=str(out), **options)
    with pytest.raises(ValueError, match=said) as error:
        data.setup("fit")
    assert len(str(error.value).splitlines()) == 1


def test_another_listing_is_refused(tmp_path):
    root = folder_of_videos(tmp_path / "videos")
    out = kept(root, tmp_path / "out")
    write_lossless(root / "a" / "new.mkv", clip(99, 8))
    with pytest.raises(ValueError, match="of other videos"):
        data_of(root, latents=str(out)).setup("fit")


def test_damage_is_told_before_training(videos, tmp_path):
    out = kept(videos, tmp_path / "out")
    shard = out / "train-00001.safetensors"
    whole = shard.read_bytes()

    def open_it():
        data_of(videos, latents=str(out)).setup("fit")

    shard.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=r"train-00001.safetensors has \d+ bytes, the manifest says"):
        open_it()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert damaged_shards(read_latents(out)) == [shard]
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"train-00001\.safetensors is missing"):
        open_it()
    shard.write_bytes(b"x" * len(whole))
    with pytest.raises(ValueError, match="damaged"):
        [EntryReader(read_latents(out), "train").read(i) for i in range(8)]
    shard.write_bytes(whole)
    manifest = out / "latents.json"
    text = manifest.read_text()
    manifest.write_text(text[:50])
    with pytest.raises(ValueError, match=r"latents\.json is damaged"):
        open_it()
    manifest.write_text(text.replace('"videodiff_latents": 1', '"videodiff_latents": 9'))
    with pytest.raises(ValueError, match="format 9"):
        open_it()
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match=r"has no latents.json; make it with videodiff encode"):
        open_it()


def test_a_split_that_was_not_encoded_is_named(videos, tmp_path):
    out = kept(videos, tmp_path / "out", Encoding(windows=1, splits=("train",)))
    data = data_of(videos, latents=str(out))
    assert len(data.clips("train")) > 0
    with pytest.raises(ValueError, match=r"none of val; encode again with --splits train,val"):
        data.setup("fit")


def test_images_beside_clips_are_refused(videos):
    with pytest.raises(ValueError, match=r"images_per_video must be 0 with data\.latents"):
        data_of(videos, latents="x", images_per_video=2)


def test_another_first_stage_is_refused(videos, tmp_path):
    latents = read_latents(kept(videos, tmp_path / "out"))

    def model(digest, **more):
        return SimpleNamespace(first_stage=SimpleNamespace(digest=digest, checkpoint="other"), **more)

    check_first_stage(latents, model("ab" * 32))
    with pytest.raises(ValueError, match=r"another first stage \(stage, sha256 abab.*other, cdcd"):
        check_first_stage(latents, model("cd" * 32))
    with pytest.raises(ValueError, match=r"and SimpleNamespace has none; leave data\.latents out"):
        check_first_stage(latents, SimpleNamespace(first_stage=None))


@pytest.mark.parametrize(
    "values", [{"windows": 0}, {"dtype": "int4"}, {"splits": ("train", "dev")}, {"splits": ()}]
)
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values))):
        Encoding(**values)


def test_reading_an_entry_takes_the_memory_of_an_entry(tmp_path):
    """A shard of 128 MiB, of which three entries of 32 KiB are read."""

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    rows = 4096
    save_file(
        {"latent": torch.arange(rows).view(-1, 1, 1).expand(-1, 4, 2048).contiguous().float()}, tmp_path / "s"
    )
    split = LatentSplit(rows, rows, 1, False, None, None, None, None, [], [{"file": "s", "entries": rows}])
    latents = SimpleNamespace(root=str(tmp_path), shape=(4, 2048), shard_clips=rows, split=lambda name: split)
    reader = EntryReader(latents, "train")
    before = resident()
    for entry in (7, 2000, rows - 1):
        assert torch.equal(reader.read(entry), torch.full((4, 2048), float(entry)))
    assert resident() - before < 16 * 2**20
    with pytest.raises(IndexError):
        reader.read(rows)


def test_a_dataset_travels_to_a_process_without_its_files(videos, tmp_path):
    import pickle

    latents = read_latents(kept(videos, tmp_path / "out"))
    dataset = LatentDataset(latents, "train", 0, ["a", "b"])
    first = dataset[0]["latent"]
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0]["latent"], first)


# --- what rotted on disk --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder_kept(tmp_path_factory):
    root = folder_of_videos(tmp_path_factory.mktemp("videos"), num_videos=7)
    return root, kept(root, tmp_path_factory.mktemp("latents"))


@pytest.fixture
def latents(folder_kept):
    return read_latents(folder_kept[1])


def flip_last_bit(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def rotten(folder_kept):
    """The folder with one bit of its second training shard changed."""
    path = folder_kept[1] / "train-00001.safetensors"
    flip_last_bit(path)
    yield path
    flip_last_bit(path)


def verified(folder):
    return [json.loads(line) for line in (folder / "verified_latents.jsonl").read_text().splitlines()]


def test_a_shard_is_compared_once_when_it_is_first_read_and_the_record_says_so(latents, tmp_path):
    reader = EntryReader(latents, "train")
    check = LatentCheck(latents, {"train": reader.mapped})
    check.start()
    check.check(str(tmp_path))
    assert not (tmp_path / "verified_latents.jsonl").exists()  # nothing was read
    for entry in (0, 1, 0):
        reader.read(entry)
    check.finish(str(tmp_path))
    (line,) = verified(tmp_path)
    assert (line["file"], line["intact"]) == ("train-00000.safetensors", True)
    assert line["sha256"] == latents.splits["train"].shards[0]["sha256"]
    assert check.describe() == "1 of 1 files of latents that were read are intact by their hashes"


def test_a_shard_with_one_wrong_bit_is_named_with_the_way_out(latents, rotten, tmp_path):
    reader = EntryReader(latents, "train")
    check = LatentCheck(latents, {"train": reader.mapped})
    check.start()
    reader.read(0)
    check.finish(str(tmp_path))  # that one is not read
    check = LatentCheck(latents, {"train": reader.mapped})
    check.start()
    reader.read(reader.shard_entries)  # the first of the second shard
    with pytest.raises(ValueError, match=r"train-00001\.safetensors is damaged: .* encode again") as error:
        check.finish(str(tmp_path))
    assert len(str(error.value).splitlines()) == 1
    assert [line["intact"] for line in verified(tmp_path)].count(False) == 1


def test_what_workers_read_is_compared_in_the_main_process(folder_kept, rotten):
    root, out = folder_kept
    data = data_of(root, latents=str(out))
    dataset = data.clips("train")
    check = LatentCheck(data.kept, {"train": dataset.entries.mapped})
    check.start()
    loader = DataLoader(dataset, batch_size=4, num_workers=1, sampler=range(8), collate_fn=len)
    assert list(loader) == [4, 4]
    with pytest.raises(ValueError, match="train-00001"):
        check.finish(None, seconds=60)
