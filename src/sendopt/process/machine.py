"""Faults of the machine that a user can repair, as ConfigErrors: paths that cannot be used, and missing packages.

All other unforeseen errors stay unchanged.
"""

from __future__ import annotations

import errno
import os
import re
import tempfile

from sendopt.errors import ConfigError
from sendopt.process import extras

LONGEST_WORD = 300  # characters of a word that a message repeats
_REMEDIES = {
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: "a part of its path is a file: give another path, or remove that file",
    errno.EISDIR: "a file is expected: give another path",
    errno.EEXIST: "a folder is expected: give another path, or remove that file",
    errno.ELOOP: "its symbolic links lead in a circle: repair them",
    errno.EACCES: "give yourself the right, or give another path",
    errno.EPERM: "give yourself the right, or give another path",
    errno.EROFS: "give a path on a disk that can be written",
}


def named(error: Exception) -> ConfigError | None:
    """Return the fault as a ConfigError with a remedy; None if it is no fault of the machine."""
    if isinstance(error, ModuleNotFoundError) and (sentence := extras.sentence(error)):
        return ConfigError(sentence)
    if not isinstance(error, OSError):
        return None
    if error.filename is not None and error.errno in _REMEDIES:
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
        return ConfigError(f"{name} cannot be used ({error.strerror}): {_REMEDIES[error.errno]}")
    if isinstance(error, FileNotFoundError) and not _has_working_directory():
        return ConfigError("the working directory is gone: change into one that exists and run this again")
    if isinstance(error, FileNotFoundError) and not _has_temporary_directory():
        return ConfigError("no temporary folder can be written: set TMPDIR to one that can")
    return None


def shortened(message: str) -> str:
    """Return the message with words of more than 300 characters cut, and bytes that are no text escaped.

    A message may repeat an argument of the command line, which can hold any bytes.
    """
    message = message.encode("utf-8", "backslashreplace").decode("utf-8")
    return re.sub(rf"(\S{{{LONGEST_WORD}}})\S+", r"\1…", message)


def _has_working_directory() -> bool:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return False
    return True


def _has_temporary_directory() -> bool:
    try:
        with tempfile.TemporaryFile():
            return True
    except OSError:
        return False
