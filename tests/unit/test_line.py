"""The calibrated line against truth, and against an optimiser that knows nothing of Newton steps."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from scipy.optimize import minimize

from sendopt.propensity import line
from sendopt.propensity.line import PRIOR, Line, Term
from sendopt.stats.logistic import expit, logit

FEATURES = ("hour_rate", "days_since_open", "channel", "sends_7d")
WORDS = {"channel": ("email", "push")}


def rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(matrix, true log-odds): the user's rate counts by its log-odds, push 0.8 more than email, never opened -0.5."""
    rng = np.random.default_rng(seed)
    rate, days, channel = rng.beta(2, 8, count), rng.exponential(5, count), rng.integers(0, 2, count).astype(float)
    days[rng.random(count) < 0.2] = np.nan
    truth = 0.9 * logit(rate) + 0.8 * channel - 0.5 * np.isnan(days)
    return np.column_stack([rate, days, channel, rng.poisson(3, count)]), truth


def drawn(truth: np.ndarray, seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random(len(truth)) < expit(truth)).astype(float)


def added(found: Line, matrix: np.ndarray) -> np.ndarray:
    return np.asarray(found.add(0.0, dict(zip(FEATURES, matrix.T, strict=True)), WORDS))


def test_scale_and_shift_of_the_trees_are_repaired() -> None:
    truth = np.random.default_rng(0).normal(-1, 1, 50_000)
    found, _ = line.fit(2 * truth + 1, drawn(truth), np.zeros((50_000, 0)), (), {})
    assert (found.intercept, found.slope, found.terms) == (
        pytest.approx(-0.5, abs=0.03),
        pytest.approx(0.5, abs=0.03),
        (),
    )


def test_an_order_that_does_not_hold_is_left_out_and_the_terms_stay() -> None:
    matrix, truth = rows(50_000)
    found, _ = line.fit(-truth + np.random.default_rng(2).normal(size=50_000), drawn(truth), matrix, FEATURES, WORDS)
    assert found.slope == 0.0
    assert np.corrcoef(added(found, matrix), truth)[0, 1] > 0.99
    assert line.fit(-truth, drawn(truth), matrix[:, :0], (), {})[0].slope == 0.0


def test_terms_say_what_trees_have_not_learnt() -> None:
    matrix, truth = rows(100_000)
    found, _ = line.fit(np.zeros(100_000), drawn(truth), matrix, FEATURES, WORDS)
    assert found.chance(np.zeros(100_000), added(found, matrix)) == pytest.approx(expit(truth), abs=0.02)
    by_name = {(t.feature, t.shape): t.weight for t in found.terms}
    assert by_name["hour_rate", "log_odds"] == pytest.approx(0.9, abs=0.03)
    assert by_name["channel", "push"] - by_name["channel", "email"] == pytest.approx(0.8, abs=0.04)
    assert by_name["days_since_open", "missing"] == pytest.approx(-0.5, abs=0.05)
    assert "sends_7d" not in {t.feature for t in found.terms}


def test_trees_that_know_the_truth_leave_nothing_to_the_terms() -> None:
    matrix, truth = rows(100_000)
    found, _ = line.fit(truth, drawn(truth), matrix, FEATURES, WORDS)
    assert found.slope == pytest.approx(1.0, abs=0.05)
    assert np.std(added(found, matrix)) < 0.05


def test_the_line_is_the_maximum_of_the_penalised_likelihood() -> None:
    """Terms written out and the optimum found by BFGS: another way to the same numbers."""
    matrix, truth = rows(3_000)
    raw, y = truth + np.random.default_rng(3).normal(size=3_000), drawn(truth)
    rate, days, push = logit(matrix[:, 0]), np.log1p(matrix[:, 1]), matrix[:, 2]
    terms = np.column_stack([rate, days, np.isnan(days), push == 0, push == 1]).astype(float)
    mean, spread = np.nanmean(terms, axis=0), np.nanstd(terms, axis=0)
    x = np.nan_to_num((terms - mean) / spread)

    def loss(b: np.ndarray) -> float:
        z = b[0] + b[1] * raw + x @ b[2:]
        return np.logaddexp(0, z).sum() - y @ z + (b[0] ** 2 + (b[1] - 1) ** 2 + PRIOR * b[2:] @ b[2:]) / 2

    best = minimize(loss, np.zeros(7), method="BFGS", options={"gtol": 1e-7}).x
    found, _ = line.fit(raw, y, matrix, FEATURES, WORDS)
    assert (found.intercept, found.slope) == pytest.approx(tuple(best[:2]), abs=1e-4)
    assert [t.weight for t in found.terms] == pytest.approx(list(best[2:] / spread), abs=1e-4)
    assert added(found, matrix) == pytest.approx(x @ best[2:], abs=1e-4)


def test_something_beside_moves_the_line() -> None:
    matrix, truth = rows(50_000)
    arm = (np.random.default_rng(4).random(50_000) < 0.5).astype(float)
    _, moved = line.fit(truth, drawn(truth + 0.4 * arm), matrix, FEATURES, WORDS, arm)
    assert moved == pytest.approx(0.4, abs=0.05)


def test_a_missing_value_or_an_unknown_word_adds_no_surprise() -> None:
    number, word = Term("hour_rate", "log_odds", None, -1.0, 2.0), Term("channel", "push", None, 0.25, 2.0)
    assert number.of({"hour_rate": np.array([np.nan, 0.5])}, WORDS) == pytest.approx([0.0, 2.0])
    assert word.of({"channel": np.array([np.nan, 0.0, 1.0])}, WORDS) == pytest.approx([-0.5, -0.5, 1.5])


def test_a_term_may_count_at_weekends_only() -> None:
    features = ("user_hour_activity", "weekend")
    rng = np.random.default_rng(5)
    x = np.column_stack([rng.beta(2, 30, 100_000), rng.random(100_000) < 0.3]).astype(float)
    truth = np.where(x[:, 1] == 1, 0.1, 0.6) * np.log(x[:, 0]) + 1
    found, _ = line.fit(np.zeros(100_000), drawn(truth), x, features, {})
    added = found.add(0.0, dict(zip(features, x.T, strict=True)), {})
    assert np.abs(found.chance(np.zeros(100_000), added) - expit(truth)).mean() < 0.005
    assert [(t.shape, t.times) for t in found.terms] == [("log", None), ("log", "weekend"), ("value", None)]


def test_what_does_not_vary_has_no_term() -> None:
    matrix, truth = rows(5_000)
    matrix[:, 0], matrix[:, 1] = 0.2, np.nan
    found, _ = line.fit(truth, drawn(truth), matrix, FEATURES, WORDS)
    assert {t.feature for t in found.terms} == {"channel"}


def test_a_line_is_plain_json() -> None:
    found, _ = line.fit(np.zeros(3_000), drawn(rows(3_000)[1]), rows(3_000)[0], FEATURES, WORDS)
    assert Line.of(asdict(found)) == found
