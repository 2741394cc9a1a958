"""Private folders and files: the umask of a run, and the folder whose content may be run as code.

The files of a run hold user ids, so other users of the machine may not read them. Code that a run loads must have been
written by this user or by root.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

UMASK = 0o077  # folders 0700, files 0600; a JVM that this process starts inherits it
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def keep_private() -> None:
    """Make this process, and every process it starts, write folders with mode 0700 and files with mode 0600."""
    os.umask(UMASK)


def tighten(*folders: str) -> list[str]:
    """Create each folder with mode 0700, or remove the access of group and others; return a sentence per change.

    Addresses with a scheme (`s3a://…`) are skipped. A folder that cannot be changed is reported by a sentence too, not
    by an error.
    """
    return [sentence for folder in folders if "://" not in folder and (sentence := _tighten(Path(folder)))]


def _tighten(folder: Path) -> str | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(folder.stat().st_mode)
        if not mode & 0o077:
            return None
        folder.chmod(mode & ~0o077)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return f"{folder} could not be made private to you ({reason}); others may be able to read it"
    return f"{folder} was open to others (mode {mode:04o}) and holds user ids: it is private to you now (mode 0700)"


def own_folder(name: str) -> Path | None:
    """Return the folder `name` in this user's cache, created with mode 0700; None if it is not trusted or writable.

    The folder is below XDG_CACHE_HOME, by default ~/.cache. `is_trusted` describes the checks.
    """
    root = os.environ.get("XDG_CACHE_HOME", "")
    try:
        cache = Path(root) if Path(root).is_absolute() else Path.home() / ".cache"
        folder = Path(os.path.realpath(cache)) / "sendopt" / name
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except (OSError, RuntimeError, ValueError):  # no home, no room, a file in the way
        return None
    return folder if is_trusted(folder) and os.access(folder, os.W_OK | os.X_OK) else None


def is_trusted(folder: Path) -> bool:
    """Return whether only this user and root can have written, or can replace, the content of `folder`.

    The folder, its parents and everything in it must belong to this user or to root, be no symbolic link, and be
    writable by neither group nor others. A parent of root with the sticky bit (/tmp) passes: there, only the owner of a
    folder can replace it.
    """
    try:
        if not all(_is_sticky(parent) or _is_own(parent) for parent in folder.parents) or not _is_own(folder):
            return False
        return all(_is_own(path) or _is_gone(path) for path in folder.rglob("*"))
    except OSError:
        return False


def _is_own(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    exclusive = status.st_uid in (0, os.geteuid()) and not status.st_mode & _OTHERS_WRITE
    return exclusive and not stat.S_ISLNK(status.st_mode)


def _is_gone(path: Path) -> bool:
    """Return whether the path no longer exists: other processes of this user create and remove temporary files."""
    return not os.path.lexists(path)


def _is_sticky(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and bool(status.st_mode & stat.S_ISVTX)
