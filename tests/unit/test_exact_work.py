"""The exact program: what it proves, what it may cost, and what happens where that is not enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from allocation_worlds import EXACT, PRICES, Cell, Message, problem, random_problem
from benchmarks import peak_hours

from sendopt.allocation import Problem, allocate, audit
from sendopt.allocation.exact.plan import program_of
from sendopt.allocation.exact.program import Model
from sendopt.allocation.work import ROOT, Work
from sendopt.config.schema import Allocation
from sendopt.summary import of_warnings

KNAPSACK = [Message(f"u{i}", f"m{i}", campaign="sale", channel="push", category="shop") for i in range(4)]


def crowd() -> Problem:
    """Return a problem of forty people with room for four sends a slot."""
    messages = [Message(f"u{i}", f"m{i}", campaign="sale", channel="push", category="shop") for i in range(40)]
    cells = [(i, s, 0.1 + 0.01 * ((7 * i + 3 * s) % 11)) for i in range(40) for s in range(6)]
    return problem(messages, cells, {"capacity": {"push": 4}})


def test_exact_states_the_bound_that_the_program_proves() -> None:
    """A budget for one and a half sends: the relaxation sends halves, the program proves that they cannot be."""
    p = problem(
        KNAPSACK,
        [Cell(message=i, slot=0, value=1.0 + i / 10, cost=2.0) for i in range(4)],
        {"cost": {"max_total": 3.0}},
    )
    solution = allocate(p, EXACT)
    assert solution.objective == pytest.approx(1.3)
    assert solution.bound == pytest.approx(1.3)
    assert solution.bound_by_prices > 1.8
    assert (solution.termination, solution.proof, solution.gap) == ("optimal", "program", pytest.approx(0, abs=1e-9))
    assert audit(p, solution).ok


def test_what_is_optimal_has_no_gap() -> None:
    for seed in range(60):
        solution = allocate(random_problem(seed), EXACT)
        assert solution.termination == "optimal"
        assert solution.gap < 1e-6, seed


def test_a_send_that_no_budget_pays_for_is_worth_nothing_to_the_bound() -> None:
    cells = [Cell(message=0, slot=0, value=1200.0, cost=10.0), Cell(message=1, slot=0, value=0.2, cost=1.0)]
    p = problem(KNAPSACK[:2], cells, {"cost": {"max_total": 5.0}})
    solution = allocate(p, EXACT)
    assert (solution.objective, solution.bound) == pytest.approx((0.2, 0.2))
    assert Model(program_of(p)).relaxed(1000).objective == pytest.approx(0.2)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_the_unit_of_value_changes_no_exact_plan(factor: float) -> None:
    for seed in range(200, 230):
        p = random_problem(seed)
        priced = {
            name: c.model_copy(
                update={} if c.shortfall_price is None else {"shortfall_price": c.shortfall_price * factor}
            )
            for name, c in p.limits.campaigns.items()
        }
        scaled = replace(
            p,
            cells=replace(p.cells, value=p.cells.value * factor),
            limits=p.limits.model_copy(update={"campaigns": priced}),
        )
        solution, scaled_solution = allocate(p, EXACT), allocate(scaled, EXACT)
        assert scaled_solution.objective == pytest.approx(solution.objective * factor, rel=1e-6, abs=1e-6 * factor), (
            seed
        )
        assert scaled_solution.termination == "optimal"


def test_a_budget_is_kept_to_its_own_size_however_small() -> None:
    """Uses of a millionth of a solver's tolerance still add up to no more than the budget."""
    p = problem(
        KNAPSACK,
        [Cell(message=i, slot=0, value=1.0, p_opt_out=3e-8) for i in range(4)],
        {"opt_outs": {"max_expected": 7e-8}},
    )
    for settings in (EXACT, PRICES):
        assert len(allocate(p, settings).chosen) == 2


def test_a_program_that_is_too_large_is_left_to_prices_and_says_so() -> None:
    p = crowd()
    solution = allocate(p, Allocation(exact_max_users=100, exact_work=1e-3))
    assert (solution.method, len(solution.chosen)) == ("prices", 6 * 4)
    assert solution.gap < 0.01
    assert "is larger than allocation.exact_work 0.001 allows and was not tried" in solution.warnings[0]
    assert any("was not tried" in line for line in of_warnings(solution.warnings))
    assert audit(p, solution).ok


def test_a_search_that_is_stopped_is_left_to_prices_and_the_better_plan_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    p = crowd()
    for most, expected in ((0, "prices"), (1, None)):
        monkeypatch.setattr(Work, "checks", lambda self, numbers, most=most: most)
        solution = allocate(p, Allocation(exact_max_users=100))
        if solution.termination != "optimal":
            assert expected is None or solution.method == expected
            assert "was not finished within allocation.exact_work" in solution.warnings[0]
        assert len(solution.chosen) == 6 * 4
        assert audit(p, solution).ok


def test_a_relaxation_without_work_has_no_prices() -> None:
    assert Model(program_of(peak_hours.instance(20))).relaxed(1).status == "no_plan"


def test_where_a_search_is_stopped_depends_on_nothing_but_the_program() -> None:
    model = Model(program_of(peak_hours.instance(15, seed=3, tired=True)))
    answers = [model.integer(0.0, 5 * ROOT) for _ in range(2)]
    assert {answer.status for answer in answers} == {"work_limit"}
    assert answers[0].x.tobytes() == answers[1].x.tobytes()
    assert answers[0].bound == answers[1].bound
    more = model.integer(0.0, 15 * ROOT)
    assert more.objective >= answers[0].objective
    assert more.bound <= answers[0].bound


def test_of_a_stopped_search_and_prices_the_better_plan_and_the_better_bound_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    p = peak_hours.instance(15, seed=3, tired=True)
    monkeypatch.setattr(Work, "checks", lambda self, numbers: 5 * ROOT)
    some = allocate(p, Allocation())
    priced = allocate(p, Allocation(exact_max_users=0))
    assert "was not finished within allocation.exact_work" in some.warnings[0]
    assert priced.objective <= some.objective <= some.bound <= priced.bound
    assert some.method == "exact" or some.objective == priced.objective
    assert audit(p, some).ok
