"""The command that trains a missing first stage, as far as its name tells. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videodiff.config import shipped_configs
from videodiff.names import shell_line, shell_word


def config_of_name(checkpoint: str) -> str | None:
    """The shipped config that a run is named after: ``lvdm_autoencoder_sky`` or ``runs/lvdm_autoencoder_sky/3``."""
    shipped = shipped_configs()
    return next((part for part in Path(checkpoint).parts if part in shipped), None)


def missing(checkpoint: str, config: str | None, error: Exception, more: Sequence[str] = ()) -> str:
    """What to say when there is no run of a first stage.

    Args:
        checkpoint: as it is named.
        config: that trains it, if it is known.
        error: why there is no run.
        more: further words of the command.
    """
    parts = [p for p in Path(checkpoint).parts if p not in ("best", "last") and not p.isdecimal()]
    name = parts[1] if parts[:1] == ["runs"] and len(parts) == 2 else parts[0] if len(parts) == 1 else None
    place = ["--out", shell_word(checkpoint)] if name is None else ["--name", shell_word(name)]
    if name is not None and name == config:
        place = []  # where fit puts it anyway
    words = ["videodiff", "fit", "--config", shell_word(config) if config else "CONFIG", *place]
    command = " ".join([*words, *([shell_line(more)] if more else [])])
    return f"the first stage {checkpoint!r} is missing; make it with: {command} ({error})"
