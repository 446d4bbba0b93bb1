"""All that is counted of a config, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from videodiff.models.trained import TrainedModule, trained_module

from .accelerators import Accelerator
from .memory import Memory, memory_of
from .meta_model import MetaModel, Precision
from .sampling import sampling_cost
from .training import Step

BATCHES = (1, 2, 4, 8, 16, 32, 64)
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16-mixed")
UTILISATION = 0.4
"""Share of a card's peak that is assumed when no throughput is given: an assumption, not a measurement."""
DEFAULT_CARD = "h100"


def cost(
    meta: MetaModel, config: Mapping[str, Any], progress: Callable[[str], None] = lambda part: None
) -> tuple[dict[str, Any], dict[str, Memory]]:
    """FLOP of training and sampling, and memory by batch size.

    Args:
        meta: the model.
        config: of the whole run, merged.
        progress: called with the name of each part before it is counted.

    Returns:
        ``training`` and ``sampling`` (none for an autoencoder) as plain data, and the memory of each precision.

    Raises:
        TypeError: for a model that is no DiffusionModule or AutoencoderModule.
    """
    model = trained_module(meta.model, "costs are counted")
    data = (config.get("data") or {}).get("init_args") or {}
    trainer = config.get("trainer") or {}
    calls = model.calls_per_clip
    progress("one sample")
    generating = sampling_cost(meta, calls) if calls else None
    accumulates = int(trainer.get("accumulate_grad_batches") or 1) > 1
    shapes = bucket_data(data)
    each: list[dict[str, Memory]] = []
    for shape in shapes or [data]:
        each.append({p: memory_of(meta, shape, p, accumulates, progress=progress) for p in PRECISIONS})
    sizes = [int(shape.get("batch_size") or 1) for shape in shapes or [data]]
    needed = [found["fp32"].at(size) for found, size in zip(each, sizes, strict=True)]
    largest = needed.index(max(needed))
    memory, batch = each[largest], sizes[largest]
    flop, stage = flop_per_clip(model, memory["fp32"].one)
    training = {
        "flop_per_clip": flop,
        "first_stage_flop_per_clip": stage,
        "batch_size": batch,
        "flop_per_step": batch * (flop + stage),
        "accumulate_grad_batches": int(trainer.get("accumulate_grad_batches") or 1),
        "memory_bytes": {p: {str(n): m.at(n) for n in BATCHES} for p, m in memory.items()},
        "counted_on": meta.device,
    }
    if shapes:
        training["buckets"] = [
            {
                **{key: shape[key] for key in ("num_frames", "resolution", "batch_size")},
                "flop_per_clip": flop_per_clip(model, found["fp32"].one)[0],
                "memory_bytes": {p: found[p].at(size) for p in PRECISIONS},
                "is_largest": i == largest,
            }
            for i, (shape, found, size) in enumerate(zip(shapes, each, sizes, strict=True))
        ]
    sampling = generating and {
        "network_calls": generating.calls,
        "flop_per_call": generating.call_flop,
        "decode_flop": generating.decode_flop,
        "flop_per_clip": generating.flop,
        **({"text_flop": generating.text_flop} if generating.text_flop else {}),
    }
    return {"training": training, "sampling": sampling}, memory


def bucket_data(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The options of the data as each of ``data.buckets`` has them; empty where there are none, or not known yet."""
    given = data.get("buckets")
    if not given or isinstance(given, str):
        return []
    keys = ("num_frames", "resolution", "batch_size")
    usual = {"num_frames": 16, "resolution": 64, "batch_size": 8, **data}
    return [
        {**data, **{key: entry.get(key, usual[key]) for key in keys}, "buckets": None, "is_bucket": True}
        for entry in given
    ]


def flop_per_clip(model: TrainedModule, step: Step) -> tuple[int, int]:
    """Training FLOP of one clip: of what is trained, and of encoding by a frozen first stage, on average."""
    stage = model.encoded_share * step.first_stage_flop / step.clips
    return round(step.flop / step.clips), round(stage)


def on_card(memory: Mapping[str, Memory], card: Accelerator) -> dict[str, Any]:
    """The largest batches that a card holds."""
    return {
        "name": card.name,
        "memory_bytes": card.num_bytes,
        "usable_bytes": card.usable,
        "largest_batch": {p: m.largest_batch(card.usable) for p, m in memory.items()},
    }


def hours(flop_per_step: int, steps: int, flop_per_second: float) -> float:
    """Hours that ``steps`` optimizer steps take at a throughput."""
    return steps * flop_per_step / flop_per_second / 3600
