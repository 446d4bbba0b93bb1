"""Text encoders: captions and prompts as tokens that networks attend to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from videodiff.text.byte_encoder import ByteEncoder
    from videodiff.text.encoder import TextEmbedding, TextEncoder, Tokens

__all__ = ["ByteEncoder", "TextEmbedding", "TextEncoder", "Tokens"]

__getattr__ = imported_late(
    __name__,
    {"byte_encoder": ("ByteEncoder",), "encoder": ("TextEmbedding", "TextEncoder", "Tokens")},
    at_once=True,
)
