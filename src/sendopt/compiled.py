"""How kernels are compiled, and where the machine code is kept: by the hash of all code that is compiled.

numba's own cache looks only at the file of each function, and would go on using what another file had before it
changed.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import partial
from pathlib import Path

import numba
from numba import njit

_HERE = Path(__file__).parent
_PACKAGES = (_HERE / "allocation" / "prices", _HERE / "propensity" / "forest")


def _cache_dir() -> str:
    files = [Path(__file__), *(p for package in _PACKAGES for p in sorted(package.glob("*.py")))]
    code = hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest()[:16]
    beside = _HERE / "__pycache__"
    root = beside if os.access(beside if beside.exists() else _HERE, os.W_OK) else Path(tempfile.gettempdir())
    return str(root / f"numba-{code}")


numba.config.CACHE_DIR = _cache_dir()  # type: ignore[attr-defined]

# Without reference counts: an instance is 35 arrays, and counting them anew in every call took longer than the work
# (measured: 900 instead of 170 ns a user). Such functions must not allocate.
entry = partial(njit, cache=True, nogil=True, _nrt=False)
kernel = partial(entry, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by other kernels only
