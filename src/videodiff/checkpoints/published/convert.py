"""Converts a published state dict, or a whole training file, to one of our networks: strictly, with a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from videodiff.frame_size import FrameSize
from videodiff.say import counted
from videodiff.weights import without_wrappers

from .formats import Format, Ignore
from .keys import all_prefixes, below, flat_average, flatten, is_average, known_reason, prefixes
from .kinds import KINDS, format_of
from .report import Report


@dataclass(frozen=True)
class Imported:
    """A network out of a published file.

    Args:
        network: filled, in evaluation mode.
        class_path: its class.
        init_args: what it was built with.
        report: what became of every key.
    """

    network: nn.Module
    class_path: str
    init_args: dict[str, Any]
    report: Report


def load(kind: str, state_dict: Mapping[str, Any], **sizes: Any) -> nn.Module:
    """The network of a published checkpoint, in evaluation mode.

    An autoencoder encodes and decodes videos ``[B, 3, T, H, W]`` in [-1, 1] (the mean of the latent); a U-Net is
    ``(z, time, Condition) -> z``, with the published integer time, PVDM's clip before as ``Condition(concat=...)`` and
    LVDM's mask and noise level as ``concat`` and ``concat_time``.

    Args:
        kind: one of ``kinds.KINDS``.
        state_dict: of the network, or the whole file as nested mappings: wrappers such as ``state_dict``, ``model.``,
            ``module.``, ``_orig_mod.`` and ``first_stage_model.`` are seen through, an average of the weights is
            preferred.
        sizes: arguments of the network in place of those read, for what no tensor shows (``resolution``).

    Raises:
        ValueError: in one line, for an unknown kind, or a file with a key missing, unknown or of another shape.
    """
    return convert(kind, state_dict, **sizes).network


def convert(kind: str, state_dict: Mapping[str, Any], average: bool = True, **sizes: Any) -> Imported:
    """As :func:`load`, with the report.

    Args:
        kind: see :func:`load`.
        state_dict: see :func:`load`.
        average: prefer the moving average of the weights where the file has one.
        sizes: see :func:`load`.
    """
    fmt = format_of(kind)
    tensors = without_wrappers(flatten(state_dict))
    prefix, sources = locate(fmt, tensors, average)
    inner = {name: tensors[source] for name, source in sources.items()}
    report = Report(
        kind, prefix, averaged=is_average(prefix) or any(s != prefix + n for n, s in sources.items())
    )
    known = fmt.read_sizes({name: tuple(value.shape) for name, value in inner.items()})
    unknown_sizes = set(sizes) - set(known)
    if unknown_sizes:
        raise ValueError(
            f"{kind}: no size {sorted(unknown_sizes)[0]!r}; there are {', '.join(sorted(known))}"
        )
    args = at_resolution(known, sizes) | sizes
    state = place_all(fmt, inner, sources, args, report)
    report_rest(tensors, sources, report, prefix)
    network = build(fmt, args, meta=any(value.is_meta for value in inner.values()))
    fill(fmt, network, state, tensors, prefix, report)
    check_finite(fmt, network, report)
    return Imported(network.eval(), f"videodiff.networks.{fmt.network.__name__}", args, report)


def at_resolution(known: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """The arguments read, with attention at the same levels of a network that is made for another resolution."""
    new, old = sizes.get("resolution"), known.get("resolution")
    if new is None or "attention_resolutions" not in known:
        return known
    side = min(FrameSize.of(new))  # which levels are called by
    return known | {"attention_resolutions": [r * side // old for r in known["attention_resolutions"]]}


def locate(fmt: Format, tensors: Mapping[str, Tensor], average: bool) -> tuple[str, dict[str, str]]:
    """The prefix of the network, and where each of its tensors is to be taken from.

    Raises:
        ValueError: if the file holds no such network.
    """
    fits = [p for p in prefixes(tensors, fmt.anchor) if fmt.fits(below(tensors, p))]
    if not fits:
        others = [
            k
            for k in KINDS
            if any(format_of(k).fits(below(tensors, p)) for p in prefixes(tensors, format_of(k).anchor))
        ]
        strange = [p for p in all_prefixes(tensors, fmt.anchor) if fmt.fits(below(tensors, p))]
        hint = f"; it looks like {' or '.join(others)}" if others else ""
        if strange:
            hint = f"; names lie below {' and '.join(strange)}: save what lies below {strange[0]} alone"
        first = next(iter(tensors), "nothing")
        raise ValueError(
            f"this is no {fmt.kind}: it has no {fmt.anchor} ({counted(len(tensors), 'tensor')}, first {first}){hint}"
        )
    fits.sort(key=lambda p: (is_average(p) != average, len(p)))
    prefix = fits[0]
    sources = {name[len(prefix) :]: name for name in tensors if name.startswith(prefix)}
    if average and not is_average(prefix):
        pairs = flat_average(tensors, prefix)
        sources = {name: pairs.get(source, source) for name, source in sources.items()}
    return prefix, sources


def holds(fmt: Format, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file has a network of a kind anywhere."""
    return any(fmt.fits(below(tensors, p)) for p in prefixes(tensors, fmt.anchor))


def place_all(
    fmt: Format, inner: Mapping[str, Tensor], sources: Mapping[str, str], args: dict[str, Any], report: Report
) -> dict[str, Tensor]:
    """Our state dict out of their tensors; fills the report.

    Raises:
        ValueError: for a key that neither the network nor anything known beside it has.
    """
    state: dict[str, Tensor] = {}
    unknown = []
    for name, value in inner.items():
        try:
            placed = fmt.place(name, value, args, inner)
        except Ignore as ignored:
            report.ignored[sources[name]] = str(ignored)
            continue
        if placed is not None:
            state[placed[0]] = placed[1]
            report.placed[sources[name]] = placed[0]
        elif (reason := known_reason(sources[name])) is not None:
            report.ignored[sources[name]] = reason
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{fmt.kind}: {counted(len(unknown), 'key')} that such a network has not, the first is {unknown[0]}"
        )
    return state


def report_rest(
    tensors: Mapping[str, Tensor], sources: Mapping[str, str], report: Report, prefix: str
) -> None:
    """Account for the keys outside the network.

    Raises:
        ValueError: for keys of which nobody knows what they are.
    """
    unknown = []
    for name in tensors:
        if name in report.placed or name in report.ignored:
            continue
        if name.startswith(prefix) and name[len(prefix) :] in sources:
            report.ignored[name] = "raw weight; its average was taken"
        elif (reason := known_reason(name)) is not None or (reason := other_network(name)) is not None:
            report.ignored[name] = reason
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{report.kind}: {counted(len(unknown), 'key')} of unknown meaning outside the network, the first is "
            f"{unknown[0]}"
        )


def other_network(name: str) -> str | None:
    """What a key of another copy or another network of the file is."""
    parts = name.split(".")
    if "first_stage_model" in parts or "autoencoder" in parts:
        return "another network of the file (first stage)"
    if "model_ema" in parts or is_average(name):
        return "average of weights that are not wanted"
    if "model" in parts or "module" in parts or "diffusion_model" in parts or "denoise_fn" in parts:
        return "another network or copy of the file"
    return None


def build(fmt: Format, args: dict[str, Any], meta: bool) -> nn.Module:
    """The network, on the meta device for tensors that have no values."""
    with torch.device("meta" if meta else "cpu"):
        return fmt.network(**args)


def fill(
    fmt: Format,
    network: nn.Module,
    state: dict[str, Tensor],
    tensors: Mapping[str, Tensor],
    prefix: str,
    report: Report,
) -> None:
    """Load strictly.

    Raises:
        ValueError: in one line, for what is missing or has another shape.
    """
    own = network.state_dict()
    for name, (value, instead) in fmt.extras(tensors, prefix).items():
        if value is None:
            report.missing[name] = instead
        elif name in own and name not in state:
            state[name] = (
                torch.as_tensor(value, dtype=own[name].dtype).expand(own[name].shape).to(own[name].device)
            )
            report.missing[name] = instead
    missing = [name for name in own if name not in state]
    shapes = [name for name in own if name in state and own[name].shape != state[name].shape]
    extra = [name for name in state if name not in own]
    parts = [
        f"{len(names)} {title} (first {names[0]})"
        for title, names in (("missing", missing), ("of another shape", shapes), ("too many", extra))
        if names
    ]
    if parts:
        raise ValueError(f"{fmt.kind}: weights {', '.join(parts)}")
    network.load_state_dict({name: value.to(own[name].dtype) for name, value in state.items()})


def check_finite(fmt: Format, network: nn.Module, report: Report) -> None:
    """Refuse a network with NaN or infinity among its weights.

    Raises:
        ValueError: in one line, with the first under its published name.
    """
    bad = [
        name
        for name, value in network.state_dict().items()
        if value.is_floating_point() and not value.is_meta and not bool(torch.isfinite(value).all())
    ]
    if bad:
        first = next((source for source, name in report.placed.items() if name == bad[0]), bad[0])
        raise ValueError(
            f"{fmt.kind}: NaN or infinity in {len(bad)} of {len(report.placed)} tensors, the first is {first}"
        )
