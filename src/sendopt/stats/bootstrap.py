"""The bootstrap by user: users are drawn with replacement, each with all their rows.

Source of the cluster bootstrap: Field and Welsh 2007, "Bootstrapping clustered data".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sendopt.stats.arrays import Floats, Ints

RESAMPLES = 1000
_CELLS_AT_ONCE = 4_000_000  # resampled user numbers held in memory


def resampled(columns: Floats, user: Ints, seed: int = 0, samples: int = RESAMPLES) -> Floats:
    """Return the sums of `columns` (K, N) over the log, then over each resample: shape (K, 1 + samples).

    `user` (N,) numbers the clusters. The same arguments give the same sums.

    >>> success, sends = np.array([1.0, 0.0, 1.0, 0.0]), np.ones(4)
    >>> sums = resampled(np.stack([success, sends]), user=np.array([0, 0, 1, 2]), samples=3)
    >>> sums[:, 0].tolist()
    [2.0, 4.0]
    >>> sums.shape
    (2, 4)
    """
    users, index = np.unique(user, return_inverse=True)
    sums = np.stack([np.bincount(index, column, minlength=len(users)) for column in columns])
    result = np.empty((len(columns), samples + 1))
    result[:, 0] = sums.sum(axis=1)
    start = 1
    for times in _times_drawn(len(users), seed, samples):
        result[:, start : start + len(times)] = sums @ times.T
        start += len(times)
    return result


def times_drawn(users: int, seed: int, samples: int) -> Iterator[Ints]:
    """Yield, for each resample, how often each user is drawn: shape (users,), summing to `users`.

    The draws are those of `resampled` with the same seed and number of samples. This form is for a statistic that is no
    function of sums.

    >>> [int(times.sum()) for times in times_drawn(users=3, seed=0, samples=2)]
    [3, 3]
    """
    for times in _times_drawn(users, seed, samples):
        yield from times


def _times_drawn(users: int, seed: int, samples: int) -> Iterator[Ints]:
    """Yield the resamples in blocks of shape (resamples, users)."""
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS_AT_ONCE // max(1, users))
    for start in range(0, samples, step):
        size = min(step, samples - start)
        drawn = rng.integers(0, users, (size, users))
        drawn += np.arange(size)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
