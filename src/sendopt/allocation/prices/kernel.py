"""How the kernels of this package are compiled."""

from __future__ import annotations

from functools import partial

from numba import njit

# Without reference counts: an instance is 35 arrays, and counting them anew in every call took longer than the work
# (measured: 900 instead of 170 ns a user). Such functions must not allocate.
entry = partial(njit, cache=True, nogil=True, _nrt=False)
kernel = partial(entry, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # called by other kernels only
