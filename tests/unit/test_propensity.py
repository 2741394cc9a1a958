"""The model without an engine: its parts, its texts, and that it comes out the same twice (¶5, ¶14, ¶17)."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from propensity_rows import world

from sendopt.config.schema import Gate, OptOut, Training
from sendopt.errors import ModelError
from sendopt.measurement.gate import judge
from sendopt.propensity import evaluation as assess
from sendopt.propensity import opt_out
from sendopt.propensity.line import Line, Term
from sendopt.propensity.model import FEATURES, TIMING, Card, OpenModel, obstacles, split, train
from sendopt.propensity.shrinkage import Shrinkage, ShrunkBaseline
from sendopt.stats.logistic import expit, fit_logistic, logit

SETTINGS = Training(bootstrap_samples=100)
BASELINE = ShrunkBaseline(Shrinkage((1.0,), 0.25, (0.25, 0.25), 20.0, 100.0))


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return world(users=150, days=30)


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> OpenModel:
    return train(rows, SETTINGS, "open")


@pytest.fixture(scope="module")
def evaluation(rows: pd.DataFrame, model: OpenModel) -> assess.Evaluation:
    return assess.evaluate(rows, model, model, SETTINGS, "open")


def test_shuffling_borrows_only_from_the_same_users_earlier_days(rows: pd.DataFrame) -> None:
    marked = rows.assign(user_hour_rate=np.arange(len(rows), dtype=float))
    borrowed = assess.shuffled_slots(marked, seed=3)
    source = borrowed["user_hour_rate"].dropna().astype(int)
    assert len(source) == len(rows) - rows["user_id"].nunique()
    assert (marked["user_id"].to_numpy()[source] == marked["user_id"][source.index]).all()
    assert (marked["plan_date"].to_numpy()[source] < marked["plan_date"][source.index]).all()
    kept = [c for c in rows.columns if c not in TIMING]
    pd.testing.assert_frame_equal(borrowed[kept], marked[kept])


def test_calibration_bins_hold_every_test_send_once(evaluation: assess.Evaluation) -> None:
    bins = evaluation["calibration"]
    assert sum(b["n"] for b in bins) == evaluation["split"]["test"]
    assert [b["expected"] for b in bins] == sorted(b["expected"] for b in bins)
    seen = sum(b["observed"] * b["n"] for b in bins) / sum(b["expected"] * b["n"] for b in bins)
    assert seen == pytest.approx(evaluation["observed_over_expected"])


def test_the_same_rows_give_the_same_bytes(rows: pd.DataFrame, model: OpenModel) -> None:
    again = train(rows, SETTINGS, "open")
    assert again.booster_text == model.booster_text
    assert again.card.to_json() == model.card.to_json()


def test_test_days_are_not_seen_in_training(rows: pd.DataFrame, model: OpenModel) -> None:
    parts = split(rows)
    assert parts is not None
    changed = rows.assign(label=np.where(parts.test, 1 - rows["label"], rows["label"]))
    assert train(changed, SETTINGS, "open").booster_text == model.booster_text


def test_text_and_card_predict_bit_equal(rows: pd.DataFrame, model: OpenModel) -> None:
    copy = OpenModel(model.booster_text, Card.from_json(model.card.to_json()))
    np.testing.assert_array_equal(copy.predict(rows), model.predict(rows))


def test_an_unseen_category_counts_as_missing(rows: pd.DataFrame, model: OpenModel) -> None:
    some = rows.head(50)
    unseen, missing = some.assign(category="never seen"), some.assign(category=None)
    np.testing.assert_array_equal(model.predict(unseen), model.predict(missing))


def test_no_rows_give_no_predictions(rows: pd.DataFrame, model: OpenModel) -> None:
    assert model.predict(rows.head(0)).shape == (0,)


def test_a_missing_feature_is_named(rows: pd.DataFrame, model: OpenModel) -> None:
    with pytest.raises(ModelError, match="fatigue_points"):
        model.predict(rows.drop(columns="fatigue_points"))


def test_a_damaged_card_is_refused() -> None:
    with pytest.raises(ModelError, match="card is not readable"):
        Card.from_json('{"label": "open"}')


@pytest.mark.parametrize(
    "wrong",
    [("moon", "log", None), ("rate_90d", "cube", None), ("channel", "pigeon", None), ("weekend", "value", "moon")],
)
def test_a_line_of_unknown_terms_is_refused(model: OpenModel, wrong: tuple[str, str, str | None]) -> None:
    card = replace(model.card, line=Line(0.0, 1.0, (Term(*wrong, 0.0, 1.0),)))
    with pytest.raises(ModelError, match=f"{wrong[0]} as {wrong[1]}"):
        Card.from_json(card.to_json())


def test_splits_are_whole_days_in_time_order(rows: pd.DataFrame) -> None:
    parts = split(rows)
    assert parts is not None
    assert (parts.train != parts.test).all()
    days = rows["plan_date"]
    assert days[parts.train].max() < days[parts.test].min()
    assert round(parts.train.mean(), 2) == 0.8


def test_three_days_leave_two_to_learn_from(rows: pd.DataFrame) -> None:
    three = rows[rows["plan_date"].isin(sorted(rows["plan_date"].unique())[:3])]
    parts = split(three)
    assert parts is not None
    assert three["plan_date"][parts.train].nunique() == 2


def test_what_keeps_rows_from_training_is_said(rows: pd.DataFrame) -> None:
    assert obstacles(rows, 4) == []
    assert obstacles(rows.head(0), 4) == ["0 mature sends to learn from; at least 200 are needed."]
    assert obstacles(rows.head(199), 4) == ["199 mature sends to learn from; at least 200 are needed."]
    one_day = rows.assign(plan_date=rows["plan_date"].iloc[0])
    assert "at least three" in obstacles(one_day, 4)[0]
    assert "seen 0 times" in obstacles(rows.assign(label=0), 4)[0]
    alone = rows.assign(user_id="u0")
    with pytest.raises(ModelError, match=r"A fold of the users lacks one of the outcomes.*training\.folds"):
        train(alone, SETTINGS, "open")
    with pytest.raises(ModelError, match="seen 0 times"):
        train(rows.assign(label=1), SETTINGS, "open")


def test_logistic_regression_finds_known_coefficients() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60_000, 2))
    y = (rng.random(60_000) < expit(0.3 + x @ np.array([1.0, -0.5]))).astype(float)
    assert fit_logistic(x, y, near=(0.0, 0.0, 0.0)) == pytest.approx((0.3, 1.0, -0.5), abs=0.04)


def test_evaluation_is_plain_json_of_the_agreed_keys(evaluation: assess.Evaluation) -> None:
    text = json.dumps(evaluation, allow_nan=False)
    assert json.loads(text) == evaluation
    assert list(evaluation) == [
        *("model_version", "kind", "label", "split", "log_loss", "gains", "calibration"),
        *(
            "calibration_groups",
            "observed_over_expected",
            "slot_lift",
            "machine_opens",
            "cold_start",
            "importance",
            "placebo",
            "gate",
        ),
    ]
    assert set(evaluation["log_loss"]) == {
        "model",
        "global_rate",
        "slot",
        "user",
        "user_slot",
        "shrunk",
        "model_shuffled_slots",
    }
    assert [row["feature"] for row in evaluation["importance"]] != []
    assert {row["feature"] for row in evaluation["importance"]} == set(FEATURES)
    assert sum(row["share"] for row in evaluation["importance"]) == pytest.approx(1.0)


def test_a_feature_that_only_the_line_uses_is_shown_too(rows: pd.DataFrame, model: OpenModel) -> None:
    only = Line(0.0, 0.0, (Term("channel", "push", None, 0.0, 1.0),))
    assert OpenModel(model.booster_text, replace(model.card, line=only)).influence(rows)["channel"] == pytest.approx(1)


def test_a_baseline_is_evaluated_too_and_never_promoted(rows: pd.DataFrame) -> None:
    evaluation = assess.evaluate(rows, BASELINE, None, SETTINGS, "open")
    assert evaluation["kind"] == "baseline"
    assert evaluation["log_loss"]["model_shuffled_slots"] is None
    assert judge(evaluation, Gate()).promoted is False
    without_rows = assess.evaluate(rows.head(0), BASELINE, None, SETTINGS, "open")
    assert set(without_rows) == set(evaluation)
    assert set(without_rows["log_loss"]) == set(evaluation["log_loss"])


def test_placebo_sets_sent_beside_not_sent() -> None:
    points = pd.DataFrame(
        {
            "user_id": ["a", "a", "b", "b"],
            "local_hour": [9, 9, 9, 14],
            "sent": [True, False, False, True],
            "n": [10, 10, 10, 4],
            "successes": [5, 4, 6, 1],
        }
    )
    placebo = assess.placebo(points, SETTINGS)
    assert placebo is not None
    assert placebo["rows"] == [{"slot": "09:00", "sent": 0.5, "not_sent": 0.5, "n_sent": 10, "n_not_sent": 20}]
    assert "when people walk" in placebo["note"]
    assert "Sent minus not sent: -7.1 points" in placebo["note"]
    assert assess.placebo(points[points["sent"]], SETTINGS) is None
    assert assess.placebo(points.head(0), SETTINGS) is None


def test_opt_out_rates_shrink_and_never_fall_with_fatigue() -> None:
    counts = pd.DataFrame(
        {
            "channel": ["push", "push", "push", "sms"],
            "fatigue_bin": [0, 1, 2, 0],
            "sends": [1000, 1000, 100, 100],
            "opt_outs": [10, 5, 8, 0],
        }
    )
    rates = opt_out.fit(counts, OptOut(prior_sends=100.0, fatigue_edges=(1.0, 2.0)))
    overall = 23 / 2200
    channel = (23 + 100 * overall) / 2200
    pooled, tired = (15 + 200 * channel) / 2200, (8 + 100 * channel) / 200
    scale = 2100 * channel / (2000 * pooled + 100 * tired)
    assert rates.overall == pytest.approx(overall)
    assert rates.by_channel["push"] == pytest.approx((scale * pooled, scale * pooled, scale * tired))
    assert list(rates.by_channel["sms"]) == sorted(rates.by_channel["sms"])
    p = rates.predict(pd.Series(["push", "push", "fax"]), np.array([0.0, 2.0, 9.0]))
    assert p == pytest.approx([scale * pooled, scale * tired, overall])


def test_opt_out_rates_are_calibrated_where_the_truth_is_known() -> None:
    """30 logs of about 100 opt-outs; the true rate rises with fatigue and differs by channel."""
    settings, truth = OptOut(), {"push": 0.0009, "email": 0.0006, "sms": 0.0018}
    rng = np.random.default_rng(1)
    channel = rng.choice(list(truth), 90_000, p=[0.5, 0.4, 0.1])
    fatigue = rng.gamma(4.0, 0.6, len(channel))
    p = pd.Series(channel).map(truth).to_numpy() * (1 + (fatigue / 3) ** 2) / 1.5
    groups = {"all": p > 0, "tired": fatigue >= 2.0, **{c: channel == c for c in truth}}
    log = pd.DataFrame({"channel": channel, "fatigue_bin": np.digitize(fatigue, settings.fatigue_edges)})
    expected = dict.fromkeys(groups, 0.0)
    for _ in range(30):
        log["out"] = rng.random(len(p)) < p
        counts = log.groupby(["channel", "fatigue_bin"])["out"].agg(sends="size", opt_outs="sum").reset_index()
        rates = opt_out.fit(counts, settings)
        assert all(list(by_fatigue) == sorted(by_fatigue) for by_fatigue in rates.by_channel.values())
        q = rates.predict(pd.Series(channel), fatigue)
        expected = {name: total + q[groups[name]].sum() / 30 for name, total in expected.items()}
    for name, members in groups.items():
        assert p[members].sum() / expected[name] == pytest.approx(1.0, abs=0.12), name  # 25 opt-outs a channel and log
    assert p.sum() / expected["all"] == pytest.approx(1.0, abs=0.05)


def test_no_history_means_no_opt_outs_are_expected() -> None:
    none = pd.DataFrame({"channel": [], "fatigue_bin": [], "sends": [], "opt_outs": []})
    assert opt_out.fit(none, OptOut()).predict(pd.Series(["push"]), np.array([1.0])) == pytest.approx([0.0])


def test_pooling_gives_the_nearest_rising_sequence() -> None:
    values, weights = np.array([3.0, 1.0, 2.0, 5.0]), np.array([1.0, 1.0, 2.0, 1.0])
    assert opt_out.non_decreasing(values, weights) == pytest.approx([2.0, 2.0, 2.0, 5.0])


def test_a_model_without_slope_gives_one_rate(rows: pd.DataFrame, model: OpenModel) -> None:
    flat = OpenModel(model.booster_text, replace(model.card, line=Line(float(logit(np.float64(0.2))), 0.0)))
    assert flat.predict(rows.head(5)) == pytest.approx(np.full(5, 0.2))
