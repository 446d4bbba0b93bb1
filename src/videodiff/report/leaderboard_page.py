"""The page of a leaderboard: the table first, then what the seconds went to, every seed, and clips of every system."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from videodiff import atomic
from videodiff.comparison.record import Clips, Comparison
from videodiff.comparison.tables import Table
from videodiff.report.markup import Html, element, join
from videodiff.report.page import BUDGET, REST, encoding_note, facts_of
from videodiff.report.page_template import Section, page_shell
from videodiff.report.section_clips import ClipSections
from videodiff.report.section_plots import curves_section, tradeoffs_section
from videodiff.report.section_record import made_section, models_section, protocol_section, warnings_section
from videodiff.report.section_results import costs_section, floors, shown, stages_section
from videodiff.report.table import footnotes, metric_names, metric_table, model_head, plain_table


def write_leaderboard_page(
    comparison: Comparison, clips: Clips, said: Sequence[tuple[str, str]], tables: Sequence[Table], path: Path
) -> Path:
    """Write the page, one HTML file without any reference to the network.

    Args:
        comparison: the systems, each as one model, the best first.
        clips: of every system's first seed.
        said: topic and sentence of what the leaderboard says.
        tables: what the seconds went to, and every seed.
        path: target; written beside it and renamed.

    Returns:
        `path`.
    """
    return atomic.write_text(path, build(comparison, clips, said, tables), errors="backslashreplace")


def build(
    comparison: Comparison, clips: Clips, said: Sequence[tuple[str, str]], tables: Sequence[Table]
) -> str:
    """The text of the page; arguments as of :func:`write_leaderboard_page`."""
    players = ClipSections(comparison, clips)
    places = {model.name: i for i, model in enumerate(comparison.models)}
    spent, seeds = tables
    sections = [
        Section("results", "Leaderboard", standings(comparison)),
        Section("seconds", "What the seconds went to", table_of(spent, places), "Seconds"),
        Section("seeds", "Every seed", table_of(seeds, places), "Seeds"),
        Section("samples", "Samples", players.samples_section()),
        Section("reconstructions", "Reconstructions", players.reconstructions_section()),
        Section("warnings", "Before you quote a number", warnings_section(comparison), "Warnings"),
        Section("tradeoffs", "Quality against cost", tradeoffs_section(comparison), "Quality and cost"),
        Section("costs", "Costs", costs_section(comparison)),
        Section("stages", "First stages", stages_section(comparison)),
        Section("curves", "Loss curves", curves_section(comparison)),
        Section("protocol", "Protocol", protocol_section(comparison), folded=True),
        Section(
            "models", "Checkpoints of the first seed", models_section(comparison), "Checkpoints", folded=True
        ),
        Section("made", "How this page was made", made_section(comparison), "Commands", folded=True),
    ]
    notes = [facts_of(comparison)]
    if players.reel.groups:
        players.reel.encode(BUDGET - REST)
        notes.append(encoding_note(players.reel))
    items = [[element("dt", topic), element("dd", text)] for topic, text in said]
    words = join(element("dl", items, class_="answers"), element("p", " ".join(notes), class_="note"))
    seconds = comparison.settings.get("seconds")
    title = f"Leaderboard at {seconds:g} equal seconds" if isinstance(seconds, int | float) else "Leaderboard"
    return page_shell(title, Section("answers", "In words", words), sections, players.reel.images())


def standings(comparison: Comparison) -> Html:
    """The main table: means over the seeds."""
    models = [(model.name, shown(model)) for model in comparison.models]
    others = [(base["name"], base["metrics"]) for base in comparison.baselines]
    names = metric_names([record for _, record in [*models, *others]])
    note = (
        "Means over seeds, above the interval over clips and seeds. ★ marks a value only where its interval lies "
        "apart from that of every other system and of clips made without a model."
    )
    return join(
        metric_table(models, others, floors(comparison)), element("p", note, class_="note"), footnotes(names)
    )


def table_of(table: Table, places: dict[str, int]) -> Html:
    """A table whose first column names systems."""
    rows = [
        [model_head(row[0].text, places[row[0].text]), *(cell.text for cell in row[1:])] for row in table.rows
    ]
    return join(plain_table(table.head, rows, table.title), element("p", table.note, class_="note"))
