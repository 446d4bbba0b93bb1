"""Text encoders: captions and prompts as tokens that networks attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from videodiff.text.byte_encoder import ByteEncoder
    from videodiff.text.clip import ClipImages, ClipTexts
    from videodiff.text.encoder import TextEmbedding, TextEncoder, Tokens
    from videodiff.text.transformers_encoder import TransformersEncoder
    from videodiff.text.word_encoder import WordEncoder

__all__ = [
    "ByteEncoder",
    "ClipImages",
    "ClipTexts",
    "TextEmbedding",
    "TextEncoder",
    "Tokens",
    "TransformersEncoder",
    "WordEncoder",
]

__getattr__ = imported_late(
    __name__,
    {
        "byte_encoder": ("ByteEncoder",),
        "clip": ("ClipImages", "ClipTexts"),
        "encoder": ("TextEmbedding", "TextEncoder", "Tokens"),
        "transformers_encoder": ("TransformersEncoder",),
        "word_encoder": ("WordEncoder",),
    },
    at_once=True,
)
