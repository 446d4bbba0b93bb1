"""Initialises a model from another's weights: loads what fits, resizes what has a rule, and lists every tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from videodiff.checkpoints.bare_weights import placed
from videodiff.checkpoints.files import CheckpointError
from videodiff.checkpoints.run import check_finite
from videodiff.networks.resized import begun_weight, resized_weight

LEAST = (
    0.5  # share of the model's trained numbers that must be filled, or else of the source's that must be used
)
CLASS_ROWS = "classes.weight"  # how the table of a network's classes is called


@dataclass
class Fitted:
    """What became of every weight.

    Args:
        loaded: names of those taken as they are.
        resized: names, shapes and rule of those brought to another size.
        new: names of those that the source lacks.
        other_shape: names and shapes of those that no rule brings to size; they are new too.
        unused: names in the source of those that the model has no place for.
        notes: what else is to be told.
    """

    loaded: list[str] = field(default_factory=list)
    resized: list[dict[str, Any]] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    other_shape: list[dict[str, Any]] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON holds it."""
        return asdict(self)

    def lines(self) -> list[str]:
        """The short summary."""
        count = len(self.loaded) + len(self.resized) + len(self.new) + len(self.other_shape)
        lines = [f"{len(self.loaded)} of {count} tensors loaded as they are"]
        if self.resized:
            rules = Counter(entry["how"] for entry in self.resized)
            lines.append(
                f"{len(self.resized)} resized ({'; '.join(f'{n} {how}' for how, n in rules.items())})"
            )
        if self.new:
            lines.append(f"{len(self.new)} new (first {self.new[0]})")
        if self.other_shape:
            first = self.other_shape[0]
            lines.append(
                f"{len(self.other_shape)} new, since of another shape (first {first['name']}, {first['from']} in the "
                f"source, {first['to']} here)"
            )
        if self.unused:
            lines.append(f"{len(self.unused)} of the source unused (first {self.unused[0]})")
        return ["weights: " + ", ".join(lines), *(f"weights: {note}" for note in self.notes)]


def fit_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    path: Path,
    classes: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
    force: bool = False,
) -> Fitted:
    """Load what fits, resize what has a rule, keep the initial values of the rest, and report on every tensor.

    Args:
        model: what is to be filled.
        weights: by name, those of the model or of one of its parts (``net``, ``autoencoder``), wrappers around them or
            not.
        path: where they are from, for errors.
        classes: names of the classes of the source's data and of the model's, in label order; where both are known,
            a class keeps its row by name, else by number.
        force: also take less than half, and weights that were trained on another first stage.

    Raises:
        CheckpointError: in one line, if less than half of the model's trained numbers would be filled and less than
            half of the source's used, or if the weights were trained on another first stage, both unless ``force``; if
            one of them is no number.
    """
    own, found = model.state_dict(), Fitted()
    weights, outer = placed(model, weights, path)
    if outer:
        found.notes.append(f"those below {outer} in the file")
    modules = dict(model.named_modules())
    state: dict[str, Tensor] = {}
    for name, like in own.items():
        value = weights.get(name)
        if value is None:
            found.new.append(name)
            begun = begun_weight(modules, name, like)
            state |= {} if begun is None else {name: begun}
            continue
        by_name = by_class_names(name, value, classes) if value.ndim == 2 else None
        if by_name is None and value.shape == like.shape:
            found.loaded.append(name)
            state[name] = value
            continue
        brought, how = value if by_name is None else by_name[0], "" if by_name is None else by_name[1]
        shapes = {"name": name, "from": list(value.shape), "to": list(like.shape)}
        if brought.shape != like.shape:
            resized = resized_weight(modules, name, brought)
            if resized is None:
                found.other_shape.append(shapes)
                continue
            brought, how = resized.value, how or resized.how
        found.resized.append({**shapes, "how": how})
        state[name] = brought
    found.unused = [name for name in weights if name not in own]
    check_share(model, weights, state, found, path, force)
    check_finite(state, path)
    load(model, state, found, path, force)
    return found


def by_class_names(
    name: str, table: Tensor, classes: tuple[Sequence[str] | None, Sequence[str] | None]
) -> tuple[Tensor, str] | None:
    """Rows ``[N, D]`` of the new classes, zero (no class) for one that is new; None where names say nothing."""
    before, now = classes
    if not name.endswith(CLASS_ROWS) or before is None or now is None or list(before) == list(now):
        return None
    rows = torch.zeros(len(now), table.shape[1], dtype=table.dtype)
    known = [label for label, text in enumerate(now) if text in before and before.index(text) < len(table)]
    for label in known:
        rows[label] = table[before.index(now[label])]
    return rows, f"class rows by name: {len(known)} kept, {len(now) - len(known)} new"


def check_share(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    found: Fitted,
    path: Path,
    force: bool,
) -> None:
    """Refuse a source of which next to nothing fits."""
    trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
    taken = [*found.loaded, *(entry["name"] for entry in found.resized)]
    filled = sum(trained.get(name, 0) for name in taken)
    used = sum(weights[name].numel() for name in taken)
    shares = filled / max(sum(trained.values()), 1), used / max(sum(v.numel() for v in weights.values()), 1)
    if filled and (max(shares) >= LEAST or force):
        return
    reason = f"no tensor of it has such a name (its first is {next(iter(weights))})"
    if found.other_shape:
        first = found.other_shape[0]
        reason = f"{first['name']} is {first['from']} there and {first['to']} here"
    elif filled:
        reason = f"it has no {found.new[0]}" if found.new else f"{found.unused[0]} has no place here"
    rule = (
        "nothing of it fits" if not filled else f"only {100 * shares[0]:.0f} % of the model would be filled"
    )
    way_out = "" if not filled else f"; {100 * LEAST:.0f} % are needed, or --force"
    raise CheckpointError(
        f"checkpoint {path} is no beginning for {type(model).__name__} as configured: {rule} ({reason}){way_out}"
    )


def load(model: nn.Module, state: dict[str, Tensor], found: Fitted, path: Path, force: bool) -> None:
    """Put the weights in; those beside another frozen part only if forced."""
    from videodiff.networks.frozen import other_weights

    others = other_weights(model, state)
    for name, reason in others.items():
        if not force:
            raise CheckpointError(f"checkpoint {path}: {reason}; or --force, to begin with them all the same")
        found.notes.append(f"forced: {reason.partition(';')[0]}")
        found.loaded.remove(name)
        state.pop(name)
    model.load_state_dict(state, strict=False)
