"""The audit's kernels against the same rules in plain Python, on problems that hypothesis makes up and shrinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import plain_audit
import pytest
import strategies
from allocation_worlds import problem, random_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from sendopt.allocation import Problem, audit_plan
from sendopt.allocation.audit import search
from sendopt.allocation.audit.bound import weak_bound
from sendopt.allocation.audit.check import user_violations
from sendopt.allocation.audit.ledger import ledger
from sendopt.allocation.audit.tiers import as_planned, tier_numbers

CHANNELS, CATEGORIES, CAMPAIGNS = ("push", "sms"), ("news", "shop"), ("a", "b", "c")
SCOPES = ("all", "channel:push", "category:shop", "campaign:a", "campaign:none")
USERS = ("ann@x", "bob@x", "cem@x")
MONDAY = 19_996  # a local day
many = settings(max_examples=300)


def caps() -> st.SearchStrategy[dict[str, Any]]:
    rolling = st.fixed_dictionaries({"window_minutes": st.sampled_from([1, 59, 60, 61, 240, 1440, 1441, 10_080])})
    calendar = st.fixed_dictionaries({"calendar": st.sampled_from(["day", "week"])})
    return st.dictionaries(
        st.sampled_from(["x", "y", "z"]),
        st.tuples(st.sampled_from(SCOPES), st.integers(0, 3), st.one_of(rolling, calendar)).map(
            lambda cap: {"scope": cap[0], "max": cap[1], **cap[2]}
        ),
    )


def fatigue() -> st.SearchStrategy[dict[str, Any]]:
    points = st.dictionaries(st.sampled_from(CHANNELS), st.sampled_from([0.0, 0.4, 1.0, 1.5]))
    return st.fixed_dictionaries(
        {
            "half_life_hours": st.sampled_from([6.0, 24.0, 72.0]),
            "points_per_send": points,
            "max_points": st.sampled_from([0.5, 1.0, 1.7, 3.0]),
        }
    )


@st.composite
def problems(draw: st.DrawFn, tiers: int = 1) -> Problem:
    """A few users under every rule of a user at once, with a past up to and inside the horizon."""
    slot_minutes, n_slots = draw(st.sampled_from([15, 60, 240])), draw(st.integers(1, 8))
    styles = st.tuples(st.sampled_from(CAMPAIGNS), st.sampled_from(CHANNELS), st.sampled_from(CATEGORIES))
    offered = st.tuples(
        st.sampled_from(USERS), styles, st.sampled_from(["", "", "season", "other"]), st.integers(1, tiers)
    )
    messages = [
        (u, f"m{i}", *style, group, tier)
        for i, (u, style, group, tier) in enumerate(draw(st.lists(offered, min_size=1, max_size=7)))
    ]
    cells = st.tuples(
        st.integers(0, len(messages) - 1), st.integers(0, n_slots - 1), st.sampled_from([-0.1, 0.2, 0.5, 0.9, 1.0])
    )
    days = st.integers(MONDAY - 2, MONDAY + 1)
    # a message has a slot once; zones that change may give one slot any day
    unique = draw(st.lists(cells, max_size=14, unique_by=lambda cell: cell[:2]))
    rows = [
        (*cell, draw(st.sampled_from([0.0, 0.1])), draw(st.sampled_from([0.0, 2.0])), draw(days)) for cell in unique
    ]
    horizon = n_slots * slot_minutes
    before = st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, 60.0, 240.0, 1440.0, 10_080.0]),
        st.integers(0, n_slots - 1).map(lambda slot: -float(slot * slot_minutes)),
        st.floats(1.0 - horizon, 3000.0),
    )
    past = [
        (user, minutes, style[1], style[2], style[0], draw(days), 0.1, 1.0)
        for user, minutes, style in draw(st.lists(st.tuples(st.sampled_from(USERS), before, styles), max_size=6))
    ]
    limits: dict[str, Any] = {
        "caps": draw(caps()),
        "min_gap_minutes": draw(st.sampled_from([0, 1, 60, 61, 240])),
        "capacity": {"push": 2, "sms": {0: 1}},
        "campaigns": {"a": {"max_sends": 1, "min_sends": 1}, "b": {"min_sends": 2, "shortfall_price": 0.3}},
        "opt_outs": {"max_expected": 0.15},
        "cost": {"max_total": 3.0},
    }
    if draw(st.booleans()):
        limits["fatigue"] = draw(fatigue())
    return problem(messages, rows, limits, past, n_slots=n_slots, slot_minutes=slot_minutes)


def some_of(p: Problem, data: st.DataObject) -> list[int]:
    """Any cells: plans that keep the rules and plans that break them."""
    return sorted(data.draw(st.sets(st.integers(0, len(p.cells.slot) - 1)))) if len(p.cells.slot) else []


@many
@given(problems(), st.data())
def test_rules_of_users_are_broken_for_as_many_as_in_plain_python(p: Problem, data: st.DataObject) -> None:
    chosen = some_of(p, data)
    assert user_violations(p, np.array(chosen, np.int64)) == plain_audit.user_violations(p, chosen)


@many
@given(problems(), st.data())
def test_a_plan_is_feasible_where_it_is_in_plain_python(p: Problem, data: st.DataObject) -> None:
    chosen = some_of(p, data)
    assert (audit_plan(p, np.array(chosen, np.int64)) == ()) == plain_audit.is_feasible(p, chosen)
    book = ledger(p, np.array(chosen, np.int64))
    committed, planned = plain_audit.committed_uses(p), plain_audit.uses_of_cells(p, chosen)
    for name, row in book.by_price.items():
        assert (row.committed, row.planned) == pytest.approx((committed[name], planned[name])), name
    assert {name: row.limit for name, row in book.maximums.items()} == plain_audit.maximums(p)


@many
@given(problems(tiers=3), st.data())
def test_the_bound_of_each_tier_is_that_of_every_plan_in_plain_python(p: Problem, data: st.DataObject) -> None:
    above: list[int] = []
    for tier in tier_numbers(p):
        part, rows = as_planned(p, tier, np.array(above, np.int64))
        planned = feasible(p, rows.tolist(), above, data)
        planned_rows = np.flatnonzero(np.isin(rows, planned))
        book = ledger(part, planned_rows)
        prices = {
            name: min(data.draw(st.sampled_from([0.0, 0.1, 0.3, 5.0])), row.price)
            for name, row in book.by_price.items()
        }
        bound, cut = weak_bound(part, book, prices, planned_rows)
        assert cut == 0
        assert bound == pytest.approx(plain_audit.bound_of_tier(p, tier, above, prices), abs=1e-8)
        above = sorted([*above, *planned])


def feasible(p: Problem, rows: list[int], above: list[int], data: st.DataObject) -> list[int]:
    """Cells of one tier that keep each user's rules together with those above."""
    chosen: list[int] = []
    for c in data.draw(st.permutations(rows)) if rows else []:
        if data.draw(st.booleans()) and not plain_audit.user_violations(p, sorted([*above, *chosen, c])):
            chosen.append(c)
    return sorted(chosen)


@settings(max_examples=240)
@given(strategies.problems(users=3, per_user=3), st.data())
def test_rules_and_bounds_agree_on_random_worlds(p: Problem, data: st.DataObject) -> None:
    """The worlds of the allocator's own tests, in which sends may be at the plan's start."""
    chosen = data.draw(strategies.plans(p))
    assert user_violations(p, chosen) == plain_audit.user_violations(p, chosen.tolist())
    book = ledger(p, np.empty(0, np.int64))
    prices = {
        name: data.draw(strategies.decimals(0, 0.4)) * min(row.price, 0.4) / 0.4 for name, row in book.by_price.items()
    }
    bound, cut = weak_bound(p, book, prices, np.empty(0, np.int64))
    assert cut == 0
    assert bound == pytest.approx(plain_audit.bound_of_tier(p, 1, [], prices), abs=1e-8)


def test_a_bound_stays_valid_where_there_is_little_room_and_no_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages that are not told apart, and searches that are cut at once, only loosen it."""
    cut_users = 0
    for seed in range(60):
        p, draw = random_problem(seed, users=2, per_user=8, n_slots=3), np.random.default_rng(seed)
        book = ledger(p, np.empty(0, np.int64))
        prices = {name: float(draw.uniform(0, min(row.price, 0.4))) for name, row in book.by_price.items()}
        exact, none = weak_bound(p, book, prices, np.empty(0, np.int64))
        assert none == 0
        with monkeypatch.context() as small:
            small.setattr(search, "TABLE", 1)
            loose, cut = weak_bound(p, book, prices, np.empty(0, np.int64), most_checks=0)
        assert loose >= exact - 1e-9
        cut_users += cut
    assert cut_users > 0
