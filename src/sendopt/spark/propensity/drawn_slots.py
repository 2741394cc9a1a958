"""Later sends whose slot was drawn at random, with models' predictions in every slot of their night (model ¶18)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.domain import slots
from sendopt.domain.slots import readings, zone_or_none
from sendopt.domain.success import MILLION
from sendopt.measurement.slot_policies import DrawnSends, offered_slots
from sendopt.propensity.model import Model
from sendopt.spark.engine import workers
from sendopt.spark.engine.sampling import PARTS, sampled_users
from sendopt.spark.features.build_features import mature_sends, with_features
from sendopt.spark.features.feature_counts import CELL, day_number, read_log
from sendopt.spark.night import Night
from sendopt.stats.arrays import Floats

HOUR_RATE = "hour"  # the policy of the hour's popularity, read off its feature
_SALT = "policy"


@dataclass(frozen=True)
class Scored:
    """The sends, and by model its predictions in every slot, shape (N, K)."""

    sends: DrawnSends
    predictions: dict[str, Floats]


def score(night: Night, first: date, models: Mapping[str, Model]) -> Scored | None:
    """Return the mature sends from plan date `first` on whose slot was drawn, with predictions of each model, or None.

    Drawn means with a known probability below 1: sends of the uniform_time arm, and of logs that have a probability.
    Above gate.max_policy_sends a keyed hash of users selects whose sends are taken.
    """
    log = read_log(night, first)
    drawn = night.lake.read("sends").where("decision_kind = 'slot' AND pscore < 1").select("send_key", "timezone")
    known = F.col("local_hour").isNotNull()
    people = mature_sends(log.exposures, night, first, log.rules).where(known & ~F.col("suspected"))  # no machines
    sends = people.join(drawn, "send_key")
    sends = _at_most(sends, night.settings.gate.max_policy_sends).drop(*CELL, "weekday").localCheckpoint()
    zones = [str(row[0]) for row in sends.select("timezone").distinct().collect()]
    if not zones:
        return None
    grid = F.broadcast(_grid(night, first, zones))
    length = night.settings.grid.slot_minutes * 60 * MILLION
    at = F.col("sent_at") - F.col("day") * F.lit(86_400 * MILLION)
    rows = with_features(
        log, sends.withColumn("drawn", F.floor(at / length).cast("int")).join(grid, ["timezone", "day"])
    )
    names = [*models, HOUR_RATE]
    keys = (
        "send_key string, user_id string, channel string, label int, pscore double, drawn int, slot int, local_hour int"
    )
    scored = workers.map_frames(rows, _scorer(models), keys + "".join(f", p_{name} double" for name in names))
    return _arrays(scored.toPandas(), night.n_slots, names)


def _at_most(sends: DataFrame, most: int) -> DataFrame:
    count = sends.count()
    if count <= most:
        return sends
    return sampled_users(sends, _SALT, int(PARTS * most / count))


def _grid(night: Night, first: date, zones: list[str]) -> DataFrame:
    """Return every slot of every night as each zone reads it: timezone, day, slot, local_hour, weekend, weekday."""
    days = [first + timedelta(days=n) for n in range((night.plan_date - first).days)]
    cells = [
        (zone, day_number(day), r.slot, r.local_hour, r.weekend, r.weekday)
        for zone in sorted(zones)
        if zone_or_none(zone) is not None
        for day in days
        for r in readings(zone, slots.plan_start(day), night.settings.grid.slot_minutes, night.n_slots)
    ]
    return night.spark.createDataFrame(
        cells, "timezone string, day bigint, slot int, local_hour int, weekend boolean, weekday int"
    )


def _scorer(models: Mapping[str, Model]) -> Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]:
    """Return the function that scores a partition; the trees are pickled with it as text."""
    kept = ["send_key", "user_id", "channel", "label", "pscore", "drawn", "slot", "local_hour"]

    def work(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for rows in batches:
            chances = {f"p_{name}": model.predict(rows) for name, model in models.items()}
            yield rows[kept].assign(**chances, **{f"p_{HOUR_RATE}": rows["hour_rate"]})

    return work


def _arrays(rows: pd.DataFrame, k: int, names: list[str]) -> Scored:
    """Return the long rows as arrays, in the order of send keys; slots without a row have local hour −1."""
    place, keys = pd.factorize(rows["send_key"], sort=True)
    shape, slot = (len(keys), k), rows["slot"].to_numpy()
    hour = np.full(shape, -1, np.int64)
    hour[place, slot] = rows["local_hour"]
    predictions = {name: np.zeros(shape) for name in names}
    for name, table in predictions.items():
        table[place, slot] = rows[f"p_{name}"]
    first_rows = rows.assign(place=place).drop_duplicates("place").sort_values("place")
    drawn = first_rows["drawn"].to_numpy(np.int64)
    offered = offered_slots(hour, drawn, pd.factorize(first_rows["channel"], sort=True)[0].astype(np.int64))
    sends = DrawnSends(
        user=pd.factorize(first_rows["user_id"], sort=True)[0].astype(np.int64),
        success=first_rows["label"].to_numpy(np.float64),
        pscore=first_rows["pscore"].to_numpy(np.float64),
        drawn=drawn,
        offered=offered,
    )
    return Scored(sends, predictions)
