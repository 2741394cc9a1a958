"""What the JVM of this process writes beside its work: kept in a file, shown where a command fails, else removed.

A JVM announces modules, host names and log profiles that tell a user nothing; Python workers write to it as well.
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
_LATEST: list[Path] = []  # of this process, at most one: a process has one JVM


def opened() -> int | None:
    """A new log's file descriptor, for the JVM that starts next; None where no log can be written here."""
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
    """Remove the log: its command ended well."""
    while _LATEST:
        path = _LATEST.pop()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()  # where nothing else is in it


def lines(most: int = 5) -> list[str]:
    """Where the log is and its last telling lines, ready to print; empty where no JVM wrote anything that tells."""
    try:
        written = [line.strip() for line in _LATEST[0].read_text(errors="replace").splitlines()]
    except (IndexError, OSError):
        return []
    telling = [line for line in written if any(word in line for word in TELLING) and not line.startswith("at ")]
    if not telling:
        remove()
        return []
    return [f"Spark's own output is in {_LATEST[0]}; it ends with:", *(f"  {line[:200]}" for line in telling[-most:])]
