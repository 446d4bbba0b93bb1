"""Prompts, as the words of the command line say them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from videodiff import placeholder
from videodiff.names import is_text
from videodiff.reading import read_text
from videodiff.words import shortened

if TYPE_CHECKING:
    from videodiff.conditioning.request import Generated

SUFFIX = ".txt"


def prompt_words(text: str) -> list[str]:
    """A prompt; or those of a file ``.txt``, one in a line, empty lines left out.

    Raises:
        argparse.ArgumentTypeError: for a file that is not there or holds none, or what is no UTF-8.
    """
    if not text.endswith(SUFFIX):
        if not is_text(text):
            raise argparse.ArgumentTypeError(f"must be UTF-8, got {shortened(ascii(text))}")
        return [text]
    file = Path(text)
    if not file.is_file():
        raise argparse.ArgumentTypeError(
            f"must name a file that exists where it ends in {SUFFIX} (prompts, one in a line), got {text!r}"
        )
    try:
        placeholder.refuse(file, but=("empty",))
        lines = [line.strip() for line in read_text(file, "utf-8-sig").splitlines()]
    except (ValueError, OSError) as error:
        raise argparse.ArgumentTypeError(f"must be a file of prompts, one in a line: {error}") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise argparse.ArgumentTypeError(
            f"must be a file of prompts, one in a line, and {text} holds none; the empty prompt is written ''"
        )
    return prompts


def prompts(value: str | Sequence[str], generated: Generated) -> tuple[str, ...]:
    """The prompts that videos take in turn; empty ones leave a model that takes no words nothing to be told: none."""
    texts = (value,) if isinstance(value, str) else tuple(value)
    return texts if generated.takes_text or any(texts) else ()
