"""Checkpoints of PVDM, LVDM and the lucidrains 3-D U-Net as their projects publish them, read into our networks."""

from .convert import Imported, convert, load
from .kinds import KINDS
from .report import Report
from .runs import import_run

__all__ = ["KINDS", "Imported", "Report", "convert", "import_run", "load"]
