"""The record of ``gpu.py`` as Markdown tables, aims beside what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MEMORY_BOUND = 0.15
"""How far the counted memory may lie from the measured."""
GIB = 2**30
NONE = "-"


def cases(record: Mapping[str, Any], section: str) -> dict[str, dict[str, Any]]:
    """Name -> figures of a section; none of one that was not asked for."""
    return record["sections"].get(section, {}).get("cases", {})


def utilisation(record: Mapping[str, Any], figures: Mapping[str, Any], flop: float | None) -> float | None:
    """Model FLOP utilisation: three times the forward pass of the clips of a second over the peak of the precision."""
    peak = (record["machine"].get("peak_flop_per_second") or {}).get(figures.get("precision"))
    speed = figures.get("clips_per_second")
    return 3 * flop * speed / peak if flop and peak and speed else None


def number(value: float | None, form: str = ".3g") -> str:
    """A figure, or a dash."""
    return NONE if value is None else f"{value:{form}}"


def share(value: float | None) -> str:
    """A share in per cent, or a dash."""
    return number(value, ".0%")


def rows(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def speed_row(record: Mapping[str, Any], system: Any) -> list[str]:
    """Training speed, eager and compiled, and memory of a system."""
    eager, compiled = (cases(record, section).get(system.name, {}) for section in ("step", "compiled"))
    flop = eager.get("forward_flop_per_clip")
    mfu, batch = utilisation(record, eager, flop), eager.get("batch")
    executed = mfu * 4 / 3 if mfu and eager.get("recomputes") else None
    counted = record.get("estimate", {}).get(system.name, {}).get("peak_bytes", {}).get(str(batch))
    measured = eager.get("peak_bytes")
    ratio = counted / measured if counted and measured else None
    waits = eager.get("host_waits")
    return [
        system.name, number(batch, "d"), number(eager.get("clips_per_second")), number(system.clips_per_second),
        share(mfu), share(executed), number(compiled.get("clips_per_second")),
        share(utilisation(record, compiled, flop)), share(system.mfu), number(measured and measured / GIB),
        f"{number(ratio, '.2f')}{' !' if ratio and abs(ratio - 1) > MEMORY_BOUND else ''}",
        NONE if waits is None else str(sum(waits.values())),
    ]  # fmt: skip


def difference(of: Mapping[str, Any]) -> str:
    """Relative differences of output and gradient, marked where they are above their bound."""
    return f"{of['output']:.1e} / {of['gradient']:.1e}{'' if of['holds'] else ' !'}"


def tables(record: Mapping[str, Any], systems: Sequence[Any]) -> str:
    """Everything that a record holds, for people."""
    machine, parts = record["machine"], []
    name, wall = machine.get("name", machine["device"]), record.get("wall_s", NONE)
    parts.append(f"{name}, torch {machine['torch']}, {record['size']} sizes, {wall} s")
    if {"step", "compiled"} & record["sections"].keys():
        head = [
            "system", "clips a step", "clips/s", "aim", "MFU", "with recomputation", "compiled, clips/s", "MFU", "aim",
            "peak GiB", "counted / peak", "host waits a step",
        ]  # fmt: skip
        parts.append(
            rows(
                head,
                [
                    speed_row(record, s)
                    for s in systems
                    if s.name in {**cases(record, "step"), **cases(record, "compiled")}
                ],
            )
        )
    if sampled := cases(record, "sample"):
        lines = [
            [
                name, key.removeprefix("clips_"), number(of["seconds"]), number(of.get("network_calls"), "d"),
                number(of.get("seconds_per_call")), number(of.get("decode_s")),
            ]
            for name, figures in sampled.items() for key, of in figures.items() if key.startswith("clips_")
        ]  # fmt: skip
        head = ["generating", "clips", "seconds", "network calls", "seconds a call", "decoding, s"]
        parts.append(rows(head, lines))
    if compared := cases(record, "agree"):
        lines = [
            [name, part, *map(difference, (of["fp32"], of["bf16"]))]
            for name, figures in compared.items()
            for part, of in figures.items()
            if isinstance(of, dict)
        ]
        head = ["against fp32 on the CPU", "network", "fp32: output / gradient", "bf16: output / gradient"]
        parts.append(rows(head, lines))
    if fed := cases(record, "feed"):
        lines = [
            [name, number(of.get("clips_per_second")), number(of.get("num_workers"), "d")]
            for name, of in fed.items()
        ]
        parts.append(rows(["loader", "clips/s", "workers"], lines))
    for name, of in cases(record, "train").items():
        told = (
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in of.items()
        )
        parts.append(f"{name}: {', '.join(told)}")
    for name, entry in record["sections"].items():
        if entry["state"] == "not begun":
            parts.append(f"{name}: no time was left")
        parts += [f"{name}, {case}: {of['error']}" for case, of in entry["cases"].items() if "error" in of]
    return "\n\n".join(parts)
