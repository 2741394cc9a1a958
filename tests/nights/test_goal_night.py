"""Nights that count orders beside opens: right by the world's truth, and planned for what sells (model ¶5, ¶8)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession
from worlds import PLAN_DATE, make_world

from sendopt.config.loader import load
from sendopt.config.schema import AudienceAll, Gate, Goal, Objective, Settings, Training
from sendopt.demo import play
from sendopt.domain.keys import keyed_hash
from sendopt.lake.tables import read_table
from sendopt.night import runtime
from sendopt.propensity import goals as heads
from sendopt.propensity.model import split
from sendopt.report import render
from sendopt.report.data import load as load_report
from sendopt.simulation.nature import p_order
from sendopt.simulation.raw import remember
from sendopt.simulation.world import World, world_file
from sendopt.spark.engine.lake import Lake
from sendopt.spark.lineage import of_scores
from sendopt.spark.night import Night
from sendopt.spark.propensity import goals, score_slots, train_propensity
from sendopt.tracking import registries
from sendopt.tracking.mlflow import MlflowTracker

pytestmark = pytest.mark.slow
PLAN = ["score_slots", "build_candidates", "allocate", "publish_schedule"]
ORDER, VISIT = Goal(weight=8.0), Goal(kind="click", window_hours=24.0, weight=0.5)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("goals")
    make_world(folder, users=200, days=28)
    return folder


@pytest.fixture(scope="module")
def plain(home: Path) -> Settings:
    training = Training(days=30, folds=2, max_trees=40, min_data_in_leaf=40, bootstrap_samples=50)
    gate = Gate(min_calibration_ratio=0.5, max_calibration_ratio=2.0)
    settings = load(home / "conf")
    # one campaign a category, of equal value, for everyone: what sells must be found
    alike = {"value": 1.0, "audience": AudienceAll(kind="all"), "max_sends": None, "min_sends": 0, "window": None}
    names = ("price_drop", "cart_reminder", "daily_digest", "friend_activity", "app_tips")
    campaigns = {name: settings.campaigns[name].model_copy(update=alike) for name in names}
    return settings.model_copy(update={"training": training, "gate": gate, "campaigns": campaigns})


def with_goals(plain: Settings, **named: Goal) -> Settings:
    return plain.model_copy(update={"objective": Objective(goals=named)})


@pytest.fixture(scope="module")
def planned(spark: SparkSession, home: Path, plain: Settings) -> dict[str, object]:
    """The same night without and with orders: facts of training, plans; the tables hold the one with orders."""
    conf, one = home / "conf", with_goals(plain, order=ORDER)
    *_, trained = runtime.run_in(spark, PLAN_DATE, one, conf, ["ingest", "build_features", "train_propensity"])
    list(runtime.run_in(spark, PLAN_DATE, plain, conf, PLAN[:3]))
    assert read_table(plain.paths.data, "candidates", PLAN_DATE)["p_goals"].isna().all()
    opens = planned_cells(plain)
    selling = with_goals(plain, order=ORDER, visit=VISIT)  # of `visit` no model was asked for
    reports = list(runtime.run_in(spark, PLAN_DATE, selling, conf, PLAN))
    facts = {report.stage: report.facts for report in reports}
    found = {"opens": opens, "orders": planned_cells(selling)}
    return {"trained": trained.facts, "facts": facts, "settings": selling, **found}


def planned_cells(settings: Settings) -> pd.DataFrame:
    """The planned cells of the night, each with its arm, chances and `at`, the start of its slot."""
    cells, chosen = (read_table(settings.paths.data, name, PLAN_DATE) for name in ("candidates", "allocation"))
    keys = ["user_id", "notification_id", "slot"]
    rows = chosen[chosen["planned"]][keys].merge(cells, on=keys)
    return rows.assign(at=pd.Timestamp(PLAN_DATE, tz="UTC") + pd.to_timedelta(rows["slot"], unit="h"))


def night_of(spark: SparkSession, home: Path, settings: Settings) -> Night:
    return Night(Lake(spark, settings.paths.data), settings, PLAN_DATE, home / "conf")


def indices(world: World, rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    user = pd.Series(np.arange(len(world.people.ids)), index=world.people.ids).loc[rows["user_id"]].to_numpy()
    places = rows["category"].map(world.categories.index), rows["channel"].map(world.channels.index)
    return user, *(place.to_numpy() for place in places)


def truth(world: World, rows: pd.DataFrame, at: pd.Series, fatigue: np.ndarray) -> np.ndarray:
    """The true chance of an order within 72 hours of each row's send."""
    user, category, channel = indices(world, rows)
    seconds = at.dt.tz_localize(None).to_numpy("datetime64[s]").astype(np.int64)
    return p_order(world, user, category, world.p_open(user, seconds, category, channel, fatigue), 72.0)


@pytest.fixture(scope="module")
def world(home: Path, plain: Settings) -> World:
    return World.load(world_file(home / "world" / "raw"), plain.campaigns)


def test_the_goals_model_is_right_by_the_truth_and_kept_beside_that_of_p_open(
    spark: SparkSession, home: Path, plain: Settings, planned: dict, world: World
) -> None:
    trained = planned["trained"]
    assert trained["goals"]["order"]["promoted"] is True, trained["goals"]["order"]["gate"]
    tracker = MlflowTracker(registries.of_goal(plain.mlflow, "order"))
    champion = tracker.champion()
    assert champion is not None
    assert champion.model_version == "sendopt-p-open-goal-order/1"
    assert champion.model.card.label == "goal within 72 h"
    rows = read_table(plain.paths.data, "goal_training_rows")
    parts = split(rows)
    assert parts is not None
    later = rows[parts.test]
    p = champion.model.predict(later)
    true = truth(world, later, later["sent_at_utc"], later["fatigue_points"].to_numpy())
    assert true.sum() / p.sum() == pytest.approx(1, abs=0.2), "some two hundred orders were learnt from"
    overall = next(r for r in champion.evaluation["calibration_groups"] if r["by"] == "overall")
    assert overall["low"] < 1 < overall["high"]
    assert champion.evaluation["log_loss"]["model"] < champion.evaluation["log_loss"]["global_rate"]
    constant = float(rows[parts.train]["label"].mean())

    def surprise(q: np.ndarray | float) -> float:
        return float(-(true * np.log(q) + (1 - true) * np.log1p(-np.asarray(q))).sum())

    assert surprise(p) < surprise(constant), "also by the truth itself"
    with tracker._reading() as client:
        run = client.get_run(champion.run_id)
        assert client.get_experiment(run.info.experiment_id).name == "sendopt-goals"
        assert run.data.tags["goal"] == "order"
        assert run.data.params["window_hours"] == "72.0"
    night = replace(night_of(spark, home, with_goals(plain, order=ORDER)), retrain=False)
    again = train_propensity.run(night).facts
    assert again["trained"] is False, "p_open has its champion"
    assert again["goals"] == {"order": {"trained": False, "model_version": "sendopt-p-open-goal-order/1"}}
    reused = goals.train(replace(night, retrain=True))
    assert reused.facts["order"]["trained"] is False, "the same rows, settings and code are not trained again"
    assert reused.facts["order"]["model_version"] == "sendopt-p-open-goal-order/1"


def test_another_window_is_another_goal(spark: SparkSession, home: Path, plain: Settings, planned: dict) -> None:
    settings = with_goals(plain, order=Goal(weight=8.0, window_hours=1.0))
    found = goals.of_night(night_of(spark, home, settings), "sendopt-p-open/1")
    assert found.version == "sendopt-p-open/1"
    assert isinstance(found.heads["order"], heads.SharedSuccess)
    fallback = goals.of_night(night_of(spark, home, with_goals(plain, order=ORDER)), "baseline")
    assert fallback.version == "baseline", "a night whose p_open nobody trusts is one of arm fallback"
    assert isinstance(fallback.heads["order"], heads.SharedSuccess)


def test_a_goal_that_hardly_happens_has_no_model_and_its_run_says_why(
    spark: SparkSession, home: Path, plain: Settings, planned: dict
) -> None:
    rare = with_goals(plain, rare=Goal(weight=8.0, window_hours=0.01))
    night = night_of(spark, home, rare)
    trained = goals.train(night)
    found = trained.facts["rare"]
    assert (found["kind"], found["model_version"], found["promoted"]) == ("baseline", None, False)
    assert "The rarer outcome was seen 0 times" in found["gate"]["reasons"][0]
    assert (trained.refused, trained.warnings) == ((), ())
    kept = registries.goal_evaluations(plain.mlflow, ["order", "rare", "never_trained"])
    assert {name: evaluation["kind"] for name, evaluation in kept.items()} == {"order": "lightgbm", "rare": "baseline"}
    assert goals.of_night(night, "sendopt-p-open/1").heads["rare"].share < 0.01


def test_sends_move_to_what_sells_and_the_value_is_their_worth(
    home: Path, plain: Settings, planned: dict, world: World
) -> None:
    points = remember(world, home / "world" / "raw", PLAN_DATE).points
    brought = {}
    for name in ("opens", "orders"):
        plan = planned[name]
        plan = plan[plan["arm"] == "treatment"]
        fatigue = points[indices(world, plan)[0]]
        brought[name] = truth(world, plan, plan["at"], fatigue).sum(), plan["p_open"].sum()
    assert brought["orders"][0] > 1.05 * brought["opens"][0], brought
    assert brought["orders"][1] < brought["opens"][1], "at the cost of opens"

    settings = planned["settings"]
    cells = read_table(plain.paths.data, "candidates", PLAN_DATE)
    cells = cells[cells["eligible"]]
    chances = pd.DataFrame([dict(pairs) for pairs in cells["p_goals"]])
    assert list(chances) == ["order", "visit"]
    p_open = cells["p_open"].to_numpy()
    worth = heads.worth(p_open, {n: chances[n].to_numpy() for n in chances}, settings.objective.goals)
    weight = cells["campaign_id"].map({n: c.value for n, c in settings.campaigns.items()}).to_numpy()
    np.testing.assert_allclose(
        cells["value"], weight * worth - settings.objective.opt_out_cost * cells["p_opt_out"], rtol=1e-12
    )
    facts = planned["facts"]
    share = facts["score_slots"]["goals"]["visit"]["share_of_success"]
    assert 0.1 < share < 0.2, "clicks are 15 % of opens"
    np.testing.assert_array_equal(chances["visit"], heads.SharedSuccess(share).chance(cells, p_open))
    assert facts["score_slots"]["model_version"] == "sendopt-p-open/1+sendopt-p-open-goal-order/1"
    assert any("goal visit has no trusted model" in w for w in facts["score_slots"]["warnings"])
    orders = sum(dict(pairs)["order"] for pairs in planned["orders"]["p_goals"])
    assert facts["publish_schedule"]["expected_goals"]["order"] == pytest.approx(orders)


def test_both_ways_of_scoring_give_the_same_rows(
    spark: SparkSession, home: Path, planned: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = planned["settings"]

    def rows() -> list[str]:
        found = read_table(settings.paths.data, "slot_scores", PLAN_DATE)
        return sorted(keyed_hash(*(str(v) for v in row)) for row in found.itertuples(index=False))

    before = rows()
    night = night_of(spark, home, settings)
    version = of_scores(night).plan_version
    monkeypatch.setattr(score_slots, "forest_of", lambda _: "a test")
    again = score_slots.run(night).facts
    assert (again["scored_by"], again["plan_version"]) == ("rows (a test)", version)
    assert rows() == before


def test_the_report_names_the_goals_and_later_what_they_brought(spark: SparkSession, home: Path, planned: dict) -> None:
    settings = planned["settings"]
    play(home / "world" / "raw", settings, PLAN_DATE)
    later = PLAN_DATE + timedelta(days=4)
    list(runtime.run_in(spark, later, settings, home / "conf", ["ingest"]))
    night = replace(night_of(spark, home, settings), plan_date=later)
    measured = goals.measure(night)
    plan = read_table(settings.paths.data, "send_plan", PLAN_DATE)
    log, came = (read_table(settings.paths.data, name) for name in ("sends", "interactions"))
    delivered = plan.merge(log[["send_key", "sent_at_utc"]], on="send_key")
    orders = delivered.merge(came[came["kind"] == "goal"], on="send_key")
    assert measured["order"]["sent"] == len(delivered) > 100
    assert measured["order"]["successes"] == (orders["at_utc"] - orders["sent_at_utc"] <= pd.Timedelta(hours=72)).sum()
    assert measured["order"]["expected_successes"] > 0
    assert goals.measure(night) == measured

    evaluations = registries.goal_evaluations(settings.mlflow, settings.objective.goals)
    assert set(evaluations) == {"order"}
    page = render(load_report(settings.paths.data, PLAN_DATE, None, evaluations))
    for words in (
        "2 goals beside the label",
        "goal within 72 hours",
        "Model sendopt-p-open-goal-order/1",
        "of each success, no trusted model",
        "of goal order",
    ):
        assert words in page, words
    assert "Goals of earlier plans" in render(load_report(settings.paths.data, later, None, evaluations))
