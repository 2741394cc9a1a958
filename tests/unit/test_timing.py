"""Shrunk rates and policies: against plain Python, blind to the later part, and the logs that must be refused."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from benchmarks.decision_worlds import world

from sendopt.timing import gain, policies, refusals, success_rates
from sendopt.timing.decisions import Decisions, without_certain


def test_the_first_part_is_three_fifths_of_each_user_s_decisions_in_order():
    user = np.repeat([0, 1, 2, 3], [5, 10, 1, 3])
    zero = np.zeros(len(user), np.int64)
    log = Decisions(user, zero, zero, zero, zero * 1.0, zero == 0, zero + 0.5, "slot", ("a", "b"))
    first = log.in_first_part
    assert [int(first[user == u].sum()) for u in range(4)] == [3, 6, 1, 2]
    assert all((np.diff(first[user == u].astype(int)) <= 0).all() for u in range(4))


def beta_binomial_loss(kappa, cells):
    """−log likelihood of (successes, trials, mean) by the textbook's gamma functions."""
    total = 0.0
    for x, n, m in cells:
        a, b = kappa * m, kappa * (1 - m)
        total -= math.lgamma(x + a) + math.lgamma(n - x + b) - math.lgamma(n + kappa)
        total += math.lgamma(a) + math.lgamma(b) - math.lgamma(kappa)
    return total


def plain_shift(groups, success, expected):
    """One level by loops: {group: shift on the logit scale}; kappa by a search on a fine grid."""
    cells = {}
    for g, y, e in zip(groups, success, expected, strict=True):
        x, n, s = cells.get(g, (0.0, 0.0, 0.0))
        cells[g] = (x + y, n + 1, s + e)
    table = [(x, n, s / n) for x, n, s in cells.values()]
    kappa = min((math.exp(k / 100) for k in range(-200, 1001)), key=lambda k: beta_binomial_loss(k, table))
    logit = lambda p: math.log(p / (1 - p))  # noqa: E731
    return {g: logit((x + kappa * s / n) / (n + kappa)) - logit(s / n) for g, (x, n, s) in cells.items()}, kappa


def test_shrunk_rates_agree_with_plain_python():
    log = world(3, users=15, days=40, slots=3, personal_sd=0.8, free=1.0).log  # equal pscore: no weights in the way
    fitted = success_rates.fit(log, False, 15)
    rate = (log.success.sum() + 0.5) / (len(log) + 1)
    logits = [math.log(rate / (1 - rate))] * len(log)
    for level, groups in (
        ("slot", log.slot.tolist()),
        ("user", log.user.tolist()),
        ("user_slot", list(zip(log.user.tolist(), log.slot.tolist(), strict=True))),
    ):
        shift, kappa = plain_shift(groups, log.success, [1 / (1 + math.exp(-a)) for a in logits])
        assert fitted.kappa[level] == pytest.approx(kappa, rel=0.02), level
        logits = [a + shift[g] for a, g in zip(logits, groups, strict=True)]
    np.testing.assert_allclose(fitted.rates(log), [1 / (1 + math.exp(-a)) for a in logits], atol=2e-3)


def test_a_person_without_data_gets_the_common_curve_and_one_with_much_the_own():
    made = world(4, users=40, days=400, slots=4, personal_sd=1.0)
    log = made.log.rows(made.log.user != 7)
    fitted = success_rates.fit(log, False, 40)
    own = fitted.if_sent(made.log.rows(np.isin(np.arange(len(made.log)), [0, np.argmax(made.log.user == 7)])))
    common = fitted.if_sent(log.rows(np.arange(len(log)) < 1), ("slot",))[0]
    np.testing.assert_allclose(own[1], common)
    np.testing.assert_allclose(own[0], made.if_sent[0], atol=0.12)


def test_without_personal_differences_everybody_gets_the_common_slot():
    found = gain.evaluate(world(5, users=100).log, samples=100, trees=False)
    assert found.kind == gain.Kind.NOT_SHOWN
    assert found.kappa["user_slot"] > 200


def fitted_choices(log: Decisions, trees: bool = False):
    first, rest = log.rows(log.in_first_part), log.rows(~log.in_first_part)
    return policies.fit(first, rest, log.supported, int(log.user.max()) + 1, 7, trees)


def test_no_policy_sees_an_outcome_of_the_later_part():
    log = world(6, users=30, personal_sd=0.8).log
    hidden = replace(log, success=np.where(log.in_first_part, log.success, 1 - log.success))
    one, other = fitted_choices(log, True), fitted_choices(hidden, True)
    assert one.choices.keys() == {"global_best", "user_raw_best", "personal", "model"}
    for name in one.choices:
        np.testing.assert_array_equal(one.choices[name], other.choices[name])
    assert one.common == other.common
    assert one.rates.kappa == other.rates.kappa


def test_the_raw_best_slot_is_that_of_the_first_part_s_own_rates():
    log = world(7, users=20, days=50, personal_sd=0.8).log
    learned, first = fitted_choices(log), log.rows(log.in_first_part)
    rest = log.rows(~log.in_first_part)
    for user in range(20):
        tried = {}
        for slot, y in zip(first.slot[first.user == user], first.success[first.user == user], strict=True):
            tried.setdefault(int(slot), []).append(y)
        score = {s: (sum(ys) / len(ys), len(ys)) for s, ys in tried.items()}
        best = max(score.values())
        assert score[int(learned.choices["user_raw_best"][rest.user == user][0])] == best


def test_segments_get_a_best_slot_of_their_own_where_they_differ():
    rng = np.random.default_rng(8)
    made = world(8, users=60, slot_sd=0.0, user_sd=0.3)
    segment = (made.log.user % 2).astype(np.int64)
    good = made.log.slot == np.where(segment == 0, 1, 4)
    success = (rng.random(len(made.log)) < np.where(good, 0.6, 0.25)).astype(float)
    log = replace(made.log, segment=segment, success=success, segments=("a", "b"))
    learned, rest = fitted_choices(log), log.rows(~log.in_first_part)
    assert learned.common == policies.SEGMENT
    np.testing.assert_array_equal(learned.choices["segment_best"], np.where(rest.segment == 0, 1, 4))
    assert gain.evaluate(log, samples=200, trees=False).kind == gain.Kind.NOT_SHOWN  # the segments hold all there is


def test_unsent_decisions_are_learned_from_only_where_that_helps():
    made = world(9, kind="send", days=40, users=40, personal_sd=0.7)
    assert fitted_choices(made.log).rates.pooled
    opens = replace(made.log, success=made.log.success * made.log.sent)  # nobody opens what was not sent
    assert not fitted_choices(opens).rates.pooled


def test_the_model_s_features_of_a_row_come_from_earlier_rows_only():
    from sendopt.timing import outcome_model

    log = world(10, users=6, days=20, slots=3).log
    rates = success_rates.fit(log, False, 6)
    before = outcome_model._running(rates, log)
    for i in range(len(log)):
        past = (log.user == log.user[i]) & (np.arange(len(log)) < i)
        assert before[1][i] == past.sum()
        assert before[3][i] == (past & (log.slot == log.slot[i])).sum()
        if not past.any():
            assert before[0][i] == before[2][i] == 0.0


def test_the_verdict_is_the_same_for_the_same_log_and_needs_no_trees():
    log = world(11, users=50, personal_sd=0.7).log
    one, other = gain.evaluate(log), gain.evaluate(log)
    assert one == other
    bare = gain.evaluate(log, trees=False)
    assert (bare.kind, bare.difference) == (one.kind, one.difference)


def small(n: int = 1200, users: int = 30, **changes) -> Decisions:
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(users), n // users)
    values = {
        "user": user,
        "slot": rng.integers(0, 4, n),
        "segment": np.zeros(n, np.int64),
        "campaign": np.arange(n) % 5,
        "success": (rng.random(n) < 0.3).astype(float),
        "sent": np.ones(n, bool),
        "pscore": np.full(n, 0.25),
        "kind": "slot",
        "slots": tuple("abcd"),
    }
    return Decisions(**{**values, **changes})


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (small(pscore=np.ones(1200)), "all 1,200 decisions have probability 1"),
        (small(slot=np.zeros(1200, np.int64)), "all sends went out in one slot"),
        (small(slot=np.arange(1200) % 5 % 4), "each of 5 campaigns went out in one slot only"),
        (small(pscore=np.full(1200, 0.1)), "slot a was used"),
        (small(kind="send", pscore=np.full(1200, 0.5)), "expect 600 of 1,200 decisions to be sent, but 1,200 were"),
        (small(n=180), "60 sends of 30 people are left to evaluate on: too little data"),
        (small(users=8), "sends of 8 people are left to evaluate on: too little data"),
        (small(n=60), "fewer than two slots have 20 sends"),
    ],
)
def test_a_log_without_overlap_or_with_too_little_data_is_refused_with_the_reason(log, reason):
    found = gain.evaluate(log, samples=50, trees=False)
    assert found.kind == gain.Kind.REFUSED
    assert reason in found.refusal
    assert found.difference is None


def test_decisions_that_were_certain_take_no_part():
    log = small(pscore=np.where(np.arange(1200) % 3 == 0, 1.0, 0.25))
    kept, certain = without_certain(log)
    assert (len(kept), certain) == (800, 400)
    assert refusals.of_certain(log, kept) is None
    assert gain.evaluate(log, samples=50, trees=False).certain == 400


def test_personal_slots_that_were_never_drawn_later_are_refused():
    made = world(12, users=30, days=60, personal_sd=1.0)
    log, late = made.log, ~made.log.in_first_part
    only = replace(
        log,
        slot=np.where(late, 0, log.slot),
        pscore=np.where(late, 0.97, log.pscore),
        success=np.where(log.slot == 3, 1.0, 0.0),
    )
    found = gain.evaluate(only, samples=50, trees=False)
    assert found.kind == gain.Kind.REFUSED
    assert "hardly ever drawn in the later part (worth 0 sends, 30 are needed)" in found.refusal
    assert next(p for p in found.policies if p.name == "uniform").by["snips"].value is not None
