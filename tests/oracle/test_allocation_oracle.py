"""The exact program against brute force, and its prices against a moved budget."""

from __future__ import annotations

import numpy as np
import pytest
from allocation_worlds import EXACT, PRICES, Message, best_by_trying_all, problem, with_limits
from hypothesis import given, settings
from strategies import problems

from sendopt.allocation import Problem, allocate, audit
from sendopt.allocation.coupling import coupling
from sendopt.allocation.exact.plan import program_of
from sendopt.allocation.exact.program import Model


@settings(max_examples=150)
@given(problems())
def test_exact_objective_is_the_best_of_all_plans(p: Problem) -> None:
    solution = allocate(p, EXACT)
    assert audit(p, solution).violations == ()
    assert solution.objective == pytest.approx(best_by_trying_all(p), abs=1e-6)
    assert solution.termination == "optimal"


@settings(max_examples=60)
@given(problems())
def test_prices_are_audited_and_never_above_the_best(p: Problem) -> None:
    solution = allocate(p, PRICES)
    assert audit(p, solution).violations == ()
    best = best_by_trying_all(p)
    assert solution.objective <= best + 1e-6 <= solution.bound + 2e-6


def test_price_predicts_what_one_more_send_is_worth() -> None:
    """Ten people, one message each, at most four sends: the fifth is worth its own value, the prediction exactly."""
    messages = [Message(f"u{i}", f"m{i}", campaign="sale", channel="push", category="shop") for i in range(10)]
    p = problem(messages, [(i, 0, (i + 1) / 10) for i in range(10)], {"campaigns": {"sale": {"max_sends": 4}}})
    now, more = (allocate(with_limits(p, campaigns={"sale": {"max_sends": n}}), EXACT) for n in (4, 5))
    price = {row.row: row.price for row in now.prices}["campaign_max:sale"]
    assert more.objective - now.objective == pytest.approx(0.6)
    assert 0.6 <= price <= 0.7  # the price lies between what the next send adds and what the last one added


@pytest.mark.parametrize("seed", range(3))
def test_prices_bracket_a_moved_budget_of_the_relaxation(seed: int) -> None:
    """The relaxation's optimum is concave in a budget: one more adds at most the price, one less costs at least it."""
    draw = np.random.default_rng(seed)
    messages = [
        Message(f"u{i}", f"m{i}{k}", campaign="sale", channel="push", category="shop")
        for i in range(12)
        for k in range(2)
    ]
    cells = [(m, s, round(float(draw.uniform(0.1, 1)), 3)) for m in range(24) for s in range(4)]
    p = problem(messages, cells, {"min_gap_minutes": 120, "capacity": {"push": 4}}, n_slots=4)
    bound, price = {}, 0.0
    for n in (9, 10, 11):
        q = with_limits(p, campaigns={"sale": {"max_sends": n}})
        rows = coupling(q)
        relaxed = Model(program_of(q)).relaxed(10**6)
        bound[n] = relaxed.objective
        price = relaxed.prices[rows.names.index("campaign_max:sale")] if n == 10 else price
    assert price > 0
    assert bound[11] - bound[10] <= price + 1e-7 <= bound[10] - bound[9] + 2e-7
