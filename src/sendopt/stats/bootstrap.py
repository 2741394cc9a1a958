"""The bootstrap by user: people are drawn with replacement, each with all their rows."""

from __future__ import annotations

import numpy as np

from sendopt.stats.arrays import Floats, Ints

RESAMPLES = 1000
_CELLS_AT_ONCE = 4_000_000  # resampled user numbers held in memory


def resampled(columns: Floats, user: Ints, seed: int = 0, samples: int = RESAMPLES) -> Floats:
    """Sums of `columns` (K, N) over the log itself, then over users drawn with replacement: shape (K, 1 + samples).

    `user` of shape (N,) numbers the clusters. Source of the cluster bootstrap: Field and Welsh 2007, "Bootstrapping
    clustered data".
    """
    users, index = np.unique(user, return_inverse=True)
    sums = np.stack([np.bincount(index, column, minlength=len(users)) for column in columns])
    rng = np.random.default_rng(seed)
    result = np.empty((len(columns), samples + 1))
    result[:, 0] = sums.sum(axis=1)
    step = max(1, _CELLS_AT_ONCE // max(1, len(users)))
    for start in range(0, samples, step):
        size = min(step, samples - start)
        drawn = rng.integers(0, len(users), (size, len(users)))
        drawn += np.arange(size)[:, None] * len(users)
        times = np.bincount(drawn.ravel(), minlength=size * len(users)).reshape(size, len(users))
        result[:, 1 + start : 1 + start + size] = sums @ times.T
    return result
