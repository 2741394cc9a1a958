"""Compiled scoring: codes of values, the AND of their rows, and the sum of the exit leaves in the trees' order.

b block of trees, f and k feature, i position, n count, s slot, t tables (in `_plus_exits` a tree), u user, x value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.compiled import entry, kernel
from sendopt.propensity.forest.tables import BLOCK, LEAVES, Tables
from sendopt.propensity.forest.trees import ZERO, Words
from sendopt.propensity.forest.words import and_rows, below, trailing_zeros
from sendopt.stats.arrays import Floats, Ints

Codes = NDArray[np.uint16]


@entry()
def encode(t: Tables, features: Ints, x: Floats, codes: Codes, value: Floats, place: Ints) -> None:
    """Write the codes of x (N, K), whose columns are `features`, into codes (N, K).

    `value` and `place`, shape (L,), are scratch.
    Each step of the binary search runs over all values of a stretch, so that no step waits for the one before.
    """
    for k in range(len(features)):
        f = features[k]
        edges = t.edges[t.first_edge[f] :]
        for start in range(0, x.shape[0], len(value)):
            n = min(len(value), x.shape[0] - start)
            for i in range(n):
                v = x[start + i, k]
                value[i] = 0.0 if abs(v) <= ZERO else v
                place[i] = -1
            step = (1 << t.depth[f]) >> 1
            while step > 0:
                for i in range(n):
                    place[i] += step & below(edges, place[i] + step, value[i])
                step >>= 1
            for i in range(n):
                missing = value[i] != value[i]
                code = t.n_edges[f] + 1 if missing else min(place[i] + 1, t.n_edges[f])
                codes[start + i, k] = t.first_code[f] + code


@entry()
def open_by_slot(t: Tables, codes: Codes, width: int, masks: Words) -> None:
    """AND the open leaves of the slots' features into masks (B, S * BLOCK); codes (S * width,)."""
    for b in range(len(t.first_row) - 1):
        rows, row_of, block = t.rows[t.first_row[b] :], t.row_of[b], masks[b]
        for s in range(masks.shape[1] // BLOCK):
            i = s * BLOCK
            and_rows(block, i, block, i, block, i, rows, row_of, codes, s * width, width)


@entry()
def add_scores(
    t: Tables,
    user_codes: Codes,
    user_width: int,
    by_slot: Words,
    cell_codes: Codes,
    cell_width: int,
    score: Floats,
    masks: Words,
) -> None:
    """Add the trees' values to score (U, S).

    user_codes (U * user_width,), cell_codes (U * S * cell_width,), by_slot (B, S * BLOCK); `masks` is scratch of
    (S + 2) * BLOCK words. All users are scored block by block, so that a block's rows stay in the cache.
    """
    n_users, n_slots = score.shape
    of_user, all_ones = n_slots * BLOCK, (n_slots + 1) * BLOCK
    for i in range(all_ones, all_ones + BLOCK):
        masks[i] = ~np.uint64(0)
    for b in range(len(t.first_row) - 1):
        rows, row_of, slots = t.rows[t.first_row[b] :], t.row_of[b], by_slot[b]
        leaf_value = t.leaf_value[b * BLOCK * LEAVES : (b + 1) * BLOCK * LEAVES]
        for u in range(n_users):
            and_rows(
                masks, of_user, masks, all_ones, masks, all_ones, rows, row_of, user_codes, u * user_width, user_width
            )
            for s in range(n_slots):
                i = s * BLOCK
                and_rows(
                    masks,
                    i,
                    masks,
                    of_user,
                    slots,
                    i,
                    rows,
                    row_of,
                    cell_codes,
                    (u * n_slots + s) * cell_width,
                    cell_width,
                )
            for s in range(n_slots):
                score[u, s] = _plus_exits(score[u, s], masks[s * BLOCK : (s + 1) * BLOCK], leaf_value)


@kernel(inline="always")
def _plus_exits(score: float, masks: Words, leaf_value: Floats) -> float:
    """Return the score plus the exit leaves' values, in the trees' order: another order rounds differently."""
    for t in range(BLOCK):
        score += leaf_value[t * LEAVES + trailing_zeros(masks[t])]
    return score
