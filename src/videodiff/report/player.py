"""Grids of players: canvases drawn from the contact sheets by one clock, with common controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from videodiff.report.chart import mark_of
from videodiff.report.contact_sheet import LOSSLESS, Sheet, encode_sheets, shown_size, split_clips
from videodiff.report.markup import Html, breakable, element

SPEEDS = ("0.25", "0.5", "1", "2", "4")


@dataclass
class Reel:
    """Collects the clips of a page, and writes their sheets once all are known."""

    groups: list[Tensor] = field(default_factory=list)
    sheets: list[Sheet] = field(default_factory=list)
    quality: int = LOSSLESS

    def add(self, clips: Tensor | None) -> list[tuple[int, int]]:
        """Take clips uint8 ``[N, T, H, W, 3]``; returns where each stands, as group and position in it."""
        if clips is None or len(clips) == 0:
            return []
        parts = split_clips(shown_size(clips))
        first = len(self.groups)
        self.groups += parts
        return [(first + g, i) for g, part in enumerate(parts) for i in range(len(part))]

    def encode(self, budget: int) -> None:
        """Make the sheets, within `budget` bytes of text if that can be."""
        self.sheets, self.quality = encode_sheets(self.groups, budget)

    def images(self) -> Html:
        """The hidden pictures that players are drawn from."""
        pictures = [
            element("img", id=f"sheet-{i}", src=sheet.uri, alt="", hidden=True)
            for i, sheet in enumerate(self.sheets)
        ]
        return element("div", pictures, hidden=True)

    def player(self, place: tuple[int, int], label: str) -> Html:
        """A canvas that plays one clip; `label` says to a screen reader which."""
        _, frames, height, width, _ = self.groups[place[0]].shape
        return element(
            "canvas",
            label,
            width=width,
            height=height,
            role="img",
            aria_label=label,
            data_sheet=place[0],
            data_clip=place[1],
            data_frames=frames,
            style=f"--side: {width}px",
        )


@dataclass(frozen=True)
class Column:
    """A column of a grid of players: a name, the model's position (None for real clips) and a cell for each row."""

    name: str
    index: int | None
    cells: Sequence[Html | None]


def player_grid(
    columns: Sequence[Column],
    row_names: Sequence[str],
    caption: str,
    wide: bool = False,
    words: Sequence[str] = (),
) -> Html:
    """Rows of players beside each other, in two banks of rows where the window has room.

    Args:
        columns: with as many cells as there are rows; a missing one is None.
        row_names: such as the number of the sample.
        caption: what the grid shows, for a screen reader.
        wide: cells hold two players.
        words: what stands under each row; none under those that there are no words for.
    """
    half = -(-len(row_names) // 2) if len(row_names) > 3 else len(row_names)
    spans = [range(half), range(half, len(row_names))]
    banks = [_bank(columns, row_names, span, caption, wide, words) for span in spans if len(span)]
    return element("div", banks, class_="banks")


def _bank(
    columns: Sequence[Column],
    row_names: Sequence[str],
    rows: range,
    caption: str,
    wide: bool,
    words: Sequence[str],
) -> Html:
    heads = [
        element(
            "th",
            None if c.index is None else mark_of(c.index),
            element("span", breakable(c.name)),
            scope="col",
        )
        for c in columns
    ]
    corner = element("td", element("span", "clip", class_="unseen"))
    body = []
    for row in rows:
        cells = [element("td", c.cells[row] if row < len(c.cells) else None) for c in columns]
        body.append(element("tr", element("th", row_names[row], scope="row"), cells))
        if row < len(words) and words[row]:
            under = element("td", words[row], colspan=len(columns))
            body.append(element("tr", element("td"), under, class_="words"))
    said = element("caption", f"{caption}, {row_names[rows[0]]} to {row_names[rows[-1]]}", class_="unseen")
    table = element(
        "table", said, element("thead", element("tr", corner, heads)), element("tbody", body), class_="clips",
        style=f"--columns: {len(columns)}",
    )  # fmt: skip
    label = f"{caption}, {row_names[rows[0]]} to {row_names[rows[-1]]}"
    kind = "box wide" if wide else "box"
    return element("div", table, class_=kind, tabindex=0, role="region", aria_label=label)


def control_bar(frames: int, fps: float) -> Html:
    """Buttons for all players at once; one stands above each grid, so that it never lies on a clip.

    Args:
        frames: of the clips below, which its slider moves through.
        fps: frames per second at full speed.
    """
    options = [element("option", f"{speed}×", value=speed, selected=speed == "1") for speed in SPEEDS]
    slider = element("input", type="range", min=0, max=frames - 1, value=0, step=1, class_="frame",
                     aria_label="frame of all clips")  # fmt: skip
    speeds = element("select", options, class_="speed")
    return element(
        "div",
        _button("◀", "back", "one frame back (←)"),
        _button("Play", "play", "play or pause all (space, or a click on a clip)", named=False),
        _button("▶", "forth", "one frame on (→)"),
        slider,
        element("span", f"1 / {frames}", class_="count"),
        element("label", element("span", "speed", class_="unseen"), speeds),
        class_="controls",
        role="toolbar",
        aria_label="all clips",
        data_fps=f"{fps:g}",
        data_frames=frames,
    )


def _button(face: str, kind: str, title: str, named: bool = True) -> Html:
    label = title.split(" (")[0] if named else None
    return element("button", face, type="button", class_=kind, title=title, aria_label=label)
