"""Compilation of kernels, and the folder of their machine code, named by the hash of all compiled code.

numba's own cache looks only at the file of each function, so it would keep code inlined from another file after that
file changed. numba also unpickles its cache, which can run any code: a folder that another user can write is not used.
"""

from __future__ import annotations

import hashlib
import os
from functools import partial
from pathlib import Path

import numba
from numba import njit

from sendopt.process import private

_PACKAGE = Path(__file__).parent
_PACKAGES = tuple(_PACKAGE / name for name in ("allocation/prices", "propensity/forest"))
_MODULES = tuple(
    _PACKAGE / "allocation" / name for name in ("audit/user_rules.py", "audit/search.py", "reasons/windows.py")
)


def compiled_files() -> list[Path]:
    """Return the files of all code that kernels are compiled from."""
    return [Path(__file__), *_MODULES, *(p for package in _PACKAGES for p in sorted(package.glob("*.py")))]


def cache_folder() -> Path | None:
    """Return the folder of compiled kernels: beside the source, else in the user's cache; None if none is trusted."""
    name = f"numba-{hashlib.sha256(b''.join(p.read_bytes() for p in compiled_files())).hexdigest()[:16]}"
    return _beside(name) or private.own_folder(name)


def _beside(name: str) -> Path | None:
    folder = Path(os.path.realpath(_PACKAGE)) / "__pycache__" / name
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if private.is_trusted(folder) and os.access(folder, os.W_OK | os.X_OK) else None


_CACHE = cache_folder()
if _CACHE is not None:
    numba.config.CACHE_DIR = str(_CACHE)  # type: ignore[attr-defined]

# Kernels run without reference counts: an instance has 35 arrays, and counting their references in every call took
# longer than the work (measured: 900 instead of 170 ns per user). Such functions must not allocate.
entry = partial(njit, cache=_CACHE is not None, nogil=True, _nrt=False)
kernel = partial(entry, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by other kernels only
