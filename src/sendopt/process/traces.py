"""Files for the stack traces of unforeseen failures, so that a user reads one sentence. No function raises."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from sendopt.process import private

LAST_FRAMES = 3


def kept(error: BaseException, moment: datetime) -> str:
    """Write the trace of `error` to a file; return words that name the file, or the last frames if none can be written.

    `moment` is the time in the file's name.
    """
    name = f"{moment:%Y%m%dT%H%M%S}-{os.getpid()}.log"
    text = "".join(traceback.format_exception(error))
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        except (OSError, ValueError):
            continue
        return f"details for a bug report are in {folder / name}"
    frames = traceback.extract_tb(error.__traceback__)[-LAST_FRAMES:]
    passed = ", ".join(f"{Path(frame.filename).stem}:{frame.lineno}" for frame in reversed(frames))
    return f"no file could be written for a bug report; raised at {passed or 'an unknown line'}"


def _folders() -> Iterator[Path]:
    yield Path("out") / "errors"
    if (folder := private.own_folder("errors")) is not None:
        yield folder
