"""Scoring at size: all slots of a user at once, from stored features to scores by one shuffle (model ¶5, ¶7).

Features travel once: a row a user and a row a user's cell (local_hour, weekend), never a row a slot, channel and
category. A partition holds whole users; Python lays them out as arrays, and the JVM unfolds the scores again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.domain.tables import TABLES
from sendopt.errors import ModelError
from sendopt.propensity.forest import Forest, Kind
from sendopt.propensity.model import Model, OpenModel, clip, expit
from sendopt.propensity.opt_out import OptOutRates
from sendopt.spark.build_features import stored_features
from sendopt.spark.stage import Night
from sendopt.spark.zones import slot_readings

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS: dict[str, Kind] = {
    **dict.fromkeys((*TABLES["user_features"].names, "channel", "category", "channel_rate", "category_rate"), "user"),
    **dict.fromkeys((*TABLES["user_slot_features"].names,), "user_slot"),
    **dict.fromkeys((*TABLES["slot_features"].names, "local_hour", "weekend", "weekday"), "slot"),
}
DISAGREE = "the fast scorer and the model disagree"
_USERS = 20_000  # a partition: with 48 cells a user 40 MB of features
_TOGETHER = 2048  # users scored in one go
_CHECKED = 4  # users of each partition whose scores the model itself gives again
_ZONE, _OWN = -2, -1  # what a row's `place` says where it is no cell: values hold the zone, or the user's features
_ROWS = "user_id string, zone int, kind int, p_open array<double>, p_opt_out double"


@dataclass(frozen=True)
class Slots:
    """The night's slots as each zone reads them, Z zones and S slots."""

    zones: tuple[str, ...]
    cell: Ints  # (Z, S) local_hour + 24 * weekend
    weekday: Ints  # (Z, S)


def forest_of(model: Model) -> Forest | str:
    """The model's trees for all slots at once, or why each row must be scored by the model itself."""
    if not isinstance(model, OpenModel):
        return f"model {model.kind}"
    if unknown := [name for name in model.card.features if name not in KINDS]:
        return f"feature(s) {', '.join(unknown)}"
    forest = Forest.from_booster(model.booster, KINDS)
    return forest.not_covered or forest


def fast_scores(
    night: Night, model: Model, forest: Forest, rates: OptOutRates, users: DataFrame,
    pairs: Sequence[tuple[str, str]], n_users: int,
) -> DataFrame:  # fmt: skip
    """user_id, slot, category, channel, local_hour, p_open, p_opt_out of every user of known zone, slot and pair.

    The values are those of `model.predict` on `scoring_rows`, bit by bit. Some users of each partition are compared;
    the query fails with DISAGREE in its message where they differ. `forest` is `forest_of(model)`; `users`: user_id,
    timezone, about `n_users` rows; `pairs`: (channel, category). Raises InputNotReady where the plan_date has no
    features yet.
    """
    assert isinstance(model, OpenModel)
    stored = stored_features(night)
    slots = _slots(night, users)
    own = tuple(sorted({*forest.features["user"], "fatigue_points"} & set(TABLES["user_features"].names)))
    scorer = Scorer(
        model=model, forest=forest, rates=rates, own=own, slots=slots,
        slot_values=_slot_values(stored["slot_features"], slots, forest.features["slot"]),
        pairs=tuple(pairs), pair_rates=_pair_rates(stored["group_features"], pairs),
    )  # fmt: skip
    rows = _long_rows(users, stored, slots, own, forest.features["user_slot"])
    scored = rows.repartition(max(2, -(-n_users // _USERS)), "user_id").mapInArrow(scorer, _ROWS)
    places = [
        (zone, kind, [int(c) % 24 for c in slots.cell[zone]], *pair)
        for zone in range(len(slots.zones))
        for kind, pair in enumerate(pairs)
    ]
    named = night.spark.createDataFrame(places, "zone int, kind int, hours array<int>, channel string, category string")
    return (
        scored.join(F.broadcast(named), ["zone", "kind"])
        .select("user_id", "category", "channel", "hours", "p_opt_out", F.posexplode("p_open").alias("slot", "p_open"))
        .select("user_id", "slot", "category", "channel", F.col("hours")[F.col("slot")].alias("local_hour"),
                "p_open", "p_opt_out")
    )  # fmt: skip


@dataclass(frozen=True)
class Scorer:
    """The function of each partition: rows (user_id, place, values) of whole users to rows of scores."""

    model: OpenModel
    forest: Forest
    rates: OptOutRates
    own: tuple[str, ...]  # names of a user's values
    slots: Slots
    slot_values: Floats  # (Z, S, K) of the forest's slot features
    pairs: tuple[tuple[str, str], ...]
    pair_rates: tuple[tuple[float, float], ...]  # (channel_rate, category_rate) of each pair

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        arrived = [batch for batch in batches if batch.num_rows]
        if not arrived:
            return
        ids, zone, own, cells = self._arranged(pa.Table.from_batches(arrived))
        to_check = _CHECKED
        for z in np.unique(zone[zone >= 0]):
            mine = np.flatnonzero(zone == z)
            for some in (mine[i : i + _TOGETHER] for i in range(0, len(mine), _TOGETHER)):
                both = cells[some][:, self.slots.cell[z]]
                for kind in range(len(self.pairs)):
                    p_open = self._p_open(own[some], int(z), both, kind)
                    if to_check > 0:
                        self._require_equal(p_open[:to_check], own[some[:to_check]], int(z), both[:to_check], kind)
                    yield self._batch(ids.take(pa.array(some)), int(z), kind, p_open, own[some])
                to_check -= len(some)

    def _arranged(self, rows: pa.Table) -> tuple[pa.Array, Ints, Floats, Floats]:
        """(user ids, zone (U,) or -1, own values (U, J), cells (U, 48, L)); NaN where a row is missing."""
        encoded = rows["user_id"].combine_chunks().dictionary_encode()
        user, place = encoded.indices.to_numpy(), rows["place"].to_numpy()
        n_users, width = len(encoded.dictionary), len(self.forest.features["user_slot"])
        zone = np.full(n_users, -1, np.int64)
        own = np.full((n_users, len(self.own)), np.nan)
        cells = np.full((n_users, 48, width), np.nan)

        def values(mask: NDArray[np.bool_], n: int) -> Floats:
            found = rows["values"].filter(pa.array(mask)).combine_chunks().flatten().to_numpy(zero_copy_only=False)
            return np.asarray(found, np.float64).reshape(int(mask.sum()), n)

        is_zone, is_own = place == _ZONE, place == _OWN
        is_cell = ~(is_zone | is_own)
        zone[user[is_zone]] = values(is_zone, 1)[:, 0]
        own[user[is_own]] = values(is_own, len(self.own))
        cells[user[is_cell], place[is_cell]] = values(is_cell, width)
        return encoded.dictionary, zone, own, cells

    def _p_open(self, own: Floats, zone: int, both: Floats, kind: int) -> Floats:
        named = {**dict(zip(self.own, own.T, strict=True)), **self._of_pair(kind)}
        user = np.empty((len(own), len(self.forest.features["user"])))
        for i, name in enumerate(self.forest.features["user"]):
            value, words = named[name], self.model.card.vocabulary.get(name)
            user[:, i] = value if words is None else words.index(value) if value in words else np.nan
        raw = self.forest.raw_score(user, self.slot_values[zone], both)
        return clip(expit(self.model.card.intercept + self.model.card.slope * raw))

    def _of_pair(self, kind: int) -> dict[str, Any]:
        names = ("channel", "category", "channel_rate", "category_rate")
        return dict(zip(names, (*self.pairs[kind], *self.pair_rates[kind]), strict=True))

    def _require_equal(self, p_open: Floats, own: Floats, zone: int, both: Floats, kind: int) -> None:
        """Raises ModelError where the model's own predictions have other bits."""
        n_users, n_slots, _ = both.shape
        columns = {name: np.repeat(own[:, j], n_slots) for j, name in enumerate(self.own)}
        for j, name in enumerate(self.forest.features["slot"]):
            columns[name] = np.tile(self.slot_values[zone, :, j], n_users)
        for j, name in enumerate(self.forest.features["user_slot"]):
            columns[name] = both[:, :, j].ravel()
        frame = pd.DataFrame(columns).assign(**self._of_pair(kind))
        if self.model.predict(frame).tobytes() != p_open.tobytes():
            raise ModelError(
                f"{DISAGREE} on some of {n_users * n_slots} scores, expected equal bits; please report this with the "
                "model's text"
            )

    def _batch(self, ids: pa.Array, zone: int, kind: int, p_open: Floats, own: Floats) -> pa.RecordBatch:
        n_users, n_slots = p_open.shape
        channel = pd.Series([self.pairs[kind][0]] * n_users)
        starts = pa.array(np.arange(0, n_users * n_slots + 1, n_slots, dtype=np.int32))
        return pa.RecordBatch.from_arrays(
            [
                ids,
                pa.array(np.full(n_users, zone, np.int32)),
                pa.array(np.full(n_users, kind, np.int32)),
                pa.ListArray.from_arrays(starts, pa.array(p_open.ravel())),
                pa.array(self.rates.predict(channel, own[:, self.own.index("fatigue_points")])),
            ],
            names=["user_id", "zone", "kind", "p_open", "p_opt_out"],
        )


def _long_rows(
    users: DataFrame, stored: dict[str, DataFrame], slots: Slots, own: Sequence[str], both: Sequence[str]
) -> DataFrame:
    """user_id, place, values: of each user the zone (where known), the own values, and the cells that slots need."""
    known = users.sparkSession.createDataFrame(list(enumerate(slots.zones)), "zone int, timezone string")
    place = F.col("local_hour") + 24 * F.col("weekend").cast("int")
    needed = [int(c) for c in np.unique(slots.cell)]
    return (
        users.join(F.broadcast(known), "timezone")
        .select("user_id", F.lit(_ZONE).alias("place"), _values(["zone"]))
        .unionByName(stored["user_features"].select("user_id", F.lit(_OWN).alias("place"), _values(own)))
        .unionByName(
            stored["user_slot_features"]
            .select("user_id", place.alias("place"), _values(both))
            .where(F.col("place").isin(needed))
        )
    )


def _values(names: Sequence[str]) -> Column:
    missing = F.lit(float("nan"))
    found = F.array(*(F.coalesce(F.col(name).cast("double"), missing) for name in names))
    return found.cast("array<double>").alias("values")


def _slots(night: Night, users: DataFrame) -> Slots:
    readings = slot_readings(users, night.plan_start, night.settings.grid.slot_minutes, night.n_slots)
    found = readings.select("timezone", "slot", "local_hour", "weekend", "weekday").toPandas()
    found = found.sort_values(["timezone", "slot"])
    shape = (-1, night.n_slots)
    cell = found["local_hour"].to_numpy(np.int64) + 24 * found["weekend"].to_numpy(np.int64)
    weekday = found["weekday"].to_numpy(np.int64)
    return Slots(tuple(found["timezone"].unique()), cell.reshape(shape), weekday.reshape(shape))


def _slot_values(stored: DataFrame, slots: Slots, names: Sequence[str]) -> Floats:
    """(Z, S, K): what the slots' cells have in slot_features, and the reading itself."""
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
    """(channel_rate, category_rate) of each pair; the global rate where a name has no row."""
    rows = groups.toPandas()
    found = {(k, n): float(r) for k, n, r in zip(rows["kind"], rows["name"], rows["group_rate"], strict=True)}
    everyone = found["all", "all"]
    return tuple((found.get(("channel", c), everyone), found.get(("category", k), everyone)) for c, k in pairs)
