"""Downloads against a local server that cuts, refuses and lies; archives that must not be unpacked."""

import hashlib
import io
import tarfile
import zipfile

import pytest

from local_server import Server
from prepared_sets import tar
from videodiff.data import download, fetch
from videodiff.data.download import SETS, Part, PublicSet, obtain, unpack

DATA = bytes(range(256)) * 2000
SHA = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(fetch, "PIECE", 1000)
    monkeypatch.delenv("VIDEODIFF_OFFLINE", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def only(folder, *names):
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_a_download_is_whole_verified_and_alone(tmp_path):
    with Server({"a.npy": DATA}) as server:
        target = fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", SHA, len(DATA))
        assert target.read_bytes() == DATA
        only(tmp_path, "a.npy")
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", SHA)
        assert len(server.requests) == 1  # it was there


def test_a_cut_connection_goes_on_where_it_was_cut(tmp_path):
    with Server({"a.npy": DATA}) as server:
        server.cuts["a.npy"] = [100_000, 5_000, 0, 1_000]
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", SHA)
        asked = [asked for _, asked in server.requests]
    assert (tmp_path / "a.npy").read_bytes() == DATA
    assert asked == [None, "bytes=100000-", "bytes=105000-", "bytes=105000-", "bytes=106000-"]


def test_a_download_that_was_given_up_goes_on_in_the_next_call(tmp_path):
    with Server({"a.npy": DATA}) as server:
        server.cuts["a.npy"] = [100_000, 0, 0, 0, 0]
        with pytest.raises(OSError, match="cut after 100000 of 512000 bytes; what came is kept"):
            fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", SHA)
        only(tmp_path, ".a.npy.part", ".a.npy.part.json")
        server.cuts.clear()
        server.requests.clear()
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", SHA)
        assert server.requests == [("a.npy", "bytes=100000-")]
    only(tmp_path, "a.npy")


def test_a_file_that_changed_in_between_is_fetched_anew(tmp_path):
    with Server({"a.npy": DATA}) as server:
        server.cuts["a.npy"] = [100_000, 0, 0, 0, 0]
        with pytest.raises(OSError, match="cut"):
            fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy")
        server.cuts.clear()
        server.files["a.npy"] = b"new" * 50_000
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy")
    assert (tmp_path / "a.npy").read_bytes() == b"new" * 50_000


@pytest.mark.parametrize(
    ("sha256", "num_bytes", "said"),
    [
        ("0" * 64, None, "wrong checksum, sha256 "),
        (None, 7, "more than the 7 bytes"),
        (None, 10**6, "512000 bytes came"),
    ],
)
def test_what_is_not_the_file_is_thrown_away(tmp_path, sha256, num_bytes, said):
    with Server({"a.npy": DATA}) as server, pytest.raises(ValueError, match=said):
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", sha256, num_bytes)
    assert not (tmp_path / "a.npy").exists()
    only(tmp_path)


def test_missing_and_refused_files_are_told_in_one_line(tmp_path, monkeypatch):
    with Server({"a.npy": DATA}) as server:
        with pytest.raises(FileNotFoundError, match="the server says 404"):
            fetch.fetch(f"{server.url}/b.npy", tmp_path / "b.npy")
        server.codes["a.npy"] = [403]
        with pytest.raises(OSError, match="the server says 403"):
            fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy")
        server.codes["a.npy"] = [503] * 3
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "a.npy", SHA)
        usage = fetch.shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(OSError, match=r"needs 0\.0 GB"):
            fetch.fetch(f"{server.url}/a.npy", tmp_path / "c.npy")
    with pytest.raises(OSError, match="cannot be fetched"):
        fetch.fetch(f"{server.url}/a.npy", tmp_path / "d.npy")


# --- sets -----------------------------------------------------------------------------------------------------


def archive_of(kind, names):
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as file:
            for name in names:
                file.writestr(name, "x")
        return buffer.getvalue()
    return tar([(name, b"x") for name in names])


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_set_of_archives_is_fetched_and_unpacked_once(tmp_path, monkeypatch, kind):
    data = archive_of(kind, ["some/where/lists/a.txt", "some/where/lists/sub/b.txt", "other/c.txt"])
    with Server({f"a.{kind}": data, "x.npy": DATA}) as server:
        parts = (
            Part(f"{server.url}/a.{kind}", unpacks_to="lists"),
            Part(f"{server.url}/x.npy", SHA, len(DATA)),
        )
        monkeypatch.setitem(SETS, "a_set", PublicSet("A set", "videos", "page", "lists/*.txt", parts))
        told = []
        assert obtain("a_set", tmp_path / "set", told.append) == tmp_path / "set"
        only(tmp_path / "set", "lists", "x.npy")
        assert (tmp_path / "set/lists/sub/b.txt").read_text() == "x"
        assert told == [f"unpacking a.{kind}"]
        obtain("a_set", tmp_path / "set")
        assert len(server.requests) == 2
        monkeypatch.setenv("VIDEODIFF_OFFLINE", "1")
        obtain("a_set", tmp_path / "set")
        with pytest.raises(
            FileNotFoundError, match=r"VIDEODIFF_OFFLINE is set: get it from page, lay it out as lists"
        ):
            obtain("a_set", tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", [name for name, known in SETS.items() if not known.parts])
def test_a_set_without_an_open_link_says_where_it_is_and_how_it_lies(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        obtain(name, tmp_path / "x")
    line = str(caught.value)
    assert SETS[name].page in line
    assert SETS[name].shape in line
    assert f"--layout {SETS[name].layout}" in line
    assert "\n" not in line
    assert not (tmp_path / "x").exists()


def test_a_rar_without_a_tool_is_told_before_gigabytes_are_fetched(tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "which", lambda tool: None)
    with pytest.raises(FileNotFoundError, match=r"UCF101\.rar needs a tool that unpacks rar"):
        obtain("ucf101", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("tool", ["unrar", "unar", "7z", "bsdtar"])
def test_a_rar_is_unpacked_by_the_tool_there_is(tmp_path, monkeypatch, tool):
    fake = tmp_path / "bin" / tool
    fake.parent.mkdir()
    fake.write_text(
        "#!/bin/sh\n"
        'for word in "$@"; do case "$word" in -o/*) place=${word#-o};; *unpacking*) place=$word;; esac; done\n'
        'mkdir -p "$place/UCF-101" && echo "$@" > "$place/UCF-101/words"\n'
    )
    fake.chmod(0o755)
    monkeypatch.setattr(download.shutil, "which", lambda name: str(fake) if name == tool else None)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    unpack(tmp_path / "a.rar", tmp_path, "UCF-101")
    assert str(tmp_path / "a.rar") in (tmp_path / "UCF-101/words").read_text()
    fake.write_text("#!/bin/sh\necho broken volume >&2\nexit 3\n")
    with pytest.raises(ValueError, match=f"{tool} failed .broken volume"):
        unpack(tmp_path / "a.rar", tmp_path / "bin", "UCF-101")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil.txt", "lists/../../evil.txt", "/evil.txt", "C:/evil.txt"])
def test_an_archive_that_leads_outside_is_not_unpacked(tmp_path, kind, name):
    (tmp_path / f"a.{kind}").write_bytes(archive_of(kind, ["lists/a.txt", name]))
    with pytest.raises(ValueError, match="would be written outside"):
        unpack(tmp_path / f"a.{kind}", tmp_path, "lists")
    only(tmp_path, f"a.{kind}")


def test_links_in_a_tar_are_passed_over(tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        link = tarfile.TarInfo("lists/passwd")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
        file.addfile(tarfile.TarInfo("lists/a.txt"))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue())
    unpack(tmp_path / "a.tar", tmp_path, "lists")
    only(tmp_path / "lists", "a.txt")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_damaged_archive_leaves_nothing(tmp_path, kind):
    whole = archive_of(kind, ["lists/a.txt"])
    (tmp_path / f"a.{kind}").write_bytes(whole[: len(whole) // 2 if kind == "zip" else 200])
    with pytest.raises(ValueError, match="is damaged"):
        unpack(tmp_path / f"a.{kind}", tmp_path, "lists")
    (tmp_path / f"a.{kind}").write_bytes(archive_of(kind, ["else/a.txt"]))
    with pytest.raises(ValueError, match="holds no folder lists"):
        unpack(tmp_path / f"a.{kind}", tmp_path, "lists")
    only(tmp_path, f"a.{kind}")
