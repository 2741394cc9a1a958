"""Observed over expected: the interval is the bootstrap's, covers the truth, and its groups hold every send once."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sendopt.propensity.calibration import ratio_interval, ratios


def _log(users: int, sends: int, seed: int, spread: float = 0.7) -> tuple[np.ndarray, ...]:
    """(y, p, user): each user's true rate differs from the expected one by a factor of its own."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(users), sends)
    p = rng.uniform(0.05, 0.3, users * sends)
    own = np.exp(spread * rng.normal(size=users) - spread**2 / 2)[user]
    return (rng.random(len(p)) < np.minimum(p * own, 1.0)).astype(float), p, user


def test_the_interval_agrees_with_resampling_users() -> None:
    y, p, user = _log(200, 30, seed=1)
    ratio, low, high = ratio_interval(y, p, user)
    rng = np.random.default_rng(2)
    ys, ps = np.bincount(user, y), np.bincount(user, p)
    drawn = [rng.integers(0, 200, 200) for _ in range(4000)]
    resampled = [ys[at].sum() / ps[at].sum() for at in drawn]
    assert ratio == y.sum() / p.sum()
    np.testing.assert_allclose([low, high], np.percentile(resampled, [2.5, 97.5]), atol=0.02)
    # taking sends for independent would claim far too much
    assert high - low > 2 * 2 * 1.96 * np.sqrt(y.sum()) / p.sum() * 0.6


def test_the_interval_covers_the_truth() -> None:
    covered = 0
    for seed in range(200):
        y, p, user = _log(150, 20, seed)
        _, low, high = ratio_interval(y, p, user)
        covered += low <= 1.0 <= high
    assert covered >= 182  # of 200: 95 % less three standard errors


def test_nothing_observed_is_no_proof_of_zero() -> None:
    assert ratio_interval(np.zeros(10), np.full(10, 0.1), np.arange(10)) == (0.0, 0.0, 1.959963984540054)


def test_groups_hold_every_send_once_and_a_wrong_one_is_seen() -> None:
    y, p, user = _log(300, 30, seed=3, spread=0.0)
    rng = np.random.default_rng(4)
    test = pd.DataFrame(
        {"user_id": user, "local_hour": rng.integers(8, 20, len(y)), "channel": rng.choice(["email", "push"], len(y))}
    )
    test["local_hour"] = test["local_hour"].astype("int32")
    push = (test["channel"] == "push").to_numpy()
    found = ratios(test, y, np.where(push, p * 1.5, p))
    for by in ("overall", "slot", "decile", "channel"):
        mine = [row for row in found if row["by"] == by]
        assert sum(row["n"] for row in mine) == len(y)
        assert sum(row["observed"] for row in mine) == y.sum()
    verdict = {row["name"]: row["calibrated"] for row in found if row["by"] == "channel"}
    assert verdict == {"email": True, "push": False}
