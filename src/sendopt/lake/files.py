"""Files written whole: a reader meets the old or the new one, and of several that belong together all or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: Path, text: str) -> Path:
    """Return `path` after writing `text` there as UTF-8 in one step, its folder made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_bytes(text.encode())
    return draft.replace(path)


@contextmanager
def both_or_neither(out: Path, manifest: str, others: Sequence[str]) -> Iterator[Path]:
    """A folder whose entries, `manifest` among them, take their places in `out` if nothing is raised.

    It lies in `out`, or beside where there is no `out` yet. The manifest goes first and comes last: while the others
    are exchanged, `out` holds none, even if the process is killed. Of `others`, what an earlier run left goes.
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
    """A folder on the file system of `out` that workers can read, until the block ends."""
    place = out.resolve()
    home = place if place.is_dir() else place.parent
    home.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(prefix=f".{place.name}-{what}-", dir=home))
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
