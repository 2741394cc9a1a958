"""Each bucket's part of every limit: whole sends stay whole, and the parts add up to the limit exactly."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.prices.instance import text_hash
from sendopt.stats.arrays import Floats


def shares(room: Floats, weights: Floats, whole: NDArray[np.bool_], names: tuple[str, ...]) -> Floats:
    """(B, R) >= 0, each column in proportion to `weights` (B, R) and summing up to `room` (R,), exactly where `whole`.

    A whole part is the quota rounded down or up. Quotas are laid end to end and cut at whole numbers from an offset
    that is the hash of the row's name: the ups are spread evenly over the buckets, and those of small limits fall into
    other buckets for each row (systematic sampling, Madow 1949).
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
    """The sum of the buckets' arrays: the same whatever order they came in."""
    stacked = np.array(parts)
    return np.array([math.fsum(column) for column in stacked.reshape(len(parts), -1).T.tolist()])
