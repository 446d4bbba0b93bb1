"""The few calls by which golden values are measured; all else about the code under them may change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from videodiff.checkpoints.run import build_model


def build(section: dict[str, Any]) -> torch.nn.Module:
    """The model that the ``model`` section of a config describes, by the names that the first measured code had."""
    try:
        from videodiff.config.renamed import renamed
    except ImportError:  # nothing had been renamed yet
        pass
    else:
        section = renamed({"model": section})[0]["model"]
    return build_model(section, Path("golden"), ())


def losses(model: Any, batch: dict[str, Any], split: str) -> Tensor:
    """The loss of each sample ``[B]``, or of a first stage ``[1]``."""
    if hasattr(model, "frame_discriminator"):
        return model.losses(batch)[0][None]
    return model.losses(batch, split)


def pair_frames(model: Any) -> int:
    """Frames of a training clip of a model of clip pairs."""
    return model.sample_frames if hasattr(model, "sample_frames") else model.pair_frames


def keep(model: Any, video: Tensor) -> Tensor:
    """Latents of clips as ``videodiff encode`` keeps them."""
    return model.latents_of(video)


def condition(asked: dict[str, Any]) -> dict[str, Any]:
    """What is asked of a sample, as the model takes it: ``label``, ``frames`` at ``positions``, ``low_resolution``."""
    try:
        from videodiff.conditioning import Request
    except ImportError:  # before there was one
        from videodiff.models import Given

        known = {name: value for name, value in asked.items() if name != "label"}
        return {"given": Given(**known), "label": asked.get("label")}
    return {"request": Request(**asked)}


def draw(model: Any, count: int, frames: int, asked: dict[str, Any], **how: Any) -> Tensor:
    """Videos ``[count, 3, frames, H, W]``."""
    return model.generate(count, frames, 3, **condition(asked), **how)


def draw_in_parts(
    model: Any, count: int, frames: int, asked: dict[str, Any], stop: int
) -> tuple[Tensor, Tensor]:
    """The same at once, and stopped after ``stop`` windows and gone on with."""
    kept = []
    each: Callable[[Tensor, int], None] = lambda latent, windows: kept.append((latent.clone(), windows))  # noqa: E731
    has_draw = hasattr(model, "draw_latent")  # its earlier name
    generate, done = (model.draw_latent, "drawn") if has_draw else (model.generate_latent, "generated")
    whole = generate(count, frames, 3, **condition(asked), on_window=each)
    resumed = generate(count, frames, 3, **condition(asked), **{done: kept[stop - 1]})
    videos = [torch.cat(list(model.decode_frames(latent, frames)), dim=2) for latent in (whole, resumed)]
    return videos[0], videos[1]


def with_interpolator(model: Any, other: Any) -> Any:
    """A model whose gaps between key frames another one fills."""
    try:
        from videodiff.sampling import Pipeline, Stage
    except ImportError:  # before there were pipelines
        model.use_interpolator(other)
        return model
    other.sampler = model.sampler
    return Pipeline([Stage(model), Stage(other, takes="latent")])
