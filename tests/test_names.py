"""File names are bytes: none is too odd to read, write, print, record or to be typed again."""

import hashlib
import json
import os
import re
import shlex
import subprocess
from html import unescape
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from real_run import SMALLEST
from videodiff.checkpoints import load_config
from videodiff.cli import main
from videodiff.cli.errors import one_line
from videodiff.config.trust import load_with_names
from videodiff.data.annotations import read_captions, take_clips
from videodiff.data.entries import natural_key
from videodiff.data.layouts import list_videos
from videodiff.data.selection import stored_layout
from videodiff.data.shard_index import find_shards
from videodiff.data.video_io import read_video, write_lossless, write_mp4
from videodiff.names import is_text, markdown_code, markdown_text, shell_line, shell_word, text_name
from videodiff.names import one_line as one_line_of
from videodiff.seeding import key_to_seed

LATIN = os.fsdecode(b"caf\xe9")
NAMES = [
    LATIN,
    "take {a,b} [1]",
    "*",
    "-x",
    " a ",
    "a\nb",
    "a:b",
    "#1",
    "null",
    "1e3",
    "it's",
    "a\\b",
    "{x}",
    "é",
]
# Of everything at once: what no encoding, pattern, shell or line takes for plain.
ODD = os.fsdecode(b"-caf\xe9 {a,b}\n[1]* 'x'")
SMOKE = [*SMALLEST, "--data.dataset=folder", "--data.layout=auto"]


def videos(folder, count=3):
    for k in range(count):
        levels = (40 * k + 3 * torch.arange(8)).to(torch.uint8)
        write_lossless(Path(folder) / f"{k}.mkv", levels[:, None, None, None].expand(8, 16, 16, 3))


def test_random_numbers_follow_the_bytes_of_a_name_and_are_those_of_before_where_it_is_text():
    def seed(data):
        return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1

    assert key_to_seed("split", "a/é.mp4") == seed("ssplit\x1fsa/é.mp4".encode())
    assert key_to_seed("split", LATIN) == seed(b"ssplit\x1fscaf\xe9")


@pytest.mark.parametrize("name", [*NAMES, ODD], ids=ascii)
def test_a_shell_reads_the_word_of_a_path_as_that_path(name):
    word = shell_word(name)
    assert word.isprintable()
    read = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
    assert os.path.normpath(os.fsdecode(read)) == name
    assert not read.startswith(b"-")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_folder_that_exists_is_a_folder_and_no_pattern(tmp_path, name):
    videos(tmp_path / name)
    assert stored_layout(str(tmp_path / name)) is None
    assert len(list_videos(tmp_path / name).splits["train"]) == 2
    (tmp_path / name / "a.tar").write_bytes(bytes(1024))
    assert find_shards(str(tmp_path / name)) == [str(tmp_path / name / "a.tar")]


def test_patterns_of_shards_that_are_no_folders_stay_patterns(tmp_path):
    for pattern in ("a-{0..3}.tar", "*.tar", "http://host/a.tar"):
        assert stored_layout(str(tmp_path / pattern) if "host" not in pattern else pattern) == "shards"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_videos_are_written_and_read_under_every_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)  # relative: a colon would make a protocol of what stands before it
    clip = torch.randint(0, 256, (3, 16, 16, 3), dtype=torch.uint8)
    write_lossless(Path(name) / f"{name}.mkv", clip)
    write_mp4(Path(name) / f"{name}.mp4", clip)
    assert torch.equal(read_video(Path(name) / f"{name}.mkv"), clip)
    assert len(read_video(Path(name) / f"{name}.mp4")) == 3


def test_a_set_is_prepared_trained_on_gone_on_with_and_drawn_from_under_the_oddest_name(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    videos(ODD)
    assert main(["prepare", f"./{ODD}", "--size", "16", "--out", f"./{ODD}.out"]) == 0
    told = re.search(r"train with --data\.root (.*)", capsys.readouterr().out)[1]
    word = subprocess.run(["bash", "-c", f"printf %s {told}"], capture_output=True, check=True).stdout
    root, run = os.fsdecode(word), f"./{ODD}.run"
    assert root == f"./{ODD}.out"
    assert main(["fit", *SMOKE, "--data.root", root, "--trainer.max_steps", "1", "--out", run]) == 0
    assert load_config(run)["data"]["init_args"]["root"] == root
    assert main(["fit", "--out", run, "--trainer.max_steps", "2"]) == 0
    steps = [json.loads(line)["step"] for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    assert max(steps) == 2
    assert main(["generate", "--ckpt_path", run, "--num_samples", "1", "--steps", "2"]) == 0
    (record,) = Path(run, "generate").glob("*/samples.json")
    assert json.loads(record.read_text())["checkpoint"].startswith(ODD)


def test_a_root_that_looks_like_a_mapping_is_a_name_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    videos("{x}")
    words = ["--data.root", "{x}", "--trainer.max_steps", "1", "--out", "run"]
    assert main(["fit", *SMOKE, *words]) == 0
    assert load_config("run")["data"]["init_args"]["root"] == "{x}"
    assert main(["export", "run", "--out", LATIN]) == 0
    assert (
        main(["generate", "--ckpt_path", LATIN, "--num_samples", "1", "--steps", "2", "--out", "clips"]) == 0
    )


def test_lists_name_files_by_their_bytes_and_captions_must_be_text(tmp_path):
    videos(tmp_path / LATIN)
    listing = list_videos(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfcaf\xe9/0.mkv\ncaf\xe9/1.mkv 2 6\n")
    chosen = take_clips(listing, str(tmp_path), "list.txt")
    found = {(entry.relative, entry.first) for entries in chosen.splits.values() for entry in entries}
    assert found == {(f"{LATIN}/0.mkv", 0), (f"{LATIN}/1.mkv#2-6", 2)}
    (tmp_path / "captions.csv").write_bytes(b"path,caption\ncaf\xe9/0.mkv,a cup\n")
    assert read_captions(str(tmp_path / "captions.csv")) == {f"{LATIN}/0.mkv": "a cup"}
    (tmp_path / "captions.csv").write_bytes(b"path,caption\na.mkv,caf\xe9\n")
    with pytest.raises(ValueError, match=r"captions\.csv, entry 1: this caption is not UTF-8"):
        read_captions(str(tmp_path / "captions.csv"))


def test_configs_hold_such_names_through_any_reader():
    text = yaml.safe_dump({"root": LATIN, "rate": 1.0e-3})
    assert yaml.safe_load(text)["root"] == LATIN
    assert load_with_names(text, load=pytest.fail) == {"root": LATIN, "rate": 1.0e-3}
    assert load_with_names(LATIN, load=pytest.fail) == LATIN


def test_an_error_stays_on_one_line_whatever_a_name_holds(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        list_videos(tmp_path / "a\nb")
    assert f"{tmp_path}/a\\nb" in one_line(caught.value)


HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "a & b <i>",
    "[click](javascript:alert(1))",
    "![x](https://example.org/x.png)",
    "[a][b]",
    "[a]: javascript:alert(1)",
    "a | b",
    "two\nlines\r\n\n# and a heading",
    "`code` ``more``",
    "**bold** _slanted_ __x__",
    "back\\slash \\| \\<b>",
    "&lt;b&gt; &#60;b&#62;",
    "\x1b[31mred\x00",
    LATIN,
    "end]",
    "```",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_markdown_is_only_words_whoever_renders_it(name):
    markdown = pytest.importorskip("markdown", reason="markdown (extra docs) is not installed")
    page = "\n\n".join([
        f"Left out: {markdown_text(name)}",
        f"| head | {markdown_text(name)} |\n|---|---|\n| **{markdown_text(name)}** | x |",
        f"- {markdown_text(name)} (after) [x]",
        f"Made by {markdown_code(name)}.",
    ])  # fmt: skip
    html = markdown.markdown(page, extensions=["tables"])
    assert set(re.findall(r"<(\w+)", html)) <= {
        "p", "table", "thead", "tbody", "tr", "th", "td", "strong", "ul", "li", "code",
    }  # fmt: skip
    assert html.count("<td>") == 2
    assert html.count("<strong>") == 1
    shown = unescape(re.sub(r"<[^>]+>", "", html))
    words = one_line_of(name)
    assert f"Left out: {words}\n" in shown
    assert shown.count(" ".join(words.split())) >= 4 or "  " in words


def test_a_command_in_a_card_is_one_line_that_a_shell_reads_back():
    words = ["videodiff", "fit", "--name", "a\n```\n<b>", "--out", "it's"]
    line = shell_line(words)
    assert "\n" not in line
    told = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    assert told.decode().split("\0")[:-1] == words


def test_numbers_in_names_are_decimal_ones():
    assert natural_key("1²3") == [(0, 1), (1, "²"), (0, 3)]
    assert shlex.split(shell_word("plain/name.mp4")) == ["plain/name.mp4"]


def test_a_library_that_takes_text_alone_opens_a_file_whose_name_is_none(tmp_path):
    for place in (tmp_path / "plain", Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))):
        place.mkdir()
        save_file({"latent": torch.arange(6.0).reshape(2, 3)}, tmp_path / "a.safetensors")
        (tmp_path / "a.safetensors").rename(place / "a.safetensors")
        with text_name(place / "a.safetensors") as name:
            assert is_text(name)
            latent = safe_open(name, framework="pt").get_slice("latent")
        assert latent[1].tolist() == [3.0, 4.0, 5.0]  # also when the name holds no more
