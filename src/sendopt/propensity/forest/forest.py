"""Raw scores of users × slots: all slots of a user at once, from tables of the trees (model ¶5)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Literal

import lightgbm as lgb
import numpy as np

from sendopt.errors import ModelError
from sendopt.propensity.forest.tables import BLOCK, Tables, tables_of
from sendopt.propensity.forest.trees import NotCovered, Words, read_trees
from sendopt.stats.arrays import Floats, Ints

Kind = Literal["user", "slot", "user_slot"]
KINDS: tuple[Kind, ...] = ("user", "slot", "user_slot")
_USERS = 512  # scored together: their codes stay in the cache while the blocks of trees change
_STRETCH = 512  # values encoded together


class Forest:
    """A booster whose features are known to be of the user, of the slot, or of both.

    `features` maps each kind to its features in the booster's order, which is the order of the inputs' columns.
    `not_covered` is the reason why `Booster.predict` scores instead of the tables, or None.
    """

    def __init__(self, text: str, names: tuple[str, ...], kinds: Mapping[str, Kind]) -> None:
        self._text = text
        self._where: dict[Kind, Ints] = {
            kind: np.array([i for i, name in enumerate(names) if kinds[name] == kind], np.int64) for kind in KINDS
        }
        self.features: dict[Kind, tuple[str, ...]] = {
            kind: tuple(names[i] for i in where) for kind, where in self._where.items()
        }
        self.not_covered: str | None = None
        self._tables: Tables | None = None
        try:
            self._tables = tables_of(read_trees(text), len(names))
        except NotCovered as reason:
            self.not_covered = str(reason)

    @classmethod
    def from_booster(cls, booster: lgb.Booster, kinds: Mapping[str, Kind]) -> Forest:
        """Return the forest of the trees that `booster.predict` uses by default.

        `kinds` names every feature of the booster, and may name more. Raises ModelError where it lacks one, or where
        the booster gives several scores a row.
        """
        names = tuple(booster.feature_name())
        absent = [name for name in names if kinds.get(name) not in KINDS]
        if absent:
            raise ModelError(
                f"the model's feature(s) {', '.join(absent)} are not known to be of the user, of the slot or of both; "
                "train again with features of this version"
            )
        if booster.num_model_per_iteration() != 1:
            raise ModelError(
                f"the model gives {booster.num_model_per_iteration()} scores a row, expected 1; train one of two "
                "classes"
            )
        return cls(booster.model_to_string(), names, kinds)

    def raw_score(self, user: Floats, slot: Floats, user_slot: Floats) -> Floats:
        """Return the sum of the trees, float64 (U, S), equal in every bit to `Booster.predict(raw_score=True)`.

        user (U, J), slot (S, K), user_slot (U, S, L), float64 with NaN for missing, columns as in `features`.
        Where `not_covered` is set the booster itself scores the flat matrix. Raises ModelError on other shapes.
        """
        self._require_shapes(user, slot, user_slot)
        if self._tables is None or not user_slot.shape[0] * user_slot.shape[1]:
            return self.plain(user, slot, user_slot)
        from sendopt.propensity.forest import kernel  # compiles or loads machine code: not before it is needed

        t = self._tables
        n_users, n_slots, width = user_slot.shape
        score = np.zeros((n_users, n_slots))
        value, place = np.empty(_STRETCH), np.empty(_STRETCH, np.int64)
        slot_codes = np.empty(slot.shape, np.uint16)
        kernel.encode(t, self._where["slot"], _rows(slot), slot_codes, value, place)
        by_slot: Words = np.full((len(t.first_row) - 1, n_slots * BLOCK), ~np.uint64(0))
        kernel.open_by_slot(t, slot_codes.ravel(), slot.shape[1], by_slot)
        masks = np.empty((n_slots + 2) * BLOCK, np.uint64)
        for first in range(0, n_users, _USERS):
            block_values = _rows(user[first : first + _USERS])
            block_cells = _rows(user_slot[first : first + _USERS]).reshape(len(block_values) * n_slots, width)
            user_codes, cell_codes = np.empty(block_values.shape, np.uint16), np.empty(block_cells.shape, np.uint16)
            kernel.encode(t, self._where["user"], block_values, user_codes, value, place)
            kernel.encode(t, self._where["user_slot"], block_cells, cell_codes, value, place)
            kernel.add_scores(
                *(t, user_codes.ravel(), user.shape[1], by_slot, cell_codes.ravel(), width),
                *(score[first : first + _USERS], masks),
            )
        return score

    def plain(self, user: Floats, slot: Floats, user_slot: Floats) -> Floats:
        """Return what `raw_score` does, by `Booster.predict` on the matrix of all cells in one thread.

        This is the fallback of `raw_score`, and its check.
        """
        self._require_shapes(user, slot, user_slot)
        n_users, n_slots, _ = user_slot.shape
        if not n_users * n_slots:
            return np.zeros((n_users, n_slots))
        raw = self._booster.predict(self.matrix(user, slot, user_slot), raw_score=True, num_threads=1)
        return np.asarray(raw, np.float64).reshape(n_users, n_slots)

    def matrix(self, user: Floats, slot: Floats, user_slot: Floats) -> Floats:
        """Return one row for each cell, all slots of a user together, columns in the booster's order; (U * S, F)."""
        n_users, n_slots, _ = user_slot.shape
        cells = np.empty((n_users, n_slots, sum(len(where) for where in self._where.values())))
        cells[:, :, self._where["user"]] = user[:, None, :]
        cells[:, :, self._where["slot"]] = slot[None, :, :]
        cells[:, :, self._where["user_slot"]] = user_slot
        return cells.reshape(n_users * n_slots, -1)

    @cached_property
    def _booster(self) -> lgb.Booster:
        return lgb.Booster(model_str=self._text)

    def _require_shapes(self, user: Floats, slot: Floats, user_slot: Floats) -> None:
        n = {kind: len(where) for kind, where in self._where.items()}
        expected = ((len(user), n["user"]), (len(slot), n["slot"]), (len(user), len(slot), n["user_slot"]))
        shapes = (user.shape, slot.shape, user_slot.shape)
        if shapes != expected:
            raise ModelError(f"scoring got inputs of shapes {shapes}, expected {expected} by the model's features")


def _rows(x: Floats) -> Floats:
    return np.ascontiguousarray(x, np.float64)
