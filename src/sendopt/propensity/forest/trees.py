"""LightGBM's trees, read from its model text, and its decision at each split.

The rules are those of LightGBM's `Tree::NumericalDecision` and `Tree::CategoricalDecision`; a matrix's values of at
most 1e-35 (as a float32) arrive there as 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sendopt.stats.arrays import Flags, Floats, Ints

Words = NDArray[np.uint64]

MOST_LEAVES = 64  # a tree's leaves are the bits of one word
ZERO = float(np.float32(1e-35))
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_ZERO, _MISSING_NAN = 1, 2


class NotCovered(Exception):
    """The model has something that these trees cannot express; the message says what."""


@dataclass(frozen=True)
class Tree:
    """One tree: N splits, N + 1 leaves; a child below 0 is leaf ~child."""

    feature: Ints
    threshold: Floats
    decision: Ints
    left: Ints
    right: Ints
    leaf_value: Floats
    boundaries: Ints
    bitset: NDArray[np.uint32]

    def edges(self, split: int) -> list[float]:
        """Return values such that the decision is the same for all x with edge < x <= next edge (0 for |x| <= ZERO)."""
        if self.decision[split] & _CATEGORICAL:
            bits = np.unpackbits(self._bits(split).view(np.uint8), bitorder="little")
            categories = np.flatnonzero(bits).astype(
                np.float64
            )  # category c holds c <= x < c + 1, and 0 also -1 < x < 0
            below = np.where(categories > 0, np.nextafter(categories, -np.inf), -1.0)
            return [*below, *np.nextafter(categories + 1, -np.inf)]
        if self._missing(split) == _MISSING_ZERO:
            return [float(self.threshold[split]), -float(np.nextafter(ZERO, 1.0)), 0.0]
        return [float(self.threshold[split])]

    def goes_left(self, split: int, x: Floats) -> Flags:
        """Return whether each value goes to the left child; x and the result have shape (N,)."""
        if self.decision[split] & _CATEGORICAL:
            bits = self._bits(split)
            known = (x > -1) & (x < 32 * len(bits))  # not of NaN
            category = np.where(known, x, 0).astype(np.int64)
            return np.asarray(known & ((bits[category >> 5] >> (category & 31).astype(np.uint32)) & 1 > 0))
        missing = self._missing(split)
        value = x if missing == _MISSING_NAN else np.where(np.isnan(x), 0.0, x)
        absent = np.isnan(value) if missing == _MISSING_NAN else (missing == _MISSING_ZERO) & (np.abs(value) <= ZERO)
        return np.where(absent, bool(self.decision[split] & _DEFAULT_LEFT), value <= self.threshold[split])

    def leaves_below(self) -> tuple[Words, Words]:
        """Return (left, right): the leaves under each split's children, as bits; shape (N,) each."""
        left, right = (np.zeros(len(self.feature), np.uint64) for _ in range(2))
        order = [0] if len(self.feature) else []
        for split in order:  # parents first
            order += [int(c) for c in (self.left[split], self.right[split]) if c >= 0]
        for split in reversed(order):
            for side, child in ((left, int(self.left[split])), (right, int(self.right[split]))):
                side[split] = np.uint64(1) << np.uint64(~child) if child < 0 else left[child] | right[child]
        return left, right

    def _missing(self, split: int) -> int:
        return int(self.decision[split] >> 2) & 3

    def _bits(self, split: int) -> NDArray[np.uint32]:
        which = int(self.threshold[split])
        return self.bitset[self.boundaries[which] : self.boundaries[which + 1]]


def read_trees(text: str) -> list[Tree]:
    """Return the trees in their order of summation; raise NotCovered for a model of another kind."""
    head, *parts = text.split("\nTree=")
    settings = dict(line.partition("=")[::2] for line in head.splitlines())
    if int(settings.get("num_tree_per_iteration", 1)) != 1:
        raise NotCovered("several classes")
    if "average_output" in settings:
        raise NotCovered("averaged trees")
    return [_read(part.split("\n\n", 1)[0]) for part in parts]


def _read(text: str) -> Tree:
    fields = dict(line.partition("=")[::2] for line in text.splitlines()[1:])
    if fields.get("is_linear", "0") != "0":
        raise NotCovered("linear trees")
    leaves = int(fields["num_leaves"])
    if leaves > MOST_LEAVES:
        raise NotCovered(f"a tree of more than {MOST_LEAVES} leaves")

    def ints(name: str) -> Ints:
        return np.array(fields.get(name, "").split(), dtype=np.int64)

    def floats(name: str) -> Floats:
        return np.array(fields.get(name, "").split(), dtype=np.float64)

    return Tree(
        feature=ints("split_feature"),
        threshold=floats("threshold"),
        decision=ints("decision_type"),
        left=ints("left_child"),
        right=ints("right_child"),
        leaf_value=floats("leaf_value"),
        boundaries=ints("cat_boundaries"),
        bitset=ints("cat_threshold").astype(np.uint32),
    )
