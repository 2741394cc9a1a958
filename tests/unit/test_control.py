"""Start prices, gap, progress and cancel: they reach the search, and cost neither plan nor proof (ADR 0021)."""

from __future__ import annotations

import numpy as np
import pytest
from allocation_worlds import PRICES, random_problem, shuffled
from benchmarks.instances import instance
from hypothesis import given, settings
from hypothesis import strategies as st

from sendopt.allocation import allocate, audit, check
from sendopt.allocation.control import Control, Progress
from sendopt.allocation.prices import engine
from sendopt.config.schema import Allocation


def prices_of(solution) -> dict[str, float]:
    return {p.row: p.price for p in solution.prices}


GAP = Allocation(exact_max_users=0, relative_gap=1e-3)


@pytest.mark.parametrize("kind", ["plain", "minimums", "many"])
def test_prices_of_yesterday_never_cost_plan_or_proof(kind):
    """Of the day itself, of another day, scaled by a thousand either way, and drawn at random."""
    today = instance(500, seed=1, limits=kind)
    cold = allocate(today, GAP)
    yesterday = prices_of(allocate(instance(500, seed=2, limits=kind), GAP))
    draw = np.random.default_rng(3)
    starts = {
        "the same day": prices_of(cold),
        "another day": yesterday,
        "a thousandfold": {row: 1e3 * price for row, price in yesterday.items()},
        "a thousandth": {row: 1e-3 * price for row, price in yesterday.items()},
        "drawn": {row: float(draw.gamma(1.0, 0.1)) for row in yesterday},
        "one row": dict(list(yesterday.items())[:1]),
        "no row": {"nothing": 1.0},
    }
    for name, start in starts.items():
        warm = allocate(today, GAP, Control(start))
        check(today, warm)
        assert warm.gap <= max(GAP.relative_gap, cold.gap + 1e-9), name


@given(st.integers(0, 10**6), st.lists(st.floats(0, 5), min_size=1, max_size=6))
@settings(max_examples=40)
def test_any_start_prices_leave_the_plan_sound(seed, draws):
    p = random_problem(seed)
    cold = allocate(p, PRICES)
    start = {price.row: draws[i % len(draws)] for i, price in enumerate(cold.prices)}
    warm = allocate(p, PRICES, Control(start))
    check(p, warm)
    assert warm.gap <= max(PRICES.relative_gap, cold.gap + 1e-6)


def test_prices_of_the_day_itself_save_passes():
    today = instance(6_000, seed=1)
    _, market = engine.prepare(today)
    _, best = engine.solve(market, 1e-4)
    cold = market.answers
    _, market = engine.prepare(today)
    engine.solve(market, 1e-4, best.prices)
    assert market.answers < 0.7 * cold


def test_the_same_start_gives_the_same_plan_whatever_the_order_of_rows():
    p = random_problem(11, users=5, per_user=3)
    start = {price.row: 0.1 for price in allocate(p, PRICES).prices}
    one, other = allocate(p, PRICES, Control(start)), allocate(shuffled(p, 1), PRICES, Control(start))
    assert (one.objective, one.bound, prices_of(one)) == (other.objective, other.bound, prices_of(other))


@pytest.mark.parametrize("asked", [0, 1, 3, 10, 30, 100, 300])
def test_cancelling_at_any_time_leaves_an_audited_plan(asked):
    """After so many questions the caller says stop; the later, the better the plan may be, and it is always sound."""
    today = instance(300, seed=4, limits="many")
    questions = iter(range(10**9))
    solution = allocate(
        today, Allocation(exact_max_users=0, relative_gap=0.0), Control(cancel=lambda: next(questions) >= asked)
    )
    check(today, solution)
    if solution.termination != "cancelled":
        assert next(questions) <= asked
    assert 0 < solution.objective <= solution.bound


def test_a_cancelled_exact_solve_is_planned_by_prices_with_their_proof():
    p = random_problem(5)
    solution = allocate(p, Allocation(), Control(cancel=lambda: True))
    assert audit(p, solution).ok
    assert (solution.method, solution.termination) == ("prices", "cancelled")


def test_progress_tells_bound_objective_and_gap_as_they_get_better():
    heard: list[Progress] = []
    solution = allocate(instance(400, seed=1, limits="minimums"), GAP, Control(progress=heard.append))
    bounds = [p.bound for p in heard if p.bound is not None]
    objectives = [p.objective for p in heard if p.objective is not None]
    assert bounds == sorted(bounds, reverse=True)
    assert objectives == sorted(objectives)
    assert bounds[-1] == pytest.approx(solution.bound, rel=1e-6)
    assert objectives[-1] == pytest.approx(solution.objective, rel=1e-6)
    assert all(p.gap is None or p.gap >= 0 for p in heard)


def test_a_smaller_gap_is_looked_for_longer():
    today = instance(400, seed=6)
    loose = allocate(today, Allocation(exact_max_users=0, relative_gap=0.1))
    tight = allocate(today, Allocation(exact_max_users=0, relative_gap=1e-5))
    assert tight.gap <= loose.gap
    assert loose.termination == "gap_reached"
