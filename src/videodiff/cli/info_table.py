"""The figures of ``videodiff info`` as a table for people."""

from __future__ import annotations

from typing import Any

from videodiff.frame_size import FrameSize

GIB = 2**30
Row = tuple[str, str]


def table(figures: dict[str, Any]) -> str:
    """One line for each figure."""
    rows = [("config", figures["config"]), ("model", f"{figures['model']}, {figures['network']}")]
    rows += [(f"parameters, {name}", f"{count:,}") for name, count in figures["parameters"].items()]
    rows += [
        ("forward pass", f"{figures['forward_gflop_per_clip']:,} GFLOP per clip"),
        (
            "training state",
            f"{figures['training_state_bytes'] / GIB:.2f} GiB (fp32 weights, gradients, Adam, EMA)",
        ),
        ("clip", " x ".join(map(str, figures["clip_shape"])) + "  (channels, frames, height, width)"),
        ("latent", " x ".join(map(str, figures["latent_shape"]))),
    ]
    if "training" not in figures:
        rows.append(("training", "not asked for (--quick)"))
    elif figures["training"] is None:
        rows.append(("training", f"not counted: {figures['not_counted']}"))
    else:
        rows += training(figures["training"]) + sampling(figures["sampling"])
        rows += memory(figures["training"]) + card(figures["card"]) + time(figures["time"])
    return "\n".join(f"{name:26s}{value}" for name, value in rows)


def flop(count: float) -> str:
    """A number of operations with its unit."""
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if count >= size:
            return f"{count / size:,.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
    return f"{count / 1e6:,.3g} MFLOP"


def training(t: dict[str, Any]) -> list[Row]:
    """FLOP of a step."""
    rows = [("training step", f"{flop(t['flop_per_clip'])} per clip (forward and backward)")]
    if t["first_stage_flop_per_clip"]:
        rows.append(
            ("  + first stage", f"{flop(t['first_stage_flop_per_clip'])} per clip (none with --data.latents)")
        )
    for i, bucket in enumerate(t.get("buckets", [])):
        size, mark = FrameSize.of(bucket["resolution"]), ", the largest" if bucket["is_largest"] else ""
        memory = ", ".join(f"{b / GIB:.3g} GiB in {p}" for p, b in bucket["memory_bytes"].items())
        shape = f"{bucket['num_frames']} x {size.height} x {size.width}, {bucket['batch_size']} a step"
        rows.append((f"  bucket {i}", f"{shape}: {flop(bucket['flop_per_clip'])} per clip, {memory}{mark}"))
    rows.append(("  whole batch", f"{flop(t['flop_per_step'])} for {t['batch_size']} clips"))
    return rows


def sampling(s: dict[str, Any] | None) -> list[Row]:
    """FLOP of one generated clip."""
    if s is None:
        return []
    parts = f"{s['network_calls']} calls of {flop(s['flop_per_call'])}"
    if s["decode_flop"]:
        parts += f", decoding {flop(s['decode_flop'])}"
    if s.get("text_flop"):
        parts += f", its prompt {flop(s['text_flop'])}"
    return [("one sample", f"{flop(s['flop_per_clip'])} ({parts})")]


def memory(t: dict[str, Any]) -> list[Row]:
    """Peak memory by batch size, one line for each precision."""
    rows = []
    for precision, by_batch in t["memory_bytes"].items():
        rows.append(
            (
                f"peak memory, {precision}",
                "  ".join(f"{clips}: {size / GIB:.3g}" for clips, size in by_batch.items())
                + "  (clips in one pass: GiB)",
            )
        )
    return rows


def card(c: dict[str, Any] | None) -> list[Row]:
    """Largest batches of a card."""
    if c is None:
        return []
    sizes = ", ".join(
        f"{clips} clips in {precision}" if clips else f"not one clip in {precision}"
        for precision, clips in c["largest_batch"].items()
    )
    rows = [
        (f"largest batch, {c['name']}", f"{sizes} ({c['usable_bytes'] / GIB:.1f} GiB of it are for tensors)")
    ]
    if "instead" in c:
        rows.append(("  a smaller network", c["instead"]))
    return rows


def time(t: dict[str, Any] | None) -> list[Row]:
    """Hours on one card."""
    if t is None:
        return []
    speed = f"{t['flop_per_second'] / 1e12:.4g} TFLOP/s"
    return [("time", f"{t['hours']:,.3g} hours for {t['steps']:,} steps at {speed} ({t['throughput']})")]
