from dataclasses import replace

import pytest
import torch

from videodiff.diffusion import Condition


def full():
    return Condition(
        label=torch.tensor([3, 0, 5]),
        vector=torch.rand(3, 4) + 1,
        context=torch.rand(3, 2, 4) + 1,
        concat=torch.rand(3, 1, 2, 4, 4) + 1,
        concat_time=torch.rand(3) + 0.1,
        context_mask=torch.tensor([[True, True], [True, False], [True, True]]),
        images=(False, True),
    )


def test_dropping_touches_the_samples_that_are_not_kept_and_no_others():
    cond = full()
    dropped = cond.drop(torch.tensor([True, False, True]))
    assert dropped.label.tolist() == [3, -1, 5]
    for name, value in dropped.tensors().items():
        assert torch.equal(value[[0, 2]], getattr(cond, name)[[0, 2]])
        assert torch.equal(value[1], getattr(cond.null(), name)[1])
    assert dropped.images == (False, True)


def test_the_null_condition_is_no_class_and_zeros():
    null = full().null()
    assert null.label.tolist() == [-1, -1, -1]
    told = {name: value for name, value in null.tensors().items() if name not in ("label", "context_mask")}
    assert all((value == 0).all() for value in told.values())
    assert torch.equal(null.context_mask, full().context_mask)
    assert torch.equal(full().drop(torch.zeros(3, dtype=torch.bool)).context, null.context)


def test_a_field_that_is_not_there_stays_away():
    assert not Condition().null().tensors()
    assert not Condition(images=(True,)).drop(torch.tensor([False])).tensors()
    assert set(Condition(label=torch.tensor([1])).null().tensors()) == {"label"}


def test_nan_in_a_dropped_sample_does_not_leak():
    cond = Condition(vector=torch.tensor([[float("nan")], [1.0]]))
    assert cond.drop(torch.tensor([False, True])).vector.tolist() == [[0], [1]]


def test_chunk_undoes_cat_and_repeat_is_cat_with_itself():
    cond = full()
    first, second = cond.cat(cond.null()).chunk(2)
    for name, value in cond.tensors().items():
        assert torch.equal(getattr(first, name), value)
        assert torch.equal(getattr(second, name), getattr(cond.null(), name))
        assert torch.equal(getattr(cond.repeat(2), name), getattr(cond.cat(cond), name))
    assert first.images == (False, True)


def test_conditions_of_different_fields_cannot_be_joined():
    with pytest.raises(ValueError, match="must have the same fields"):
        full().cat(Condition())


def test_a_cast_leaves_labels_and_times():
    cond = full().cast(torch.bfloat16).to("cpu")
    dtypes = {name: value.dtype for name, value in cond.tensors().items()}
    assert dtypes["label"] == torch.int64
    assert dtypes["concat_time"] == torch.float32
    assert dtypes["vector"] == dtypes["context"] == dtypes["concat"] == torch.bfloat16


def texts(lengths, total, start=0.0):
    """Contexts of so many tokens each, padded with numbers that are no tokens, and their mask."""
    places = torch.arange(total)
    mask = places < torch.tensor(lengths)[:, None]
    numbers = start + torch.arange(len(lengths) * total * 2.0).view(len(lengths), total, 2)
    return Condition(context=numbers, context_mask=mask)


def test_texts_of_other_lengths_are_joined_by_padding_that_is_not_there():
    short, long = texts([2, 1], 2), texts([4, 3], 4, 100)
    both = short.cat(long)
    assert both.context.shape == (4, 4, 2)
    assert both.context_mask.sum(1).tolist() == [2, 1, 4, 3]
    assert torch.equal(both.context[:2, :2], short.context)
    assert (both.context[:2, 2:] == 0).all()
    assert torch.equal(long.cat(short).context[2:], both.context[:2])
    unmasked = Condition(context=torch.ones(2, 3, 2))
    assert unmasked.padded(5).context_mask.sum(1).tolist() == [3, 3]
    assert unmasked.padded(3) is unmasked
    assert full().cat(full().padded(6)).context_mask.sum(1).tolist() == [2, 1, 2, 2, 1, 2]


def test_a_dropped_text_is_the_null_that_is_given_with_its_mask_and_other_fields_are_their_own():
    cond = replace(full(), context=torch.rand(3, 2, 2) + 1)
    null = texts([3], 3, 7.0)
    dropped = replace(cond, absent=null).drop(torch.tensor([True, False, True]))
    assert torch.equal(dropped.context[1], null.context[0])
    assert torch.equal(dropped.context[0, :2], cond.context[0])
    assert dropped.context_mask.sum(1).tolist() == [2, 3, 2]
    assert dropped.label.tolist() == [3, -1, 5]


def test_a_text_of_each_frame_is_dropped_with_its_clip():
    each = Condition(
        context=torch.ones(2, 3, 2, 2), context_mask=torch.tensor([[[True, False]] * 3, [[True, True]] * 3])
    )
    told = replace(each, absent=texts([3], 4, 7.0))
    dropped = told.drop(torch.tensor([False, True]), ("context", "context_mask"))
    assert torch.equal(told.null().context[1, 1], dropped.context[0, 1])
    assert dropped.context.shape == (2, 3, 4, 2)
    assert dropped.context_mask.sum(-1).tolist() == [[3, 3, 3], [2, 2, 2]]
    assert torch.equal(dropped.context[0, 2, :3], texts([3], 4, 7.0).context[0, :3])
    assert each.repeat(2).context.shape == (4, 3, 2, 2)
    assert (each.null().context == 0).all()
    assert torch.equal(each.null().context_mask, each.context_mask)
