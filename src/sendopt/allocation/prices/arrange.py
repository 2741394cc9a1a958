"""Rows put into the order of their owners in one pass each: what `instance` needs instead of sorting (model ¶14)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sendopt.compiled import entry
from sendopt.stats.arrays import Floats, Ints


def arranged(owner: Ints, owners: Ints, key: NDArray[Any]) -> tuple[Ints, Ints]:
    """(order (N,), start (len(owners) + 1,)): rows by the place of their owner in `owners`, then by `key`, then by row.

    Row order[start[r]] is the first of owners[r]. The same as a stable lexsort, in time linear in the rows where an
    owner has few: a counting sort by owner, an insertion sort within; rows in order already are moved by owner.
    """
    order, start = np.empty(len(owner), np.int64), np.zeros(len(owners) + 1, np.int64)
    owner, owners, key = _flat(owner, np.int64), _flat(owners, np.int64), _flat(key, key.dtype)
    first = np.zeros(len(owners) + 1, np.int64)
    if _by_owner(owner, key, first):
        _move_owners(owners, first, order, start)
    else:
        rank = np.empty(len(owners), np.int64)
        rank[owners] = np.arange(len(owners))
        _arrange(owner, rank, key, order, start)
    return order, start


def taken(column: NDArray[Any], order: Ints, into: type) -> NDArray[Any]:
    """column[order] as `into`, without an array in between."""
    out: NDArray[Any] = np.empty(len(order), into)
    _take(_flat(column, column.dtype), order, out)
    return out


def agreed(column: Floats, order: Ints, start: Ints) -> Floats | None:
    """(M,) the one value that all rows of an owner have (0 without rows); None where some differ."""
    if len(column) and column.strides == (0,):  # one number told to all rows
        return np.where(np.diff(start) > 0, float(column[0]), 0.0)
    value = np.zeros(len(start) - 1)
    return value if _agree(_flat(column, np.float64), order, start, value) else None


def _flat(column: NDArray[Any], kind: Any) -> NDArray[Any]:
    """Writeable and without gaps: one kind of array, so that a kernel is compiled once."""
    return np.require(column, kind, ["C", "W"])


@entry()
def _by_owner(owner: Ints, key: NDArray[Any], first: Ints) -> bool:
    """Are rows in order of owner and key? Then `first` (owners + 1,) says where those of each begin."""
    for i in range(len(owner)):
        if i and (owner[i] < owner[i - 1] or (owner[i] == owner[i - 1] and key[i] < key[i - 1])):
            return False
        first[owner[i] + 1] += 1
    for r in range(len(first) - 1):
        first[r + 1] += first[r]
    return True


@entry()
def _move_owners(owners: Ints, first: Ints, order: Ints, start: Ints) -> None:
    at = 0
    for r in range(len(owners)):
        for i in range(first[owners[r]], first[owners[r] + 1]):
            order[at] = i
            at += 1
        start[r + 1] = at


@entry()
def _arrange(owner: Ints, rank: Ints, key: NDArray[Any], order: Ints, start: Ints) -> None:
    for i in range(len(owner)):
        start[rank[owner[i]] + 1] += 1
    for r in range(len(start) - 1):
        start[r + 1] += start[r]
    for i in range(len(owner)):
        r = rank[owner[i]]
        order[start[r]] = i
        start[r] += 1
    for r in range(len(start) - 1, 0, -1):
        start[r] = start[r - 1]
    start[0] = 0
    for r in range(len(start) - 1):
        for i in range(start[r] + 1, start[r + 1]):
            row = order[i]
            j = i - 1
            while j >= start[r] and key[order[j]] > key[row]:
                order[j + 1] = order[j]
                j -= 1
            order[j + 1] = row


@entry()
def _take(column: NDArray[Any], order: Ints, out: NDArray[Any]) -> None:
    for i in range(len(order)):
        out[i] = column[order[i]]


@entry()
def _agree(column: Floats, order: Ints, start: Ints, value: Floats) -> bool:
    for m in range(len(start) - 1):
        if start[m] == start[m + 1]:
            continue
        one = column[order[start[m]]]
        for i in range(start[m] + 1, start[m + 1]):
            if column[order[i]] != one:
                return False
        value[m] = one
    return True
