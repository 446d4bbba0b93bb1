"""Checkpoint files: whole or absent, damage found, hostile content refused without running it."""

import os
import pickle
import random
import shutil
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from full_disk import Full
from videodiff import atomic
from videodiff.checkpoints import (
    AtomicCheckpointIO,
    CheckpointError,
    files,
    load_checkpoint,
    load_weights,
    save_checkpoint,
)


def good():
    generator = torch.Generator().manual_seed(0)
    weights = {f"net.{i}": torch.randn(7, 5, generator=generator) for i in range(12)}
    return {"state_dict": weights, "global_step": 3, "videodiff": {"config": "model: {}", "version": "0"}}


@pytest.fixture
def path(tmp_path):
    save_checkpoint(good(), tmp_path / "good.ckpt")
    return tmp_path / "good.ckpt"


def test_what_was_saved_is_loaded(path):
    loaded = load_checkpoint(path, finite=True)
    assert loaded["global_step"] == 3
    assert all(torch.equal(loaded["state_dict"][k], v) for k, v in good()["state_dict"].items())
    assert list(path.parent.iterdir()) == [path]


def test_a_file_of_plain_torch_save_loads_too(tmp_path):
    torch.save(good(), tmp_path / "plain.ckpt")
    assert load_checkpoint(tmp_path / "plain.ckpt")["global_step"] == 3


def damaged(data, kind, chance):
    data = bytearray(data)
    if kind == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif kind == "cut":
        del data[chance.randrange(len(data)) :]
    else:
        start = chance.randrange(len(data) - 64)
        if not any(data[start : start + 64]):
            start = 0
        data[start : start + 64] = bytes(64)
    return bytes(data)


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.slow)])
def test_no_damaged_checkpoint_is_accepted(count, path, tmp_path):
    data, chance = path.read_bytes(), random.Random(0)
    for number in range(count):
        bad = tmp_path / f"bad{number}.ckpt"
        bad.write_bytes(damaged(data, ("flip", "cut", "zero")[number % 3], chance))
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(bad)
        assert "\n" not in str(error.value)
        assert str(bad) in str(error.value)


def test_every_flipped_bit_of_a_small_file_is_found(path, tmp_path):
    data = path.read_bytes()
    bad = tmp_path / "bad.ckpt"
    for place in range(0, len(data), 37):
        bad.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(CheckpointError):
            files.verify_checkpoint(bad)


class Evil:
    def __reduce__(self):
        return (os.system, ("touch canary",))


class Importer:
    def __reduce__(self):
        return (__import__, ("canary_module",))


def hostile(folder):
    """Nine files that try to run code or to be taken for a checkpoint."""
    sparse = torch.eye(3).to_sparse()
    contents = {
        "reduce": {"state_dict": {"net.w": Evil()}},
        "import": {"state_dict": {"net.w": torch.zeros(2)}, "x": Importer()},
        "module": {"state_dict": {"net.w": torch.zeros(2)}, "x": torch.nn.Linear(2, 2)},
        "hyper": {
            "state_dict": {"net.w": torch.zeros(2)},
            "hyper_parameters": {
                "_instantiator": "canary_module.f",
                "net": {"class_path": "canary_module.X"},
            },
        },
        "data hyper": {
            "state_dict": {"net.w": torch.zeros(2)},
            "datamodule_hyper_parameters": {"f": "os.system"},
        },
        "list": [torch.zeros(2)],
        "sparse": {"state_dict": {"net.w": sparse}},
        "config": {"state_dict": {"net.w": torch.zeros(2)}, "videodiff": {"config": ["!!python"]}},
    }
    for name, content in contents.items():
        torch.save(content, folder / f"{name}.ckpt")
    (folder / "bare pickle.ckpt").write_bytes(pickle.dumps(Evil()))
    return [*(folder / f"{name}.ckpt" for name in contents), folder / "bare pickle.ckpt"]


def test_hostile_checkpoints_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (tmp_path / "canary_module.py").write_text("open('canary', 'w')\n")
    paths = hostile(tmp_path)
    assert len(paths) == 9
    for path in paths:
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(path)
        assert "\n" not in str(error.value)
    assert not (tmp_path / "canary").exists()
    assert "canary_module" not in sys.modules


def test_what_is_no_regular_file_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    (tmp_path / "empty.ckpt").touch()
    for name in ("pipe.ckpt", "empty.ckpt", "absent.ckpt", "."):
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / name)


def test_size_limit_compression_and_trailing_bytes_are_refused(path, tmp_path):
    with pytest.raises(CheckpointError, match="accepted"):
        load_checkpoint(path, max_bytes=100)
    packed = tmp_path / "packed.ckpt"
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(CheckpointError, match="compressed"):
        load_checkpoint(packed)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


def test_the_seal_cannot_be_cut_off_unnoticed(path):
    data = path.read_bytes()
    bare = data[: data.rindex(files.SEAL)]
    path.write_bytes(bare)  # the end record still promises a comment
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    path.write_bytes(bare[:-2] + struct.pack("<H", 0))
    assert (
        load_checkpoint(path)["global_step"] == 3
    )  # exactly what torch wrote: a plain file, records checked


@pytest.mark.parametrize("room", [0, 700, 4000])
def test_a_full_disk_leaves_the_old_checkpoint_and_says_what_is_missing(room, path, monkeypatch):
    plain = atomic.new_file
    monkeypatch.setattr(atomic, "new_file", lambda part: Full(plain(part), room))
    monkeypatch.setattr(files, "free_bytes", lambda folder: 1000)
    with pytest.raises(
        OSError, match=r"good.ckpt: disk full, \d+ bytes needed and 1000 free, \d+ missing"
    ) as error:
        save_checkpoint({**good(), "global_step": 4}, path)
    monkeypatch.undo()
    assert "\n" not in str(error.value)
    assert load_checkpoint(path)["global_step"] == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_real_file_size_limit_leaves_the_old_checkpoint(path):
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        with pytest.raises(OSError, match="disk full or the file-size limit"):
            save_checkpoint({**good(), "global_step": 4}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert load_checkpoint(path)["global_step"] == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_vanishes_is_named(tmp_path):
    with pytest.raises(OSError, match="folder is gone"):
        save_checkpoint(good(), tmp_path / "gone" / "x.ckpt")


def test_non_finite_weights_are_neither_written_nor_accepted(path, tmp_path):
    bad = good()
    bad["state_dict"]["net.3"][0, 0] = float("nan")
    with pytest.raises(RuntimeError, match=r"state_dict.net.3"):
        AtomicCheckpointIO().save_checkpoint(bad, path)
    assert load_checkpoint(path)["global_step"] == 3
    save_checkpoint(bad, tmp_path / "bad.ckpt")
    with pytest.raises(CheckpointError, match="non-finite"):
        load_checkpoint(tmp_path / "bad.ckpt", finite=True)


def test_a_second_name_is_the_same_file_until_one_is_replaced(path, tmp_path):
    AtomicCheckpointIO().link(path, tmp_path / "last.ckpt")
    save_checkpoint({**good(), "global_step": 4}, path)
    assert load_checkpoint(tmp_path / "last.ckpt")["global_step"] == 3
    shutil.copyfile(path, tmp_path / ".tmp-x.part")
    AtomicCheckpointIO().clean(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["good.ckpt", "last.ckpt"]


def test_weights_of_a_compiled_model_are_loaded_by_their_plain_names():
    source, target = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    load_weights(
        target, {f"_orig_mod.{name}": value for name, value in source.state_dict().items()}, Path("x.ckpt")
    )
    assert torch.equal(source.weight, target.weight)
    with pytest.raises(
        CheckpointError, match=r"x\.ckpt is not one of Linear as configured: weights 2 missing"
    ):
        load_weights(target, {"other.weight": source.weight.data}, Path("x.ckpt"))
