"""Scores of all slots of a user at once, from a row of stored features, without a shuffle (model ¶5).

A user's features are sent to Python once, as one row with an array for each feature, and not as a row for each slot,
channel and category. Python scores batches of users, and the JVM unfolds the arrays of scores into rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain.tables import SLOT_FEATURES, USER_FEATURES, USER_SLOT_FEATURES
from sendopt.errors import ContractError, ModelError
from sendopt.propensity.forest import Forest, Kind
from sendopt.propensity.model import Model, OpenModel
from sendopt.propensity.opt_out import OptOutRates
from sendopt.spark.engine import workers
from sendopt.spark.engine.zones import slot_readings
from sendopt.spark.night import Night
from sendopt.stats.arrays import Floats, Ints
from sendopt.stats.logistic import clip

KINDS: dict[str, Kind] = {
    **dict.fromkeys((c.name for c in USER_FEATURES), "user"),
    **dict.fromkeys(("channel", "category", "channel_rate", "category_rate"), "user"),
    **dict.fromkeys((c.name for c in USER_SLOT_FEATURES), "user_slot"),
    **dict.fromkeys((c.name for c in SLOT_FEATURES), "slot"),
    **dict.fromkeys(("local_hour", "weekend", "weekday"), "slot"),
}
DISAGREE = "the fast scorer and the model disagree"
_CHECKED = 4  # users of each partition whose scores are compared with the model's own
_ROWS = "user_id string, zone int, kind int, p_open array<double>, p_opt_out double"


@dataclass(frozen=True)
class Slots:
    """The night's slots as each zone reads them, Z zones and S slots."""

    zones: tuple[str, ...]
    cell: Ints  # (Z, S) place of the slot's local hour, 0 to 47
    weekday: Ints  # (Z, S)

    @property
    def first(self) -> int:
        """The first place of an hour that a slot needs."""
        return int(self.cell.min()) if self.cell.size else 0

    @property
    def hours(self) -> int:
        """Number of places from the first to the last that a slot needs."""
        return int(self.cell.max()) + 1 - self.first if self.zones else 1


def forest_of(model: Model) -> Forest | str:
    """Return the model's trees for all slots at once, or why the model itself must score row by row."""
    if not isinstance(model, OpenModel):
        return f"model {model.kind}"
    if unknown := [name for name in model.card.features if name not in KINDS]:
        return f"feature(s) {', '.join(unknown)}"
    forest = Forest.from_booster(model.booster, KINDS)
    return forest.not_covered or forest


def fast_scores(
    night: Night,
    model: Model,
    forest: Forest,
    rates: OptOutRates,
    features: dict[str, DataFrame],
    users: DataFrame,
    pairs: Sequence[tuple[str, str]],
) -> DataFrame:
    """Return the scores of every user of known zone, slot and pair.

    Columns: user_id, slot, category, channel, local_hour, p_open, p_opt_out. The values equal those of `model.predict`
    on `scoring_rows` in every bit. Some users of each partition are compared; the query fails with a ModelError that
    says DISAGREE where they differ. `forest` is `forest_of(model)`; `features` the stored tables; `users` rows of
    user_features with their timezone; `pairs` are (channel, category).
    """
    assert isinstance(model, OpenModel)
    slots = _slots(night, users)
    own = tuple(sorted({*forest.features["user"], "fatigue_points"} & {c.name for c in USER_FEATURES}))
    scorer = Scorer(
        model=model,
        forest=forest,
        rates=rates,
        own=own,
        slots=slots,
        slot_values=_slot_values(features["slot_features"], slots, forest.features["slot"]),
        pairs=tuple(pairs),
        pair_rates=_pair_rates(features["group_features"], pairs),
    )
    scored = workers.map_batches(_needed(users, slots, own, forest.features["user_slot"]), scorer, _ROWS)
    return _unfolded(scored, slots, pairs)


def _unfolded(scored: DataFrame, slots: Slots, pairs: Sequence[tuple[str, str]]) -> DataFrame:
    """Return one row for each slot from rows with an array of p_open; zone and kind become their names."""
    places = [
        (zone, kind, [int(c) % 24 for c in slots.cell[zone]], *pair)
        for zone in range(len(slots.zones))
        for kind, pair in enumerate(pairs)
    ]
    schema = "zone int, kind int, hours array<int>, channel string, category string"
    named = scored.sparkSession.createDataFrame(places, schema)
    return (
        scored.join(F.broadcast(named), ["zone", "kind"])
        .select("user_id", "category", "channel", "hours", "p_opt_out", F.posexplode("p_open").alias("slot", "p_open"))
        .select(
            "user_id",
            "slot",
            "category",
            "channel",
            F.col("hours")[F.col("slot")].alias("local_hour"),
            "p_open",
            "p_opt_out",
        )
    )


@dataclass(frozen=True)
class Scorer:
    """The function that scores a partition: rows of `_needed` to rows of scores."""

    model: OpenModel
    forest: Forest
    rates: OptOutRates
    own: tuple[str, ...]  # names of a user's own values
    slots: Slots
    slot_values: Floats  # (Z, S, K) of the forest's slot features
    pairs: tuple[tuple[str, str], ...]
    pair_rates: tuple[tuple[float, float], ...]  # (channel_rate, category_rate) of each pair

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        to_check = _CHECKED
        for batch in batches:
            users = self._users(batch)
            added = self._added(users)
            for kind in range(len(self.pairs)):
                p_open = self._p_open(users, kind, added)
                self._require_equal(users, p_open, kind, to_check)
                yield self._batch(users, kind, p_open)
            to_check = max(0, to_check - batch.num_rows)

    def _users(self, batch: pa.RecordBatch) -> _Users:
        """Return the batch as arrays; NaN where a value is missing."""
        zone = batch["zone"].to_numpy()
        own = np.empty((batch.num_rows, len(self.own)))
        for j, name in enumerate(self.own):
            own[:, j] = batch[name].to_numpy(zero_copy_only=False)
        names = self.forest.features["user_slot"]
        both = np.empty((batch.num_rows, self.slots.cell.shape[1], len(names)))
        at = self.slots.cell[zone] - self.slots.first
        for j, name in enumerate(names):
            _require_hours(batch[name], name, self.slots.hours)
            values = batch[name].flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
            both[:, :, j] = np.take_along_axis(values, at, axis=1)
        return _Users(batch["user_id"], zone, own, both)

    def _added(self, users: _Users) -> Floats:
        """Return what the line adds in each slot without terms of channel and category; broadcasts to (U, S)."""
        columns = {name: users.own[:, [j]] for j, name in enumerate(self.own)}
        slot_values = self.slot_values[users.zone]
        columns |= {name: slot_values[:, :, j] for j, name in enumerate(self.forest.features["slot"])}
        columns |= {name: users.both[:, :, j] for j, name in enumerate(self.forest.features["user_slot"])}
        return np.asarray(self.model.card.line.add(0.0, columns, {}))

    def _p_open(self, users: _Users, kind: int, added: Floats) -> Floats:
        card, pair = self.model.card, self._of_pair(kind)
        for name, words in card.vocabulary.items():
            pair[name] = np.array(words.index(pair[name]) if pair[name] in words else np.nan)
        named = {**dict(zip(self.own, users.own.T, strict=True)), **pair}
        user = np.column_stack([np.broadcast_to(named[name], len(users.zone)) for name in self.forest.features["user"]])
        raw = np.empty(users.both.shape[:2])
        for zone in np.unique(users.zone):
            in_zone = users.zone == zone
            raw[in_zone] = self.forest.raw_score(user[in_zone], self.slot_values[zone], users.both[in_zone])
        return clip(card.line.chance(raw, card.line.add(added, pair, card.vocabulary)))

    def _of_pair(self, kind: int) -> dict[str, Any]:
        names = ("channel", "category", "channel_rate", "category_rate")
        return dict(zip(names, (*self.pairs[kind], *self.pair_rates[kind]), strict=True))

    def _require_equal(self, users: _Users, p_open: Floats, kind: int, n_users: int) -> None:
        """Raise ModelError where the model's own predictions of the first users have other bits."""
        p_open, n_slots = p_open[:n_users], p_open.shape[1]
        columns = {name: np.repeat(users.own[:n_users, j], n_slots) for j, name in enumerate(self.own)}
        for j, name in enumerate(self.forest.features["slot"]):
            columns[name] = self.slot_values[users.zone[:n_users], :, j].ravel()
        for j, name in enumerate(self.forest.features["user_slot"]):
            columns[name] = users.both[:n_users, :, j].ravel()
        frame = pd.DataFrame(columns).assign(**self._of_pair(kind))
        if self.model.predict(frame).tobytes() != p_open.tobytes():
            raise ModelError(
                f"{DISAGREE} on some of {p_open.size} scores, expected equal bits; please report this with the "
                "model's text"
            )

    def _batch(self, users: _Users, kind: int, p_open: Floats) -> pa.RecordBatch:
        n_users, n_slots = p_open.shape
        channel = pd.Series([self.pairs[kind][0]] * n_users)
        starts = pa.array(np.arange(0, n_users * n_slots + 1, n_slots, dtype=np.int32))
        return pa.RecordBatch.from_arrays(
            [
                users.ids,
                pa.array(users.zone.astype(np.int32)),
                pa.array(np.full(n_users, kind, np.int32)),
                pa.ListArray.from_arrays(starts, pa.array(p_open.ravel())),
                pa.array(self.rates.predict(channel, users.own[:, self.own.index("fatigue_points")])),
            ],
            names=["user_id", "zone", "kind", "p_open", "p_opt_out"],
        )


@dataclass(frozen=True)
class _Users:
    """A batch of U users in S slots."""

    ids: pa.Array
    zone: Ints  # (U,)
    own: Floats  # (U, J)
    both: Floats  # (U, S, L) of the forest's user_slot features


def _needed(users: DataFrame, slots: Slots, own: Sequence[str], both: Sequence[str]) -> DataFrame:
    """Return user_id, zone, the users' values and the arrays of the hours that slots need; users of known zone."""
    known = users.sparkSession.createDataFrame(list(enumerate(slots.zones)), "zone int, timezone string")
    return users.join(F.broadcast(known), "timezone").select(
        "user_id",
        "zone",
        *(F.col(name).cast("double") for name in own),
        *(F.slice(name, slots.first + 1, slots.hours).alias(name) for name in both),
    )


def _require_hours(lists: pa.Array, name: str, hours: int) -> None:
    """Raise ContractError where a user's list is missing or has another number of hours."""
    lengths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    if broken := int((lengths != hours).sum()):
        raise ContractError(
            f"table user_features, column {name}: {broken} of {len(lists)} users lack some of its 48 hours; run "
            "build_features again",
            table="user_features",
            column=name,
            count=broken,
        )


def _slots(night: Night, users: DataFrame) -> Slots:
    readings = slot_readings(users, night.plan_start, night.settings.grid.slot_minutes, night.n_slots)
    table = readings.select("timezone", "slot", "local_hour", "weekend", "weekday").toPandas()
    table = table.sort_values(["timezone", "slot"])
    shape = (-1, night.n_slots)
    cell = table["local_hour"].to_numpy(np.int64) + 24 * table["weekend"].to_numpy(np.int64)
    weekday = table["weekday"].to_numpy(np.int64)
    return Slots(tuple(table["timezone"].unique()), cell.reshape(shape), weekday.reshape(shape))


def _slot_values(stored: DataFrame, slots: Slots, names: Sequence[str]) -> Floats:
    """Return the forest's slot features, shape (Z, S, K), from slot_features and from the zones' readings."""
    rows = stored.toPandas()
    place = rows["local_hour"].to_numpy(np.int64) + 24 * rows["weekend"].to_numpy(np.int64)
    result = np.empty((*slots.cell.shape, len(names)))
    reading = {"local_hour": slots.cell % 24, "weekend": slots.cell // 24, "weekday": slots.weekday}
    for i, name in enumerate(names):
        by_cell = np.full(48, np.nan)
        if name not in reading:
            by_cell[place] = rows[name].to_numpy(np.float64, na_value=np.nan)
        result[:, :, i] = reading.get(name, by_cell[slots.cell])
    return result


def _pair_rates(groups: DataFrame, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[float, float], ...]:
    """Return (channel_rate, category_rate) of each pair; the global rate where a name has no row."""
    rows = groups.toPandas()
    rates = {(k, n): float(r) for k, n, r in zip(rows["kind"], rows["name"], rows["group_rate"], strict=True)}
    everyone = rates["all", "all"]
    return tuple((rates.get(("channel", c), everyone), rates.get(("category", k), everyone)) for c, k in pairs)
