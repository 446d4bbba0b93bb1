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
