"""Checkpoints of PVDM, LVDM and the lucidrains 3-D U-Net as their projects publish them, read into our networks."""

from .convert import Imported, convert, load
from .report import Report

__all__ = ["Imported", "Report", "convert", "load"]
