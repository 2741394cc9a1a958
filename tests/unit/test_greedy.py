"""The plan by value that stands beside ours: it keeps every rule, depends on no order, and is what its text says."""

from __future__ import annotations

import math

import numpy as np
import pytest
from allocation_worlds import PRICES, Message, objective, problem, random_problem, shuffled
from benchmarks.instances import instance
from hypothesis import given, settings
from hypothesis import strategies as st

from sendopt.allocation import Problem, allocate, audit_plan
from sendopt.allocation.control import Control
from sendopt.allocation.prices.engine import arrays
from sendopt.allocation.prices.greedy import greedy_cells
from sendopt.allocation.prices.instance import hash_order
from sendopt.config.schema import Allocation


def plainly(p: Problem) -> list[int]:
    """Return the greedy plan by the audit: cells by tier and value, each taken if the audit finds no violation."""
    m = p.messages
    rank = np.empty(len(p.users), np.int64)
    rank[hash_order(p.users)] = np.arange(len(p.users))
    by_message = hash_order(m.message_id)
    message_rank = np.empty(len(m.user), np.int64)
    message_rank[by_message] = np.arange(len(m.user))
    of = p.cells.message
    order = np.lexsort((p.cells.slot, message_rank[of], rank[m.user[of]], -p.cells.value, m.tier[of]))
    chosen: list[int] = []
    for c in order.tolist():
        if p.cells.value[c] > 0 and not audit_plan(p, np.array(sorted([*chosen, c]), np.int64)):
            chosen.append(c)
    return sorted(chosen)


@given(st.integers(0, 10**6))
@settings(max_examples=150)
def test_it_takes_by_value_what_the_audit_allows(seed):
    p = random_problem(seed, users=4, per_user=3, n_slots=5)
    assert greedy_cells(p, arrays(p)).tolist() == plainly(p)


@given(st.integers(0, 10**6))
@settings(max_examples=30)
def test_its_value_does_not_depend_on_the_order_of_rows(seed):
    p = random_problem(seed, users=4, per_user=3)
    q = shuffled(p, seed)
    assert objective(p, greedy_cells(p, arrays(p)).tolist()) == pytest.approx(
        objective(q, greedy_cells(q, arrays(q)).tolist())
    )


def test_tiers_come_in_order():
    rows = [
        Message("u", "low", campaign="a", channel="push", category="k", tier=2),
        Message("u", "high", campaign="a", channel="push", category="k", tier=1),
    ]
    p = problem(rows, [(0, 0, 0.9), (1, 0, 0.1)], {"min_gap_minutes": 60})
    assert greedy_cells(p, arrays(p)).tolist() == [1]
    assert allocate(p, PRICES, Control(greedy=True)).greedy == pytest.approx(0.1)


@pytest.mark.parametrize("limits", ["plain", "minimums", "many", "scoped"])
def test_no_plan_of_ours_is_worth_less(limits):
    p = instance(400, seed=2, limits=limits, with_history=0.3)
    solution = allocate(p, Allocation(exact_max_users=0, relative_gap=1e-3), Control(greedy=True))
    cells = greedy_cells(p, arrays(p))
    assert audit_plan(p, cells) == ()
    assert solution.greedy == pytest.approx(objective(p, cells.tolist()))
    assert solution.greedy <= solution.objective <= solution.bound
    assert math.isfinite(solution.greedy)


def test_it_is_not_made_where_nobody_asks():
    assert allocate(random_problem(1), PRICES).greedy is None
