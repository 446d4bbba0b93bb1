"""What became of every key of a published checkpoint."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from videodiff.say import counted


@dataclass
class Report:
    """Every key of a file once: taken under its own name, renamed, or ignored for a reason; and what was missing.

    Args:
        kind: of checkpoint.
        prefix: what stands before the network's names in the file.
        averaged: whether the moving average of the weights was taken.
        placed: name in the file -> name in our network.
        ignored: name in the file -> reason.
        missing: names of our network that nothing in the file fills -> what they hold instead.
    """

    kind: str
    prefix: str = ""
    averaged: bool = False
    placed: dict[str, str] = field(default_factory=dict)
    ignored: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def taken(self) -> list[str]:
        """Keys whose names are ours too, the prefix aside."""
        return [k for k, v in self.placed.items() if k == self.prefix + v]

    @property
    def renamed(self) -> dict[str, str]:
        """Keys that have another name with us."""
        return {k: v for k, v in self.placed.items() if k != self.prefix + v}

    def lines(self, every: bool = False) -> list[str]:
        """The report as text: counts and reasons, or with ``every`` a line for each key."""
        which = " (the average)" if self.averaged else ""
        text = [
            f"{self.kind}: {counted(len(self.taken), 'key')} taken, {len(self.renamed)} renamed, "
            f"{len(self.ignored)} ignored, {len(self.missing)} missing; names below {self.prefix or 'the top'}{which}"
        ]
        if every:
            text += [f"taken    {name}" for name in self.taken]
            text += [f"renamed  {name} -> {ours}" for name, ours in self.renamed.items()]
            text += [f"ignored  {name}: {reason}" for name, reason in self.ignored.items()]
        else:
            text += [f"  ignored {n}: {reason}" for reason, n in Counter(self.ignored.values()).items()]
        return text + [f"  missing {name}: {instead}" for name, instead in self.missing.items()]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "kind": self.kind,
            "prefix": self.prefix,
            "averaged": self.averaged,
            "taken": self.taken,
            "renamed": self.renamed,
            "ignored": self.ignored,
            "missing": self.missing,
        }
