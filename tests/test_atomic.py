"""Files that are there whole or not at all, and links that are not followed."""

import errno
import json
import os
import signal
import stat

import pytest

from full_disk import Full
from videodiff import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def written(path):
    return path.read_bytes() if path.exists() else None


WRITERS = {
    "bytes": lambda path: atomic.write_bytes(path, b"new" * 1000),
    "text": lambda path: atomic.write_text(path, "new" * 1000),
    "json": lambda path: atomic.write_json(path, ["new"] * 1000),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("room", [0, 1, 2999])
def test_a_full_disk_leaves_what_was_there_and_names_the_file(kind, before, room, tmp_path, monkeypatch):
    path = tmp_path / "config.yaml"
    if before is not None:
        path.write_bytes(before)
    plain = atomic.new_file
    monkeypatch.setattr(atomic, "new_file", lambda part: Full(plain(part), room))
    with pytest.raises(OSError, match="No space left") as error:
        WRITERS[kind](path)
    assert (error.value.errno, error.value.filename) == (errno.ENOSPC, str(path))
    assert written(path) == before
    assert names(tmp_path) == ([] if before is None else ["config.yaml"])
    monkeypatch.undo()
    WRITERS[kind](path)
    assert len(written(path)) >= 3000
    assert names(tmp_path) == ["config.yaml"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_stopped_at_any_call_leaves_what_was_there(call, tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")

    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, call, stopped)
    with pytest.raises(KeyboardInterrupt):
        atomic.write_json(path, {"new": 1})
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.json"]


def test_the_part_is_synced_before_it_takes_its_name_and_the_folder_after(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        plain = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, p=plain: (calls.append(n), p(*a))[1])
    atomic.write_text(tmp_path / "a", "text")
    assert calls == ["fsync", "replace", "fsync"]
    calls.clear()
    with atomic.beside(tmp_path / "folder") as part:
        (part / "inner").mkdir(parents=True)
        (part / "inner" / "file").write_text("x")
    assert calls == ["fsync"] * 3 + ["replace", "fsync"]  # the file and both folders


def test_a_kill_leaves_a_part_which_is_known_and_cleared(tmp_path):
    path = tmp_path / ("n" * 255)
    path.write_bytes(b"old")
    child = os.fork()
    if child == 0:
        with atomic.opened(path) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = [name for name in names(tmp_path) if name != path.name]
    assert atomic.is_part(left)
    assert path.read_bytes() == b"old"
    assert atomic.clear_parts(tmp_path) == 1
    assert names(tmp_path) == [path.name]


def test_what_a_process_of_the_same_number_left_does_not_block(tmp_path, monkeypatch):
    stale = tmp_path / ".a.7-0.part"
    monkeypatch.setattr(atomic, "part_of", lambda path: stale)
    for make in (stale.mkdir, stale.touch, lambda: stale.symlink_to(tmp_path / "elsewhere")):
        make()
        atomic.write_text(tmp_path / "a", "whole")
        assert (names(tmp_path), (tmp_path / "a").read_text()) == (["a"], "whole")


def test_a_link_is_replaced_and_what_it_leads_to_untouched(tmp_path):
    precious, link = tmp_path / "precious", tmp_path / "env.json"
    precious.write_text("mine")
    link.symlink_to(precious)
    atomic.write_json(link, {})
    assert precious.read_text() == "mine"
    assert not link.is_symlink()


@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_grows_is_refused_behind_a_link(there, tmp_path):
    precious, link = tmp_path / "precious", tmp_path / "metrics.jsonl"
    if there:
        precious.write_text("mine")
    link.symlink_to(precious)
    for write in (
        lambda: atomic.append(link, "line\n"),
        lambda: atomic.no_link(link, os.O_WRONLY | os.O_CREAT),
    ):
        with pytest.raises(ValueError, match=r"metrics.jsonl is a link to .*precious; nothing is written"):
            write()
    assert written(precious) == (b"mine" if there else None)


@pytest.mark.parametrize("room", [0, 5, 11])
def test_a_line_that_does_not_fit_is_cut_off_whole(room, tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    atomic.append(path, '{"step": 1}\n')
    plain, left = os.write, [room]

    def full(handle, data):
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = plain(handle, data[: left[0]])
        left[0] -= count
        return count

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match=r"No space left on device: .*metrics.jsonl"):
        atomic.append(path, '{"step": 2}\n')
    monkeypatch.undo()
    atomic.append(path, '{"step": 3}\n')
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 3]


def test_files_have_the_rights_that_any_new_file_has(tmp_path):
    (tmp_path / "plain").touch()
    atomic.write_text(tmp_path / "ours", "x")
    rights = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert rights[0] == rights[1]
