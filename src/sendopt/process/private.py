"""Folders and files of one user: the umask of a run, and the folder whose content may be run as code.

What a run writes holds user ids, so others on the machine may not read it. What a run loads as code may have been
written by this user or by root only.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

UMASK = 0o077  # folders 0700, files 0600; a JVM started from here inherits it
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def keep_private() -> None:
    """From now on this process, and every process it starts, writes folders of mode 0700 and files of mode 0600."""
    os.umask(UMASK)


def tighten(*folders: str) -> list[str]:
    """Make each folder with mode 0700, or take group's and others' access from it; a sentence for each one changed.

    Addresses with a scheme (`s3a://…`) are left to their store. What cannot be changed is a sentence too, no error.
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
    """The folder `name` in this user's cache, made with mode 0700; None where it cannot be trusted or written.

    It lies below XDG_CACHE_HOME, by default ~/.cache. See `is_trusted` for what is checked.
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
    """Whether nobody but this user and root can have written or can exchange what `folder` and its parents hold.

    Each of them, and everything within `folder`, belongs to this user or to root, is no symbolic link, and can be
    written by neither group nor others. A parent of root's with the sticky bit (/tmp) lets nobody exchange folders of
    others, so it passes.
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
    own = status.st_uid in (0, os.geteuid()) and not status.st_mode & _OTHERS_WRITE
    return own and not stat.S_ISLNK(status.st_mode)


def _is_gone(path: Path) -> bool:
    """Another process of this user writes beside us: its temporary files come and go."""
    return not os.path.lexists(path)


def _is_sticky(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and bool(status.st_mode & stat.S_ISVTX)
