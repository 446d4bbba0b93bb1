"""Text files that a person may have touched: what is wrong with one is said with its name and line."""

import json

import pytest

from videodiff.callbacks.record import read_metrics
from videodiff.checkpoints import RunLock
from videodiff.cli import main
from videodiff.data.annotations import read_captions
from videodiff.data.layouts import kinetics
from videodiff.reading import csv_records, read_json, read_text

HEADER = b"youtube_id,time_start,time_end,label,split\n"


@pytest.mark.parametrize(
    ("read", "content", "said"),
    [
        (read_text, b"one\ntwo caf\xe9\n", "line 2: not UTF-8"),
        (read_json, b'{"a": 1,\n "b": }', "line 2: not JSON (expecting value)"),
        (read_json, b"[" * 100_000, "not JSON (nested too deeply)"),
        (csv_records, b'path,caption\na,"' + b"x" * (2**24 + 5), "line 2: not CSV (field larger"),
        (csv_records, b"path,caption\na,caf\xe9\n", "line 2: not UTF-8"),
        (read_metrics, b'{"step": 1}\ngarbage\n{"step": 2}\n', "line 2: no line of a run's record; remove it"),
        (read_metrics, b'{"step": 1}\n[3]\n', "line 2: no line"),
        (read_metrics, b'{"step": 1}\n{"lr": 3}\n', "line 2: no line"),
        (read_metrics, b'{"step": 1}\n\xff\xfe\n', "line 2: no line"),
        (kinetics.rows, HEADER + b"caf\xe9,1,2,x,train\n", "line 2: not UTF-8"),
        (read_captions, b"path,caption\na.mp4,caf\xe9\n", "entry 1: this caption is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_file(read, content, said, tmp_path):
    file = tmp_path / "file.csv"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"file\.csv") as caught:
        read(file if read is read_metrics else str(file))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_long_fields_of_a_table_are_read(tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text(
        f'\ufeffpath, caption\na.mp4, "{"x" * 200_000}"\n\nb.mp4, short\nc.mp4\n', encoding="utf-8"
    )
    rows = csv_records(str(file), "utf-8-sig")
    assert [len(row.get("caption", "")) for row in rows] == [200_000, 5, 0]
    assert [row["path"] for row in rows] == ["a.mp4", "b.mp4", "c.mp4"]


@pytest.mark.parametrize(
    "content", [b"\xff\x00\x81", b'{"pid": "x", "host": "y"}', b"[]", b'{"pid": 1}', b"17"]
)
def test_a_lock_that_names_no_process_is_taken_over_with_a_line(content, tmp_path, capsys):
    file = tmp_path / "run.lock"
    file.write_bytes(content)
    with RunLock(tmp_path) as lock:
        assert json.loads(file.read_text()) == lock.mine
    assert f"{file}: names no process" in capsys.readouterr().err
    assert not file.exists()


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n", "null\n", "---\n"])
@pytest.mark.parametrize("command", ["fit", "info"])
def test_an_empty_config_is_called_so(text, command, tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    assert main([command, "--config", "vdm_digits", "--config", str(file)]) == 2
    assert (
        f"{file} holds no config, it is empty or all comments; write it, or leave it out"
        in capsys.readouterr().err
    )
