"""Vectors of captions, encoded once before a model with a frozen text encoder is trained, and kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from videodiff.say import counted, say


def keep_captions(model: Any, data: Any, device: Any) -> None:
    """Before training: keep the vectors of all captions that files give, where they are not kept yet.

    Captions that are told from scenes are few; the encoder remembers them as they come.

    Args:
        model: with text encoders or without.
        data: that it is trained on.
        device: to encode on.

    Raises:
        ValueError: in one line, for a disk that is too small, or damaged files.
    """
    from videodiff.text.encoder import keeping_encoders
    from videodiff.weights import cache_folder

    encoders = keeping_encoders(model)
    texts = data.texts(("train", "val")) if encoders else []
    for encoder in encoders if texts else []:
        if data.latents is not None:
            encoder.kept.add(Path(data.latents))
        cache = cache_folder()
        folder = Path(encoder.kept_in) if encoder.kept_in is not None else cache and cache / "text"
        if folder is not None and not all(text in encoder.kept for text in ("", *texts)):
            keep(encoder, texts, folder, "fp16", device)


def keep(encoder: Any, texts: Sequence[str], folder: Path, dtype: str, device: Any) -> None:
    """Encode those of some texts, and the empty one, that are not kept yet; their size is said before.

    Of several processes the first encodes all, and the others wait for it.
    """
    from videodiff.cli.commands.prepare import ProgressLine
    from videodiff.text.kept import size_in_words
    from videodiff.weights.download import locked

    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{encoder.kept.stem}.lock"):
        keeping = encoder.keep(["", *texts], folder, dtype)
        if not keeping.texts:
            return
        keeping.check_room(folder)
        size = f"{keeping.num_tokens} tokens of {encoder.dim} numbers, {size_in_words(keeping.num_bytes)} in {dtype}"
        say(
            f"text encoder {encoder.called}: {counted(len(keeping.texts), 'caption')} ({size}) are encoded once and "
            f"kept in {folder}"
        )
        home, line = encoder.device, ProgressLine("text", "captions")
        encoder.to(device)
        try:
            keeping.write(encoder.encode_alike, folder, line)
        finally:
            line.close()
            encoder.to(home)
