"""ByteEncoder and WordEncoder: texts as bytes or words, and vectors that depend on the text alone."""

import pytest
import torch
from torch import nn

from videodiff.text import ByteEncoder, TextEmbedding, WordEncoder

TEXTS = ["a digit 3 that moves north", "", "über", "a"]
both = pytest.mark.parametrize("kind", [ByteEncoder, WordEncoder])


def encoder(kind=ByteEncoder, seed=0, **options):
    torch.manual_seed(seed)
    return kind(**{"dim": 32, "depth": 2, "num_heads": 4, **options})


def test_tokens_of_bytes_are_a_start_and_the_bytes_as_many_as_the_longest_text_needs():
    ids, mask = encoder().tokenize(TEXTS)
    assert ids.shape == mask.shape == (4, 27)
    assert ids.dtype == torch.int64
    assert mask.sum(1).tolist() == [27, 1, 6, 2]
    assert ids[2, mask[2]].tolist() == [256, *"über".encode()]
    assert ids[1, mask[1]].tolist() == [256]
    assert encoder().tokenize([""]).ids.shape == (1, 1)
    assert encoder().tokenize([]).mask.shape == (0, 1)


def test_tokens_of_words_are_a_start_and_the_parts_of_each_word():
    net = encoder(WordEncoder)
    ids, mask = net.tokenize([*TEXTS, "A, a"])
    assert ids.shape[:2] == mask.shape == (5, 7)
    assert mask.sum(1).tolist() == [7, 1, 2, 2, 4]
    a, comma, again = ids[4, 1:4]
    assert a.equal(again)  # also of the capital
    assert not a.equal(comma)
    assert not ids[~mask].any()
    assert (ids[0, 2] > 0).sum() == 1 + 5 + 4 + 3  # <digit>: the whole; 3, 4 and 5 neighbours of its 7 bytes
    assert ids.max() <= net.rows
    shared = [set(net.parts("north")) & set(net.parts(word)) for word in ("northeast", "south", "seven")]
    assert [len(parts) for parts in shared] == [9, 1, 0]  # the 9 without the end of "north"; th>
    assert net.tokenize(["x" * 40]).mask.sum() == 1 + 3  # pieces of 16 letters: a script without spaces
    assert net.tokenize([]).mask.shape == (0, 1)


@both
@torch.no_grad()
def test_other_texts_change_no_texts_vectors(kind):
    net = encoder(kind, max_tokens=40)
    longest = net.tokenize(TEXTS).mask.shape[1]
    together = net.embed(TEXTS)
    assert isinstance(together, TextEmbedding)
    assert together.tokens.shape == (4, longest, 32)
    assert together.tokens.dtype == torch.float32
    for place, text in enumerate(TEXTS):
        alone = net.embed([text])
        length = alone.tokens.shape[1]
        assert alone.mask.all()
        assert (together.tokens[place, :length] - alone.tokens[0]).abs().max() < 1e-5
        assert (together.tokens[place, length:] == 0).all()
        assert not together.mask[place, length:].any()
    turned = net.embed(TEXTS[::-1])
    assert (turned.tokens.flip(0) - together.tokens).abs().max() < 1e-5


@pytest.mark.parametrize(("kind", "texts"), [(ByteEncoder, ["ab", "ba"]), (WordEncoder, ["a b", "b a"])])
@torch.no_grad()
def test_the_order_is_seen(kind, texts):
    ab, ba = encoder(kind, depth=1).embed(texts).tokens
    assert (ab[0] - ba[0]).abs().max() > 1e-3  # the start token, whose own byte and place are the same


def test_a_longer_text_is_cut_behind_a_whole_character_which_is_said_once(capsys):
    net = encoder(max_tokens=6)
    ids, mask = net.tokenize(["12345", "1234567", "1234ü"])
    assert mask.sum(1).tolist() == [6, 6, 5]
    assert ids[1].tolist() == [256, *b"12345"]
    assert ids[2, :5].tolist() == [256, *b"1234"]  # and not half of the ü
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "'1234567' has 8 tokens, and ByteEncoder takes 6: it is cut" in said
    net.tokenize(["123456789"])
    assert capsys.readouterr().err == ""


def test_a_longer_text_is_cut_behind_a_word_which_is_said_once(capsys):
    net = encoder(WordEncoder, max_tokens=3)
    short, long = net.tokenize(["a b", "a b c"]).ids
    assert short.equal(long)
    assert "'a b c' has 4 tokens, and WordEncoder takes 3: it is cut" in capsys.readouterr().err
    net.tokenize(["a b c d"])
    assert capsys.readouterr().err == ""


@both
def test_bytes_that_are_no_text_are_refused_in_one_line(kind):
    with pytest.raises(ValueError, match=r"no UTF-8 \(the first behind 2 characters\)") as error:
        encoder(kind).embed(["ok", "a \udcff"])
    assert "\n" not in str(error.value)


@both
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dim": 30}, "multiple of 2 and of num_heads 4, got 30"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"max_tokens": 1}, "max_tokens must be at least 2, got 1"),
    ],
)
def test_sizes_out_of_range_are_refused(kind, options, words):
    with pytest.raises(ValueError, match=words):
        encoder(kind, **options)
    with pytest.raises(ValueError, match="rows must be at least 1, got 0"):
        WordEncoder(rows=0)


@both
def test_it_learns_words_and_where_they_stand(kind):
    """Which of two words comes first: counts do not tell, so positions and attention must."""
    net = encoder(kind, seed=1)
    head = nn.Linear(32, 2)
    texts, order = ["red then blue", "blue then red"], torch.tensor([0, 1])
    optimizer = torch.optim.AdamW([*net.parameters(), *head.parameters()], lr=2e-3)
    for _ in range(40):
        loss = nn.functional.cross_entropy(head(net.embed(texts).tokens[:, 0]), order)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    assert all(p.grad is not None for p in net.parameters())
    assert not net.is_frozen


@torch.no_grad()
def test_words_are_told_apart_before_training_in_a_mean_of_tokens():
    """What pooling sees of a caption before it has learnt where to look: of bytes a word is one part in twenty."""
    texts = [f"{digit} starts at the left and moves to the east" for digit in ("a zero", "a three", "a nine")]
    apart = {}
    for kind in (ByteEncoder, WordEncoder):
        texts_of = encoder(kind, dim=128).embed(texts)
        means = texts_of.tokens.sum(1) / texts_of.mask.sum(1, keepdim=True)
        apart[kind] = (means - means.mean(0)).norm() / means.norm()
    assert apart[WordEncoder] > 2 * apart[ByteEncoder]


@both
@torch.no_grad()
def test_half_precision_stays_close(kind):
    net = encoder(kind)
    whole = net.embed(TEXTS).tokens
    with torch.autocast("cpu", torch.bfloat16):
        half = net.embed(TEXTS).tokens
    assert half.dtype == torch.float32
    assert (half - whole).abs().max() < 0.15
