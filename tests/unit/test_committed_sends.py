"""What is inside the horizon: a send at the plan's start or later is committed, also one that a tier above planned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from allocation_worlds import EXACT, PRICES, Cell, Message, PastSend, planned, problem
from benchmarks.fuzz_allocation import planned_from_folder

from sendopt.allocation import Problem, allocate, audit
from sendopt.allocation.tiers import tier_problem

A1 = Message("ann", "a1", campaign="sale", channel="push", category="shop")
A2 = Message("ann", "a2", campaign="news", channel="push", category="info")
B1 = Message("bob", "b1", campaign="sale", channel="push", category="shop")
B2 = Message("bob", "b2", campaign="news", channel="push", category="info")
AT_START = PastSend("bob", minutes_before=0, category="shop", campaign="sale", p_opt_out=0.2, cost=2.0)
BEFORE = AT_START._replace(minutes_before=1)
LIMITS_ACROSS_USERS = {
    "capacity of slot 0": {"capacity": {"push": {0: 1}}},
    "campaign maximum": {"campaigns": {"sale": {"max_sends": 1}}},
    "opt-out budget": {"opt_outs": {"max_expected": 0.25}},
    "cost budget": {"cost": {"max_total": 2.5}},
}


def plans(p: Problem, home: Path) -> Iterator[tuple[str, set[tuple[str, int]]]]:
    """Yield the method and the plan of the exact program, of prices and of a folder of buckets."""
    for name, settings in (("exact", EXACT), ("prices", PRICES)):
        solution = allocate(p, settings)
        assert audit(p, solution).violations == ()
        yield name, planned(p, solution.chosen)
    yield "folder", planned(p, planned_from_folder(p, home, 1).cells)


@pytest.mark.parametrize("name", LIMITS_ACROSS_USERS)
def test_a_send_at_the_plans_start_uses_the_limits_across_users(name: str, tmp_path: Path) -> None:
    cells = [Cell(message=0, slot=0, value=0.5, p_opt_out=0.2, cost=2.0)]
    inside = problem([A1], cells, LIMITS_ACROSS_USERS[name], [AT_START])
    for method, plan in plans(inside, tmp_path / "inside"):
        assert plan == set(), method
    before = problem([A1], cells, LIMITS_ACROSS_USERS[name], [BEFORE])
    for method, plan in plans(before, tmp_path / "before"):
        assert plan == {("a1", 0)}, method


def test_a_send_at_the_plans_start_serves_a_minimum(tmp_path: Path) -> None:
    limits = {"campaigns": {"sale": {"min_sends": 1, "shortfall_price": 5.0}}}
    for settings in (EXACT, PRICES):
        inside, before = (allocate(problem([A2], [(0, 0, 0.5)], limits, [h]), settings) for h in (AT_START, BEFORE))
        assert (inside.shortfall, before.shortfall) == ({}, {"sale": 1})


def test_committed_is_said_in_one_place() -> None:
    p = problem([A1], [(0, 0, 0.5)], {}, [("ann", m) for m in (-61.0, -1e-9, 0.0, -0.0, 1e-9, 60.0)])
    assert p.history.committed.tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize(("apart", "sends"), [(3, 1), (4, 2), (5, 2)])
def test_tiers_keep_the_gap_to_the_minute_wherever_the_first_stands(
    first: int, apart: int, sends: int, tmp_path: Path
) -> None:
    """Two sends exactly `min_gap_minutes` apart are allowed, also where the first is at minute 0."""
    first_tier, second_tier = A1, A2._replace(tier=2)
    p = problem(
        [first_tier, second_tier],
        [(0, first, 1.0), (1, first + apart, 1.0)],
        {"min_gap_minutes": 240},
        n_slots=first + apart + 1,
    )
    for method, plan in plans(p, tmp_path):
        assert len(plan) == sends, method
    solution = allocate(p, EXACT)
    assert (solution.objective, solution.bound) == pytest.approx((sends, sends))


@pytest.mark.parametrize("rule", ["rolling cap", "fatigue", "calendar cap"])
def test_a_tier_above_in_slot_0_counts_in_the_rules_of_its_user(rule: str, tmp_path: Path) -> None:
    limits = {
        "rolling cap": {"caps": {"c": {"window_minutes": 120, "max": 1}}},
        "fatigue": {"fatigue": {"half_life_hours": 6.0, "points_per_send": {"push": 1.0}, "max_points": 1.75}},
        "calendar cap": {"caps": {"c": {"calendar": "day", "max": 1}}},
    }[rule]
    last = {"rolling cap": 2, "fatigue": 3, "calendar cap": 2}[rule]  # 2^(-3/6) = 0.71; 2^(-2/6) = 0.79
    first_tier, second_tier = A1, A2._replace(tier=2)
    for slot in (last - 1, last):
        day = 101.0 if rule == "calendar cap" and slot == last else 100.0
        p = problem(
            [first_tier, second_tier],
            [Cell(message=0, slot=0, value=1.0), Cell(message=1, slot=slot, value=1.0, local_day=day)],
            limits,
        )
        for method, plan in plans(p, tmp_path / str(slot)):
            assert len(plan) == 1 + (slot == last), (method, slot)


def test_a_tiers_problem_leaves_out_what_is_sent_above_and_its_groups() -> None:
    messages = [
        A1._replace(exclusive_group="g", tier=1),
        A2._replace(exclusive_group="g", tier=2),
        B1._replace(exclusive_group="g", tier=2),
        B2._replace(tier=2),
        Message("bob", "b3", campaign="sale", channel="push", category="shop", tier=1),
    ]
    p = problem(messages, [(m, s, 1.0) for m in range(5) for s in (0, 1)], {})
    part, rows = tier_problem(p, 2, np.array([0, 9]))  # a1 in slot 0, b3 in slot 1
    # ann's group is sent; bob's is not, and what has no group is of none
    assert p.cells.message[rows].tolist() == [2, 2, 3, 3]
    assert part.cells.slot.tolist() == [0, 1, 0, 1]
    assert part.history.minutes_before.tolist() == [0.0, -60.0]
    assert part.history.committed.all()
    assert part.history.user.tolist() == [0, 1]


def test_a_tiers_problem_is_the_same_whatever_the_order_of_messages() -> None:
    draw = np.random.default_rng(5)
    groups = np.array(["", "g", "h"], object)[draw.integers(0, 3, 60)]
    messages = [
        Message(
            f"u{i % 7}",
            f"m{i}",
            campaign="sale",
            channel="push",
            category="shop",
            exclusive_group=str(groups[i]),
            tier=int(draw.integers(1, 4)),
        )
        for i in range(60)
    ]
    p = problem(messages, [(m, s, 1.0) for m in range(60) for s in range(2)], {})
    above = np.flatnonzero((p.messages.tier[p.cells.message] == 1) & (p.cells.slot == 0))
    part, rows = tier_problem(p, 2, above)
    sent = {(m.user, m.exclusive_group) for m in messages if m.tier == 1 and m.exclusive_group}
    expected = [
        2 * i + s
        for i, m in enumerate(messages)
        if m.tier == 2 and (m.user, m.exclusive_group) not in sent
        for s in (0, 1)
    ]
    assert rows.tolist() == expected
    order = draw.permutation(60)
    rank = np.argsort(order)
    moved = replace(
        p,
        messages=type(p.messages)(**{name: column[order] for name, column in vars(p.messages).items()}),
        cells=replace(p.cells, message=rank[p.cells.message]),
    )
    again, rows_again = tier_problem(moved, 2, above)
    assert rows_again.tolist() == rows.tolist()
    assert again.history.minutes_before.tolist() == part.history.minutes_before.tolist()
