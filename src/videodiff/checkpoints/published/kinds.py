"""The supported kinds of published checkpoints."""

from __future__ import annotations

from difflib import get_close_matches

from . import image_autoencoder, latte, latte_text, lucidrains, lvdm, pvdm
from .formats import Format

FORMATS: dict[str, Format] = {
    fmt.kind: fmt
    for fmt in (
        pvdm.AUTOENCODER, pvdm.UNET, lvdm.AUTOENCODER, lvdm.UNET, lvdm.PREDICTION, lvdm.INTERPOLATION,
        lucidrains.UNET3D, image_autoencoder.AUTOENCODER, latte.LATTE, latte.SIT,
        latte_text.LATTE_TEXT,
    )
}  # fmt: skip
KINDS = tuple(FORMATS)


def format_of(kind: str) -> Format:
    """The format of a kind.

    Raises:
        ValueError: for an unknown one, with the nearest.
    """
    if kind not in FORMATS:
        near = get_close_matches(kind, KINDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown kind of checkpoint {kind!r}{hint} (there are {', '.join(KINDS)})")
    return FORMATS[kind]
