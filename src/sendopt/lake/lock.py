"""A lock that lets one process at a time write a lake in a folder: an advisory lock of the operating system.

A file in the folder is locked (`flock`) and names the holder. The operating system releases the lock when the holder
ends, however it ends; nothing has to be cleaned up. Readers need no lock: Delta's commits are atomic.

A lake behind a URL has no such lock. Only Delta's check of commits protects it (docs/how-to/run-nights.md).
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sendopt.errors import ConfigError, LakeBusy

FILE = ".sendopt.lock"
_held: dict[Path, int] = {}  # locked folder → number of this process's blocks that hold the lock


@contextmanager
def only_writer(root: str, holder: str, since: datetime) -> Iterator[None]:
    """Lock the lake below `root` for this process during the block; blocks of one process may be nested.

    `holder` describes in words what this process does, `since` is when it began; processes that find the lake locked
    report both. Raise LakeBusy if another process holds the lock, and ConfigError if the folder cannot be written or
    locked. A URL is not locked.
    """
    if "://" in root:
        yield
        return
    folder = Path(root).resolve()
    if folder in _held:
        _held[folder] += 1
        try:
            yield
        finally:
            _held[folder] -= 1
        return
    file = _open(folder)
    try:
        _take(file, folder, root)
        _write(file, {"holder": holder, "pid": os.getpid(), "host": socket.gethostname(), "since": since.isoformat()})
        _held[folder] = 1
        try:
            yield
        finally:
            del _held[folder]
            os.ftruncate(file, 0)
    finally:
        os.close(file)


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(
            f"paths.data: {folder} cannot be written ({error.strerror}); expected a folder that this user may write"
        ) from error


def _take(file: int, folder: Path, root: str) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LakeBusy(
            f"the lake {root} is in use by {_holder(file)}; one process at a time writes it: nothing was changed, run "
            "this again when the other one has ended",
            lake=str(folder),
        ) from None
    except OSError as error:
        raise ConfigError(
            f"paths.data: the file system of {folder} gives no locks ({error.strerror}); put the lake on one that does"
        ) from error


def _holder(file: int) -> str:
    """Return a description of the lock's holder; the file may be cut off or empty while the holder takes the lock."""
    try:
        record = json.loads(os.pread(file, 4096, 0))
        since = datetime.fromisoformat(record["since"])
        words = f"`{record['holder']}` (process {record['pid']} on {record['host']})"
        shown = "".join(c if c.isprintable() else "?" for c in words)
        return f"{shown} since {since:%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, KeyError, TypeError):
        return "another process"


def _write(file: int, content: dict[str, object]) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(content).encode(), 0)
