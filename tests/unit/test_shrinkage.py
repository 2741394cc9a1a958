"""Empirical Bayes with known truth: κ is found, twice over, and nobody fares worse for having few sends (¶17)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from propensity_rows import world
from scipy.optimize import minimize_scalar

from sendopt.config.schema import Training
from sendopt.errors import ModelError
from sendopt.propensity import evaluation as assess
from sendopt.propensity.model import split, train
from sendopt.propensity.shrinkage import LEAST, MOST, ShrunkBaseline, fit, kappa_by_moments
from sendopt.stats.beta_binomial import shrunk_rate
from sendopt.stats.losses import log_loss

EDGES = (5.0,)


def _records(kappa: float, rates: tuple[float, float], users: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Records of users in two segments with rates drawn from beta laws of this κ; their true rates."""
    rng = np.random.default_rng(seed)
    busy = rng.random(users) < 0.5
    mean = np.where(busy, rates[1], rates[0])
    p = rng.beta(kappa * mean, kappa * (1 - mean))
    n = rng.integers(0, 25, users)
    found = {"mature_90d": n, "successes_90d": rng.binomial(n, p), "sessions_30d": np.where(busy, 9, 2)}
    return pd.DataFrame(found), p


@pytest.mark.parametrize("kappa", [6.0, 30.0])
def test_kappa_is_found(kappa: float) -> None:
    records, p = _records(kappa, (0.1, 0.3), 20_000, seed=1)
    found = fit(records, EDGES)
    assert found.kappa == pytest.approx(kappa, rel=0.12)
    assert found.segments == pytest.approx((0.1, 0.3), abs=0.01)
    shrunk, raw = found.rate(records), records["successes_90d"] / records["mature_90d"].clip(lower=1)
    cohort = found.cohort_rate(records["sessions_30d"].to_numpy(float))
    error = {name: float(((q - p) ** 2).mean()) for name, q in (("shrunk", shrunk), ("raw", raw), ("cohort", cohort))}
    assert error["shrunk"] < 0.9 * min(error["raw"], error["cohort"])


def kappa_by_likelihood(label: np.ndarray, x: np.ndarray, n: np.ndarray, prior: np.ndarray) -> float:
    """Return the κ that maximises the likelihood of each outcome given the x of n before it. All shapes (N,).

    Where every send follows its user's record, the product of these chances is the beta-binomial's marginal likelihood.
    """

    def loss(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return float(log_loss(label, shrunk_rate(x, n, prior, kappa)).mean())

    optimum = minimize_scalar(loss, bounds=(np.log(LEAST), np.log(MOST)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(optimum.x))


def test_moments_and_marginal_likelihood_agree() -> None:
    """One send after the other: the chances of each given those before multiply to the marginal likelihood."""
    rng = np.random.default_rng(3)
    users, sends, kappa, mean = 3000, 12, 10.0, 0.2
    p = rng.beta(kappa * mean, kappa * (1 - mean), users)
    y = (rng.random((users, sends)) < p[:, None]).astype(float)
    before = np.cumsum(y, axis=1) - y
    n = np.tile(np.arange(sends, dtype=float), (users, 1))
    likely = kappa_by_likelihood(y.ravel(), before.ravel(), n.ravel(), np.full(y.size, mean))
    ones = np.ones(users)
    moments = kappa_by_moments(y.sum(axis=1), sends * ones, ones, np.zeros(users, np.int64))
    assert likely == pytest.approx(moments, rel=0.1)
    assert likely == pytest.approx(kappa, rel=0.1)


def test_users_who_do_not_differ_are_all_taken_for_their_segment() -> None:
    rng = np.random.default_rng(4)
    n = np.full(4000, 10)
    same = pd.DataFrame({"mature_90d": n, "successes_90d": rng.binomial(n, 0.2), "sessions_30d": 9})
    assert fit(same, EDGES).kappa > 100


def test_counted_records_give_the_same_and_no_record_gives_one_half() -> None:
    records, _ = _records(8.0, (0.1, 0.3), 3000, seed=2)
    counted = records.value_counts().rename("users").reset_index()
    one, other = fit(records, EDGES), fit(counted, EDGES)
    assert other.kappa == pytest.approx(one.kappa)
    assert other.segments == pytest.approx(one.segments)
    nothing = fit(records.head(0), EDGES)
    assert nothing.segments == (0.5, 0.5)
    assert nothing.weight(np.array([0.0, 5.0])) == pytest.approx([0.0, 5 / (5 + nothing.kappa)])


def test_the_baseline_adds_logits_and_names_what_it_lacks() -> None:
    found = fit(_records(8.0, (0.1, 0.3), 3000, seed=2)[0], EDGES)
    frame = pd.DataFrame({"mature_90d": [0, 1000], "successes_90d": [0, 500], "sessions_30d": [9, 9], "hour_rate": 0.2})
    p = ShrunkBaseline(found).predict(frame.assign(hour_rate=found.overall))
    assert p[0] == pytest.approx(found.segments[1])
    assert p[1] == pytest.approx(0.5, abs=0.01)
    assert ShrunkBaseline(found, cohort_only=True).predict(frame)[1] == ShrunkBaseline(found).predict(frame)[0]
    with pytest.raises(ModelError, match="sessions_30d"):
        ShrunkBaseline(found).predict(frame.drop(columns="sessions_30d"))


def test_users_of_three_sends_or_fewer_fare_no_worse_than_their_cohorts_curve() -> None:
    """In a world where a third of the users come late, so that test days meet them new."""
    rows = world(users=600, days=24, timing=1.0, seed=6)
    number = rows["user_id"].str[1:].astype(int)
    late = (number % 3 == 0) & (number // 3 % 8 + 16 > rows["tenure_days"])
    first = np.where(number % 3 == 0, number // 3 % 8 + 16, 0)
    new = number % 3 == 0
    kept = rows[~late].copy()
    # what the features knew of days that now never were is taken out
    ours = new[~late].to_numpy()
    kept.loc[ours, "mature_90d"] = (kept["tenure_days"] - first[~late])[ours]
    seen = kept[ours].groupby("user_id")["label"]
    kept.loc[ours, "successes_90d"] = (seen.cumsum() - kept.loc[ours, "label"]).astype(float)
    base = kept["category_rate"]
    for name in ("rate_7d", "rate_30d", "rate_90d", "user_hour_rate", "user_daypart_rate"):
        shrunk = (kept["successes_90d"] + 20 * base) / (kept["mature_90d"] + 20)
        kept.loc[ours, name] = shrunk[ours]
    settings = Training(bootstrap_samples=200)
    found = assess.evaluate(kept, train(kept, settings, "open"), None, settings, "open")["cold_start"]
    parts = split(kept)
    assert parts is not None
    assert found["n"] == (kept[parts.test]["mature_90d"] <= 3).sum() > 300
    assert found["model"] <= found["cohort"]
    assert found["high"] > 0
