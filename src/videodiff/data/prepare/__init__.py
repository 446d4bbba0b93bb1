"""``videodiff prepare``: every video checked, resized once, and written in a form that training reads fast."""

from videodiff.data.prepare.run import Report, check, prepare, verify
from videodiff.data.prepare.settings import FORMS, QUALITIES, Settings

__all__ = ["FORMS", "QUALITIES", "Report", "Settings", "check", "prepare", "verify"]
