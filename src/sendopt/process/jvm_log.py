"""The log of this process's JVM: kept in a file, shown if a command fails, else removed.

The JVM prints modules, host names and log profiles that do not help a user. Python workers write to the same log.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from sendopt.process import private

FOLDER = Path("out") / "logs"
TELLING = (
    "ERROR",
    "Exception",
    "OutOfMemory",
    "UNRESOLVED",
    "not found:",
    "fatal",
    "Caused by",
    "Could not",
    "No space",
)
_LATEST: list[Path] = []  # path of this process's log; at most one, because a process has one JVM


def opened() -> int | None:
    """Open a new log for the JVM that starts next; return its file descriptor, or None if no log can be written."""
    for folder in (FOLDER, private.own_folder("logs")):
        if folder is not None and (number := _opened(folder)) is not None:
            return number
    return None


def _opened(folder: Path) -> int | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = (folder / f"spark-{os.getpid()}.log").absolute()
        number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    _LATEST[:] = [path]
    return number


def remove() -> None:
    """Remove the log, after its command has succeeded."""
    while _LATEST:
        path = _LATEST.pop()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()  # fails unless the folder is empty


def lines(most: int = 5) -> list[str]:
    """Return the path of the log and its last `most` lines that name an error, to print; empty without such a line."""
    try:
        log = [line.strip() for line in _LATEST[0].read_text(errors="replace").splitlines()]
    except (IndexError, OSError):
        return []
    telling = [line for line in log if any(word in line for word in TELLING) and not line.startswith("at ")]
    if not telling:
        remove()
        return []
    return [f"Spark's own output is in {_LATEST[0]}; it ends with:", *(f"  {line[:200]}" for line in telling[-most:])]
