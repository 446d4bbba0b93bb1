"""One choice of device for every command."""

import pytest
import torch

from videodiff.device import pick_device
from videodiff.usage import UsageError


@pytest.mark.parametrize(
    ("name", "cuda", "rank", "expected"),
    [
        ("auto", False, "0", "cpu"),
        ("auto", True, "0", "cuda:0"),
        ("auto", True, "1", "cuda:1"),
        ("cpu", True, "1", "cpu"),
        ("cuda", True, "1", "cuda:1"),
        ("cuda:2", True, "1", "cuda:2"),
    ],
)
def test_each_process_has_the_device_that_is_named_or_one_of_its_own(name, cuda, rank, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setenv("LOCAL_RANK", rank)
    assert str(pick_device(name)) == expected


@pytest.mark.parametrize(
    ("name", "said"), [("cuda", "no CUDA device here"), ("gpu", "auto, cpu or cuda"), ("", "got ''")]
)
def test_a_device_that_is_not_there_is_refused(name, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=said):
        pick_device(name)
