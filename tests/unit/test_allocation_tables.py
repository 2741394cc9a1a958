"""Plans that a reader solves by eye: one rule at a time. Slots are hours, values are opens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pytest
from allocation_worlds import EXACT, PRICES, Cell, Message, PastSend, planned, problem

from sendopt.allocation import allocate, audit, unplanned_reasons
from sendopt.config.schema import Allocation
from sendopt.errors import ContractError, InfeasibleError

A1 = Message("ann", "a1", campaign="sale", channel="push", category="shop")
A2 = Message("ann", "a2", campaign="news", channel="sms", category="info")
B1 = Message("bob", "b1", campaign="sale", channel="push", category="shop")


class Case(NamedTuple):
    """A problem and the plan that is best, as {(message_id, slot)}."""

    messages: list[Message]
    cells: list[tuple]  # (message, slot, value) or `Cell`
    plan: set[tuple[str, int]]
    limits: Mapping[str, object] = {}
    history: Sequence[tuple] = ()  # (user, minutes_before) or `PastSend`


TABLE = {
    "best slot": Case(messages=[A1], cells=[(0, 0, 0.3), (0, 1, 0.5)], plan={("a1", 1)}),
    "negative value is never sent": Case(
        messages=[A1], cells=[(0, 0, -0.1)], limits={"campaigns": {"sale": {"min_sends": 1}}}, plan=set()
    ),
    "windows are half open": Case(
        messages=[A1, A2],
        cells=[(0, 0, 0.5), (1, 2, 0.3)],
        limits={"min_gap_minutes": 120},
        plan={("a1", 0), ("a2", 2)},
    ),
    "a gap is at least the gap": Case(
        messages=[A1, A2], cells=[(0, 0, 0.5), (1, 1, 0.3)], limits={"min_gap_minutes": 120}, plan={("a1", 0)}
    ),
    "the past keeps its distance": Case(
        messages=[A1],
        cells=[(0, 0, 0.9), (0, 1, 0.2)],
        limits={"min_gap_minutes": 120},
        history=[("ann", 60)],
        plan={("a1", 1)},
    ),
    "a committed send keeps its distance": Case(
        messages=[A1],
        cells=[(0, 0, 0.1), (0, 1, 0.9), (0, 3, 0.9)],
        limits={"min_gap_minutes": 120},
        history=[("ann", -120)],
        plan={("a1", 0)},
    ),
    "rolling cap counts history": Case(
        messages=[A1],
        cells=[(0, 0, 0.9), (0, 1, 0.2)],
        limits={"caps": {"day": {"window_minutes": 1440, "max": 1}}},
        history=[("ann", 1380)],
        plan={("a1", 1)},
    ),
    "cap of one channel": Case(
        messages=[A1, A2],
        cells=[(0, 0, 0.5), (1, 0, 0.3)],
        limits={"caps": {"p": {"scope": "channel:push", "window_minutes": 60, "max": 0}}},
        plan={("a2", 0)},
    ),
    "calendar day of the user": Case(
        messages=[A1],
        cells=[Cell(message=0, slot=0, value=0.9, local_day=99), Cell(message=0, slot=1, value=0.2, local_day=100)],
        limits={"caps": {"d": {"calendar": "day", "max": 1}}},
        history=[PastSend("ann", minutes_before=300, local_day=99)],
        plan={("a1", 1)},
    ),
    "calendar week starts on Monday": Case(  # day 102 is a Monday: 1970-01-01 was a Thursday
        messages=[A1],
        cells=[Cell(message=0, slot=0, value=0.9, local_day=101), Cell(message=0, slot=1, value=0.2, local_day=102)],
        limits={"caps": {"w": {"calendar": "week", "max": 1}}},
        history=[PastSend("ann", minutes_before=300, local_day=99)],
        plan={("a1", 1)},
    ),
    "history alone over a cap forbids, it does not fail": Case(
        messages=[A1, B1],
        cells=[(0, 0, 0.9), (1, 0, 0.2)],
        limits={"caps": {"d": {"window_minutes": 1440, "max": 1}}},
        history=[("ann", 5), ("ann", 9), ("ann", 11)],
        plan={("b1", 0)},
    ),
    "fatigue decays": Case(  # 1 point an hour ago: 0.891 + 1 > 1.8; six hours (a half-life) after it 0.5 + 1
        messages=[A1],
        cells=[(0, 0, 0.9), (0, 5, 0.2)],
        limits={"fatigue": {"half_life_hours": 6, "points_per_send": {"push": 1}, "max_points": 1.8}},
        history=[("ann", 60)],
        plan={("a1", 5)},
    ),
    "fatigue counts at a later committed send": Case(
        messages=[A1],
        cells=[(0, 0, 0.9), (0, 5, 0.2)],
        limits={"fatigue": {"half_life_hours": 6, "points_per_send": {"push": 1}, "max_points": 1.8}},
        history=[("ann", -60)],
        plan={("a1", 5)},
    ),
    "capacity of a slot": Case(
        messages=[A1, B1],
        cells=[(0, 0, 0.5), (1, 0, 0.6), (0, 1, 0.1)],
        limits={"capacity": {"push": {0: 1}}},
        plan={("b1", 0), ("a1", 1)},
    ),
    "committed sends use capacity and alone never fail": Case(
        messages=[A1, B1],
        cells=[(0, 0, 0.5), (1, 1, 0.6)],
        limits={"capacity": {"push": 1}},
        history=[("bob", -1), ("bob", -59)],
        plan={("b1", 1)},
    ),
    "campaign maximum": Case(
        messages=[A1, B1],
        cells=[(0, 0, 0.5), (1, 0, 0.6)],
        limits={"campaigns": {"sale": {"max_sends": 1}}},
        plan={("b1", 0)},
    ),
    "opt-out budget": Case(
        messages=[A1, B1],
        cells=[Cell(message=0, slot=0, value=0.5, p_opt_out=0.1), Cell(message=1, slot=0, value=0.6, p_opt_out=0.3)],
        limits={"opt_outs": {"max_expected": 0.25}},
        plan={("a1", 0)},
    ),
    "cost budget": Case(
        messages=[A1, B1],
        cells=[Cell(message=0, slot=0, value=0.5, cost=1.0), Cell(message=1, slot=0, value=0.6, cost=3.0)],
        limits={"cost": {"max_total": 2.5}},
        plan={("a1", 0)},
    ),
    "a minimum displaces a better send": Case(
        messages=[A1, A2],
        cells=[(0, 0, 0.5), (1, 0, 0.3)],
        limits={"min_gap_minutes": 60, "campaigns": {"news": {"min_sends": 1, "shortfall_price": 0.4}}},
        plan={("a2", 0)},
    ),
    "a cheap shortfall is accepted": Case(
        messages=[A1, A2],
        cells=[(0, 0, 0.5), (1, 0, 0.3)],
        limits={"min_gap_minutes": 60, "campaigns": {"news": {"min_sends": 1, "shortfall_price": 0.1}}},
        plan={("a1", 0)},
    ),
}


@pytest.mark.parametrize("settings", [EXACT, PRICES], ids=["exact", "prices"])
@pytest.mark.parametrize("name", TABLE)
def test_plan_by_eye(name: str, settings: Allocation) -> None:
    case = TABLE[name]
    p = problem(case.messages, case.cells, case.limits, case.history)
    solution = allocate(p, settings)
    assert planned(p, solution.chosen) == case.plan
    assert audit(p, solution).violations == ()


def test_shortfall_is_priced_and_reported() -> None:
    limits = {"campaigns": {"sale": {"min_sends": 3}, "none": {"min_sends": 2}}}
    solution = allocate(problem([A1], [(0, 0, 0.2), (0, 1, 0.7)], limits), EXACT)
    assert solution.shortfall == {"sale": 2, "none": 2}
    assert solution.penalty == pytest.approx(2 * 0.7)  # by default the largest value of its cells; nothing for `none`
    assert solution.objective == pytest.approx(0.7 - 1.4)


def test_an_empty_problem_has_an_empty_plan() -> None:
    p = problem([A1], [], {"capacity": {"push": 1}})
    solution = allocate(p, EXACT)
    assert (len(solution.chosen), solution.objective, solution.gap) == (0, 0.0, 0.0)
    assert audit(p, solution).ok


def test_min_over_max_names_the_campaign() -> None:
    p = problem([A1], [(0, 0, 0.2)], {"campaigns": {"sale": {"min_sends": 5, "max_sends": 3}}})
    with pytest.raises(InfeasibleError, match=r"campaigns\.sale: min_sends 5 > max_sends 3; say each limit once"):
        allocate(p, EXACT)


@pytest.mark.parametrize(
    ("cells", "history", "sentence"),
    [
        ([(0, 0, float("nan"))], [], "cells.value is not finite in 1 of 1 rows"),
        ([(0, 0, float("inf"))], [], "cells.value is not finite"),
        ([(0, 6, 0.1)], [], r"cells.slot is outside 0\.\.5"),
        ([(7, 0, 0.1)], [], r"cells.message is outside 0\.\.0"),
        ([(0, 0, 0.1), (0, 0, 0.2)], [], r"cells is repeated \(message, slot\) in 1 of 2 rows \(rows \[1\]\)"),
        ([Cell(message=0, slot=0, value=0.1, p_opt_out=1.5)], [], r"cells.p_opt_out is outside \[0, 1\]"),
        ([Cell(message=0, slot=0, value=0.1, cost=-1.0)], [], "cells.cost is not a finite number >= 0"),
        ([(0, 0, 0.1)], [("ann", float("nan"))], "history.minutes_before is not finite"),
        ([(0, 0, 0.1)], [("ann", -360)], "history.minutes_before is after the horizon of 360 minutes"),
    ],
)
def test_a_broken_problem_is_refused_by_name(cells: list, history: list, sentence: str) -> None:
    with pytest.raises(ContractError, match=sentence):
        allocate(problem([A1], cells, {}, history), EXACT)


@pytest.mark.parametrize(
    ("messages", "cells", "limits", "reason"),
    [
        ([B1, A1], [(0, 0, 0.9)], {}, "not_eligible"),
        ([B1, A1], [(0, 0, 0.9), (1, 0, -0.2)], {}, "negative_value"),
        ([B1, A1], [(0, 0, 0.9), (1, 0, 0.2)], {"capacity": {"push": 1}}, "capacity"),
        ([B1, A1], [(0, 0, 0.9), (1, 0, 0.2)], {"campaigns": {"sale": {"max_sends": 1}}}, "campaign_budget"),
        (
            [B1, A1],
            [Cell(message=0, slot=0, value=0.9, p_opt_out=0.2), Cell(message=1, slot=0, value=0.2, p_opt_out=0.2)],
            {"opt_outs": {"max_expected": 0.2}},
            "opt_out_budget",
        ),
        (
            [B1, A1],
            [Cell(message=0, slot=0, value=0.9, cost=1.0), Cell(message=1, slot=0, value=0.2, cost=1.0)],
            {"cost": {"max_total": 1.0}},
            "cost_budget",
        ),
        ([A2, A1], [(0, 0, 0.9), (1, 0, 0.2)], {"caps": {"d": {"window_minutes": 60, "max": 1}}}, "user_cap"),
        ([A2, A1], [(0, 0, 0.9), (1, 1, 0.2)], {"min_gap_minutes": 90}, "min_gap"),
        (
            [A2, A1],
            [(0, 0, 0.9), (1, 1, 0.2)],
            {"fatigue": {"half_life_hours": 24, "points_per_send": {"sms": 1, "push": 1}, "max_points": 1.5}},
            "fatigue",
        ),
    ],
)
def test_reason_of_an_unplanned_message(messages: list, cells: list, limits: dict, reason: str) -> None:
    p = problem(messages, cells, limits)
    assert unplanned_reasons(p, allocate(p, EXACT)).tolist() == ["planned", reason]
