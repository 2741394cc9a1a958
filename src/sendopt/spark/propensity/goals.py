"""Goals in a night: their models beside p_open, their place in MLflow, the value of sends with them (model ¶5, ¶8).

A goal has the features of p_open; only the label and its window differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from sendopt.config.schema import Goal, Objective
from sendopt.domain.tables import TABLES
from sendopt.features import FEATURE_COLUMNS, TRAINING_KEYS, Rules, rules_of
from sendopt.measurement.drift import Alert
from sendopt.propensity import evaluation as assess
from sendopt.propensity import goals as heads
from sendopt.propensity import model as learn
from sendopt.propensity import rows as arrow
from sendopt.propensity.model import Model, OpenModel
from sendopt.propensity.shrinkage import ShrunkBaseline
from sendopt.spark import history, lineage
from sendopt.spark.engine.lake import schema_of
from sendopt.spark.features.build_features import mature_sends, with_features
from sendopt.spark.features.feature_counts import exposures_of, read_log, rules_of_night
from sendopt.spark.night import Night
from sendopt.spark.propensity import challenge
from sendopt.stats.logistic import LEAST_P
from sendopt.tracking import Kept, Registered, registries
from sendopt.tracking.mlflow import MlflowTracker

ROWS = "goal_training_rows"
SHARE_OF_OPENS = "share_of_opens"
_SCORED = ("user_id", "slot", "category", "channel")


@dataclass(frozen=True)
class Trained:
    """The results of the goals' trainings: facts by goal, and alerts of challengers that a gate refused."""

    facts: dict[str, dict[str, object]]
    refused: tuple[Alert, ...]
    warnings: tuple[str, ...]

    def as_facts(self) -> dict[str, object]:
        return {"goals": self.facts} if self.facts else {}


@dataclass(frozen=True)
class Goals:
    """The night's heads by goal. `version` names the models of those that have one; `facts`, `warnings` say which."""

    heads: dict[str, heads.Head]
    version: str
    facts: dict[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def learned(self) -> dict[str, OpenModel]:
        return {name: head.model for name, head in self.heads.items() if isinstance(head, heads.Learned)}


def train(night: Night) -> Trained:
    """Train a challenger of each goal without a champion, or of every goal where the night asks for new ones.

    A training of the same rows, settings and code is used again. A goal with too few successes has no champion; the
    night then takes a share of p_open.
    """
    facts_of: dict[str, dict[str, object]] = {}
    refused: list[Alert] = []
    warnings: list[str] = []
    for name, goal in sorted(night.settings.objective.goals.items()):
        tracker = MlflowTracker(registries.of_goal(night.settings.mlflow, name))
        champion = None if night.retrain else _champion(tracker, goal)
        if champion is not None:
            facts_of[name] = {"trained": False, "model_version": champion.model_version}
            continue
        rows = training_rows(night, goal)
        sections = {key: getattr(night.settings, key) for key in ("training", "gate", "drift")}
        sections["label"] = goal.model_copy(update={"weight": 1.0})  # what it is worth changes no model
        fingerprint = f"{challenge.fingerprint(rows, sections, heads)}-{name}"
        kept = tracker.trained(fingerprint)
        facts: dict[str, object] = {"trained": kept is None}
        if kept is None:
            champion_before = tracker.champion_version()
            kept, evaluation = _train(night, name, goal, rows, fingerprint, tracker)
            facts |= {key: evaluation[key] for key in ("kind", "log_loss", "gains", "observed_over_expected", "gate")}
            refused.extend(challenge.refusal(champion_before, kept, evaluation["gate"]))
        deployed = tracker.champion_version()
        facts_of[name] = facts | {
            "model_version": deployed,
            "challenger": kept.model_version,
            "promoted": kept.promoted,
            "mlflow_run_id": kept.run_id,
        }
        warnings.extend(kept.warnings)
    return Trained(facts_of, tuple(refused), tuple(warnings))


def training_rows(night: Night, goal: Goal) -> arrow.Rows:
    """Return the sends whose window of the goal is over, labelled by the goal; sends of unknown zone are left out.

    The rows are written as table `goal_training_rows` in a fixed order.
    """
    first = night.plan_date - timedelta(days=night.settings.training.days)
    log, rules = read_log(night, first), _rules(night, goal)
    sends = mature_sends(exposures_of(night, first, rules), night, first, rules).where(F.col("local_hour").isNotNull())
    rows = with_features(log, sends).select(*TRAINING_KEYS, *FEATURE_COLUMNS)
    night.lake.overwrite(ROWS, rows.orderBy("plan_date", "sent_at_utc", "send_key"))
    return arrow.Rows.of_delta(night.lake.path(ROWS))


def of_night(night: Night, version: str) -> Goals:
    """Return the heads of the night's goals; `version` is that of the scores so far.

    Where p_open has no champion, no goal has one either: the whole night is in arm `fallback`.
    """
    goals = night.settings.objective.goals
    night_heads: dict[str, heads.Head] = {}
    facts: dict[str, object] = {}
    warnings, names = [], [version]
    for name, goal in sorted(goals.items()):
        champion = None
        if version != lineage.BASELINE:
            champion = _champion(MlflowTracker(registries.of_goal(night.settings.mlflow, name)), goal)
        if champion is not None:
            night_heads[name] = heads.Learned(champion.model)
            names.append(champion.model_version)
            facts[name] = {**goal.model_dump(), "model_version": champion.model_version}
            continue
        share = _share(night, goal)
        night_heads[name] = heads.SharedSuccess(share)
        facts[name] = {**goal.model_dump(), "share_of_success": share}
        warnings.append(f"goal {name} has no trusted model: it counts as {share:.4f} of each expected success")
    return Goals(night_heads, "+".join(names), facts, tuple(warnings))


def joined(scored: DataFrame, by_goal: Mapping[str, DataFrame]) -> DataFrame:
    """Return the scores plus `column(n)`, the p_open of the n-th of `by_goal`, on the same keys."""
    for n, scores in enumerate(by_goal.values()):
        scored = scored.join(scores.select(*_SCORED, F.col("p_open").alias(column(n))), list(_SCORED))
    return scored


def column(n: int) -> str:
    """Return the column with the chance of the n-th goal of `Goals.learned`, which `with_goals` replaces."""
    return f"goal_{n}"


def with_goals(scored: DataFrame, goals: Goals) -> DataFrame:
    """Return the scores with `p_goals`, goal to chance, in place of `column(n)`; NULL where no goals are configured."""
    if not goals.heads:
        return scored.withColumn("p_goals", F.lit(None).cast("map<string,double>"))
    pairs: list[Column] = []
    places = {name: F.col(column(n)) for n, name in enumerate(goals.learned)}
    for name, head in goals.heads.items():
        if isinstance(head, heads.SharedSuccess):
            chance = F.greatest(F.lit(LEAST_P), F.least(F.lit(1 - LEAST_P), F.col("p_open") * F.lit(head.share)))
        else:
            chance = places[name]
        pairs += [F.lit(name), chance]
    return scored.withColumn("p_goals", F.create_map(*pairs))


def worth(objective: Objective) -> Column:
    """Return the value of a send, in opens, from the columns of `slot_scores` (¶6, ¶8)."""
    if objective.kind == "incremental":
        return F.col("incremental")
    total = F.col("p_open")
    for name, goal in objective.goals.items():
        total = total + F.lit(goal.weight) * F.col("p_goals")[name]
    return total


def expected(rows: DataFrame, names: Sequence[str]) -> dict[str, float]:
    """Return the sum of each goal's chance over the rows, which have the column `p_goals`."""
    if not names:
        return {}
    sums = (F.coalesce(F.round(F.sum(F.col("p_goals")[name]), 9), F.lit(0.0)) for name in names)
    totals = rows.agg(*sums).head()
    assert totals is not None
    return {name: float(value) for name, value in zip(names, totals, strict=True)}


def measure(night: Night) -> dict[str, object]:
    """Write `goal_outcomes`: each goal's successes on the last plan date whose windows of the goal are over."""
    facts: dict[str, object] = {}
    for name, goal in sorted(night.settings.objective.goals.items()):
        facts[name] = None
        day = history.last_mature_plan(night, timedelta(hours=goal.window_hours))
        if day is None:
            continue
        counted = _delivered(night, name, goal, day).agg(
            F.count("*").alias("sent"),
            F.sum("success").cast("bigint").alias("successes"),
            F.round(F.sum("p"), 9).alias("expected_successes"),
        )
        totals = counted.head()
        if totals is None or not totals["sent"]:
            continue
        row = {"plan_date": day, "goal": name, **totals.asDict()}
        rows = night.spark.createDataFrame([row], schema_of(TABLES["goal_outcomes"]))
        night.lake.replace("goal_outcomes", rows, day, only=f"goal = '{name}'")
        facts[name] = {**row, "plan_date": str(day)}
    return facts


def _delivered(night: Night, name: str, goal: Goal, day: date) -> DataFrame:
    """Return p and success (0 or 1) of every delivered send of `day` that was planned with a chance of the goal."""
    log = exposures_of(night, day, _rules(night, goal)).where(~F.col("suspected"))
    plan = night.lake.read("send_plan", day).join(history.planned_again(night, day), "send_key", "left_anti")
    message = ["user_id", "notification_id"]
    chosen = night.lake.read("allocation", day).where("planned").select(*message, "slot")
    chances = night.lake.read("candidates", day).select(*message, "slot", F.col("p_goals")[name].alias("p"))
    return (
        plan.select("send_key", *message)
        .join(chosen, message)
        .join(chances.where(F.col("p").isNotNull()), [*message, "slot"])
        .join(log.select("send_key", F.col("label").alias("success")), "send_key")
        .select("p", "success")
    )


def _rules(night: Night, goal: Goal) -> Rules:
    settings = night.settings
    label = settings.label.model_copy(update={"kind": goal.kind, "window_hours": goal.window_hours})
    return rules_of(settings.grid, label, settings.features, settings.fatigue)


def _champion(tracker: MlflowTracker, goal: Goal) -> Registered | None:
    """Return the goal's champion; None without one, or where it predicts another interaction or window."""
    champion = tracker.champion()
    return champion if champion is not None and champion.model.card.label == heads.predicted(goal) else None


def _share(night: Night, goal: Goal) -> float:
    """Return goals per success among the sends that are mature for both."""
    first = night.plan_date - timedelta(days=night.settings.training.days)

    def labelled(rules: Rules, name: str) -> DataFrame:
        sends = mature_sends(exposures_of(night, first, rules), night, first, rules)
        return sends.where(~F.col("suspected")).select("send_key", F.col("label").alias(name))

    both = labelled(_rules(night, goal), "goal").join(labelled(rules_of_night(night), "success"), "send_key")
    counted = both.agg(F.coalesce(F.sum("goal"), F.lit(0)), F.coalesce(F.sum("success"), F.lit(0))).head()
    assert counted is not None
    return heads.share_of_success(int(counted[0]), int(counted[1]))


def _train(
    night: Night, name: str, goal: Goal, rows: arrow.Rows, fingerprint: str, tracker: MlflowTracker
) -> tuple[Kept, assess.Evaluation]:
    label = heads.predicted(goal)

    def evaluate(model: OpenModel | None, shown: pd.DataFrame) -> assess.Evaluation:
        share, edges = _simple_rule(night, shown), night.settings.features.segment_edges
        rules = {SHARE_OF_OPENS: share}
        return assess.evaluate(shown, model or share, None, night.settings.training, label, edges, rules)

    parameters = {"window_hours": goal.window_hours, "features": len(learn.FEATURES)}
    tables = (*lineage.LEARNT_FROM, ROWS)
    made_from = lineage.of_training(night, fingerprint, label, parameters, {"goal": name}, tables)
    return challenge.train(night, rows, made_from, tracker, evaluate, by_policy=False)


def _simple_rule(night: Night, rows: pd.DataFrame) -> heads.ShareOf:
    """Return the rule "a share of p_open", its share fitted on the days before the test."""
    champion = MlflowTracker(night.settings.mlflow).champion()
    p_open: Model
    if champion is not None and set(champion.model.card.features) <= set(rows):
        p_open = champion.model
    else:
        p_open = ShrunkBaseline(assess.shrinkage_of(rows, night.settings.features.segment_edges))
    known = rows[~rows["suspected"].to_numpy(bool)]
    parts = learn.split(known)
    return heads.ShareOf.fitted(p_open, known if parts is None else known[parts.train])
