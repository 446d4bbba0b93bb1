"""Weights of others: where they are found, how they are fetched, and that reading them runs nothing."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from videodiff.data import shard_index
from videodiff.weights import (
    WeightFile,
    cache_folder,
    file_sha256,
    find_weights,
    load_tensors,
    place,
    without_wrappers,
)
from videodiff.weights import download as download_module

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT under /good, and misbehaves elsewhere."""

    def do_GET(self):
        self.server.seen.append(self.path)
        if self.path == "/missing":
            return self.send_error(404)
        if self.path == "/silent":
            return time.sleep(1.0)
        if self.path == "/slow":
            time.sleep(0.7)
        body = {"/other": b"x" * 1000, "/empty": b""}.get(self.path, CONTENT)
        self.send_response(200)
        if self.path != "/unannounced":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut" else body)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.daemon_threads = [], True
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("VIDEODIFF_WEIGHTS", "VIDEODIFF_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


def file_at(server, *paths, **kwargs):
    return WeightFile("a network", ("net.pt", "net.fp16.pt"), tuple(server.url + p for p in paths), **kwargs)


def leftovers(folder):
    return sorted(p.name for p in folder.iterdir() if p.name.startswith(".tmp"))


def the_error(file, **kwargs):
    with pytest.raises(FileNotFoundError) as caught:
        find_weights(file, **kwargs)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_given_path_wins_then_the_folder_then_the_cache_then_the_network(server, tmp_path, monkeypatch):
    file = file_at(server, "/good")
    target = find_weights(file)
    assert target == tmp_path / "xdg/videodiff/net.pt"
    assert target.read_bytes() == CONTENT
    assert find_weights(file) == target
    assert server.seen == ["/good"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "net.fp16.pt").write_bytes(b"1")
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(mine))
    assert find_weights(file) == mine / "net.fp16.pt"
    (tmp_path / "given.pt").write_bytes(b"2")
    assert find_weights(file, tmp_path / "given.pt") == tmp_path / "given.pt"
    assert find_weights(file, str(mine)) == mine / "net.fp16.pt"


def test_a_given_path_that_is_not_there_is_no_reason_to_look_elsewhere(server, tmp_path):
    message = the_error(file_at(server, "/good"), path=str(tmp_path / "no.pt"))
    assert str(tmp_path / "no.pt") in message
    assert "net.fp16.pt" in the_error(file_at(server, "/good"), path=tmp_path)
    assert server.seen == []


def test_the_cache_is_under_home_without_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/videodiff"


def test_without_a_home_there_is_no_cache_and_one_line_says_so(server, monkeypatch, capsys):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name)
    place.say_no_cache.cache_clear()
    assert cache_folder() is None
    assert shard_index.cache_folder() is None
    assert capsys.readouterr().err.count("continuing without a cache") == 1
    assert "no cache to download to" in the_error(file_at(server, "/good"))
    assert server.seen == []


@pytest.mark.parametrize(
    ("known", "verified"),
    [({"sha256": DIGEST}, "sha256"), ({"sha256_prefix": DIGEST[:8]}, "sha256 prefix"), ({}, "length")],
)
def test_a_download_leaves_a_record(server, known, verified):
    target = find_weights(file_at(server, "/good", **known))
    record = json.loads((target.parent / "net.pt.json").read_text())
    wanted = {"sha256": DIGEST, "url": server.url + "/good", "bytes": len(CONTENT), "verified": verified}
    assert record == wanted
    assert leftovers(target.parent) == []


@pytest.mark.parametrize("known", [{"sha256": DIGEST}, {"sha256_prefix": DIGEST[:8]}])
def test_a_wrong_checksum_is_refused_and_the_next_address_tried(server, known):
    message = the_error(file_at(server, "/other", **known))
    assert "wrong checksum" in message
    assert leftovers(cache_folder()) == []
    assert not (cache_folder() / "net.pt").exists()
    assert find_weights(file_at(server, "/other", "/good", **known)).read_bytes() == CONTENT


def test_a_cut_connection_is_refused_and_the_next_address_tried(server):
    assert "cut after 524288 of 1048576 bytes" in the_error(file_at(server, "/cut"))
    assert leftovers(cache_folder()) == []
    assert find_weights(file_at(server, "/cut", "/unannounced")).read_bytes() == CONTENT


def test_a_404_leads_to_the_next_address(server):
    assert find_weights(file_at(server, "/missing", "/good")).read_bytes() == CONTENT
    assert server.seen == ["/missing", "/good"]


def test_a_silent_server_and_a_dead_one_are_given_up(server, monkeypatch):
    monkeypatch.setattr(download_module, "TIMEOUT", 0.2)
    dead = WeightFile("a network", ("net.pt",), ("http://127.0.0.1:9/net.pt", server.url + "/silent"))
    message = the_error(dead)
    assert "refused" in message
    assert "timed out" in message


def test_only_http_addresses_are_opened(tmp_path):
    (tmp_path / "secret").write_text("x")
    message = the_error(WeightFile("a network", ("net.pt",), (f"file://{tmp_path}/secret",)))
    assert "not an http(s) address" in message


def test_the_message_names_file_places_addresses_and_variable(server, monkeypatch, tmp_path):
    monkeypatch.setenv("VIDEODIFF_WEIGHTS", str(tmp_path / "folder"))
    message = the_error(file_at(server, "/missing", "/cut"))
    parts = (
        "a network", "net.pt", "net.fp16.pt", str(tmp_path / "folder"), str(cache_folder()),
        f"{server.url}/missing: HTTP 404", f"{server.url}/cut", "VIDEODIFF_WEIGHTS",
    )  # fmt: skip
    assert [part for part in parts if part not in message] == []


def test_offline_forbids_the_download_and_says_so(server, monkeypatch):
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
    message = the_error(file_at(server, "/good"))
    assert "VIDEODIFF_OFFLINE" in message
    assert server.seen == []
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "0")
    assert find_weights(file_at(server, "/good")).is_file()


def test_a_function_that_fails_refuses_the_download(server):
    def check(path):
        assert path.read_bytes() == CONTENT
        raise ValueError("it says 3 where 4 is wanted")

    assert "it says 3 where 4 is wanted" in the_error(file_at(server, "/good"), check=check)
    assert not (cache_folder() / "net.pt").exists()
    target = find_weights(file_at(server, "/good"), check=lambda path: None)
    assert json.loads((target.parent / "net.pt.json").read_text())["verified"] == "function"


def test_a_cached_file_that_changed_is_fetched_again(server, monkeypatch):
    file = file_at(server, "/good")
    target = find_weights(file)
    target.write_bytes(CONTENT[:-1] + b"?")
    monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
    assert "has changed since its download" in the_error(file)
    monkeypatch.delenv("VIDEODIFF_OFFLINE")
    assert find_weights(file).read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_told_in_one_line(server, monkeypatch, tmp_path):
    (tmp_path / "xdg").write_text("a file where the folder should be")
    assert "cannot write to" in the_error(file_at(server, "/good"))


def test_what_a_killed_download_left_is_removed(server):
    cache_folder().mkdir(parents=True)
    (cache_folder() / ".tmp-net.pt-1.part").write_bytes(b"half")
    find_weights(file_at(server, "/good"))
    assert leftovers(cache_folder()) == []


def test_two_processes_at_once_make_one_request(server):
    program = (
        "from videodiff.weights import WeightFile, find_weights\n"
        f"print(find_weights(WeightFile('a network', ('net.pt',), ('{server.url}/slow',))))"
    )
    run = [sys.executable, "-c", program]
    both = [
        subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    out = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], out
    assert {text.strip() for text, _ in out} == {str(cache_folder() / "net.pt")}
    assert server.seen == ["/slow"]
    assert (cache_folder() / "net.pt").read_bytes() == CONTENT


def tensors():
    generator = torch.Generator().manual_seed(0)
    return {"a.weight": torch.randn(3, 4, generator=generator), "a.bias": torch.arange(3).half()}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)


def write_numpy(path):
    np.savez(path, **{name: value.numpy() for name, value in tensors().items()})
    os.replace(f"{path}.npz", path)


WRITERS = {
    "zip of torch.save": lambda path: torch.save(tensors(), path),
    "legacy torch.save": lambda path: torch.save(tensors(), path, _use_new_zipfile_serialization=False),
    "checkpoint": lambda path: torch.save({"state_dict": tensors(), "epoch": 3}, path),
    "safetensors": lambda path: save_file(tensors(), path),
    "numpy": write_numpy,
}


@pytest.mark.parametrize("suffix", ["", ".pt"])
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_every_format_gives_its_tensors_whatever_the_name(writer, suffix, tmp_path):
    path = tmp_path / f"weights{suffix}"
    writer(path)
    same(load_tensors(path), tensors())


@pytest.mark.skipif(not hasattr(torch.jit, "script"), reason="this torch writes no TorchScript")
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_archive_gives_its_state_dict_without_being_run(tmp_path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Sequential(nn.Linear(2, 3)))
    torch.jit.script(module).save(tmp_path / "module.pt")
    same(load_tensors(tmp_path / "module.pt"), module.state_dict())
    linear = nn.Linear(2, 3).double()
    torch.jit.trace(linear, torch.zeros(1, 2).double()).save(tmp_path / "traced.pt")
    same(load_tensors(tmp_path / "traced.pt"), linear.state_dict())


class Bomb:
    """An object whose unpickling makes a file."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


def write_hostile_torchscript(bomb, path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/constants.pkl", pickle.dumps((), 2))
        archive.writestr("m/data.pkl", pickle.dumps({"weight": bomb}, 2))


HOSTILE = {
    "zip of torch.save": lambda bomb, path: torch.save({"weight": bomb}, path),
    "legacy torch.save": lambda bomb, path: torch.save(bomb, path, _use_new_zipfile_serialization=False),
    "pickle": lambda bomb, path: path.write_bytes(pickle.dumps({"weight": bomb})),
    "numpy": lambda bomb, path: np.savez(path, weight=np.array([bomb], dtype=object)),
    "torchscript": write_hostile_torchscript,
}


@pytest.mark.parametrize("writer", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused_and_not_run(writer, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path = tmp_path / "hostile.npz"
    writer(Bomb(tmp_path / "mark"), path)
    pickle.loads(pickle.dumps(Bomb(tmp_path / "control"))).close()
    assert (tmp_path / "control").exists()
    with pytest.raises(ValueError, match=r"hostile\.npz") as caught:
        load_tensors(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_truncated_file_is_one_line(writer, tmp_path):
    path = tmp_path / "weights.pt"
    writer(path)
    whole = path.read_bytes()
    for size in (0, 3, 12, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"weights\.pt") as caught:
            load_tensors(path)
        assert "\n" not in str(caught.value)


def test_what_is_no_file_of_tensors_is_one_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="do not exist"):
        load_tensors(tmp_path / "none.pt")
    with pytest.raises(ValueError, match="regular file"):
        load_tensors(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="regular file"):
        load_tensors(tmp_path / "pipe")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="mapping of names"):
        load_tensors(tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "numbers.pt")
    with pytest.raises(ValueError, match="no named tensors"):
        load_tensors(tmp_path / "numbers.pt")


def test_the_digest_is_of_all_bytes(tmp_path):
    (tmp_path / "file").write_bytes(CONTENT)
    assert file_sha256(tmp_path / "file") == DIGEST


WRAPPED = {
    "_orig_mod.net.weight": "net.weight",
    "module.0._fsdp_wrapped_module._checkpoint_wrapped_module._orig_mod.bias": "module.0.bias",
    "_forward_module._forward_module.a": "a",
    "model_ema.net_orig_mod0weight": "model_ema.net0weight",
    "net._orig_model.weight": "net._orig_model.weight",
    "my_orig_mod.weight": "my_orig_mod.weight",
}


@pytest.mark.parametrize(("name", "short"), WRAPPED.items())
def test_names_lose_their_wrappers_and_nothing_else(name, short):
    assert list(without_wrappers({name: torch.ones(1)})) == [short]


def test_one_weight_under_two_names_is_one_and_two_weights_under_one_name_are_refused():
    one = torch.ones(2)
    assert list(without_wrappers({"_orig_mod.w": one, "w": one.clone()})) == ["w"]
    with pytest.raises(ValueError, match="two different tensors are named w"):
        without_wrappers({"_orig_mod.w": one, "w": one + 1})


def test_flattened_shards_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"net\._flat_param is a flattened shard of FSDP; gather"):
        without_wrappers({"net._flat_param": torch.ones(8)})


def test_a_file_of_a_compiled_network_of_many_processes_gives_its_plain_names(tmp_path):
    torch.save(
        {"module._orig_mod.a.weight": torch.ones(2), "module._orig_mod.b": torch.ones(3)}, tmp_path / "x.pt"
    )
    assert set(load_tensors(tmp_path / "x.pt")) == {"a.weight", "b"}
