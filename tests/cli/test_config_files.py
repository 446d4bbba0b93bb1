import copy

import pytest

from videodiff.config import find_config, load_yaml, merge, shipped_configs
from videodiff.plain import MAX_NODES, parse_yaml
from videodiff.usage import UsageError


def written(tmp_path, text):
    file = tmp_path / "x.yaml"
    file.write_text(text)
    return file


def test_a_shipped_config_is_found_by_name_path_and_file():
    assert {"vdm_digits", "vdm_ucf101", "with/small"} <= set(shipped_configs())
    file = find_config("vdm_digits")
    assert file == find_config("vdm_digits.yaml") == find_config(str(file))
    assert find_config("with/small").name == "small.yaml"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vdm_digts", ["vdm_digts", "'vdm_digits'"]),
        ("with/smal", ["with/small"]),
        ("nothing_like_it_at_all", ["nothing_like_it_at_all", "videodiff models lists"]),
        ("missing/x.yaml", ["missing/x.yaml"]),
        ("model: {class_path: os.system}", ["no config"]),
        ("s3://bucket/x.yaml", ["no config"]),
    ],
)
def test_an_unknown_config_is_told_in_one_line(name, words):
    with pytest.raises(UsageError) as error:
        find_config(name)
    assert len(str(error.value).splitlines()) == 1
    assert all(word in str(error.value) for word in words)


def test_a_misspelt_file_finds_its_neighbour(tmp_path):
    written(tmp_path, "model: null")
    (tmp_path / "x.yaml").rename(tmp_path / "my_run.yaml")
    with pytest.raises(UsageError, match=r"my_run\.yaml"):
        find_config(tmp_path / "my_rum.yaml")
    with pytest.raises(UsageError, match="directory"):
        find_config(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", [":5", "'c'", "line 3"]),
        ("a: 1\na: 2\n", [":2", "'a'"]),
        ("a: [1, 2\nb: 3\n", ["x.yaml:"]),
        ("a: b: c\n", ["x.yaml:1"]),
        ("a: !!python/object/apply:os.system [ls]\n", [":1", "plain data"]),
        ("a: !!python/name:os.system\n", [":1", "plain data"]),
        ("- a\n- b\n", ["mapping"]),
        ("just text\n", ["mapping"]),
        ("a: *nowhere\n", [":1", "nowhere"]),
        ("a: &a [*a]\n", [":1", "itself"]),
        ("a: " + "[" * 5000 + "]" * 5000, ["nested"]),
        ("a: " + "{b: " * 100 + "1" + "}" * 100, ["nested"]),
        ("? [1, 2]\n: 3\n? {a: b}\n: 3\n", ["x.yaml"]),
        ("a: \x00\n", ["x.yaml"]),
        ("---\na: 1\n---\nb: 2\n", ["x.yaml"]),
    ],
)
def test_a_bad_file_is_told_with_its_line(tmp_path, text, words):
    with pytest.raises(UsageError) as error:
        load_yaml(written(tmp_path, text))
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert all(word in message for word in words), message


def test_an_alias_bomb_is_refused_before_it_is_written_out(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(UsageError, match=str(MAX_NODES)):
        load_yaml(written(tmp_path, "\n".join(lines)))


def test_a_chain_of_aliases_counts_as_depth(tmp_path):
    lines = ["a0: &a0 [1]"] + [f"a{i}: &a{i} [*a{i - 1}]" for i in range(1, 200)]
    with pytest.raises(UsageError, match="deep"):
        load_yaml(written(tmp_path, "\n".join(lines)))


def test_large_binary_and_special_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="larger"):
        load_yaml(written(tmp_path, "#" * (1 << 21)))
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UsageError, match="UTF-8"):
        load_yaml(tmp_path / "x.yaml")
    with pytest.raises(UsageError, match="regular"):
        load_yaml("/dev/zero")
    with pytest.raises(FileNotFoundError, match="absent"):
        load_yaml(tmp_path / "absent.yaml")


def test_anchors_and_merge_keys_are_welcome(tmp_path):
    text = "base: &base {lr: 1, dim: 2}\nmodel:\n  <<: *base\n  dim: 3\nagain: *base\n"
    assert load_yaml(written(tmp_path, text)) == {
        "base": {"lr": 1, "dim": 2},
        "model": {"lr": 1, "dim": 3},
        "again": {"lr": 1, "dim": 2},
    }
    assert load_yaml(written(tmp_path, "# nothing\n")) == {}
    assert parse_yaml("{a: [1, 2]}", "here") == {"a": [1, 2]}


def test_every_shipped_config_loads():
    for name, file in shipped_configs().items():
        assert isinstance(load_yaml(file), dict), name


def test_merging_goes_key_by_key_and_changes_nothing_given():
    a = {
        "trainer": {"max_steps": 1, "devices": [0, 1]},
        "model": {"class_path": "A", "init_args": {"x": 1, "y": 2}},
    }
    b = {"trainer": {"devices": [2]}, "model": {"init_args": {"y": 3}}}
    before = copy.deepcopy((a, b))
    assert merge(a, b) == {
        "trainer": {"max_steps": 1, "devices": [2]},
        "model": {"class_path": "A", "init_args": {"x": 1, "y": 3}},
    }
    assert (a, b) == before


def test_a_list_appends_with_plus_and_replaces_without():
    assert merge({"a": [1]}, {"a+": [2, 3]}) == {"a": [1, 2, 3]}
    assert merge({"a": [1]}, {"a+": 2}) == {"a": [1, 2]}
    assert merge({}, {"a+": 2}) == {"a": [2]}
    assert merge({"a": [1]}, {"a": [2]}) == {"a": [2]}


def test_a_new_class_keeps_only_what_it_knows():
    first = {"opt": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 1.0, "betas": [0.9, 0.99]}}}
    second = {"opt": {"class_path": "torch.optim.SGD", "init_args": {"momentum": 0.9}}}
    assert merge(first, second) == {
        "opt": {"class_path": "torch.optim.SGD", "init_args": {"lr": 1.0, "momentum": 0.9}}
    }
    same = {"opt": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 2.0}}}
    assert merge(first, same)["opt"]["init_args"] == {"lr": 2.0, "betas": [0.9, 0.99]}
