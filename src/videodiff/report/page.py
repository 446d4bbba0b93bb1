"""The page of a comparison: all sections in order, within a budget of bytes, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from videodiff import atomic
from videodiff.comparison.record import Clips, Comparison
from videodiff.report.contact_sheet import LOSSLESS, QUALITIES
from videodiff.report.markup import Html, join
from videodiff.report.page_template import Section, page_shell
from videodiff.report.player import Reel
from videodiff.report.section_answers import answers_section
from videodiff.report.section_clips import ClipSections
from videodiff.report.section_guidance import guidance_section
from videodiff.report.section_plots import curves_section, drift_section, tradeoffs_section
from videodiff.report.section_record import (
    made_section,
    models_section,
    protocol_section,
    skipped_section,
    warnings_section,
)
from videodiff.report.section_results import (
    costs_section,
    draws_section,
    origins_section,
    published_section,
    results_section,
    stages_section,
)
from videodiff.say import counted

BUDGET = 1_900_000  # bytes of a page; clips are compressed more where it would be exceeded
# Bytes kept for all that is not clips. A fixed share: with the true size a second more or less, which changes the
# length of a number, could change how clips are compressed.
REST = 300_000


def write_page(comparison: Comparison, clips: Clips, path: Path, budget: int = BUDGET) -> Path:
    """Write the page of a comparison, one HTML file without any reference to the network.

    Equal input gives equal bytes; measured times and memory appear only in elements marked ``data-timing``.

    Args:
        comparison: the record.
        clips: of the page.
        path: target; written beside it and renamed.
        budget: bytes that the page should not exceed; clips lose quality for it, down to a last step.

    Returns:
        `path`.

    Raises:
        ValueError: for clips that are not uint8 ``[N, T, H, W, 3]`` or belong to no model.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return atomic.write_text(path, build_page(comparison, clips, budget), errors="backslashreplace")


def build_page(comparison: Comparison, clips: Clips, budget: int = BUDGET) -> str:
    """The text of the page; arguments as of :func:`write_page`."""
    shown = ClipSections(comparison, clips)
    sections = [
        Section("samples", "Samples", shown.samples_section()),
        Section("long", "Long videos", shown.long_section()),
        Section("reconstructions", "Reconstructions", shown.reconstructions_section()),
        Section("nearest", "Nearest training clips", shown.nearest_section(), "Nearest clips"),
        Section("results", "Results", results_section(comparison)),
        Section("warnings", "Before you quote a number", warnings_section(comparison), "Warnings"),
        Section("skipped", "Not compared", skipped_section(comparison)),
        Section("data", "One reference", origins_section(comparison), "Reference"),
        Section("tradeoffs", "Quality against cost", tradeoffs(comparison), "Quality and cost"),
        Section("guidance", "What guidance trades", guidance_section(comparison), "Guidance"),
        Section("drift", "Drift over long video", drift_section(comparison), "Drift"),
        Section("costs", "Costs", costs_section(comparison)),
        Section("stages", "First stages", stages_section(comparison)),
        Section("curves", "Loss curves", curves_section(comparison)),
        Section("published", "Published figures", published_section(comparison), "Published"),
        Section("protocol", "Protocol", protocol_section(comparison), folded=True),
        Section("models", "Checkpoints", models_section(comparison), folded=True),
        Section("made", "How this page was made", made_section(comparison), "Commands", folded=True),
    ]
    reel = shown.reel
    if reel.groups:
        reel.encode(budget - REST)
    facts = [facts_of(comparison), *([encoding_note(reel)] if reel.groups else [])]
    answer = Section("answers", "In words", answers_section(comparison, facts))
    return page_shell(title_of(comparison), answer, sections, reel.images())


def tradeoffs(comparison: Comparison) -> Html | None:
    """Plots of quality against cost, with the figures of all draws under them."""
    return join(tradeoffs_section(comparison), draws_section(comparison)) or None


def title_of(comparison: Comparison) -> str:
    """What is compared with what."""
    names = [model.name for model in comparison.models]
    return f"Side by side: {' · '.join(names) if 0 < len(names) <= 4 else counted(len(names), 'model')}"


def facts_of(comparison: Comparison) -> str:
    """What no number may be read without: protocol, count, seed, device."""
    settings, protocol = comparison.settings, comparison.protocol
    facts = [f"Protocol {protocol.get('name', '?')} [{protocol.get('hash', '?')}]"]
    counts = {draw.count for model in comparison.models for draw in model.draws[:1]}
    if counts:
        facts.append(f"{' and '.join(f'{c:,}' for c in sorted(counts))} clips of each model")
    facts += [f"{key} {settings[key]}" for key in ("seed", "device") if settings.get(key) is not None]
    told = {draw.conditioned_on for model in comparison.models for draw in model.draws[:1]} - {""}
    facts += [f"clips conditioned on {' and '.join(sorted(told))}"] if told else []
    return f"{', '.join(facts)}."


def encoding_note(reel: Reel) -> str:
    """How the pixels on the page relate to those that were measured."""
    if reel.quality == LOSSLESS:
        return "Clips are shown pixel for pixel."
    step = QUALITIES.index(reel.quality)
    worst = ", the lowest step" if step == len(QUALITIES) - 1 else ""
    kind = reel.sheets[0].mime.removeprefix("image/")
    return f"Clips are shown in {kind} of quality {reel.quality}{worst}; numbers are of the exact pixels."
