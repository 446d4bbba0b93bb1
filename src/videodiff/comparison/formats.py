"""Tables as Markdown, LaTeX, CSV and lines of a terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from videodiff.comparison.answers import answers
from videodiff.comparison.record import Comparison, Metrics
from videodiff.comparison.tables import Cell, Table, metric_names, tables
from videodiff.names import markdown_code, markdown_text, one_line
from videodiff.say import counted

TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def markdown(comparison: Comparison) -> str:
    """All tables, best values bold; what is no model stands below the models in italics."""
    said = [f"- {answer.topic}: {markdown_text(answer.says)}" for answer in answers(comparison)]
    parts = ["# Comparison\n", "\n".join(said) + "\n"]
    parts += [markdown_table(table) for table in tables(comparison)]
    names = [model.name for model in comparison.models]
    said = [f"Note on {', '.join(names[i] for i in about)}: {told}" for about, told in comparison.warnings()]
    said += [f"Left out: {entry['run']}: {entry['reason']}" for entry in comparison.skipped]
    parts += [f"{markdown_text(line)}\n" for line in said]
    parts.append(f"Made by {markdown_code(comparison.command)}.\n" if comparison.command else "")
    return "\n".join(part for part in parts if part)


def markdown_table(table: Table) -> str:
    """A table under its title; the best bold, what is no model in italics."""
    head = map(markdown_text, table.head)
    lines = [f"## {markdown_text(table.title)}\n", bar(head), bar(["---"] * len(table.head))]
    for row in table.rows:
        texts = [markdown_text(cell.text) for cell in row]
        lines.append(bar(f"**{t}**" if cell.is_best else t for t, cell in zip(texts, row, strict=True)))
    for row in table.apart:
        first, *others = (markdown_text(cell.text) for cell in row)
        lines.append(bar([f"*{first}*", *others]))
    return "\n".join(lines) + "\n" + (f"\n{markdown_text(table.note)}\n" if table.note else "")


def bar(cells: Iterable[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def latex(comparison: Comparison) -> str:
    """All tables for ``booktabs``; baselines and floor stand below a rule."""
    parts = ["% \\usepackage{booktabs}"]
    for table in tables(comparison):
        caption = tex(f"{table.title}. {table.note}".rstrip(". "))
        lines = [
            "\\begin{table}",
            "\\centering",
            f"\\caption{{{caption}.}}",
            f"\\begin{{tabular}}{{l{'r' * (len(table.head) - 1)}}}",
            "\\toprule",
            tex_row([Cell(name) for name in table.head]),
            "\\midrule",
        ]
        lines += [tex_row(row) for row in table.rows]
        lines += ["\\midrule", *map(tex_row, table.apart)] if table.apart else []
        lines += ["\\bottomrule", "\\end{tabular}", "\\end{table}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def tex_row(cells: Sequence[Cell]) -> str:
    """One row of a tabular."""
    texts = [f"\\textbf{{{tex(cell.text)}}}" if cell.is_best else tex(cell.text) for cell in cells]
    return " & ".join(texts) + r" \\"


def tex(text: str) -> str:
    """A text that LaTeX prints as it is."""
    return "".join(TEX.get(letter, letter) for letter in one_line(text))


def comma_separated(comparison: Comparison) -> str:
    """One line for every draw of every model and for every baseline; numbers in full.

    Published figures, which are of other protocols, are not in it.
    """
    found = [draw.metrics for model in comparison.models for draw in model.draws]
    names = metric_names([*found, *(base["metrics"] for base in comparison.baselines)])
    stages = metric_names([(model.first_stage or {}).get("metrics", {}) for model in comparison.models])
    head = [
        "kind",
        "name",
        "run",
        "sampler",
        "steps",
        "guidance",
        "conditioned_on",
        "frames",
        "clips",
        "protocol",
    ]
    head += [part for name in names for part in (name, f"{name}_low", f"{name}_high", f"{name}_floor")]
    head += [
        "parameters", "training_steps", "clips_seen", "training_seconds", "flop_per_step", "flop_per_video",
        "seconds_per_video", "peak_memory_bytes", *(f"reconstruction_{name}" for name in stages),
    ]  # fmt: skip
    head += [f"data_{name}" for name in comparison.models[0].data] if comparison.models else []
    file = io.StringIO()
    writer = csv.DictWriter(file, head, lineterminator="\n")
    writer.writeheader()
    protocol = comparison.protocol["name"]
    for model in comparison.models:
        training, stage = model.training, (model.first_stage or {}).get("metrics", {})
        for draw in model.draws:
            writer.writerow({
                "kind": "model", "name": model.name, "run": model.run, "sampler": draw.sampler, "steps": draw.steps,
                "guidance": draw.guidance, "conditioned_on": draw.conditioned_on,
                "frames": draw.frames, "clips": draw.count, "protocol": protocol, **metric_cells(draw.metrics),
                "parameters": sum(model.parameters.values()), "training_steps": training.steps,
                "clips_seen": training.clips, "training_seconds": training.seconds,
                "flop_per_step": training.flop_per_step, "flop_per_video": draw.flop_per_video,
                "seconds_per_video": draw.timing.get("seconds_per_video"),
                "peak_memory_bytes": draw.timing.get("peak_memory_bytes"),
                **{f"reconstruction_{name}": entry["value"] for name, entry in stage.items()},
                **{f"data_{name}": value for name, value in model.data.items()},
            })  # fmt: skip
    for base in comparison.baselines:
        cells = metric_cells(base["metrics"])
        writer.writerow({"kind": "baseline", "name": base["name"], "protocol": protocol, **cells})
    return file.getvalue()


def metric_cells(metrics: Metrics) -> dict[str, Any]:
    """Value, interval and floor of each metric by column."""
    cells: dict[str, Any] = {}
    for name, entry in metrics.items():
        low, high = entry.get("interval") or (None, None)
        cells |= {
            name: entry["value"],
            f"{name}_low": low,
            f"{name}_high": high,
            f"{name}_floor": entry.get("floor"),
        }
    return cells


def terminal(comparison: Comparison) -> str:
    """What a comparison says, then quality and cost as lines of a terminal, one metric a line, one column a model."""
    found = ["\n".join(f"{answer.topic}: {one_line(answer.says)}" for answer in answers(comparison))]
    for table in tables(comparison):
        if table.title.startswith("Published"):
            found.append(f"{counted(len(table.rows), 'published figure')} in results.md")
            continue
        if table.title.startswith("Drift"):  # a column for every window of every model is too wide here
            found.append("drift over long video is in results.md and on the page")
            continue
        columns = [
            [*table.head],
            *([one_line(cell.text) + (" *" if cell.is_best else "") for cell in row] for row in table.rows),
        ]
        columns += [[one_line(cell.text) for cell in row] for row in table.apart]
        widths = [max(map(len, column)) for column in columns]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in zip(*columns, strict=True)
        ]
        found.append("\n".join([table.title, *lines]))
    found.append("* best, its interval apart from all others' and from those of clips made without a model")
    return "\n\n".join(found)
