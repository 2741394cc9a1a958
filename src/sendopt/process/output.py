"""Standard output and error that survive a closed pipe, a closed stream and a charset other than UTF-8."""

from __future__ import annotations

import codecs
import io
import json
import locale
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO


class _Steady(io.TextIOWrapper):
    """A text stream whose reader may close the pipe (`| head`): the rest of the output is dropped and the work goes on.

    Standard error drops text on any error of writing, or a failure would lose its exit code.
    """

    dropped: tuple[type[OSError], ...] = (BrokenPipeError,)

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except self.dropped:
            return self._drop(len(text))

    def flush(self) -> None:
        try:
            super().flush()
        except self.dropped:
            self._drop(0)

    def _drop(self, characters: int) -> int:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())  # the rest of the buffer is dropped too
        os.close(null)
        return characters


class _SteadyError(_Steady):
    dropped = (OSError,)


def steady() -> None:
    """Make both streams of this process steady, and its charset UTF-8 (Python is restarted if it has another)."""
    narrow = codecs.lookup(locale.getencoding()).name != "utf-8" and not sys.flags.utf8_mode
    if narrow and "PYTHONUTF8" not in os.environ:
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    if os.environ.get("LC_ALL") in ("C", "POSIX"):
        os.environ["LC_ALL"] = "C.UTF-8"  # else a JVM cannot open files whose names are not ASCII
    sys.stdout, sys.stderr = _steady(sys.stdout, 1), _steady(sys.stderr, 2)


def _steady(stream: Any, number: int) -> TextIO:
    if stream is None:  # closed by the caller (`>&-`); a file opened later may not get its number
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    try:
        if stream.fileno() != number:
            return stream  # type: ignore[no-any-return]
        encoding, buffer = stream.encoding, stream.detach()
    except (AttributeError, OSError, ValueError):  # a stream that the caller replaced stays as it is
        return stream  # type: ignore[no-any-return]
    kind = _Steady if number == 1 else _SteadyError
    return kind(buffer, encoding=encoding, errors="backslashreplace", line_buffering=True)


def document(content: Mapping[str, Any]) -> None:
    """Print `content` on standard output as the JSON document of a command's `--json`."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n")
