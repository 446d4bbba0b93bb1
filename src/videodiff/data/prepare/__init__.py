"""``videodiff prepare``: every video checked, resized once, and written in a form that is fast to read."""

from videodiff.data.prepare.run import Report, check, prepare, verify
from videodiff.data.prepare.settings import FORMS, QUALITIES, Settings

__all__ = ["FORMS", "QUALITIES", "Report", "Settings", "check", "prepare", "verify"]
