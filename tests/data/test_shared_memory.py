"""Batches come from workers whatever room shared memory has, and are the same."""

import os
import pickle
import re
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from videodiff import memory
from videodiff.cli import errors
from videodiff.cli.commands import doctor
from videodiff.data import VideoDataModule, datamodule, shared_memory
from videodiff.data.shared_memory import Packed, choose_route, shared_int64

MIB = 2**20


@pytest.mark.parametrize(
    ("free", "workers", "by_pipe", "told"),
    [
        ((1000 * MIB, 1000 * MIB), 4, False, None),
        ((64 * MIB, 64 * MIB), 4, True, "64 MiB free of 64 MiB.*need 100 MiB.*--shm-size 128m.*--data.num_workers 0"),
        ((40 * 1024, 64 * MIB), 0, False, "40 KiB free of 64 MiB, the locks of loader workers need 160 KiB"),
        ((0, 0), 0, False, "0 KiB free of 0 KiB"),
        (None, 4, False, None),
    ],
)  # fmt: skip
def test_the_way_follows_the_room(free, workers, by_pipe, told):
    # 10 batches of each loader are alive at once: two of each worker, and two more.
    route = choose_route(4, [8 * MIB, 2 * MIB], free=free)
    assert (route.num_workers, route.by_pipe) == (workers, by_pipe)
    assert (route.note is None) if told is None else re.search(told, route.note) is not None
    assert choose_route(0, [8 * MIB], free=(0, 0)) == shared_memory.Route(0)


def test_processes_of_a_machine_share_the_room():
    assert not choose_route(2, [MIB], 1, (8 * MIB, 64 * MIB)).by_pipe
    assert choose_route(2, [MIB], 2, (8 * MIB, 64 * MIB)).by_pipe


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(24, dtype=torch.uint8).reshape(1, 2, 3, 4).permute(0, 3, 1, 2),
        torch.randn(5, 3)[1:4, :2],
        torch.zeros(0, 3),
        torch.tensor(7),
        torch.randn(2, 3, dtype=torch.bfloat16),
    ],
    ids=["permuted", "part", "empty", "scalar", "bf16"],
)
def test_a_packed_tensor_comes_out_as_it_was(tensor):
    again = pickle.loads(bytes(ForkingPickler.dumps(Packed(tensor))))
    assert again.dtype == tensor.dtype
    assert torch.equal(again, tensor)
    if tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size():
        assert again.stride() == tensor.stride()
    again.add_(1)  # it may be written to


def batches(workers, count=3):
    data = VideoDataModule(
        dataset="bouncing_digits", num_frames=4, resolution=16, batch_size=4, num_workers=workers,
        num_train_clips=8, num_val_clips=4,
    )  # fmt: skip
    data.setup("fit")
    loader = iter(data.train_dataloader())
    return data, [next(loader) for _ in range(count)]


@pytest.mark.parametrize(
    ("free", "route"), [((120 * 1024, 64 * MIB), (1, True)), ((1024, 64 * MIB), (0, False))]
)
def test_batches_are_the_same_by_every_way(free, route, monkeypatch, capfd):
    _, plain = batches(0)
    monkeypatch.setattr(datamodule, "room", lambda: free)
    monkeypatch.setattr(shared_memory, "room", lambda: free)
    data, others = batches(1)
    assert (data.route.num_workers, data.route.by_pipe) == route
    for ours, theirs in zip(plain, others, strict=True):
        assert ours.keys() == theirs.keys()
        assert torch.equal(ours["video"], theirs["video"])
        assert ours["video"].stride() == theirs["video"].stride()
        assert torch.equal(ours["sample"], theirs["sample"])
    said = [line for line in capfd.readouterr().err.splitlines() if "/dev/shm" in line]
    assert len(said) == 1
    assert "--shm-size 128m" in said[0]


@pytest.mark.parametrize("free", [0, 64 * MIB])
def test_counts_are_shared_with_forked_workers(free, monkeypatch):
    monkeypatch.setattr(shared_memory, "room", lambda: (free, 64 * MIB))
    counts = shared_int64(4, -1)
    assert counts.tolist() == [-1] * 4
    if (child := os.fork()) == 0:
        counts[2] = 5
        os._exit(0)
    os.waitpid(child, 0)
    assert counts.tolist() == [-1, -1, 5, -1]


def test_doctor_compares_shared_memory_with_what_shipped_configs_need(monkeypatch):
    free = 60 * MIB
    monkeypatch.setattr(memory, "room", lambda: (free, 64 * MIB))
    (found,) = doctor.shared_memory()
    assert not found.ok
    needs = doctor.shared_needs()
    assert needs["vdm_digits"] == 0  # clips are made in the process itself
    # Two loaders of 8 workers, 18 batches of 64 clips each, and a page for every lock.
    assert needs["vdm_sky"] == 2 * 18 * 64 * 16 * 3 * 64**2 + 2 * 32 * 4096
    larger = [need for need in needs.values() if need > free]
    assert (
        f"60 MiB free of 64 MiB in /dev/shm; {len(larger)} of the shipped configs need more, " in found.text
    )
    assert f"({memory.shown(max(larger))})" in found.text
    assert f"--shm-size {memory.size_to_ask(max(larger))}" in found.text
    free = 2**40
    assert doctor.shared_memory()[0].ok
    assert "need more" not in doctor.shared_memory()[0].text


def test_an_error_of_the_clean_up_does_not_hide_the_cause(capsys):
    def _teardown():
        raise RuntimeError("Please call iter first")

    def _call_and_handle_interrupt():  # as Lightning's
        try:
            raise ValueError("the cause")
        except BaseException:
            _teardown()
            raise

    with pytest.raises(RuntimeError) as caught:
        _call_and_handle_interrupt()
    assert errors.report(caught.value) == errors.USAGE
    assert capsys.readouterr().err == "videodiff: error: the cause\n"
    said_instead = RuntimeError("what to say")
    said_instead.__context__ = ValueError("looked for")
    assert errors.first_cause(said_instead) is said_instead
