"""Heads beside p_open: right where the truth is known, a share of successes where nothing is trusted, gated alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from propensity_rows import world

from sendopt.config.schema import Gate, Goal, Training
from sendopt.measurement.gate import judge
from sendopt.propensity import evaluation as assess
from sendopt.propensity import goals
from sendopt.propensity.model import OpenModel, split, train

SETTINGS = Training(bootstrap_samples=50, max_trees=80, min_data_in_leaf=40)
BUYS = {"news": 0.05, "offers": 0.5, "tips": 0.15}  # of those who open


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Sends with opens, and orders after some of them: by category, and not by person."""
    rows = world(users=250, days=40)
    chance = rows["category"].map(BUYS).to_numpy()
    ordered = rows["label"].to_numpy() * (np.random.default_rng(6).random(len(rows)) < chance)
    return rows.assign(opened=rows["label"], label=ordered, order=rows["truth"] * chance, suspected=False)


@pytest.fixture(scope="module")
def p_open(rows: pd.DataFrame) -> OpenModel:
    return train(rows.assign(label=rows["opened"]), SETTINGS, "open")


@pytest.fixture(scope="module")
def found(rows: pd.DataFrame, p_open: OpenModel) -> tuple[OpenModel, assess.Evaluation]:
    parts = split(rows)
    assert parts is not None
    label = goals.predicted(Goal(weight=4.0))
    model = train(rows, SETTINGS, label)
    share = goals.ShareOf.fitted(p_open, rows[parts.train])
    return model, assess.evaluate(rows, model, None, SETTINGS, label, rules={"share_of_opens": share})


def test_a_goals_model_is_calibrated_to_the_truth_and_beats_what_it_replaces(
    rows: pd.DataFrame, found: tuple[OpenModel, assess.Evaluation]
) -> None:
    model, evaluation = found
    parts = split(rows)
    assert parts is not None
    later = rows[parts.test]
    p = model.predict(later)
    assert later["order"].sum() / p.sum() == pytest.approx(1, abs=0.1), "some five hundred orders were learnt from"
    by_category = later.assign(p=p).groupby("category")[["p", "order"]].mean()
    np.testing.assert_allclose(by_category["p"], by_category["order"], atol=0.02)
    assert list(by_category.sort_values("p").index) == ["news", "tips", "offers"]
    overall = next(r for r in evaluation["calibration_groups"] if r["by"] == "overall")
    assert overall["low"] < 1 < overall["high"]
    gains = {row["baseline"]: row for row in evaluation["gains"]}
    assert gains["global_rate"]["low"] > 0
    assert gains["share_of_opens"]["low"] > 0
    assert "shrunk" not in evaluation["log_loss"], "the users' records count opens, not orders"
    assert evaluation["cold_start"] is None


def test_the_gate_holds_a_goal_to_the_share_it_replaces_and_never_to_its_times(
    found: tuple[OpenModel, assess.Evaluation],
) -> None:
    _, evaluation = found
    passed = judge(evaluation, Gate(), by_policy=False)
    assert passed.promoted, passed.reasons
    assert not [reason for reason in passed.reasons if "off-policy" in reason]
    worse = {**evaluation["log_loss"], "share_of_opens": evaluation["log_loss"]["model"] - 0.001}
    refused = judge({**evaluation, "log_loss": worse}, Gate(), by_policy=False)
    assert not refused.promoted
    assert any("worse than that of the same share of every success" in reason for reason in refused.reasons)


def test_the_share_expects_what_was_seen(rows: pd.DataFrame, p_open: OpenModel) -> None:
    share = goals.ShareOf.fitted(p_open, rows)
    assert share.predict(rows).sum() == pytest.approx(rows["label"].sum(), rel=1e-9)
    head = goals.SharedSuccess(share.share)
    np.testing.assert_array_equal(head.chance(rows, p_open.predict(rows)), share.predict(rows))
    assert goals.SharedSuccess(50.0).chance(rows, np.full(3, 0.9)).max() < 1


@pytest.mark.parametrize(("seen", "share"), [((0, 0), 0.0), ((3, 0), 0.0), ((0, 9), 0.05), ((20, 9), 2.05)])
def test_goals_per_success_are_shrunk_and_count_nothing_where_nothing_is_known(
    seen: tuple[int, int], share: float
) -> None:
    assert goals.share_of_success(*seen) == pytest.approx(share)


def test_worth_adds_the_goals_in_opens() -> None:
    named = {"order": Goal(weight=4.0), "visit": Goal(kind="click", weight=0.5)}
    chances = {"order": np.array([0.02, 0.0]), "visit": np.array([0.1, 0.2])}
    np.testing.assert_allclose(goals.worth(np.array([0.1, 0.2]), chances, named), [0.23, 0.3])
    assert goals.predicted(named["visit"]) == "click within 72 h"
