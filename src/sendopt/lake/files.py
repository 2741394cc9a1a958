"""Files written atomically: a reader sees the old or the new file, and of files that belong together all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Write `text` to `path` as UTF-8 in one step and return `path`; create its folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(text.encode())
    return draft.replace(path)


@contextmanager
def both_or_neither(out: Path, manifest: str, others: Sequence[str]) -> Iterator[Path]:
    """Yield a folder whose entries, `manifest` among them, are moved to `out` if the block raises nothing.

    The folder is in `out`, or beside it if `out` does not exist yet. The old manifest is removed first and the new one
    moved last: while the other entries are exchanged, `out` holds no manifest, even if the process is killed. Entries
    named in `others` that an earlier run left are removed.
    """
    place = out.resolve()
    with beside(out, "new") as staged:
        yield staged
        place.mkdir(exist_ok=True)
        for name in (manifest, *others):
            _remove(place / name)
        for path in sorted(staged.iterdir(), key=lambda path: path.name == manifest):
            path.rename(place / path.name)


@contextmanager
def beside(out: Path, what: str) -> Iterator[Path]:
    """Yield a folder on the file system of `out` that workers can read; it is removed when the block ends."""
    place = out.resolve()
    parent = place if place.is_dir() else place.parent
    parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{place.name}-{what}-", dir=parent))
    staged.chmod(0o755)
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
