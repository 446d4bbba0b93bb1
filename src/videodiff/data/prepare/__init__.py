"""``videodiff prepare``: every video checked, resized once, and written in a form that is fast to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from videodiff.late import imported_late

if TYPE_CHECKING:
    from videodiff.data.prepare.run import Report, check, prepare, verify
    from videodiff.data.prepare.settings import FORMS, QUALITIES, Settings

__all__ = ["FORMS", "QUALITIES", "Report", "Settings", "check", "prepare", "verify"]

# The command line asks for some of it before it loads torch.
__getattr__ = imported_late(
    __name__,
    {
        "run": (
            "Report",
            "check",
            "prepare",
            "verify",
        ),
        "settings": (
            "FORMS",
            "QUALITIES",
            "Settings",
        ),
    },
    at_once=True,
)
