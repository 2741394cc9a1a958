"""The audit refuses every kind of tampered plan, and says which rule, which row and how often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from allocation_worlds import EXACT, Cell, Message, PastSend, problem

from sendopt.allocation import Problem, Solution, allocate, audit, audit_plan, check
from sendopt.errors import AuditError

USERS = ("ann@x", "bob@x")
MESSAGES = [
    Message(u, f"{u}{k}", campaign=("sale", "news")[k], channel=("push", "sms")[k], category=("shop", "info")[k])
    for u in USERS
    for k in (0, 1)
]
# The value falls with the slot. Four cells a message: see `cell`.
CELLS = [
    Cell(message=m, slot=s, value=0.9 - 0.1 * s - 0.01 * m, p_opt_out=0.1, cost=1.0, local_day=100 + s // 2)
    for m in range(4)
    for s in range(4)
]


def cell(message: int, slot: int) -> int:
    """Return the row of `CELLS` of a message and slot."""
    return 4 * message + slot


@pytest.mark.parametrize(
    ("limits", "history", "chosen", "sentence"),
    [
        ({}, [], [cell(0, 0), cell(0, 1)], "once: 1 messages are planned more than once (¶9a)"),
        ({"caps": {"d": {"window_minutes": 60, "max": 1}}}, [], [cell(0, 1), cell(1, 1)], "caps.d: broken for 1 users"),
        (
            {"caps": {"d": {"window_minutes": 61, "max": 1}}},
            [("ann@x", 60)],
            [cell(0, 0)],
            "caps.d: broken for 1 users",
        ),
        ({"caps": {"d": {"calendar": "day", "max": 1}}}, [], [cell(0, 0), cell(1, 1)], "caps.d: broken for 1 users"),
        (
            {"caps": {"d": {"calendar": "week", "max": 1}}},
            [PastSend("ann@x", minutes_before=9, category="x", campaign="x", local_day=98)],
            [cell(0, 0)],
            "caps.d",
        ),
        ({"caps": {"d": {"scope": "category:info", "window_minutes": 1, "max": 0}}}, [], [cell(1, 0)], "caps.d"),
        (
            {"min_gap_minutes": 90},
            [],
            [cell(0, 0), cell(1, 1), cell(2, 0), cell(3, 1)],
            "min_gap_minutes: broken for 2",
        ),
        ({"min_gap_minutes": 90}, [("bob@x", -30)], [cell(2, 1)], "min_gap_minutes: broken for 1 users"),
        (
            {"fatigue": {"half_life_hours": 24, "points_per_send": {"push": 1.0}, "max_points": 1.5}},
            [("ann@x", 10)],
            [cell(0, 3)],
            "fatigue: broken for 1 users",
        ),
        (
            {"fatigue": {"half_life_hours": 24, "points_per_send": {"push": 1.0}, "max_points": 1.5}},
            [("ann@x", -180)],
            [cell(0, 0)],
            "fatigue: broken for 1 users",
        ),
        ({"capacity": {"push": 1}}, [], [cell(0, 2), cell(2, 2)], "capacity:push:2: planned 2, room for 1 of 1"),
        (
            {"capacity": {"push": {2: 2}}},
            [("bob@x", -120)],
            [cell(0, 2), cell(2, 2)],
            "capacity:push:2: planned 2, room",
        ),
        ({"campaigns": {"news": {"max_sends": 1}}}, [], [cell(1, 0), cell(3, 3)], "campaign_max:news: planned 2"),
        (
            {"opt_outs": {"max_expected": 0.25}},
            [PastSend("ann@x", minutes_before=-9, channel="x", category="x", campaign="x", local_day=9, p_opt_out=0.1)],
            [cell(0, 0), cell(2, 0)],
            "opt_outs",
        ),
        ({"cost": {"max_total": 1.5}}, [], [cell(0, 0), cell(2, 0)], "cost: planned 2, room for 1.5 of 1.5"),
        ({}, [], [99], "chosen: a row is outside the problem's cells"),
    ],
)
def test_a_broken_rule_is_named(limits: dict, history: list, chosen: list[int], sentence: str) -> None:
    p = problem(MESSAGES, CELLS, limits, history)
    violations = audit_plan(p, np.array(chosen, dtype=np.int64))
    assert any(v.startswith(sentence) for v in violations), violations
    assert not any(u in v for u in USERS for v in violations)


@pytest.mark.parametrize(
    ("limits", "history", "chosen"),
    [
        (
            {"caps": {"d": {"window_minutes": 600, "max": 1}}},
            [("ann@x", 1), ("ann@x", 2)],
            [cell(2, 0)],
        ),  # another user
        (
            {"caps": {"d": {"scope": "channel:push", "window_minutes": 60, "max": 1}}},
            [("ann@x", 1), ("ann@x", 2)],
            [cell(1, 0)],
        ),
        ({"capacity": {"push": 1}}, [("ann@x", -1), ("ann@x", -2)], [cell(2, 1)]),  # committed sends alone are over it
        (
            {"opt_outs": {"max_expected": 0.1}},
            [PastSend("ann@x", minutes_before=9, channel="x", category="x", campaign="x", local_day=9, p_opt_out=0.9)],
            [cell(0, 0)],
        ),  # past, not committed
    ],
)
def test_history_alone_breaks_nothing(limits: dict, history: list, chosen: list[int]) -> None:
    assert audit_plan(problem(MESSAGES, CELLS, limits, history), np.array(chosen, dtype=np.int64)) == ()


@pytest.fixture
def audited() -> tuple[Problem, Solution]:
    limits = {
        "min_gap_minutes": 120,
        "capacity": {"push": 1},
        "campaigns": {"news": {"max_sends": 1}, "sale": {"min_sends": 3, "shortfall_price": 0.5}},
    }
    p = problem(MESSAGES, CELLS, limits)
    solution = allocate(p, EXACT)
    assert audit(p, solution).ok
    assert solution.shortfall == {"sale": 1}
    return p, solution


@pytest.mark.parametrize(
    ("field", "change", "word"),
    [
        ("value", 0.01, "value: stated"),
        ("penalty", -0.01, "penalty: stated"),
        ("objective", 0.01, "objective: stated"),
        ("gap", 0.01, "gap: stated"),
        ("bound", -0.5, "is below the objective"),
        ("value", float("nan"), "value: stated"),
    ],
)
def test_a_misstated_number_is_refused(audited: tuple[Problem, Solution], field: str, change: float, word: str) -> None:
    p, solution = audited
    tampered = replace(solution, **{field: getattr(solution, field) + change})
    with pytest.raises(AuditError, match=word) as refused:
        check(p, tampered)
    assert refused.value.exit_code == 7


def test_a_bound_that_the_prices_do_not_prove_is_refused(audited: tuple[Problem, Solution]) -> None:
    p, solution = audited
    free = replace(solution, prices=tuple(replace(row, price=0.0) for row in solution.prices))
    assert any("the prices prove" in v for v in audit(p, free).violations)


@pytest.mark.parametrize(
    ("row", "change", "word"),
    [
        ("campaign_max:news", {"price": -0.1}, "outside"),
        ("campaign_min:sale", {"price": 0.6}, "outside"),
        ("capacity:push:0", {"limit": 2.0}, "states limit"),
        ("capacity:push:0", {"used": 0.0}, "states used"),
        ("capacity:push:0", {"row": "capacity:push:9"}, "rows listed"),
    ],
)
def test_a_wrong_price_row_is_refused(audited: tuple[Problem, Solution], row: str, change: dict, word: str) -> None:
    p, solution = audited
    prices = tuple(replace(r, **change) if r.row == row else r for r in solution.prices)
    assert any(word in v for v in audit(p, replace(solution, prices=prices)).violations)


def test_a_shortfall_that_is_not_reported_is_refused(audited: tuple[Problem, Solution]) -> None:
    p, solution = audited
    assert any(v.startswith("shortfall") for v in audit(p, replace(solution, shortfall={})).violations)


def test_a_worthless_send_is_refused_in_a_solution_but_feasible_in_a_plan() -> None:
    """The uniform-time arm draws without looking at values, so feasibility alone must not ask for them."""
    p = problem(MESSAGES[:1], [(0, 0, -0.5)], {})
    solution = allocate(p, EXACT)
    chosen = np.array([0])
    assert audit_plan(p, chosen) == ()
    sent = replace(solution, chosen=chosen, value=-0.5, objective=-0.5, bound=0.0, gap=1.0)
    assert audit(p, sent).violations == ("value: 1 planned sends are not worth sending (value <= 0, ¶6)",)
