"""One self-contained page that shows a comparison."""

from videodiff.report.chart import Chart, Point, Series, legend
from videodiff.report.page import build_page, write_page
from videodiff.report.page_template import Section, page_shell
from videodiff.report.player import Column, Reel, control_bar, player_grid
from videodiff.report.table import metric_table

__all__ = [
    "Chart",
    "Column",
    "Point",
    "Reel",
    "Section",
    "Series",
    "build_page",
    "control_bar",
    "legend",
    "metric_table",
    "page_shell",
    "player_grid",
    "write_page",
]
