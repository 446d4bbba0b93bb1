"""The message of an error on one line, to follow the name of the file that it is about.

Ground for everyone, like ``seeding``: everything that passes on an error of another library calls it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
FREE_IT = "free some space and repeat the command to resume, or name another place"

# What torch says of a pickle begins with how to switch the check off; advice to do so follows the reason.
UNPICKLER = "WeightsUnpickler error:"
ADVICE = re.compile(r"\s*(Please use|Please file|Check the documentation|In PyTorch 2\.6).*", re.DOTALL)
ASKED = re.compile(r"tried to allocate ([0-9.]+ ?[A-Za-z]*)", re.IGNORECASE)


def reason(error: BaseException) -> str:
    """What an error says, without the advice and the traces that some libraries append; its type if it says nothing."""
    if (found := used_up(error)) is not None:
        return found
    if isinstance(error, OSError) and error.strerror:
        name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
        return name + error.strerror.lower()
    text = ADVICE.sub("", str(error).rpartition(UNPICKLER)[2])
    lines = [line for line in text.splitlines() if line.strip()]
    end = next(
        (at for at, line in enumerate(lines) if not line.rstrip().endswith(":")), 0
    )  # a title is no reason
    return " ".join(" ".join(lines[: end + 1]).split()) or type(error).__name__


def used_up(error: BaseException) -> str | None:
    """A disk or a memory that is full, and the way out; None for any other error."""
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return no_space(error)
    if "No space left on device" in str(error):  # of a library that is not written in Python
        return no_space(OSError(errno.ENOSPC, str(error)))
    return no_memory(error)


def no_space(error: OSError) -> str:
    """A full disk, or a quota that is used up: the file, what is free, and the way out."""
    what = "the quota is used up" if error.errno == errno.EDQUOT else "no space left on the device"
    if not isinstance(error.filename, (str, bytes)):
        return f"{what} ({FREE_IT})"
    name = os.fsdecode(error.filename)
    place = os.path.abspath(name)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    free = f", {shutil.disk_usage(place).free} bytes free" if error.errno == errno.ENOSPC else ""
    return f"{name}: {what}{free} ({FREE_IT})"


def no_memory(error: BaseException) -> str | None:
    """Memory that is used up, and the way out; None for any other error."""
    text = str(error)
    is_torch = "can't allocate memory" in text or "out of memory" in text.lower()
    if not isinstance(error, MemoryError) and not (isinstance(error, RuntimeError) and is_torch):
        return None
    kind = "GPU memory" if "CUDA" in text else "memory"
    asked = ASKED.search(text)
    what = f", {asked[1].strip()} were asked for at once" if asked else ""
    return f"not enough {kind}{what} (a smaller batch size, resolution or network takes less)"
