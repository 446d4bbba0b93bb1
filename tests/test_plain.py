"""Text of a few hundred bytes that would take minutes is refused in seconds, wherever YAML or JSON is read."""

import time

import pytest
import torch

from videodiff.checkpoints import load_config
from videodiff.checkpoints.config import parse_config
from videodiff.checkpoints.exported import read_record
from videodiff.checkpoints.files import save_checkpoint
from videodiff.comparison.results import read_comparison
from videodiff.config import load_yaml
from videodiff.config.trust import load_with_names
from videodiff.data.annotations import read_captions
from videodiff.data.latent_store import read_latents
from videodiff.diffusion.scheduler_config import read_scheduler_config
from videodiff.evaluation.folders import read_samples_record
from videodiff.evaluation.results import read_result
from videodiff.plain import MAX_DEPTH, MAX_NODES, MAX_NUMBER, parse_json, parse_yaml


def merged(wide, deep):
    """Mappings that merge the one before them `wide` times."""
    lines = ["a0: &a0 {k: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * wide)}]}}" for i in range(1, deep)]
    return "\n".join(lines)


SLOW = {
    "merge keys": (merged(9, 9), "aliases are written out"),
    "a number in base sixty": ("a: 1" + ":1" * 100_000, "200001 characters"),
    "a short one": ("a:\n  b: 1" + ":1" * 300, "2: a number of 601 characters"),
    "a decimal one": ("a: " + "1" * 5000, "5000 characters"),
    "very many values": ("a: [" + "1," * 130_000 + "]", f"more than {MAX_NODES} values"),
    "very many aliases": ("a: &a 1\nb: [" + "*a," * 80_000 + "]", f"more than {MAX_NODES} values"),
    "brackets": ("a: " + "[" * 100_000, f"more than {MAX_DEPTH} deep"),
    "a long text": ("a: " + "x " * 500_000, "characters"),
}


def parsed(text, folder):
    parse_yaml(text, "text")


def of_a_file(text, folder):
    (folder / "x.yaml").write_text(text)
    load_yaml(folder / "x.yaml")


def of_a_run_folder(text, folder):
    (folder / "config.yaml").write_text(text)
    load_config(folder)


def of_a_checkpoint(text, folder):
    save_checkpoint({"state_dict": {"w": torch.ones(2)}, "videodiff": {"config": text}}, folder / "x.ckpt")
    load_config(folder / "x.ckpt")


DOORS = [parsed, of_a_file, of_a_run_folder, of_a_checkpoint]


@pytest.mark.parametrize(
    ("name", "door"),
    [(name, parsed) for name in SLOW] + [(name, door) for name in list(SLOW)[:3] for door in DOORS[1:]],
)
def test_a_yaml_text_that_would_take_minutes_is_refused_in_seconds(name, door, tmp_path):
    text, words = SLOW[name]
    began = time.process_time()
    with pytest.raises(ValueError) as error:
        door(text, tmp_path)
    assert time.process_time() - began < 6
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 300
    places = {parsed: "text", of_a_file: "x.yaml", of_a_run_folder: "config.yaml", of_a_checkpoint: "x.ckpt"}
    assert places[door] in str(error.value)


@pytest.mark.parametrize("name", list(SLOW)[:3])
def test_an_option_that_would_take_minutes_is_never_given_to_another_parser(name):
    import yaml

    with pytest.raises(yaml.YAMLError):
        load_with_names(SLOW[name][0], lambda text: pytest.fail("parsed"))


@pytest.mark.parametrize("text", ["1e-4", "0.5", "a/b:c", "{a: 1}", "x" * MAX_NUMBER, "a: &a {b: 1}\nc: *a"])
def test_an_ordinary_option_is_parsed_as_before(text):
    assert load_with_names(text, len) == len(text)


def test_ordinary_numbers_and_merge_keys_are_read_as_yaml_has_them():
    text = "a: 1:30\nb: 0x_ff\nc: 1_000.5\nd: &d {x: 1}\ne: {<<: *d, y: 2}\nf: " + "1" * MAX_NUMBER
    assert parse_config(text, "x") == {
        "a": 90, "b": 255, "c": 1000.5, "d": {"x": 1}, "e": {"x": 1, "y": 2}, "f": int("1" * MAX_NUMBER),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 100_000, "too deeply"), ('{"a":' * 100_000, "too deeply"), ("1" * 5000, "4300"), ("{", "line 1")],
)
def test_a_json_text_that_ends_the_parser_is_an_ordinary_error(text, words):
    with pytest.raises(ValueError, match=words):
        parse_json(text)


READERS = {
    "latents.json": lambda path: read_latents(path.parent),
    "scheduler_config.json": read_scheduler_config,
    "videodiff.json": lambda path: read_record(path.parent),
    "samples.json": lambda path: read_samples_record(path.parent),
    "result.json": read_result,
    "results.json": read_comparison,
    "captions.jsonl": lambda path: read_captions(str(path)),
}


@pytest.mark.parametrize("name", READERS)
def test_a_json_file_of_brackets_is_named_in_one_line(name, tmp_path):
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(ValueError, match=name) as error:
        READERS[name](tmp_path / name)
    assert "too deeply" in str(error.value)
    assert len(str(error.value).splitlines()) == 1
