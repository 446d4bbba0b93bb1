"""Whether the clips of the data have the shapes that a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from videodiff.frame_size import FrameSize
from videodiff.networks import Network
from videodiff.networks.latents import Latents


def check_clip_shape(data: Any, video_shape: tuple[int, ...], options: Mapping[str, str]) -> None:
    """Refuse data whose clips are not ``video_shape (3, T, H, W)``, naming the options that would change the model.

    Args:
        data: a data module.
        video_shape: of the model's clips.
        options: of the model, by ``num_frames`` and ``resolution``; for one that is left out the data's is named.
    """
    frames, resolution = getattr(data, "num_frames", None), getattr(data, "resolution", None)
    if frames is None or resolution is None:
        return
    size, own = FrameSize.of(resolution, "data.resolution"), FrameSize(*video_shape[2:])
    differing = [
        (name, given, made)
        for name, given, made in (("num_frames", frames, video_shape[1]), ("resolution", size, own))
        if given != made
    ]
    if differing:
        names = " and ".join(f"data.{name}" for name, _, _ in differing)
        words = [
            f"{options[name]} {given}" if name in options else f"--data.{name} {made}"
            for name, given, made in differing
        ]
        raise ValueError(
            f"{names} ({', '.join(str(given) for _, given, _ in differing)}) must be what the model generates "
            f"({', '.join(str(made) for _, _, made in differing)}); set both parts, e.g. {' '.join(words)}"
        )


def check_buckets(
    data: Any, video_shape: tuple[int, ...], network: Network | None, latents: Latents | None = None
) -> None:
    """Refuse clips of mixed shapes that a model does not take.

    Args:
        data: the data module.
        video_shape: ``(3, T, H, W)`` of the clip that the model is built for.
        network: that the clips go through; None for a model that takes one shape whatever its network is.
        latents: of the model.

    Raises:
        ValueError: naming the first bucket that is of another shape, or that does not divide as it must.
    """
    buckets = getattr(data, "buckets", None) or []
    own = (video_shape[1], FrameSize(*video_shape[2:]))
    others = [i for i, bucket in enumerate(buckets) if (bucket.num_frames, bucket.size) != own]
    if not others:
        return
    if network is None or latents is None or not network.takes_any_shape:
        name = "this model" if network is None else type(network).__name__
        raise ValueError(
            f"data.buckets.{others[0]} is {buckets[others[0]]}, and {name} is built for {own[0]} frames of "
            f"{own[1].height}x{own[1].width} alone; leave data.buckets out, or take a network of any shape "
            "(takes_any_shape, such as SpacetimeDiT)"
        )
    _, _, *places = latents.network_shape(latents.clip_units)
    each = (video_shape[2] // places[0], video_shape[3] // places[1])
    for i in others:
        bucket = buckets[i]
        if (whole := latents.whole(bucket.num_frames)) != bucket.num_frames:
            raise ValueError(
                f"data.buckets.{i}.num_frames must be whole latent frames of the first stage, got {bucket.num_frames}; "
                f"the nearest below is {whole}"
            )
        factor = (each[0] * network.size_factor, each[1] * network.size_factor)
        bucket.size.check_multiple(
            factor, "patches of the network and the first stage", f"data.buckets.{i}.resolution"
        )
