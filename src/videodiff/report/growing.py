"""The page of a comparison that is still being made: its clips so far, and how far the trainings are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from videodiff import atomic
from videodiff.comparison.folder import GROWING
from videodiff.comparison.record import Clips, Comparison
from videodiff.report.markup import Html, element, join
from videodiff.report.number_format import NONE, duration, plain
from videodiff.report.page import BUDGET, REST
from videodiff.report.page_template import Section, page_shell
from videodiff.report.section_clips import ClipSections
from videodiff.report.section_plots import curves_section
from videodiff.report.table import plain_table


@dataclass(frozen=True)
class StageLine:
    """How far one training is.

    Args:
        title: of it.
        state: such as ``running`` or ``done``.
        step: optimizer steps so far.
        steps: that it takes.
        loss: the last one that was written down.
        seconds: so far.
    """

    title: str
    state: str
    step: int = 0
    steps: int = 0
    loss: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Growing:
    """What a growing page says beside its clips.

    Args:
        title: of the page.
        now: what happens at the moment, and for how long about.
        stages: the trainings, in the order in which they are shown.
        notes: what belongs to the clips: where they come from.
        written: seconds since 1970.
        every: seconds after which the page reloads itself; 0 for one that will not change any more.
    """

    title: str
    now: str
    stages: Sequence[StageLine] = ()
    notes: Sequence[str] = ()
    written: float = 0.0
    every: float = 15.0


def write_growing_page(comparison: Comparison, clips: Clips, growing: Growing, path: Path) -> Path:
    """Write the page as it stands now, whole, in place of the one of before.

    Args:
        comparison: the models in the order of their colours; nothing of them need be measured.
        clips: those that are there.
        growing: what the page says beside them.
        path: of the page.

    Returns:
        `path`.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return atomic.write_text(path, build_growing_page(comparison, clips, growing), errors="backslashreplace")


def build_growing_page(comparison: Comparison, clips: Clips, growing: Growing) -> str:
    """The text of the page; arguments as of :func:`write_growing_page`."""
    shown = ClipSections(comparison, clips)
    sections = [
        Section("samples", "Samples", shown.samples_section()),
        Section("reconstructions", "Reconstructions", shown.reconstructions_section()),
        Section("stages", "Trainings", stages_section(growing.stages)),
        Section("curves", "Loss curves", curves_section(comparison)),
    ]
    shown.reel.encode(BUDGET - REST)
    state = Section("state", "State", state_lines(growing))
    page = page_shell(growing.title, state, sections, shown.reel.images())
    return page.replace("<!doctype html>", f"<!doctype html>{GROWING}", 1)


def state_lines(growing: Growing) -> Html:
    """What happens now, whether the page reloads itself, and notes."""
    reload = None
    if growing.every:
        reload = element(
            "p",
            element("span", f"This page grows: it reloads itself every {growing.every:g} seconds. ", id="growing-note"),
            element("button", "Reloading: on", type="button", id="reloading", title="switch reloading on or off"),
            class_="note", id="growing", data_every=f"{growing.every:g}", data_written=f"{growing.written:.0f}",
            data_timing=True,
        )  # fmt: skip
    return join(
        element("p", growing.now, data_timing=True),
        reload,
        [element("p", note, class_="note") for note in growing.notes],
    )


def stages_section(stages: Sequence[StageLine]) -> Html | None:
    """How far every training is."""
    if not stages:
        return None
    rows = [
        [
            element("th", stage.title, scope="row"),
            stage.state,
            f"{stage.step:,} of {stage.steps:,}" if stage.steps else NONE,
            NONE if stage.loss is None else plain(stage.loss),
            element("td", duration(stage.seconds) if stage.seconds else NONE, class_="number", data_timing=True),
        ]
        for stage in stages
    ]  # fmt: skip
    return plain_table(["training", "state", "steps", "loss", "time"], rows, "trainings")
