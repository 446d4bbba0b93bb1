"""The precision that is taken where nobody says it, in training, drawing and comparing alike."""

import pytest
import torch

from videodiff.precision import default_precision


@pytest.mark.parametrize(
    ("accelerator", "has_units", "expected"),
    [
        ("auto", True, "bf16-mixed"),
        ("auto", False, "32-true"),
        ("gpu", True, "bf16-mixed"),
        ("cpu", True, "32-true"),
    ],
)
def test_bf16_is_taken_where_the_card_does_not_emulate_it(accelerator, has_units, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # torch's own answer is yes for every card, with a slow emulation where there are no units
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or has_units
    )
    assert default_precision(accelerator) == expected
