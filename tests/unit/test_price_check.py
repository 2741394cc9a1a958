"""Prices checked against solving again with a limit moved (model ¶13)."""

from __future__ import annotations

import numpy as np
import pytest
from allocation_worlds import EXACT, Cell, Message, problem

from sendopt.allocation import Problem, allocate
from sendopt.allocation.price_check import check_prices


def sale(values: list[float], most: int, **limits: object) -> Problem:
    messages = [
        Message(f"u{i:02d}", f"m{i}", campaign="sale", channel="push", category="shop") for i in range(len(values))
    ]
    cells = [Cell(message=i, slot=i % 3, value=v, p_opt_out=0.01, cost=1.0) for i, v in enumerate(values)]
    return problem(messages, cells, {"campaigns": {"sale": {"max_sends": most}}, **limits})


def test_a_price_that_holds_says_nothing() -> None:
    p = sale([0.5] * 40, 20)
    solution = allocate(p, EXACT)
    (check,) = check_prices(p, solution, EXACT, 3)
    assert (check.row, check.limit, check.moved_to) == ("campaign_max:sale", 20, 22)
    assert check.forecast == pytest.approx(1.0)
    assert check.gain == pytest.approx(1.0)
    assert check.least - 1e-9 <= check.gain <= check.most + 1e-9
    assert check.warning is None
    assert [x.gain_of_10_percent for x in solution.prices] == [pytest.approx(1.0)]


def test_a_price_of_the_first_send_only_is_said_to_mislead() -> None:
    """One more send is worth 0.5, the second more nothing: there are no more messages."""
    p = sale([0.5] * 21, 20)
    (check,) = check_prices(p, allocate(p, EXACT), EXACT, 1)
    assert check.forecast > 0.9
    assert check.gain == pytest.approx(0.5)
    assert check.warning is not None
    assert "first sends only" in check.warning


@pytest.mark.parametrize(
    ("limits", "row", "moved_to"),
    [
        ({"capacity": {"push": 4}}, "capacity:push:0", 5),
        ({"capacity": {"push": {0: 3, 2: 9}}}, "capacity:push:0", 4),
        ({"opt_outs": {"max_expected": 0.1}}, "opt_outs", 0.11),
        ({"cost": {"max_total": 10.0}}, "cost", 11.0),
    ],
)
def test_every_kind_of_row_is_moved(limits: dict[str, object], row: str, moved_to: float) -> None:
    draw = np.random.default_rng(1)
    p = sale(draw.uniform(0.2, 0.9, 40).tolist(), 40, **limits)
    checks = check_prices(p, allocate(p, EXACT), EXACT, 9)
    check = {c.row: c for c in checks}[row]
    assert check.moved_to == pytest.approx(moved_to)
    assert all(c.gain <= c.forecast + 1e-6 and c.least - 1e-9 <= c.gain <= c.most + 1e-9 for c in checks)


def test_a_minimum_is_moved_down() -> None:
    messages = [
        Message(f"u{i}", f"m{i}{k}", campaign=f"c{k}", channel="push", category="shop")
        for i in range(20)
        for k in range(2)
    ]
    cells = [Cell(message=m, slot=0, value=0.9 if m % 2 else 0.2) for m in range(40)]
    cap = {"one": {"window_minutes": 1440, "max": 1}}
    p = problem(messages, cells, {"caps": cap, "campaigns": {"c0": {"min_sends": 10, "shortfall_price": 5.0}}})
    (check,) = check_prices(p, allocate(p, EXACT), EXACT, 1)
    assert (check.row, check.moved_to) == ("campaign_min:c0", 9)
    assert (check.forecast, check.gain) == (pytest.approx(0.7), pytest.approx(0.7))
