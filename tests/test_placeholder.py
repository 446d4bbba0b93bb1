"""A pointer, a page or an archive in place of a file is called that, at every door that a user's file comes in by."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from videodiff import placeholder
from videodiff.checkpoints import load_checkpoint, load_config
from videodiff.checkpoints.config import parse_config
from videodiff.checkpoints.exported import read_record
from videodiff.cli import main
from videodiff.config import load_yaml
from videodiff.data.annotations import find_file
from videodiff.data.image_read import read_image
from videodiff.data.latent_store import read_latents
from videodiff.data.layouts.array import open_array
from videodiff.data.layouts.ucf101 import read_list
from videodiff.data.prepared import read_prepared
from videodiff.data.shard_index import index_shard
from videodiff.data.tfrecord import index_records
from videodiff.data.video_read import read_video
from videodiff.diffusion.scheduler_config import read_scheduler_config
from videodiff.evaluation.reference import read_file
from videodiff.metrics.moments import FeatureStats
from videodiff.weights import load_tensors, load_training_file

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
PAGE = b"\n<!DOCTYPE html><html><head><title>quota exceeded</title></head></html>"

# Name of the file -> the function that opens it, and whether its folder is what is given.
DOORS = {
    "weights.pt": load_tensors,
    "weights.safetensors": load_tensors,
    "whole.ckpt": load_training_file,
    "last.ckpt": load_checkpoint,
    "model.safetensors": load_checkpoint,
    "run.yaml": load_yaml,
    "clip.mp4": read_video,
    "picture.png": read_image,
    "videos.npy": open_array,
    "stats.npz": read_file,
    "features.npz": FeatureStats.load,
    "scheduler_config.json": read_scheduler_config,
    "trainlist01.txt": lambda path: read_list(str(path)),
    "captions.csv": lambda path: find_file(path.name, str(path.parent), "captions"),
    "latents.json": lambda path: read_latents(path.parent),
    "prepared.json": lambda path: read_prepared(path.parent),
    "videodiff.json": lambda path: read_record(path.parent),
    "config.yaml": lambda path: load_config(path.parent),
}


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize(("content", "said"), [(POINTER, "git-lfs pointer"), (PAGE, "HTML page")], ids=str)
def test_a_pointer_or_a_page_is_called_that_at_every_door(name, content, said, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} is an? {said}.*not the file") as caught:
        DOORS[name](path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", [POINTER, PAGE, gzip.compress(b"x" * 2000)], ids=["lfs", "page", "gzip"])
def test_shards_and_records_say_what_they_are(content, tmp_path):
    (tmp_path / "a.tar").write_bytes(content)
    fault = index_shard(str(tmp_path / "a.tar")).fault
    assert fault == placeholder.begins(content)
    assert index_records(str(tmp_path / "a.tar")) == ([], fault)


def test_whole_files_are_what_they_are(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    assert load_tensors(tmp_path / "w.pt").keys() == {"w"}
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == (4, 4, 3)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    assert index_shard(str(tmp_path / "s.tar")).fault is None
    assert parse_config("a: <html>", "text") == {"a": "<html>"}
    assert placeholder.begins(b"") == "is empty"
    assert placeholder.begins(b"", but=("empty",)) is None
    assert placeholder.explain(tmp_path) is None
    assert placeholder.explain(tmp_path / "none") is None


def test_a_folder_of_pointers_is_told_video_by_video(tmp_path, capsys):
    (tmp_path / "v").mkdir()
    for number in range(2):
        (tmp_path / "v" / f"{number}.mp4").write_bytes(POINTER)
    main(["prepare", str(tmp_path / "v"), "--check"])
    out = capsys.readouterr().out
    for number in range(2):
        assert f"{number}.mp4 is a git-lfs pointer (git lfs pull), not the file" in " ".join(out.split())


def test_captions_beside_videos_are_no_pointers(tmp_path):
    from videodiff.data.annotations import texts_beside
    from videodiff.data.entries import Entry

    Path(tmp_path, "a.txt").write_bytes(POINTER)
    with pytest.raises(ValueError, match=r"a\.txt is a git-lfs pointer"):
        texts_beside({"a": Entry(str(tmp_path / "a.mp4"), "a.mp4", 1)})
    Path(tmp_path, "a.txt").write_text(json.dumps("a kite"))
    assert texts_beside({"a": Entry(str(tmp_path / "a.mp4"), "a.mp4", 1)}) == {"a": '"a kite"'}
