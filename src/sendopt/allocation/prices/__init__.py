"""Allocation by prices. Compiled kernels are kept by the hash of all of this package's code: numba's own cache looks
only at the file of each function, and would go on using what another file had before it changed."""

import hashlib
import os
import tempfile
from pathlib import Path

import numba


def _cache_dir() -> str:
    here = Path(__file__).parent
    code = hashlib.sha256(b"".join(p.read_bytes() for p in sorted(here.glob("*.py")))).hexdigest()[:16]
    beside = here / "__pycache__"
    root = beside if os.access(beside if beside.exists() else here, os.W_OK) else Path(tempfile.gettempdir())
    return str(root / f"numba-{code}")


numba.config.CACHE_DIR = _cache_dir()  # type: ignore[attr-defined]
