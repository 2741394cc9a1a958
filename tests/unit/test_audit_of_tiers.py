"""The audit derives tiers and the horizon's first minute itself: a plan that the solver's tiers allow may be wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plain_audit
import pytest
from allocation_worlds import Message, problem, random_problem

from sendopt.allocation import Price, Problem, Solution, Tier, audit, audit_plan
from sendopt.allocation.audit.bound import weak_bound
from sendopt.allocation.audit.ledger import ledger
from sendopt.allocation.audit.tiers import as_planned, tier_numbers

TWO_TIERS = problem(
    [
        Message("ann@x", "a", campaign="sale", channel="push", category="shop", tier=1),
        Message("ann@x", "b", campaign="news", channel="push", category="shop", tier=2),
    ],
    [(0, 0, 1.0), (1, 4, 1.0)],
    {"min_gap_minutes": 240},
)


def stated(chosen: list[int], tiers: list[tuple[int, float, float]], **changes: object) -> Solution:
    """Return a solution of `tiers` (tier, value, bound) without rows across users."""
    parts = tuple(
        Tier(
            tier=tier,
            value=value,
            penalty=0.0,
            objective=value,
            bound=bound,
            gap=bound - value,
            method="exact",
            termination="optimal",
            cut_users=0,
            prices={},
            bound_by_prices=bound,
            proof="prices",
        )
        for tier, value, bound in tiers
    )
    value, bound = sum(t.value for t in parts), sum(t.bound for t in parts)
    solution = Solution(
        chosen=np.array(chosen, np.int64),
        value=value,
        penalty=0.0,
        objective=value,
        bound=bound,
        gap=(bound - value) / max(1.0, abs(value)),
        method="exact",
        termination="optimal",
        cut_users=0,
        prices=(),
        shortfall={},
        tiers=parts,
        bound_by_prices=bound,
        proof="prices",
    )
    return replace(solution, **changes)


def test_a_send_of_a_higher_tier_at_the_plans_start_is_exactly_a_gap_before_one_four_hours_later() -> None:
    report = audit(TWO_TIERS, stated([0], [(1, 1.0, 1.0), (2, 0.0, 0.0)]))
    assert report.violations == ("bound of tier 2: the prices prove 1, not the stated 0",)
    assert report.weak_bound == 2.0
    assert audit(TWO_TIERS, stated([0, 1], [(1, 1.0, 1.0), (2, 1.0, 1.0)])).ok


def test_numbers_of_each_tier_are_recomputed() -> None:
    moved = stated([0, 1], [(1, 1.5, 1.5), (2, 0.5, 1.0)])
    names = [f"{name} of tier {tier}" for tier in (1, 2) for name in ("value", "objective", "gap")]
    assert [v.split(":")[0] for v in audit(TWO_TIERS, moved).violations] == names


def test_the_tiers_stated_are_those_of_the_messages() -> None:
    violations = audit(TWO_TIERS, stated([0, 1], [(1, 1.0, 1.0), (3, 1.0, 1.0)])).violations
    assert "tiers: those stated are not those of the messages" in violations


def test_a_group_used_by_a_higher_tier_is_gone_for_its_user_only() -> None:
    messages = [
        Message("ann@x", "a", campaign="sale", channel="push", category="shop", exclusive_group="season", tier=1),
        Message("ann@x", "b", campaign="news", channel="push", category="shop", exclusive_group="season", tier=2),
        Message("ann@x", "c", campaign="news", channel="push", category="shop", tier=2),
        Message("bob@x", "d", campaign="news", channel="push", category="shop", exclusive_group="season", tier=2),
    ]
    p = problem(messages, [(m, m, 1.0) for m in range(4)], {})
    assert as_planned(p, 2, np.array([0]))[1].tolist() == [2, 3]
    assert as_planned(p, 2, np.array([], np.int64))[1].tolist() == [1, 2, 3]


def test_a_minimum_counts_in_the_last_tier_with_messages_of_its_campaign() -> None:
    messages = [
        Message("ann@x", f"m{i}", campaign=name, channel="push", category="shop", tier=tier)
        for i, (name, tier) in enumerate([("both", 1), ("both", 2), ("first", 1), ("last", 3)])
    ]
    p = problem(
        messages,
        [(0, 0, 0.3), (1, 1, 0.2), (2, 2, 0.5), (3, 3, 0.1)],
        {"campaigns": {name: {"min_sends": 2} for name in ("both", "first", "last", "nothing")}},
    )
    least = {t: as_planned(p, t, np.array([0]))[0].limits.campaigns for t in tier_numbers(p)}
    counted = {
        t: {n: (c.min_sends, c.shortfall_price) for n, c in of.items() if c.min_sends} for t, of in least.items()
    }
    assert counted == {1: {"first": (2, 0.5)}, 2: {"both": (2, 0.3)}, 3: {"last": (2, 0.1), "nothing": (2, 0.0)}}
    assert ledger(as_planned(p, 2, np.array([0]))[0], np.array([0])).minimums["both"].used == 2


@pytest.mark.parametrize("limits", [{"capacity": {"push": {0: 1}}}, {"campaigns": {"old": {"max_sends": 1}}}])
def test_a_send_at_the_plans_start_uses_what_limits_leave(limits: dict) -> None:
    messages = [Message("ann@x", "a", campaign="old", channel="push", category="news")]
    for minute, sentence in ((0.0, True), (-0.0, True), (-59.0, True), (1.0, False), (-60.0, "campaigns" in limits)):
        p = problem(messages, [(0, 0, 1.0)], limits, [("bob@x", minute)])
        assert bool(audit_plan(p, np.array([0]))) is sentence, minute


@pytest.mark.parametrize("block", range(4))
def test_a_bound_of_each_tier_is_the_plain_one(block: int) -> None:
    """At random legal prices, after a random plan of higher tiers, with history, groups, minimums and every rule."""
    for seed in range(block * 60, block * 60 + 60):
        p = tiered(seed)
        draw = np.random.default_rng(seed)
        above = np.empty(0, np.int64)
        for tier in tier_numbers(p):
            part, rows = as_planned(p, tier, above)
            planned = random_plan(p, rows, above, draw)
            book = ledger(part, np.flatnonzero(np.isin(rows, planned)))
            prices = {
                name: float(draw.uniform(0, min(row.price, 0.5)))
                for name, row in book.by_price.items()
                if draw.random() < 0.5
            }
            bound, cut = weak_bound(part, book, prices, np.flatnonzero(np.isin(rows, planned)))
            plain = plain_audit.bound_of_tier(p, tier, above.tolist(), prices)
            assert cut == 0
            assert bound == pytest.approx(plain, abs=1e-7), (seed, tier)
            above = np.sort(np.concatenate([above, planned]))


def tiered(seed: int) -> Problem:
    p = random_problem(seed, users=3, per_user=3, n_slots=4)
    draw = np.random.default_rng(seed + 10**6)
    h = p.history
    at_start = np.where(draw.random(len(h.user)) < 0.2, 0.0, h.minutes_before)
    return replace(
        p,
        messages=replace(p.messages, tier=draw.integers(1, 4, len(p.messages.tier))),
        history=replace(h, minutes_before=at_start),
    )


def random_plan(p: Problem, rows: np.ndarray, above: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return random cells of one tier that, with the cells above, keep the rules of users."""
    chosen: list[int] = []
    for c in draw.permutation(rows).tolist():
        if draw.random() < 0.5 and not plain_audit.user_violations(p, sorted([*above.tolist(), *chosen, c])):
            chosen.append(c)
    return np.sort(np.array(chosen, np.int64))


def test_prices_listed_are_the_highest_of_the_tiers() -> None:
    solution = stated([0, 1], [(1, 1.0, 1.0), (2, 1.0, 1.0)])
    hidden = replace(solution, tiers=tuple(replace(t, prices={"cost": 0.5}) for t in solution.tiers))
    assert any(v.startswith("prices: cost is listed at 0") for v in audit(TWO_TIERS, hidden).violations)
    listed = replace(hidden, prices=(Price("cost", "cost", 1, 0, 0.5),))
    assert not any("listed at" in v for v in audit(TWO_TIERS, listed).violations)
