"""Random instances with odd rules and numbers, planned three ways, beside an integer program that shares no code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks.fuzz_allocation import METHODS, NEAR, Outcome, outcomes, right, table
from benchmarks.fuzz_oracle import best_of_tier, broken_rules, objective_of_tier, tier_numbers
from benchmarks.fuzz_worlds import instance

FAST = range(25)
LONG = range(1000, 1300)


def sentences(results: list[Outcome]) -> str:
    return "\n".join(table(results, METHODS))


def test_plans_of_random_instances_are_as_good_as_they_say(tmp_path: Path) -> None:
    results = [o for number in FAST for o in outcomes(number, METHODS, tmp_path)]
    assert not any(o.faults for o in results), sentences(results)
    assert np.mean([o.below <= NEAR for o in results if o.method == "prices"]) >= 0.9, sentences(results)


@pytest.mark.long
def test_three_hundred_random_instances_are_planned_right_and_prices_are_near_the_best(tmp_path: Path) -> None:
    results = [o for number in LONG for o in outcomes(number, METHODS, tmp_path)]
    assert right(results), sentences(results)


def test_the_programs_own_plans_keep_the_rules_that_the_checker_asks() -> None:
    for number in FAST:
        p = instance(number)
        above: tuple[int, ...] = ()
        for tier in tier_numbers(p):
            best = best_of_tier(p, tier, above)
            assert objective_of_tier(p, tier, above, best.cells) == pytest.approx(best.objective)
            above = tuple(sorted((*above, *best.cells)))
        assert broken_rules(p, above) == [], number


def test_instances_have_what_they_are_for() -> None:
    """Every kind of rule and of odd number is among three hundred."""
    some = [instance(number) for number in range(300)]
    limits = [p.limits for p in some]
    rules = {
        "tiers": [len(set(p.messages.tier)) > 1 for p in some],
        "groups": [(p.messages.exclusive_group != "").any() for p in some],
        "gap": [x.min_gap_minutes > 0 for x in limits],
        "calendar": [any(cap.calendar for cap in x.caps.values()) for x in limits],
        "rolling": [any(cap.window_minutes for cap in x.caps.values()) for x in limits],
        "fatigue": [x.fatigue is not None for x in limits],
        "capacity": [bool(x.capacity) for x in limits],
        "minimums": [any(c.min_sends for c in x.campaigns.values()) for x in limits],
        "opt-outs": [x.opt_outs is not None for x in limits],
        "cost": [x.cost is not None for x in limits],
        "minute 0": [(p.history.minutes_before == 0).any() for p in some],
        "committed": [p.history.committed.any() for p in some],
        "negative": [(p.cells.value < 0).any() for p in some],
        "tiny": [0 < abs(p.cells.value).max(initial=0) < 1e-6 for p in some],
        "huge": [p.cells.value.max(initial=0) > 1e5 for p in some],
        "equal": [len(p.cells.value) > 9 and np.ptp(p.cells.value) == 0 for p in some],
    }
    rare = {name: int(np.sum(shares)) for name, shares in rules.items() if np.mean(shares) < 0.05}
    assert not rare
