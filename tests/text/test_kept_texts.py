"""Vectors of texts kept on disk: encoded once, looked up afterwards, never another encoder's."""

import copy
import pickle
import shutil
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from text_folders import write_bert
from videodiff.cli.kept_texts import keep_captions
from videodiff.text import ByteEncoder, TransformersEncoder, kept

TEXTS = ["a red ball moves", "the digit three moves north", "a", "the red ball", "a red digit", "the ball"]


@pytest.fixture
def folder(tmp_path):
    return write_bert(tmp_path / "bert")


def written(net, texts, folder, dtype="fp32"):
    """Keep texts as the commands do; what was to be written."""
    folder.mkdir(exist_ok=True)
    keeping = net.keep(texts, folder, dtype)
    keeping.write(net.encode_alike, folder)
    return keeping


def deaf(net, monkeypatch):
    """From now on the network may not be asked."""

    def refused(*args, **kwargs):
        raise AssertionError("a text was encoded again")

    monkeypatch.setattr(net.network, "forward", refused)


class StillBytes(ByteEncoder):
    """A frozen encoder of another class, as somebody else may write one."""

    is_frozen = True

    def __init__(self):
        super().__init__(16, 1, 2)
        self.requires_grad_(False)
        self.look_up("ab" * 32)
        self.num_encoded = 0

    def forward(self, tokens):
        self.num_encoded += len(tokens.ids)
        return super().forward(tokens)


def test_fit_keeps_the_captions_of_every_frozen_encoder_and_of_no_trained_one(tmp_path, capsys):
    model = torch.nn.ModuleList([StillBytes(), ByteEncoder(16, 1, 2)])
    model[0].kept_in = str(tmp_path / "kept")
    keep_captions(model, SimpleNamespace(texts=lambda splits: TEXTS, latents=None), "cpu")
    assert f"text encoder StillBytes: {len(TEXTS) + 1} captions" in capsys.readouterr().err
    assert [file.name for file in (tmp_path / "kept").glob("*.*s")] == [
        f"text-{'ab' * 8}-128-00000.safetensors"
    ]
    assert model[0].num_encoded == len(TEXTS) + 1
    found = model[0].embed(["the ball", ""]).tokens
    assert model[0].num_encoded == len(TEXTS) + 1
    assert (found - model[0].encode(["the ball", ""]).tokens).abs().max() < 5e-3  # of fp16
    with pytest.raises(RuntimeError, match="ByteEncoder is trained: its vectors change and are not kept"):
        model[1].keep(TEXTS, tmp_path)


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("fp16", 2e-3)])
def test_kept_vectors_are_looked_up_and_those_that_the_encoder_gives(
    folder, tmp_path, monkeypatch, dtype, tolerance
):
    net = TransformersEncoder(str(folder))
    expected = net.embed([*TEXTS, ""])
    again = TransformersEncoder(str(folder))
    written(again, [*TEXTS, "", "a"], tmp_path / "kept", dtype)
    assert len(again.kept) == 7
    deaf(again, monkeypatch)
    found = again.embed([*TEXTS, ""])
    assert torch.equal(found.mask, expected.mask)
    assert found.tokens.dtype == torch.float32
    assert (found.tokens - expected.tokens).abs().max() < tolerance
    for other in (copy.deepcopy(again.kept), pickle.loads(pickle.dumps(again.kept))):
        assert torch.equal(other.find("a"), again.kept.find("a"))


def test_their_size_is_known_before_a_text_is_encoded(folder, tmp_path, monkeypatch):
    net = TransformersEncoder(str(folder))
    (tmp_path / "kept").mkdir()
    with monkeypatch.context() as patch:
        deaf(net, patch)
        keeping = net.keep(TEXTS, tmp_path / "kept")
        assert keeping.num_tokens == 6 + 7 + 3 + 5 + 5 + 4
        assert keeping.num_bytes == 30 * 16 * 2
    usage = namedtuple("usage", "total used free")
    keeping.check_room(tmp_path / "kept")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(2000, 1100, 900))
    with pytest.raises(
        ValueError, match=r"6 texts take 0\.0 MB.* name a folder elsewhere with --model\.text\.kept"
    ):
        keeping.check_room(tmp_path / "kept")
    keeping.write(net.encode_alike, tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    assert file.name == f"text-{net.digest[:16]}-12-00000.safetensors"
    assert file.stat().st_size >= keeping.num_bytes


def test_new_texts_join_those_that_are_kept_also_behind_an_interruption(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "PART_BYTES", 400)  # of 64 bytes a token: a file for each text or two
    net, where = TransformersEncoder(str(folder)), tmp_path / "kept"
    where.mkdir()
    calls = []

    def breaks(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return net.encode_alike(texts)

    with pytest.raises(KeyboardInterrupt):
        net.keep(TEXTS, where, "fp32").write(breaks, where)
    before = {file: file.read_bytes() for file in where.iterdir()}
    assert 0 < len(net.kept) < len(TEXTS)
    other = TransformersEncoder(str(folder))
    keeping = other.keep(TEXTS, where, "fp32")
    assert sorted(keeping.texts) == sorted(text for text in TEXTS if text not in net.kept)
    keeping.write(other.encode_alike, where)
    assert all(file.read_bytes() == content for file, content in before.items())
    assert all(text in other.kept for text in TEXTS)
    for text in TEXTS:
        assert (other.kept.find(text) - net.encode_alike([text])[0]).abs().max() < 1e-5
    assert written(other, TEXTS, where).texts == []


@pytest.mark.parametrize("change", ["weights", "length"])
def test_vectors_of_another_encoder_are_passed_over(folder, tmp_path, change):
    written(TransformersEncoder(str(folder)), TEXTS, tmp_path / "kept")
    if change == "weights":
        write_bert(folder, seed=1)
    net = TransformersEncoder(str(folder), max_tokens=5 if change == "length" else None)
    net.kept.add(tmp_path / "kept")
    assert len(net.kept) == 0
    assert net.keep(TEXTS, tmp_path / "kept").texts == TEXTS


@pytest.mark.parametrize("change", ["cut", "other"])
def test_a_damaged_file_is_refused_in_one_line(folder, tmp_path, change):
    net = TransformersEncoder(str(folder))
    written(net, TEXTS, tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    if change == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    else:
        other = TransformersEncoder(str(write_bert(tmp_path / "other", seed=1)))
        written(other, TEXTS, tmp_path / "others")
        shutil.copyfile(next((tmp_path / "others").iterdir()), file)
    with pytest.raises(ValueError, match=r"damaged: remove it|of another text encoder: remove it") as error:
        TransformersEncoder(str(folder)).kept.add(tmp_path / "kept")
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_texts_that_are_not_kept_are_encoded_once_and_remembered_within_bounds(folder, monkeypatch):
    net = TransformersEncoder(str(folder))
    asked, forward = [], net.network.forward
    monkeypatch.setattr(net.network, "forward", lambda **given: asked.append(1) or forward(**given))
    together = net.embed([*TEXTS, TEXTS[0]])
    assert len(asked) == 6
    again = net.embed(TEXTS[::-1])
    assert len(asked) == 6
    for place, text in enumerate(TEXTS):  # to the bit: a run that is resumed meets them in other batches
        alone = TransformersEncoder(str(folder)).embed([text]).tokens[0]
        assert torch.equal(together.tokens[place, : len(alone)], alone)
        assert torch.equal(again.tokens[5 - place, : len(alone)], alone)
    monkeypatch.setattr(kept, "REMEMBERED_BYTES", 600)
    small = TransformersEncoder(str(folder))
    small.embed(TEXTS)
    assert 0 < small._remembered.num_bytes <= 600
    assert list(small._remembered.vectors) == TEXTS[4:]


def test_two_texts_of_one_half_of_a_hash_are_two_texts(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "key_of", lambda text: (7, len(text)))
    net = TransformersEncoder(str(folder))
    written(net, ["a", "the ball", "a red ball"], tmp_path / "kept")
    assert net.kept.find("a").shape == (3, 16)
    assert net.kept.find("a red ball").shape == (5, 16)
    assert net.kept.find("no") is None
