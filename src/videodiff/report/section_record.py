"""The record for reproducing the page: protocol, settings, data, checkpoints, warnings."""

from __future__ import annotations

from videodiff.comparison.record import Comparison
from videodiff.report.chart import mark_of
from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import short
from videodiff.report.table import pairs

SWITCHES = {
    "hash": "of all switches; equal hashes measure alike",
    "network": "whose features are compared",
    "eps": "of its batch norms",
    "resize": "how frames reach the network's size",
    "rounding": "of generated pixels to whole numbers",
    "ddof": "the covariance is divided by the count less this",
    "num_real": "real clips wanted",
    "num_fake": "generated clips wanted",
    "frames": "of a clip",
    "stride": "distance of a real clip's frames in its video",
    "fps": "frames per second at which real videos are read; none is every frame",
    "subsample": "every how-manieth frame the network sees",
    "clips_per_video": "real clips from one video",
    "window": "where real clips begin",
    "order": "of the real videos",
    "split": "of the real clips",
    "inception": "network of the inception score",
    "inception_splits": "parts over which that score is averaged",
    "inception_shuffle": "seed of the order before splitting",
    "given": "first frames of a real clip that the model continues; 0 is none",
    "draws": "continuations of each real clip",
    "best_of": "draws of which the best is told too",
    "context": "given frames: counted as generated, excluded on both sides, or counted as the truth",
    "short_videos": "what happens to videos shorter than a clip",
    "network_sha256": "checksum of the network's weights",
}


def skipped_section(comparison: Comparison) -> Html | None:
    """Runs that are not here, and why."""
    if not comparison.skipped:
        return None
    items = [
        element("li", element("code", entry.get("run", "")), " ", entry.get("reason", ""))
        for entry in comparison.skipped
    ]
    return element("ul", items, class_="notices")


def warnings_section(comparison: Comparison) -> Html | None:
    """What a reader must know before quoting a number."""
    names = [model.name for model in comparison.models]
    items = [
        element("li", [[mark_of(i), element("strong", names[i]), " "] for i in about], warning)
        for about, warning in comparison.warnings()
    ]
    items = [element("li", note) for note in comparison.settings.get("notes") or []] + items
    return element("ul", items, class_="notices") if items else None


def protocol_section(comparison: Comparison) -> Html:
    """Every switch of the protocol."""
    return pairs(comparison.protocol, SWITCHES)


def models_section(comparison: Comparison) -> Html:
    """The weights behind each name."""
    parts = []
    for i, model in enumerate(comparison.models):
        record = {
            "class": model.model,
            "run": model.run,
            "checkpoint": model.checkpoint,
            "learnt from": model.data,
        }
        record["parameters"] = {name: short(count) for name, count in model.parameters.items()}
        parts.append(element("h3", mark_of(i), model.name))
        parts.append(pairs(record))
    return join(parts)


def made_section(comparison: Comparison) -> Html:
    """Command, settings, data and versions."""
    parts = [
        element("h3", "Command"),
        element("pre", element("code", comparison.command), tabindex=0) if comparison.command else None,
        element("h3", "Settings"),
        pairs({key: value for key, value in comparison.settings.items() if key != "notes"}),
        element("h3", "Data"),
        pairs(comparison.data),
        element("h3", "Versions"),
        pairs(comparison.versions),
    ]
    if not comparison.command:
        parts = parts[2:]
    return join(parts)
