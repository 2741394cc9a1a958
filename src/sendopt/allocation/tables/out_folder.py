"""The folder of a plan: the names of its files, and a check before any work that it can be written."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sendopt.errors import ConfigError

PLAN, MANIFEST = "plan.parquet", "solution.json"
OUTPUT = (PLAN, "reasons.parquet")  # files that an earlier solve may have left beside its manifest
_PART = re.compile(r"\d{5}\.parquet")  # a bucket's file of a plan in parts


def require_out(out: Path, inputs: Sequence[Path | None], *, in_parts: bool = False) -> None:
    """Raise ConfigError (exit 2) where a plan cannot be written to `out`. Writing is tried; the folder stays as it was.

    `inputs` are the paths that are read: none may contain `out` or lie in it. `in_parts`: the plan is a folder of
    files.
    """
    try:
        place = _place(out)
        for path in (path for path in inputs if path is not None):
            _require_apart(out, place, path)
        _require_own_output(out, place, in_parts)
        _try_to_write(place)
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links in a circle
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        reason = getattr(error, "strerror", None) or "no path of this system"
        raise ConfigError(f"--out {out}: no folder can be written there ({reason}); give another path") from None


def _place(out: Path) -> Path:
    """Return the path that `out` leads to; raise ConfigError where a file or a link to nothing is in the way."""
    for path in (out, *out.parents):
        if path.is_symlink() and not path.exists():
            raise ConfigError(f"--out {out}: {path} is a link to nothing; repair it, or give another path")
        if path.exists():
            if not path.is_dir():
                raise ConfigError(f"--out {out}: {path} is a file where a folder is expected; give another path")
            break
    return out.resolve()


def _require_apart(out: Path, place: Path, path: Path) -> None:
    """Raise ConfigError where the input `path` contains `place` or lies in it."""
    read = path.resolve()
    if read == place or place in read.parents:
        raise ConfigError(f"--out {out}: it holds {path}, which is read; give a folder of its own")
    if read in place.parents:
        raise ConfigError(f"--out {out}: it lies in {path}, whose files are read; give a folder elsewhere")


def _require_own_output(out: Path, place: Path, in_parts: bool) -> None:
    """Raise ConfigError where a folder in `place` is in the way that is not an earlier plan of the same form."""
    plan, manifest = place / PLAN, place / MANIFEST
    if manifest.is_dir():
        raise ConfigError(f"--out {out}: {MANIFEST} in it is a folder; remove it, or give another path")
    if not plan.is_dir():
        return
    if not in_parts:
        raise ConfigError(
            f"--out {out}: {PLAN} in it is a folder, as a folder of candidates has it; remove it, or give another path"
        )
    if not all(_PART.fullmatch(name) for name in os.listdir(plan)):  # noqa: PTH208
        raise ConfigError(f"--out {out}: {PLAN} in it is a folder that is no plan; move it, or give another path")


def _try_to_write(place: Path) -> None:
    """Raise OSError where no file can be made in `place`; remove what the attempt made."""
    missing = [path for path in (place, *place.parents) if not path.exists()]
    made: list[Path] = []
    try:
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        with tempfile.TemporaryDirectory(dir=place):
            pass
    finally:
        for path in reversed(made):
            path.rmdir()
