"""Tables of metrics: value, interval, arrow, and the mark of the best where intervals separate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from videodiff.comparison.best import best_of
from videodiff.metrics.directory import WORDS, metric_info
from videodiff.report.chart import mark_of
from videodiff.report.markup import Html, breakable, element, join
from videodiff.report.number_format import NONE, plain

Entries = Mapping[str, Mapping[str, Any]]
BEST = join(
    element("span", "★", class_="star", aria_hidden="true"), element("span", " best", class_="unseen")
)


def metric_names(records: Sequence[Entries]) -> list[str]:
    """Names of all metrics, in the order in which they first occur."""
    return list(dict.fromkeys(name for record in records for name in record))


def scroll_box(table: Html, label: str) -> Html:
    """A box that scrolls sideways on its own, so that the page never does; reachable by keyboard."""
    return element("div", table, class_="box", tabindex=0, role="region", aria_label=label)


def metric_cell(entry: Mapping[str, Any] | None, best: bool = False) -> Html:
    """A value with its interval or spread; how many clips it is of stands at the top of the page."""
    if not entry or entry.get("value") is None:
        return element("td", NONE, class_="number none")
    notes = []
    if entry.get("interval"):
        low, high = (plain(end, 3) for end in entry["interval"])
        notes.append(element("small", f"{low} to {high}", class_="spread"))
    elif entry.get("spread") is not None:
        notes.append(element("small", f"± {plain(entry['spread'])} over splits", class_="spread"))
    else:
        notes.append(element("small", "no interval", class_="spread"))
    value = element("span", plain(entry["value"]), class_="value")
    return element("td", BEST if best else None, value, notes, class_="number best" if best else "number")


def column_head(label: object, says: str = "") -> Html:
    """Head of a column that says what stands in it: on a hover, on a tap, and where the keyboard stops at it.

    Args:
        label: text or markup.
        says: whole sentences; a column without is a plain head.
    """
    if not says:
        return element("th", label, scope="col")
    tip = element("span", says, class_="tip", role="tooltip")
    return element("th", element("span", label, tip, class_="told", tabindex=0), scope="col")


def metric_head(name: str) -> Html:
    """Head of a metric's column: label, arrow, and the sentence of the directory."""
    info = metric_info(name)
    arrow = element("span", f"\N{NO-BREAK SPACE}{info.arrow}", aria_hidden="true") if info.arrow else None
    said = element("span", f", {WORDS[info.better]}", class_="unseen")
    called = f" ({name} in results.json.)" if name != info.label else ""
    return column_head(join(info.label, arrow, said), f"{info.explanation}{called}")


def model_head(name: str, index: int) -> Html:
    """Head of a model's row, with its mark."""
    return element("th", mark_of(index), element("span", breakable(name)), scope="row", class_="model")


def best_models(
    records: Sequence[Entries], names: Sequence[str], baselines: Sequence[Entries] = ()
) -> dict[str, int | None]:
    """For each metric the position of the best model, None if none beats all others and the baselines."""
    return best_of(records, names, baselines)


def metric_table(
    models: Sequence[tuple[str, Entries]],
    others: Sequence[tuple[str, Entries]] = (),
    floor: Mapping[str, float] | None = None,
    chance: Mapping[str, float] | None = None,
    caption: str = "",
    names: Sequence[str] | None = None,
) -> Html:
    """Models, then what was made without a model, then the floor, each group clearly apart.

    Args:
        models: ``(name, metrics)`` in the order of their colours.
        others: the baselines; they never bear the mark, and the best must beat them.
        floor: what real clips get, by metric.
        chance: what a guess gets, by metric.
        caption: of the table.
        names: of the metrics that it shows; None is all that there are. The mark rests on the others too.
    """
    if names is None:
        names = metric_names([record for _, record in [*models, *others]])
    best = best_models([record for _, record in models], names, [record for _, record in others])
    others = [(name, record) for name, record in others if any(metric in record for metric in names)]
    width = len(names) + 1
    body = [
        element(
            "tbody",
            [
                element(
                    "tr",
                    model_head(name, i),
                    [metric_cell(record.get(metric), best[metric] == i) for metric in names],
                )
                for i, (name, record) in enumerate(models)
            ],
        )
    ]
    if others:
        rows = [
            element(
                "tr",
                element("th", name, scope="row", class_="model"),
                [metric_cell(record.get(metric)) for metric in names],
            )
            for name, record in others
        ]
        body.append(element("tbody", group_row("made without a model", width), rows, class_="aside"))
    for words, name, values in (
        ("the floor: other real clips, equally many", "real clips", floor),
        ("chance: a guess at what clips were told", "a guess", chance),
    ):
        if values and any(metric in values for metric in names):
            cells = [element("td", plain(values.get(metric)), class_="number") for metric in names]
            row = element("tr", element("th", name, scope="row", class_="model"), cells)
            body.append(element("tbody", group_row(words, width), row, class_="aside"))
    corner = element("th", "model", scope="col", class_="model")
    head = element("thead", element("tr", corner, [metric_head(name) for name in names]))
    table = element("table", element("caption", caption) if caption else None, head, body, class_="numbers")
    return scroll_box(table, caption or "metrics")


def group_row(words: str, width: int) -> Html:
    """A row that names the rows below it."""
    return element(
        "tr", element("th", element("span", words), colspan=width, scope="rowgroup"), class_="group"
    )


def footnotes(names: Sequence[str]) -> Html:
    """What every column says, below each other: to read at once, and on paper."""
    items = []
    for name in names:
        info = metric_info(name)
        items += [element("dt", f"{info.label} {info.arrow}".strip()), element("dd", info.explanation)]
    return element("details", element("summary", "What the columns say"), element("dl", items))


def plain_table(
    heads: Sequence[str | Html], rows: Sequence[Sequence[object]], label: str, numbers: bool = True
) -> Html:
    """A table of cells that are markup or text; the first cell of each row is its head.

    Args:
        heads: of the columns; one that is a ``<th>`` already stays one.
        rows: cells; one that is a ``<td>`` already stays one.
        label: of the box for a screen reader.
        numbers: align the other cells to the right.
    """
    kind = "number" if numbers else None
    body = []
    for first, *rest in rows:
        head = (
            first
            if isinstance(first, Html) and first.startswith("<th")
            else element("th", first, scope="row")
        )
        cells = [
            cell if isinstance(cell, Html) and cell.startswith("<td") else element("td", cell, class_=kind)
            for cell in rest
        ]
        body.append(element("tr", head, cells))
    columns = [
        name if isinstance(name, Html) and name.startswith("<th") else column_head(name) for name in heads
    ]
    head = element("thead", element("tr", columns))
    return scroll_box(
        element("table", head, element("tbody", body), class_="numbers" if numbers else "numbers words"),
        label,
    )


def pairs(record: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> Html:
    """Name and value of everything in a record, one below the other; nested ones with dots.

    Args:
        record: as JSON holds it.
        notes: a sentence for some names.
    """
    items = []
    for key, value in flat(record):
        note = (notes or {}).get(key)
        items.append(element("dt", key))
        items.append(element("dd", element("code", value), element("small", note) if note else None))
    return element("dl", items, class_="pairs")


def flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """``[("a.b", "text"), ...]`` of a nested record."""
    found = []
    for key, value in record.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            found.append((name, ", ".join(str(v) for v in value) or "none"))
        else:
            found.append((name, "none" if value is None or value == {} else str(value)))
    return found
