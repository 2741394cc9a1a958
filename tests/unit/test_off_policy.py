"""The estimators against plain Python, and what they must refuse (model ¶18)."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from sendopt.measurement.off_policy import ESTIMATORS, Estimate, Weighted, difference, interval, matched
from sendopt.stats.bootstrap import resampled

USERS = 12


def log(seed: int, kind: str):
    """(rows, Weighted, success, user): a row is (user, slot probability of the policy, pscore, taken, y, q, mean q)."""
    rng = random.Random(seed)
    rows = []
    for _ in range(300):
        user, policy, pscore = rng.randrange(USERS), rng.choice([0.0, 0.2, 0.5, 1.0]), rng.uniform(0.1, 0.9)
        taken = kind == "slot" or rng.random() < pscore
        rows.append((user, policy, pscore, taken, float(rng.random() < 0.4), rng.random(), rng.random()))
    columns = [np.array(c, float) for c in zip(*rows, strict=True)]
    user, policy, pscore, taken, success, here, mean = columns
    weight = np.where(taken > 0, policy / pscore, 0.0)
    base, modelled = (np.ones(len(rows)), mean) if kind == "slot" else (policy, here)
    return rows, Weighted(weight, base, modelled, success - here), success, user.astype(np.int64)


def plainly(rows, kind: str) -> dict[str, float]:
    """The same estimators as their papers write them, row by row."""
    acts = weights = gains = model = correction = 0.0
    for _, policy, pscore, taken, y, here, mean in rows:
        w = policy / pscore if taken else 0.0
        acts += 1.0 if kind == "slot" else policy
        model += mean if kind == "slot" else policy * here
        weights += w
        gains += w * y
        correction += w * (y - here)
    return {"ips": gains / acts, "snips": gains / weights, "dr": model / acts + correction / weights}


@pytest.mark.parametrize("kind", ["slot", "send"])
@pytest.mark.parametrize("seed", range(5))
def test_estimators_agree_with_plain_python(kind, seed):
    rows, seen, success, user = log(seed, kind)
    sums = resampled(seen.columns(success), user, samples=3)
    for name, expected in plainly(rows, kind).items():
        assert ESTIMATORS[name](sums)[0] == pytest.approx(expected, rel=1e-12), name
    weights = [p / q if t else 0.0 for _, p, q, t, *_ in rows]
    assert seen.effective == pytest.approx(sum(weights) ** 2 / sum(w * w for w in weights))


def test_resampled_sums_are_those_of_users_drawn_whole():
    rows, seen, success, user = log(1, "slot")
    sums = resampled(seen.columns(success), user, seed=3, samples=40)
    drawn = np.random.default_rng(3).integers(0, USERS, (40, USERS))
    for sample, users in enumerate(drawn, start=1):
        again = plainly([row for u in users for row in rows if row[0] == u], "slot")
        for name, expected in again.items():
            assert ESTIMATORS[name](sums)[sample] == pytest.approx(expected, rel=1e-9)


def test_many_users_are_resampled_in_parts_of_the_same_law():
    user = np.arange(5000).repeat(2)
    success = (np.random.default_rng(0).random(len(user)) < 0.3).astype(float)
    sums = resampled(np.stack([success, np.ones(len(user))]), user, samples=2000)
    assert sums.shape == (2, 2001)
    assert (sums[1] == len(user)).all()
    spread = (sums[0, 1:] / len(user)).std()
    assert spread == pytest.approx(math.sqrt(success.var() / len(user)), rel=0.1)


def test_an_outcome_model_that_is_right_needs_no_right_weights_and_the_other_way_round():
    rng = np.random.default_rng(5)
    n = 40_000
    slot, chance = rng.integers(0, 2, n), np.array([0.2, 0.6])
    success = (rng.random(n) < chance[slot]).astype(float)
    target, user = (slot == 1).astype(float), np.arange(n)
    right_weight, wrong_weight = target / 0.5, target / np.where(rng.random(n) < 0.5, 0.3, 0.7)
    for weight, model in ((right_weight, np.array([0.5, 0.1])), (wrong_weight, chance)):
        seen = Weighted(weight, np.ones(n), np.full(n, model[1]), success - model[slot])
        found = ESTIMATORS["dr"](resampled(seen.columns(success), user, samples=1))[0]
        assert found == pytest.approx(0.6, abs=0.02)


def test_a_policy_that_the_log_hardly_ever_took_is_refused():
    user = np.arange(1000)
    agrees = user < 29
    found = matched(np.ones(1000), agrees, np.full(1000, 0.1), user)
    assert found == Estimate(None, None, None, pytest.approx(29), "refused: no overlap (effective sends 29 < 30)")
    nobody = matched(np.ones(1000), agrees & False, np.full(1000, 0.1), user)
    assert nobody.refusal == "refused: no overlap (effective sends 0 < 30)"
    assert matched(np.ones(1000), user < 30, np.full(1000, 0.1), user).value == 1.0


def test_one_huge_weight_is_worth_one_send():
    weight = np.r_[1000.0, np.full(200, 0.01)]
    assert Weighted(weight, weight, weight, weight).effective < 1.1
    assert interval(np.ones(5), 1.1).value is None


@pytest.mark.parametrize("outcome", [0.0, 1.0])
def test_an_outcome_that_never_changes_gives_no_interval_without_width(outcome):
    user, treated = np.arange(200), np.arange(200) % 2 > 0
    rate = matched(np.full(200, outcome), treated, np.full(200, 0.5), user)
    assert rate.value == outcome
    assert rate.high - rate.low == pytest.approx(1 - 0.025 ** (1 / 100))  # 100 sends, none (or all) a success
    apart = difference(np.full(200, outcome), treated, user)
    assert (apart.value, apart.low, apart.high) == (None, None, None)
    assert apart.refusal.startswith("refused: constant outcome")


def test_sends_of_one_person_are_no_sample_of_people():
    user = np.where(np.arange(400) < 390, 0, np.arange(400))
    found = matched((np.arange(400) % 3 == 0) * 1.0, user >= 0, np.full(400, 0.5), user)
    assert found.value is None
    assert found.refusal == "refused: too few people (effective people 1.1 < 5)"


def test_difference_of_arms_is_that_of_their_rates():
    rng = np.random.default_rng(2)
    user, treated = np.repeat(np.arange(100), 20), np.repeat(rng.random(100) < 0.5, 20)
    success = (rng.random(2000) < np.where(treated, 0.5, 0.3)).astype(float)
    found = difference(success, treated, user)
    assert found.value == pytest.approx(success[treated].mean() - success[~treated].mean())
    assert found.low < 0.2 < found.high
    assert difference(success, user < 1, user).refusal == "refused: too few sends in an arm (20 < 30)"
