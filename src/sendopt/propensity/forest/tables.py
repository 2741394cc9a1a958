"""The trees as tables of the leaves that a feature's value leaves open.

Every feature is cut at the trees' own thresholds, so that a value's code settles all its splits. A row of the tables
holds, for one code and `BLOCK` trees, the leaves that the feature's splits leave open, as bits of a word a tree. The
exit leaf of a tree is the one bit that the rows of all features share: QuickScorer (Lucchese et al., SIGIR 2015) with
the AND over each feature's splits taken beforehand.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sendopt.propensity.forest.trees import MOST_LEAVES, NotCovered, Tree, Words
from sendopt.stats.arrays import Floats, Ints

BLOCK = (
    16  # trees in a row: the rows of a block stay in the second cache (90 KB at 63 leaves), a row is two AVX-512 words
)
LEAVES = MOST_LEAVES
MOST_CODES = 1 << 16


class Tables(NamedTuple):
    """F features, C codes in all, B blocks of trees. Codes of feature f are first_code[f] + 0 … n_edges[f] + 1: the
    number of edges below the value, and the last one for NaN."""

    edges: Floats  # of all features, each padded with +inf to a power of two above its number
    first_edge: Ints  # (F,)
    depth: Ints  # (F,) two to this power is the padded length
    n_edges: Ints  # (F,)
    first_code: Ints  # (F,)
    row_of: NDArray[np.uint32]  # (B, C) where the code's row starts, counted from the block's first word
    rows: Words
    first_row: Ints  # (B + 1,)
    leaf_value: Floats  # (B * BLOCK * LEAVES,)


def tables_of(trees: list[Tree], n_features: int) -> Tables:
    """Return the tables of the trees; raise NotCovered where codes do not fit 16 bits."""
    edges = _edges(trees, n_features)
    typical = [np.concatenate([e, [np.inf, np.nan]]) for e in edges]  # a value of each code
    n_codes = np.array([len(x) for x in typical], np.int64)
    first_code = np.cumsum(n_codes) - n_codes
    if n_codes.sum() > MOST_CODES:
        raise NotCovered(f"more than {MOST_CODES} thresholds")
    blocks = [trees[i : i + BLOCK] for i in range(0, len(trees), BLOCK)]
    row_of = np.empty((len(blocks), int(n_codes.sum())), np.uint32)
    rows: list[Words] = []
    first_row = [0]
    leaf_value = np.zeros((len(blocks) * BLOCK, LEAVES))
    for t, tree in enumerate(trees):
        leaf_value[t, : len(tree.leaf_value)] = tree.leaf_value
    for b, block in enumerate(blocks):
        row_of[b], block_rows = _rows(block, typical)
        rows.append(block_rows)
        first_row.append(first_row[-1] + block_rows.size)
    depth = np.array([len(e).bit_length() for e in edges], np.int64)
    padded = [np.pad(e, (0, (1 << d) - len(e)), constant_values=np.inf) for e, d in zip(edges, depth, strict=True)]
    return Tables(
        edges=np.concatenate([*padded, np.empty(0)]),
        first_edge=np.cumsum(1 << depth) - (1 << depth),
        depth=depth,
        n_edges=n_codes - 2,
        first_code=first_code,
        row_of=row_of,
        rows=np.concatenate([np.empty(0, np.uint64), *(r.ravel() for r in rows)]),
        first_row=np.array(first_row, np.int64),
        leaf_value=leaf_value.ravel(),
    )


def _edges(trees: list[Tree], n_features: int) -> list[Floats]:
    edges: list[set[float]] = [set() for _ in range(n_features)]
    for tree in trees:
        for split, feature in enumerate(tree.feature):
            edges[feature].update(tree.edges(split))
    return [np.array(sorted(values), np.float64) for values in edges]


def _rows(block: list[Tree], typical: list[Floats]) -> tuple[NDArray[np.uint32], Words]:
    """Return (row of each code, rows (R, BLOCK)); codes that no split of the block tells apart share a row."""
    open_leaves = [np.full((len(x), BLOCK), ~np.uint64(0)) for x in typical]
    for t, tree in enumerate(block):
        left, right = tree.leaves_below()
        for split, feature in enumerate(tree.feature):
            goes_left = tree.goes_left(split, typical[feature])
            open_leaves[feature][:, t] &= np.where(goes_left, ~right[split], ~left[split])
    row_of, rows, n = [], [], 0
    for masks in open_leaves:
        distinct, row = np.unique(masks, axis=0, return_inverse=True)
        row_of.append((n + row.ravel()) * BLOCK)
        rows.append(distinct)
        n += len(distinct)
    return np.concatenate(row_of).astype(np.uint32), np.concatenate(rows)
