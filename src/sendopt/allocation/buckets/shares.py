"""Each bucket's share of every limit: sends stay whole numbers, and the shares add up to the limit exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.prices.instance import text_hash
from sendopt.stats.arrays import Floats


def shares(room: Floats, weights: Floats, whole: NDArray[np.bool_], names: tuple[str, ...]) -> Floats:
    """Return shares (B, R) >= 0 in proportion to `weights` (B, R); each column sums to `room` (R,).

    Where `whole` (R,) is True, shares are quotas rounded down or up, and the sum is exact. The quotas are laid end to
    end and cut at whole numbers from an offset, which is the hash of the row's name. So the quotas rounded up are
    spread evenly over the buckets, and small limits go to different buckets for each row (systematic sampling, Madow
    1949).

    >>> shares(np.array([3.0]), np.ones((4, 1)), np.array([True]), ("cost",)).sum()
    np.float64(3.0)
    """
    total = weights.sum(axis=0)
    even = np.where(total > 0, weights, 1.0)
    ends = np.cumsum(even, axis=0) / even.sum(axis=0) * room
    ends[-1] = room
    ends = np.minimum(ends, room)
    offset = text_hash(np.array(names, object)) / 2.0**64 if names else np.zeros(0)
    ends = np.where(whole, np.floor(ends + offset), ends)
    parts = np.diff(ends, axis=0, prepend=np.where(whole, np.floor(offset), 0.0)[None, :])
    return np.asarray(np.maximum(0.0, parts))


def total(parts: list[Floats]) -> Floats:
    """Return the sum of the buckets' arrays, the same in any order of `parts`."""
    stacked = np.array(parts)
    return np.array([math.fsum(column) for column in stacked.reshape(len(parts), -1).T.tolist()])
