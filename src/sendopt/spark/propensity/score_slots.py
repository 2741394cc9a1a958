"""Stage score_slots: p_open, p_opt_out and goals of every user, slot, channel and category of the night (¶5, ¶7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from sendopt.errors import ModelError
from sendopt.propensity import opt_out
from sendopt.propensity.forest import Forest
from sendopt.propensity.model import Model
from sendopt.propensity.shrinkage import USED, Shrinkage, ShrunkBaseline, fit
from sendopt.propensity.uplift import Gain
from sendopt.spark import unknown_zone
from sendopt.spark.engine import workers
from sendopt.spark.engine.zones import slot_readings
from sendopt.spark.features.build_features import scoring_rows, stored_features
from sendopt.spark.features.fatigue import with_fatigue
from sendopt.spark.features.feature_counts import rules_of_night
from sendopt.spark.lineage import BASELINE, Versions, plan_version
from sendopt.spark.night import Night, StageResult
from sendopt.spark.propensity import goals, uplift
from sendopt.spark.propensity.opt_outs import with_opt_out
from sendopt.spark.propensity.slot_scorer import DISAGREE, fast_scores, forest_of
from sendopt.tracking.mlflow import MlflowTracker

FrameScorer = Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]
_SCORES = (
    "user_id string, slot int, category string, channel string, local_hour int, p_open double, p_opt_out double, "
    "incremental double"
)


def run(night: Night) -> StageResult:
    """Write slot_scores of the plan_date: a row for each user, slot and configured (channel, category).

    A user of unknown zone gets the mean over the plausible zones (`unknown_zone`), and no row where no zone is
    plausible. The champion scores; without a champion the baseline does, and facts name the arm `fallback`. Raises
    InputNotReady where the registry or the night's features are missing, ModelError where the champion does not fit.
    """
    record = users_shrinkage(night)
    model, version = _model(night, record)
    gain, version = uplift.of_night(night, version)
    rates = opt_out.fit(opt_out_counts(night).toPandas(), night.settings.opt_out)
    pairs = sorted({(c.channel, c.category) for c in night.settings.campaigns.values()})
    heads = goals.of_night(night, version)
    version, models = heads.version, {"": model, **heads.learned}
    forests = _forests(models) if gain is None else f"objective {night.settings.objective.kind}"
    features = stored_features(night)
    users = features["user_features"]
    n_users = users.count()

    def score(sample: DataFrame) -> DataFrame:
        if isinstance(forests, str):
            scorer = _scorer(model, rates, gain, list(heads.learned.values()))
            return _scored_by_row(night, sample, pairs, scorer, len(heads.learned))
        by_model = {
            name: fast_scores(night, models[name], forest, rates, features, sample, pairs)
            for name, forest in forests.items()
        }
        return goals.joined(by_model.pop("").withColumn("incremental", F.lit(None).cast("double")), by_model)

    scored, of_unknown = unknown_zone.with_unknown(night, users, score)
    versions = Versions(plan_version(night, version), night.config_hash, version)
    written = _write(night, versions, goals.with_goals(scored, heads))
    asked = n_users * night.n_slots * len(pairs)
    return StageResult(
        rows_in=asked,
        rows_out=written,
        dropped={"zone_unknown": asked - written} if asked > written else {},
        facts={
            **vars(versions),
            "arm": "fallback" if version == BASELINE else None,
            "scored_by": f"rows ({forests})" if isinstance(forests, str) else "forest",
            "shrinkage": {"kappa": record.kappa, "kappa_segment": record.kappa_segment, "segments": record.segments},
            **({"unknown_zone": of_unknown} if of_unknown else {}),
            "objective": night.settings.objective.kind,
            "opt_out_rates": {"overall": rates.overall, **{name: list(r) for name, r in rates.by_channel.items()}},
            **({"goals": heads.facts, "warnings": list(heads.warnings)} if heads.facts else {}),
        },
    )


def _write(night: Night, versions: Versions, scored: DataFrame) -> int:
    """Write slot_scores of the plan_date and return the number of rows.

    Raises ModelError with the version where the two scorers disagree: Spark scores while it writes.
    """
    rows = versions.on(scored.withColumn("plan_date", F.lit(night.plan_date)))
    try:
        return night.lake.replace("slot_scores", rows, night.plan_date)
    except ModelError as error:
        if DISAGREE not in error.message:
            raise
        version = versions.model_version
        raise ModelError(f"{DISAGREE} on {version}, expected equal bits; report this", model_version=version) from None


def _scored_by_row(
    night: Night, users: DataFrame, pairs: list[tuple[str, str]], scorer: FrameScorer, n_goals: int
) -> DataFrame:
    """Return the scores of these users by the models themselves, one row at a time."""
    columns = [f", {goals.column(n)} double" for n in range(n_goals)]
    rows = scoring_rows(night, scoring_keys(night, users, pairs))
    return workers.map_frames(rows, scorer, _SCORES + "".join(columns))


def scoring_keys(night: Night, users: DataFrame, pairs: list[tuple[str, str]]) -> DataFrame:
    """Return the keys of scores for the users (user_id, timezone); users of unknown zones have none.

    Columns: user_id, slot, local_hour, weekend, weekday, channel, category.
    """
    readings = slot_readings(users, night.plan_start, night.settings.grid.slot_minutes, night.n_slots).select(
        "timezone", "slot", "local_hour", "weekend", "weekday"
    )
    kinds = night.spark.createDataFrame(pairs, "channel string, category string")
    who = users.select("user_id", "timezone")
    return who.join(F.broadcast(readings), "timezone").crossJoin(F.broadcast(kinds)).drop("timezone")


def opt_out_counts(night: Night) -> DataFrame:
    """Return channel, fatigue_bin, sends, opt_outs of the mature sends as of the night (¶7, ¶9d).

    A send's bin is that of its user's fatigue just before it, from the sends before; where no fatigue is configured
    every send is 1 point with the features' default half-life.
    """
    window = timedelta(hours=night.settings.label.window_hours)
    at = F.col("sent_at_utc")
    sends = _with_fatigue(night).where(at <= F.lit(night.as_of - window))
    fatigue_bin = F.lit(0)
    for edge in night.settings.opt_out.fatigue_edges:
        fatigue_bin = fatigue_bin + (F.col("fatigue_points") >= edge).cast("int")
    return (
        with_opt_out(night, sends)
        .groupBy("channel", fatigue_bin.alias("fatigue_bin"))
        .agg(F.count("*").alias("sends"), F.count_if("opted_out").alias("opt_outs"))
        .orderBy("channel", "fatigue_bin")
    )


def _with_fatigue(night: Night) -> DataFrame:
    """Return the sends of the history with the user's fatigue points just before each."""
    rules, at = rules_of_night(night), F.col("sent_at_utc")
    back = timedelta(days=night.settings.features.history_days)
    sends = night.lake.read("sends").where(
        F.col("sent") & F.col("available") & (at >= F.lit(night.as_of - back)) & (at < F.lit(night.as_of))
    )
    made = sends.select("user_id", F.unix_micros(at).alias("at"), "channel", "send_key", at)
    middle = F.lit(int((night.as_of - back / 2).timestamp() * 1e6))
    return with_fatigue(made, made, rules, middle)


def users_shrinkage(night: Night) -> Shrinkage:
    """Return the night's shrinkage, fitted on the records of all users, with or without a send (¶17)."""
    users = night.lake.read("user_features", night.plan_date)
    records = users.groupBy(*USED).agg(F.count("*").alias("users")).toPandas()
    return fit(records.sort_values(list(USED), ignore_index=True), night.settings.features.segment_edges)


def _model(night: Night, record: Shrinkage) -> tuple[Model, str]:
    champion = MlflowTracker(night.settings.mlflow).champion()
    if champion is None:
        return ShrunkBaseline(record), BASELINE
    champion.require_label(night.settings.label.kind)
    return champion.model, champion.model_version


def _forests(models: Mapping[str, Model]) -> dict[str, Forest] | str:
    """Return the trees of each model (p_open's name is empty), or why the models must score row by row."""
    forests: dict[str, Forest] = {}
    for name, model in models.items():
        forest = forest_of(model)
        if isinstance(forest, str):
            return f"goal {name}: {forest}" if name else forest
        forests[name] = forest
    return forests


def _scorer(model: Model, rates: opt_out.OptOutRates, gain: Gain | None, goal_models: Sequence[Model]) -> FrameScorer:
    """Return the function that scores a partition; the trees are pickled with it as text."""

    def score(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for rows in batches:
            p_open = model.predict(rows)
            yield rows[["user_id", "slot", "category", "channel", "local_hour"]].assign(
                p_open=p_open,
                p_opt_out=rates.predict(rows["channel"], rows["fatigue_points"].to_numpy(float)),
                incremental=np.nan if gain is None else gain.incremental(rows, p_open),
                **{goals.column(n): goal_model.predict(rows) for n, goal_model in enumerate(goal_models)},
            )

    return score
