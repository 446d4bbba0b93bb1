"""TransformersEncoder: published encoders out of folders, frozen, named by their hash, and what is refused."""

import copy
import json
import shutil
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from published_files import ASSETS, needs_assets
from text_folders import WEIGHTS, bert, write_bert, write_tokenizer
from videodiff.checkpoints.partial import fit_weights
from videodiff.text import TransformersEncoder
from videodiff.usage import UsageError

TEXTS = ["a red ball moves", "", "the digit three moves north", "a"]
FIXTURES = Path(ASSETS or ".") / "fixtures" / "systems"
PROMPTS = [
    "",
    "a red ball is bouncing on the beach",
    "A man IS skiing, high quality!",
    "naïve zebra 42 — über",
    "a small white square moves to the right " * 4,
]


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    def refused(*args):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


@pytest.fixture
def folder(tmp_path):
    return write_bert(tmp_path / "bert")


@needs_assets
@pytest.mark.parametrize(
    ("encoder", "name", "most"),
    [
        ("clip_text_encoder", "clip", 77),
        ("clip_text_encoder_unprefixed", "clip", 77),
        ("t5_encoder", "t5", 24),
    ],
)
def test_the_folders_of_the_fixtures_give_the_numbers_of_transformers(encoder, name, most):
    folders, expected = FIXTURES / "folders", np.load(FIXTURES / "folder_outputs.npz")
    net = TransformersEncoder(str(folders / encoder), str(folders / f"{name}_tokenizer"), max_tokens=most)
    tokens, found = net.tokenize(PROMPTS), net.embed(PROMPTS)
    ids, mask, hidden = (torch.from_numpy(expected[f"{name}_{part}"]) for part in ("ids", "mask", "hidden"))
    assert tokens.mask.sum(1).tolist() == mask.sum(1).tolist()
    for place, length in enumerate(mask.sum(1).tolist()):
        assert torch.equal(tokens.ids[place, :length], ids[place, :length])
        assert (found.tokens[place, :length] - hidden[place, :length]).abs().max() < 1e-4
    assert found.tokens.shape[1] == mask.sum(1).max()  # as long as the longest, not as long as can be


@needs_assets
def test_names_of_weights_with_and_without_a_prefix_are_one_encoder():
    folders = FIXTURES / "folders"
    old, new = (
        TransformersEncoder(str(folders / f"clip_text_encoder{end}"), str(folders / "clip_tokenizer"))
        for end in ("", "_unprefixed")
    )
    assert old.digest == new.digest
    new.load_state_dict(old.state_dict())


@needs_assets
def test_a_pipeline_is_a_folder_with_encoder_and_tokenizer_in_it(tmp_path):
    for part, name in (("text_encoder", "clip_text_encoder"), ("tokenizer", "clip_tokenizer")):
        shutil.copytree(FIXTURES / "folders" / name, tmp_path / part, copy_function=shutil.copyfile)
    (tmp_path / "model_index.json").write_text("{}")
    whole, part = TransformersEncoder(str(tmp_path)), TransformersEncoder(str(tmp_path / "text_encoder"))
    assert whole.digest == part.digest
    assert (whole.dim, whole.max_tokens) == (32, 77)


@needs_assets
def test_sentences_of_like_meaning_lie_close_in_minilm():
    net = TransformersEncoder(str(Path(ASSETS) / "weights" / "minilm"))
    found = net.embed(["a cat sits on a mat", "a kitten rests on a rug", "stock prices fell on Monday"])
    mean = found.tokens.sum(1) / found.mask.sum(1, keepdim=True)
    near, far = (nn.functional.cosine_similarity(mean[0], mean[k], dim=0) for k in (1, 2))
    assert (net.dim, net.max_tokens) == (384, 512)
    assert near > 0.5 > 0.3 > far


def test_vectors_are_those_of_the_library_and_no_other_text_changes_them(folder):
    net = TransformersEncoder(str(folder))
    found = net.embed(TEXTS)
    tokens = net.tokenize(TEXTS)
    assert tokens.ids[0].tolist() == [2, 5, 11, 6, 8, 3, 0]  # [CLS] a red ball moves [SEP] [PAD]
    assert tokens.mask.sum(1).tolist() == [6, 2, 7, 3]
    assert found.tokens.shape == (4, 7, 16)
    with torch.no_grad():
        alone = bert()(input_ids=torch.tensor([[2, 5, 11, 6, 8, 3]])).last_hidden_state[0]
    assert (found.tokens[0, :6] - alone).abs().max() < 1e-5
    assert (found.tokens[0, 6:] == 0).all()
    assert (net.embed(TEXTS[::-1]).tokens.flip(0) - found.tokens).abs().max() < 1e-5
    assert net.tokenize([]).ids.shape == (0, 1)


def test_a_longer_text_keeps_its_last_token_when_it_is_cut_which_is_said_once(folder, capsys):
    net = TransformersEncoder(str(folder), max_tokens=5)
    ids = net.tokenize(["a red ball moves north", "the the the the the"]).ids
    assert ids[0].tolist() == [2, 5, 11, 6, 3]
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'a red ball moves north' has 7 tokens, and TransformersEncoder takes 5" in said


def test_it_is_frozen_and_its_checkpoint_holds_its_hash_alone(folder):
    net = TransformersEncoder(str(folder))
    assert net.is_frozen
    assert not any(p.requires_grad for p in net.parameters())
    nn.ModuleList([net]).train()
    assert not any(m.training for m in net.modules())
    assert list(net.state_dict()) == ["sha256"]
    with torch.enable_grad():
        assert not net.embed(TEXTS).tokens.requires_grad
    model = nn.ModuleDict({"text": net, "net": nn.Linear(2, 2)})
    assert list(model.state_dict()) == ["text.sha256", "net.weight", "net.bias"]
    model.load_state_dict(model.state_dict())
    assert copy.deepcopy(net).digest == net.digest
    assert net.half().sha256.dtype == torch.uint8


def test_autocast_changes_no_vector(folder):
    net = TransformersEncoder(str(folder))
    with torch.autocast("cpu", torch.bfloat16):
        inside = net.embed(TEXTS).tokens
    assert torch.equal(inside, net.embed(TEXTS).tokens)


def test_every_form_of_the_weights_is_read(folder, tmp_path):
    expected = TransformersEncoder(str(folder)).digest
    assert TransformersEncoder(str(write_bert(tmp_path / "prefix", prefix="bert."))).digest == expected
    assert TransformersEncoder(str(write_bert(tmp_path / "shards", shards=3))).digest == expected
    half = TransformersEncoder(str(write_bert(tmp_path / "half", half=True)))
    assert {p.dtype for p in half.parameters()} == {torch.float32}
    whole = TransformersEncoder(str(folder)).embed(TEXTS).tokens
    torch.testing.assert_close(half.embed(TEXTS).tokens, whole, atol=2e-2, rtol=2e-2)
    first = write_bert(tmp_path / "first")  # as BERT's first release: a head, and other names of the norms
    weights = {name.replace("Norm.weight", "Norm.gamma"): v for name, v in load_file(first / WEIGHTS).items()}
    save_file({**weights, "cls.predictions.bias": torch.zeros(3)}, first / WEIGHTS)
    assert TransformersEncoder(str(first)).digest == expected


@pytest.mark.parametrize("change", ["weights", "settings", "words"])
def test_a_folder_that_was_changed_is_refused_in_one_line(folder, change):
    before = nn.ModuleDict({"text": TransformersEncoder(str(folder)), "net": nn.Linear(4, 4)}).state_dict()
    if change == "weights":
        write_bert(folder, seed=1)
    elif change == "settings":
        write_bert(folder, num_attention_heads=4)
    else:
        words = (folder / "vocab.txt").read_text().split("\n")
        (folder / "vocab.txt").write_text("\n".join([*words[:-2], words[-1], words[-2]]))
    model = nn.ModuleDict({"text": TransformersEncoder(str(folder)), "net": nn.Linear(4, 4)})
    with pytest.raises(ValueError, match=r"name the right folder with --model\.text\.folder") as error:
        model.load_state_dict(before)
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="trained with another text encoder"):
        fit_weights(model, before, Path("a.ckpt"))


def test_the_package_is_asked_for_in_one_line_where_it_is_absent(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UsageError, match=r"pip install 'videodiff\[text\]'") as error:
        TransformersEncoder(str(folder))
    assert "\n" not in str(error.value)


def test_costs_are_counted_without_reading_weights(folder):
    (folder / WEIGHTS).write_bytes(b"not read")
    with torch.device("meta"):
        net = TransformersEncoder(str(folder))
        found = net.embed(TEXTS)
    assert found.tokens.is_meta
    assert found.tokens.shape == (4, 7, 16)
    assert sum(p.numel() for p in net.parameters()) == sum(p.numel() for p in bert().parameters())


def spoilt(folder, what):
    """Spoil a folder in one way."""
    weights, pointer = folder / WEIGHTS, "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"
    if what == "gone":
        shutil.rmtree(folder)
    elif what == "another kind":
        write_bert(folder, model_type="gpt2")
    elif what == "no model":
        (folder / "config.json").unlink()
    elif what == "no json":
        (folder / "config.json").write_text("{")
    elif what == "no sense":
        write_bert(folder, without=("hidden_size",))
        (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_act": "none such"}))
    elif what in ("weights pointer", "config pointer", "words pointer"):
        name = {"weights": WEIGHTS, "config": "config.json", "words": "vocab.txt"}[what.split()[0]]
        (folder / name).write_text(pointer)
    elif what == "bin":
        weights.rename(folder / "pytorch_model.bin")
    elif what == "no weights":
        weights.unlink()
    elif what == "damaged":
        weights.write_bytes(weights.read_bytes()[:-10])
    elif what == "missing tensor":
        save_file(
            {k: v for k, v in load_file(weights).items() if not k.startswith("encoder.layer.1")}, weights
        )
    elif what == "more layers":
        (folder / "config.json").write_text(json.dumps({**json.loads((folder / "config.json").read_text()),
                                                        "num_hidden_layers": 1}))  # fmt: skip
    elif what == "other sizes":
        save_file({**load_file(weights), "embeddings.word_embeddings.weight": torch.zeros(15, 8)}, weights)
    elif what == "nan":
        save_file({**load_file(weights), "embeddings.LayerNorm.bias": torch.full((16,), torch.nan)}, weights)
    elif what == "no words":
        (folder / "vocab.txt").unlink()
    elif what == "no pairs":
        (folder / "vocab.txt").rename(folder / "vocab.json")
    elif what == "damaged words":
        (folder / "tokenizer.json").write_text('{"version": 1}')
    elif what == "others' words":
        (folder / "vocab.txt").write_text("\n".join([(folder / "vocab.txt").read_text(), "one", "more"]))
    elif what == "pipeline without":
        for file in folder.iterdir():
            file.unlink()
        (folder / "model_index.json").write_text("{}")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("gone", "no folder '{}' of a text encoder; name one that transformers wrote"),
        ("another kind", "is of model_type 'gpt2', and a text encoder is one of BERT, CLIP, T5"),
        ("no model", "has no config.json"),
        ("no json", "not JSON"),
        ("no sense", "is no config of a BERT network"),
        ("weights pointer", "model.safetensors is a git-lfs pointer (git lfs pull), not the file"),
        ("config pointer", "config.json is a git-lfs pointer (git lfs pull), not the file"),
        ("words pointer", "vocab.txt is a git-lfs pointer (git lfs pull), not the file"),
        (
            "bin",
            "pytorch_model.bin alone, and only safetensors are read: convert it with transformers, BertModel",
        ),
        ("no weights", "holds no weights (model.safetensors, or its shards)"),
        ("damaged", "damaged"),
        ("missing tensor", "its weights lack 16 tensors, the first is encoder.layer.1."),
        ("more layers", "which a network of its config does not have"),
        ("other sizes", "is [15, 8], and its config says [15, 16]"),
        ("nan", "embeddings.LayerNorm.bias is not finite"),
        ("no words", "holds no tokenizer (tokenizer.json, or vocab.txt, or vocab.json and merges.txt"),
        ("no pairs", "fetch its files, or name their folder with --model.text.tokenizer"),
        ("damaged words", "holds no tokenizer that can be read"),
        ("others' words", "has 17 tokens and the text encoder 15: they are not of one model"),
        ("pipeline without", "is a pipeline without a text encoder (it has no text_encoder/config.json)"),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused_in_one_line(folder, what, words):
    spoilt(folder, what)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        TransformersEncoder(str(folder))
    assert words.format(folder) in str(error.value)
    assert str(error.value).count("\n") == 0


def test_words_may_lie_elsewhere_and_their_number_is_bounded(folder, tmp_path):
    write_tokenizer(tmp_path / "words")
    expected = TransformersEncoder(str(folder)).digest
    (folder / "vocab.txt").unlink()
    assert TransformersEncoder(str(folder), str(tmp_path / "words")).digest == expected
    with pytest.raises(FileNotFoundError, match="no folder 'nowhere' of a tokenizer"):
        TransformersEncoder(str(folder), "nowhere")
    for most in (1, 13):
        with pytest.raises(
            ValueError, match="at least 2 and at most 12, the positions of the text encoder, got"
        ):
            TransformersEncoder(str(folder), str(tmp_path / "words"), max_tokens=most)
