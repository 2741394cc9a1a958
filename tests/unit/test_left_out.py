"""Reasons of all messages at once: what `reasons` says of each, from arrays."""

from __future__ import annotations

import json

import numpy as np
import pytest
from allocation_worlds import EXACT, PRICES, Message, problem, random_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from sendopt.allocation import Problem, Solution, allocate
from sendopt.allocation.coupling import coupling
from sendopt.allocation.reasons.left_out import by_reason, left_out
from sendopt.allocation.reasons.one_message import why_unplanned
from sendopt.domain.reasons import REASONS


def one_by_one(p: Problem, solution: Solution) -> dict[tuple[str, str], tuple[str, dict[str, object]]]:
    every = np.ones(len(p.messages.user), np.bool_)
    return {
        (str(p.users[p.messages.user[m]]), str(p.messages.message_id[m])): (why.reason, dict(why.detail))
        for m, why in why_unplanned(p, solution, every).items()
    }


def worth_of_cells(p: Problem, solution: Solution) -> dict[tuple[str, str, object], float]:
    """Return the value after prices, by user, message and slot."""
    rows = coupling(p)
    prices = {price.row: price.price for price in solution.prices}
    adjusted = rows.adjusted(p.cells.value, np.array([prices[name] for name in rows.names]))
    users, messages = p.users[p.messages.user[p.cells.message]], p.messages.message_id[p.cells.message]
    return dict(zip(zip(users, messages, p.cells.slot.tolist(), strict=True), adjusted.tolist(), strict=True))


def at_once(p: Problem, solution: Solution) -> dict[tuple[str, str], tuple[str, dict[str, object]]]:
    return {
        (r["user_id"], r["message_id"]): (r["reason"], json.loads(r["detail"]))
        for r in left_out(p, solution).to_pylist()
    }


@given(st.integers(0, 10**6), st.sampled_from([EXACT, PRICES]))
@settings(max_examples=300)
def test_all_at_once_are_told_as_one_by_one(seed, method):
    p = random_problem(seed, users=4, per_user=4, n_slots=5)
    solution = allocate(p, method)
    expected, actual = one_by_one(p, solution), at_once(p, solution)
    assert actual.keys() == expected.keys()
    worth = worth_of_cells(p, solution)
    for key, (reason, detail) in expected.items():
        slots = [detail_of.get("slot") for detail_of in (detail, actual[key][1])]
        if slots[0] != slots[1]:  # two slots are worth the same but for the order of a sum: either may be looked at
            assert worth[*key, slots[0]] == pytest.approx(worth[*key, slots[1]], abs=1e-9)
            continue
        assert actual[key][0] == reason, (key, detail, actual[key])
        assert actual[key][1].keys() == detail.keys()
        for name, value in detail.items():
            assert actual[key][1][name] == (pytest.approx(value, abs=1e-9) if isinstance(value, float) else value)


def test_rows_are_by_user_and_message_and_every_reason_is_registered():
    p = random_problem(7, users=6, per_user=4)
    table = left_out(p, allocate(p, PRICES))
    keys = list(zip(table["user_id"].to_pylist(), table["message_id"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert set(table["reason"].to_pylist()) <= set(REASONS)
    assert sum(by_reason(table).values()) == table.num_rows


def test_a_plan_that_sends_everything_leaves_nothing_out():
    p = problem([Message("u", "m", campaign="a", channel="push", category="k")], [(0, 1, 0.5)], {})
    assert left_out(p, allocate(p, EXACT)).num_rows == 0
    assert by_reason(left_out(p, allocate(p, EXACT))) == {}


def test_a_message_without_a_cell_is_not_eligible():
    p = problem(
        [
            Message("u", "m", campaign="a", channel="push", category="k"),
            Message("u", "n", campaign="a", channel="push", category="k"),
        ],
        [(0, 1, 0.5)],
        {},
    )
    assert left_out(p, allocate(p, EXACT)).to_pylist() == [
        {"user_id": "u", "message_id": "n", "reason": "not_eligible", "detail": "{}"}
    ]
