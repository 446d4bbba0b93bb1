"""The clips of a report in a file beside it, pixel for pixel: for another page, or figures of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from videodiff import atomic
from videodiff.comparison.folder import CLIPS
from videodiff.comparison.record import Clips, ModelClips


def write_clips(clips: Clips, out: Path) -> Path:
    """Write ``clips.npz``, uint8 ``[N, T, H, W, 3]`` each: ``real``, and ``samples/NAME`` of every model.

    Of a model with a first stage ``reconstructions/NAME`` too, and ``words``, texts, where they were told some.
    """
    arrays = {"real": clips.real}
    for name, shown in clips.models.items():
        arrays[f"samples/{name}"] = shown.samples
        if shown.reconstructions is not None:
            arrays[f"reconstructions/{name}"] = shown.reconstructions
    out.mkdir(parents=True, exist_ok=True)
    with atomic.opened(out / CLIPS) as file:
        found: Any = {key: value.numpy() for key, value in arrays.items()}
        if clips.words:
            found["words"] = np.array(clips.words)
        np.savez_compressed(file, **found)
    return out / CLIPS


def read_clips(out: Path) -> Clips:
    """The inverse of :func:`write_clips`.

    Raises:
        FileNotFoundError: if there are none.
    """
    with np.load(out / CLIPS, allow_pickle=False) as file:
        words = file["words"].tolist() if "words" in file.files else []
        arrays: dict[str, Tensor] = {k: torch.from_numpy(file[k]) for k in file.files if k != "words"}
    models: dict[str, ModelClips] = {}
    for key, value in arrays.items():
        if key.startswith("samples/"):
            name = key.removeprefix("samples/")
            models[name] = ModelClips(value, arrays.get(f"reconstructions/{name}"))
    return Clips(arrays["real"], models, words=words)
