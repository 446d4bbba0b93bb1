"""Inline SVG: lines and points on labelled axes, in the colours and marks of the models, and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import plain, short
from videodiff.report.scale import Scale, scale_for

WIDTH, HEIGHT = 360, 270
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 14, 42
NUM_COLOURS = 8
LONGEST_LABEL = 16
# Marks differ in form, so that a model can be told without its colour.
MARKS = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4-4h8v8h-8z",
    "M0-5.2L5 4H-5z",
    "M0-5.6L5.6 0 0 5.6-5.6 0z",
    "M0 5.2L5-4H-5z",
    "M-5-1.7h3.3V-5h3.4v3.3H5v3.4H1.7V5h-3.4V1.7H-5z",
    "M0-5.4L5.1-1.7 3.2 4.4h-6.4L-5.1-1.7z",
    "M-5-3h10v6h-10z",
)


@dataclass(frozen=True)
class Point:
    """A point of a series: its place, the interval of y, words for a reader who hovers, and a label beside its mark."""

    x: float
    y: float
    interval: tuple[float, float] | None = None
    says: str = ""
    label: str = ""


@dataclass(frozen=True)
class Series:
    """Points of one model.

    Args:
        name: of the model.
        index: position of the model, which decides colour and mark.
        points: in the order they are joined.
        marks: draw a mark at each point; a single point always has one.
        line: join them.
        dashed: with dashes.
    """

    name: str
    index: int
    points: Sequence[Point]
    marks: bool = False
    line: bool = True
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A figure with two labelled axes.

    Args:
        title: what is shown against what.
        x_label: with unit.
        y_label: with direction.
        series: one or more.
        levels: horizontal lines ``(value, name)``, such as the floor.
        log_x: logarithmic x where all values are positive.
        log_y: the same for y.
        labels: write the model's name beside its last point.
        front: also draw the Pareto front: ``"lower"`` or ``"higher"`` says which way y is better; less x is better.
        timing: the figure depends on measured time.
    """

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    levels: Sequence[tuple[float, str]] = field(default_factory=tuple)
    log_x: bool = False
    log_y: bool = False
    labels: bool = False
    front: str | None = None
    timing: bool = False

    def figure(self, alternative: str = "") -> Html:
        """The chart as ``<figure>``; `alternative` says in words what it shows."""
        points = [p for s in self.series for p in s.points]
        if not points:
            return Html("")
        tall = [p.y for p in points] + [v for p in points for v in p.interval or ()]
        tall += [value for value, _ in self.levels]
        x = scale_for([p.x for p in points], LEFT, WIDTH - RIGHT, self.log_x)
        y = scale_for(tall, HEIGHT - BOTTOM, TOP, self.log_y)
        parts = [axes(x, y, self.x_label, self.y_label), self._levels(y), self._front(x, y)]
        parts += [draw_series(s, x, y) for s in self.series]
        if self.labels:
            parts.append(point_labels(self.series, x, y))
        words = f"{self.title}. {self.x_label} across, {self.y_label} up. {alternative}".strip()
        svg = element("svg", *parts, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=words)
        caption = element("figcaption", self.title)
        return element("figure", caption, svg, class_="chart", data_timing=self.timing)

    def _levels(self, y: Scale) -> Html:
        parts = []
        for value, name in self.levels:
            row = round(y(value), 1)
            parts.append(element("path", d=f"M{LEFT} {row}H{WIDTH - RIGHT}", class_="level"))
            above = row - 5 if row > TOP + 14 else row + 13
            parts.append(element("text", name, x=LEFT + 4, y=round(above, 1), class_="level"))
        return join(parts)

    def _front(self, x: Scale, y: Scale) -> Html:
        if self.front is None:
            return Html("")
        sign = -1 if self.front == "higher" else 1
        points = sorted(
            {(p.x, p.y) for s in self.series for p in s.points}, key=lambda p: (p[0], sign * p[1])
        )
        kept: list[tuple[float, float]] = []
        for point in points:
            if not kept or sign * point[1] < sign * kept[-1][1]:
                kept.append(point)
        if len(kept) < 2:
            return Html("")
        # a staircase: between two points of the front nothing better than the cheaper one is known
        path = f"M{x(kept[0][0]):.1f} {y(kept[0][1]):.1f}"
        path += "".join(f"H{x(a):.1f}V{y(b):.1f}" for a, b in kept[1:])
        return element("path", d=path, class_="front")


def axes(x: Scale, y: Scale, x_label: str, y_label: str) -> Html:
    """Grid lines, ticks and labels."""
    parts = []
    for tick in y.ticks():
        row = f"{y(tick):.1f}"
        parts.append(element("path", d=f"M{LEFT} {row}H{WIDTH - RIGHT}", class_="grid"))
        parts.append(element("text", tick_text(tick), x=LEFT - 6, y=row, dy="0.35em", class_="tick end"))
    for tick in x.ticks():
        column = f"{x(tick):.1f}"
        parts.append(element("path", d=f"M{column} {HEIGHT - BOTTOM}v4", class_="axis"))
        parts.append(element("text", tick_text(tick), x=column, y=HEIGHT - BOTTOM + 16, class_="tick middle"))
    parts.append(element("path", d=f"M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}", class_="axis"))
    across = (LEFT + WIDTH - RIGHT) / 2
    up = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(element("text", x_label, x=across, y=HEIGHT - 6, class_="label middle"))
    turned = f"translate(11 {up}) rotate(-90)"
    parts.append(element("text", y_label, transform=turned, class_="label middle"))
    return join(parts)


def tick_text(value: float) -> str:
    """A tick in few characters."""
    if abs(value) >= 1e4:
        return short(value).replace(" ", "")
    found = plain(value, 3)
    return found.rstrip("0").rstrip(".") if "." in found and "e" not in found else found


def draw_series(series: Series, x: Scale, y: Scale) -> Html:
    """Line, intervals and marks of one series."""
    parts = []
    if series.line and len(series.points) > 1:
        path = "M" + "L".join(f"{x(p.x):.1f} {y(p.y):.1f}" for p in series.points)
        parts.append(element("path", d=path, class_="line dashed" if series.dashed else "line"))
    marked = series.marks or len(series.points) == 1  # one point has no line to be seen by
    for point in series.points if marked else ():
        column = f"{x(point.x):.1f}"
        if point.interval:
            low, high = (f"{y(end):.1f}" for end in point.interval)
            parts.append(element("path", d=f"M{column} {low}V{high}", class_="interval"))
        title = element("title", point.says or f"{series.name}: {plain(point.y)}")
        place = f"translate({column} {y(point.y):.1f})"
        parts.append(
            element("path", title, d=MARKS[series.index % len(MARKS)], transform=place, class_="mark")
        )
        if point.label:
            leftwards = x(point.x) > WIDTH - RIGHT - 24
            aside = x(point.x) + (-8 if leftwards else 8)
            beside = {"x": f"{aside:.1f}", "y": f"{y(point.y):.1f}", "dy": "-0.35em"}
            parts.append(element("text", point.label, **beside, class_="name end" if leftwards else "name"))
    return element("g", *parts, class_=f"s{series.index % NUM_COLOURS}")


def point_labels(series: Sequence[Series], x: Scale, y: Scale) -> Html:
    """The name of each series at its last point, moved apart where names would cover each other.

    Beside a single point; above the end of a line, which else would run through the name.
    """
    parts: list[Html] = []
    taken: list[tuple[float, bool]] = []
    named: set[str] = set()
    for s in sorted((s for s in series if s.points), key=lambda s: y(s.points[-1].y)):
        if s.name in named:
            continue
        named.add(s.name)
        column, row = x(s.points[-1].x), y(s.points[-1].y)
        leftwards, joined = column > WIDTH * 0.62, len(s.points) > 1
        row -= 11 if joined and row > TOP + 16 else 0
        row = max(
            [row, *(other + 13 for other, side in taken if side == leftwards and abs(other - row) < 13)]
        )
        taken.append((row, leftwards))
        aside = (5 if leftwards else -5) if joined else (-9 if leftwards else 9)
        place = {"x": f"{column + aside:.1f}", "y": f"{row:.1f}", "dy": "0.35em"}
        parts.append(element("text", clipped(s.name), **place, class_="name end" if leftwards else "name"))
    return join(parts)


def clipped(name: str, longest: int = LONGEST_LABEL) -> str:
    """A name cut to what fits into a chart."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def mark_of(index: int) -> Html:
    """The mark of a model as a small picture for legends and heads of columns."""
    path = element("path", d=MARKS[index % len(MARKS)], class_="mark")
    group = element("g", path, class_=f"s{index % NUM_COLOURS}")
    return element("svg", group, viewBox="-7 -7 14 14", class_="swatch", aria_hidden="true")


def legend(names: Sequence[str]) -> Html:
    """Marks and names of all models."""
    items = [element("li", mark_of(i), name) for i, name in enumerate(names)]
    return element("ul", items, class_="legend")
