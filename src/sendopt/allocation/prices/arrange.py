"""Rows in the order of their owners, by counting instead of sorting, for the arrays of `instance` (model ¶14).

In kernels: i and j rows or places in an order, r rank of an owner, m owner.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sendopt.compiled import entry
from sendopt.stats.arrays import Floats, Ints

Number = TypeVar("Number", bound=np.generic)
Column = NDArray[np.generic]  # of any number type


def arranged(owner: Ints, owners: Ints, key: Column) -> tuple[Ints, Ints]:
    """Return (order (N,), start (len(owners) + 1,)): rows by place of their owner in `owners`, by `key`, by row.

    Row order[start[r]] is the first of owners[r]. `owner` (N,) holds numbers from 0, `owners` all of them
    once. Equal to a stable lexsort, in time linear in the rows where an owner has few: a counting sort by owner, an
    insertion sort within each. Rows in order already are moved owner by owner.
    """
    order, start = np.empty(len(owner), np.int64), np.zeros(len(owners) + 1, np.int64)
    owner, owners, key = _flat(owner, np.dtype(np.int64)), _flat(owners, np.dtype(np.int64)), _flat(key, key.dtype)
    first = np.zeros(len(owners) + 1, np.int64)
    if _by_owner(owner, key, first):
        _move_owners(owners, first, order, start)
    else:
        rank = np.empty(len(owners), np.int64)
        rank[owners] = np.arange(len(owners))
        _arrange(owner, rank, key, order, start)
    return order, start


def taken(column: Column, order: Ints, into: type[Number]) -> NDArray[Number]:
    """Return column[order] as type `into`, without an array in between."""
    out: NDArray[Number] = np.empty(len(order), into)
    _take(_flat(column, column.dtype), order, out)
    return out


def agreed(column: Floats, order: Ints, start: Ints) -> Floats | None:
    """Return (M,) the value that all rows of each owner share (0 without rows); None where rows of one owner differ.

    `order` and `start` are those of `arranged`.
    """
    if len(column) and column.strides == (0,):  # one number, broadcast to all rows
        return np.where(np.diff(start) > 0, float(column[0]), 0.0)
    value = np.zeros(len(start) - 1)
    return value if _agree(_flat(column, np.dtype(np.float64)), order, start, value) else None


def _flat(column: Column, dtype: np.dtype[Number]) -> NDArray[Number]:
    """Return `column` as an array that is contiguous and writeable: one type, so that a kernel is compiled once."""
    return np.require(column, dtype, ["C", "W"])


@entry()
def _by_owner(owner: Ints, key: Column, first: Ints) -> bool:
    """Return whether rows are in order of owner and key; if so, `first` (owners + 1,) gets each owner's first row."""
    for i in range(len(owner)):
        if i and (owner[i] < owner[i - 1] or (owner[i] == owner[i - 1] and key[i] < key[i - 1])):
            return False
        first[owner[i] + 1] += 1
    for r in range(len(first) - 1):
        first[r + 1] += first[r]
    return True


@entry()
def _move_owners(owners: Ints, first: Ints, order: Ints, start: Ints) -> None:
    """Fill `order` and `start` from rows that are in order of owner already."""
    at = 0
    for r in range(len(owners)):
        for i in range(first[owners[r]], first[owners[r] + 1]):
            order[at] = i
            at += 1
        start[r + 1] = at


@entry()
def _arrange(owner: Ints, rank: Ints, key: Column, order: Ints, start: Ints) -> None:
    """Fill `order` and `start` from rows in any order; `rank` is the place of each owner."""
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
def _take(column: Column, order: Ints, out: Column) -> None:
    """Write column[order] to `out`."""
    for i in range(len(order)):
        out[i] = column[order[i]]


@entry()
def _agree(column: Floats, order: Ints, start: Ints, value: Floats) -> bool:
    """Return whether the rows of each owner have one value, and write it to `value`."""
    for m in range(len(start) - 1):
        if start[m] == start[m + 1]:
            continue
        first = column[order[start[m]]]
        for i in range(start[m] + 1, start[m + 1]):
            if column[order[i]] != first:
                return False
        value[m] = first
    return True
