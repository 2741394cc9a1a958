"""No unit of value or money decides about a plan, and a gap is relative to what the plan is worth (¶11, ADR 0019)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from allocation_worlds import EXACT, PRICES, Cell, Message, problem, random_problem
from hypothesis import given, settings
from hypothesis import strategies as st

from sendopt.allocation import Problem, Solution, allocate, audit
from sendopt.allocation.audit.check import gap_of as gap_of_the_audit
from sendopt.allocation.solution import gap_of
from sendopt.allocation.unit import unit_of
from sendopt.config.schema import Allocation
from sendopt.domain.limits import Limits

CLOSE = 2e-4  # of the objective
FACTORS = (1e-6, 1e-3, 1e4, 1e6)


def world(users: int = 300, *, price: float | None = None, minimum: int = 30) -> Problem:
    """Return a problem of two channels and five campaigns, one with a minimum, where capacities and opt-outs bind."""
    draw = np.random.default_rng(11)
    messages = [
        Message(f"u{u:03d}", f"m{u}{k}", campaign=f"c{(u + k) % 5}", channel=("push", "sms")[(u + k) % 2], category="k")
        for u in range(users)
        for k in range(3)
    ]
    cells = [
        Cell(
            message=m,
            slot=s,
            value=float(draw.gamma(2.0, 0.03)),
            p_opt_out=float(draw.beta(1, 90)),
            cost=float(draw.integers(1, 4)),
        )
        for m in range(len(messages))
        for s in range(8)
        if draw.random() < 0.7
    ]
    campaigns = {f"c{i}": {"max_sends": users // 7} for i in range(5)}
    campaigns["c0"] |= {"min_sends": minimum} | ({} if price is None else {"shortfall_price": price})
    campaigns["c0"]["max_sends"] = max(campaigns["c0"]["max_sends"], minimum)
    limits = {
        "min_gap_minutes": 120,
        "caps": {"day": {"window_minutes": 1440, "max": 2}},
        "capacity": {"push": users // 14, "sms": users // 20},
        "campaigns": campaigns,
        "opt_outs": {"max_expected": users * 0.005},
        "cost": {"max_total": users * 1.2},
    }
    return problem(messages, cells, limits, n_slots=8)


def in_other_units(p: Problem, value: float, money: float = 1.0) -> Problem:
    """Return the problem with values multiplied by `value` and amounts of money by `money`."""
    limits = p.limits.model_dump(exclude_none=True)
    for bounds in limits["campaigns"].values():
        if "shortfall_price" in bounds:
            bounds["shortfall_price"] *= value
    if "cost" in limits:
        limits["cost"]["max_total"] *= money
    return replace(
        p,
        cells=replace(p.cells, value=p.cells.value * value, cost=p.cells.cost * money),
        history=replace(p.history, cost=p.history.cost * money),
        limits=Limits.model_validate(limits),
    )


def with_shortfall_price(p: Problem, price: float) -> Problem:
    limits = p.limits.model_dump(exclude_none=True)
    for bounds in limits["campaigns"].values():
        if bounds["min_sends"] > 0:
            bounds["shortfall_price"] = price
    return replace(p, limits=Limits.model_validate(limits))


def require_proven(p: Problem, solution: Solution) -> None:
    assert audit(p, solution).violations == ()
    assert solution.objective <= solution.bound


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("price", [None, 0.3])
def test_a_plan_does_not_depend_on_the_unit_of_value(factor: float, price: float | None) -> None:
    p = world(price=price)
    rescaled = in_other_units(p, factor)
    plan, rescaled_plan = allocate(p, PRICES), allocate(rescaled, PRICES)
    require_proven(rescaled, rescaled_plan)
    assert rescaled_plan.objective / factor == pytest.approx(plan.objective, rel=CLOSE)
    assert rescaled_plan.bound / factor == pytest.approx(plan.bound, rel=CLOSE)
    assert rescaled_plan.gap <= 1e-3


def test_a_power_of_two_as_the_unit_changes_no_byte_of_a_plan() -> None:
    p = world()
    plan, rescaled_plan = allocate(p, PRICES), allocate(in_other_units(p, 2.0**20, 2.0**-9), PRICES)
    assert plan.chosen.tobytes() == rescaled_plan.chosen.tobytes()
    assert (plan.objective, plan.bound, plan.gap) == (
        rescaled_plan.objective / 2**20,
        rescaled_plan.bound / 2**20,
        rescaled_plan.gap,
    )
    by_row = {row.row: row.price * (2.0**29 if row.kind == "cost" else 2.0**20) for row in plan.prices}
    assert {row.row: row.price for row in rescaled_plan.prices} == by_row


@pytest.mark.parametrize("money", [1e-6, 1e6])
def test_a_plan_does_not_depend_on_the_unit_of_money(money: float) -> None:
    p = world()
    rescaled = in_other_units(p, 1.0, money)
    plan, rescaled_plan = allocate(p, PRICES), allocate(rescaled, PRICES)
    require_proven(rescaled, rescaled_plan)
    assert rescaled_plan.objective == pytest.approx(plan.objective, rel=CLOSE)
    assert rescaled_plan.gap <= 1e-3


@given(
    st.integers(0, 10_000),
    st.sampled_from([*FACTORS, 7.3e-5, 3.1e5]),
    st.sampled_from([EXACT, PRICES]),
)
@settings(max_examples=60)
def test_random_problems_of_every_rule_are_planned_alike_in_any_unit(
    seed: int, factor: float, method: Allocation
) -> None:
    p = random_problem(seed)
    rescaled = in_other_units(p, factor)
    plan, rescaled_plan = allocate(p, method), allocate(rescaled, method)
    require_proven(rescaled, rescaled_plan)
    assert rescaled_plan.objective / factor == pytest.approx(plan.objective, rel=CLOSE, abs=1e-9)
    assert rescaled_plan.gap == pytest.approx(plan.gap, abs=1e-3)


@pytest.mark.parametrize("factor", [1e-6, 1e-3, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("minimum", [30, 240])
def test_no_shortfall_price_wrecks_a_bound(factor: float, minimum: int) -> None:
    """A minimum that can be met costs what its sends displace; one of 240 of which 42 fit is a constant."""
    p = with_shortfall_price(world(minimum=minimum), 0.1 * factor)
    solution = allocate(p, PRICES)
    require_proven(p, solution)
    assert solution.gap <= 1e-3
    assert (solution.bound - solution.objective) / solution.value <= 1e-3
    if factor >= 1e3 and minimum == 30:
        assert solution.shortfall == {}


@pytest.mark.parametrize("outlier", [1e6, 1e9])
def test_one_value_of_another_size_spoils_no_plan_of_the_rest(outlier: float) -> None:
    p = world()
    outlying_cell = int(np.argmax(p.cells.value))
    value = p.cells.value.copy()
    value[outlying_cell] = outlier
    q = replace(p, cells=replace(p.cells, value=value))
    plain, odd = allocate(with_shortfall_price(p, 0.1), PRICES), allocate(with_shortfall_price(q, 0.1), PRICES)
    assert outlying_cell in odd.chosen
    rest = p.cells.value[odd.chosen].sum()
    assert rest >= 0.97 * plain.value


def test_a_gap_is_relative_to_what_the_plan_is_worth_however_little_that_is() -> None:
    for gap in (gap_of, gap_of_the_audit):
        assert gap(1e-6, 0.0, 1.5e-6) == pytest.approx(0.5)
        assert gap(40.0, 0.0, 41.0) == pytest.approx(1 / 40)
        assert gap(40.0, 40.0, 1.0) == pytest.approx(1 / 40)  # an objective near 0 is no small plan
        assert gap(0.0, 30.0, -29.0) == pytest.approx(1 / 30)
        assert gap(0.0, 0.0, 0.0) == 0.0
        assert gap(0.0, 0.0, 1e-9) == 1.0  # nothing planned, and nothing proves that rightly so


@given(*[st.floats(0, 1e12, allow_subnormal=False)] * 3)
def test_solver_and_audit_have_the_same_gap(value: float, penalty: float, more: float) -> None:
    bound = value - penalty + more
    assert gap_of(value, penalty, bound) == pytest.approx(gap_of_the_audit(value, penalty, bound), rel=1e-6, abs=1e-9)


def test_the_audit_refuses_what_is_wrong_by_a_millionth_where_plans_are_worth_a_millionth() -> None:
    p = in_other_units(world(), 1e-9)
    solution = allocate(p, PRICES)
    assert audit(p, solution).violations == ()
    for field in ("value", "objective", "bound"):
        wrong = replace(solution, **{field: getattr(solution, field) * 0.99})
        assert audit(p, wrong).violations, field


def test_a_unit_is_a_power_of_two_that_few_odd_values_do_not_move() -> None:
    values = np.full(1001, 0.01)
    assert unit_of(values) == 2.0**-7
    values[::10] = 1e6
    values[1::10] = -np.inf
    assert unit_of(values) == 2.0**-7
    assert unit_of(np.zeros(3)) == unit_of(np.empty(0)) == 1.0
    assert unit_of(np.array([1e-320])) > 0
    assert unit_of(np.r_[np.zeros(10**6), 3.0]) == 2.0


@pytest.mark.parametrize("factor", FACTORS)
def test_a_folder_does_not_depend_on_the_unit_of_value(tmp_path: Path, factor: float) -> None:
    from folders import solved_in_buckets

    p = world(600, price=0.3)
    plan = solved_in_buckets(p, tmp_path / "one", 2)
    rescaled_plan = solved_in_buckets(in_other_units(p, factor), tmp_path / "two", 2)
    assert rescaled_plan.objective / factor == pytest.approx(plan.objective, rel=CLOSE)
    assert rescaled_plan.bound / factor == pytest.approx(plan.bound, rel=CLOSE)
    assert rescaled_plan.gap == pytest.approx(plan.gap, abs=2 * CLOSE)
