"""The price engine: best responses against every plan of a user, plans near the bound, the same bytes any way."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from allocation_worlds import EXACT, PRICES, Cell, Message, PastSend, problem, random_problem, with_limits

from sendopt.allocation import Problem, allocate, audit, audit_plan
from sendopt.allocation.prices import market
from sendopt.allocation.prices.best_response import respond
from sendopt.allocation.prices.engine import prepare
from sendopt.allocation.prices.scratch import Prices, scratch_for
from sendopt.domain.limits import Limits


def world(users: int = 120) -> Problem:
    draw = np.random.default_rng(3)
    messages = [
        Message(f"u{u:03d}", f"m{u}{k}", campaign=f"c{(u + k) % 5}", channel=("push", "sms")[(u + k) % 2], category="k")
        for u in range(users)
        for k in range(2)
    ]
    cells = [
        Cell(message=m, slot=s, value=float(draw.gamma(2.0, 0.03)), p_opt_out=0.01, cost=1.0)
        for m in range(len(messages))
        for s in range(8)
        if draw.random() < 0.7
    ]
    limits = {
        "min_gap_minutes": 180,
        "caps": {"day": {"window_minutes": 1440, "max": 1}},
        "capacity": {"push": 7, "sms": 5},
        "campaigns": {f"c{i}": {"max_sends": 15, "min_sends": 12 * (i == 0)} for i in range(5)},
        "opt_outs": {"max_expected": 0.7},
    }
    return problem(messages, cells, limits, n_slots=8)


@pytest.mark.parametrize(("first", "per_user", "n_slots"), [*((40 * i, 3, 4) for i in range(5)), (500, 2, 21)])
def test_a_best_response_is_the_best_of_all_a_users_plans(first: int, per_user: int, n_slots: int) -> None:
    """At random prices, under every per-user rule, history and committed sends; by value, and by the cells it names.

    A slot is one, two or eight hours: 21 of them are up to a week.
    """
    for seed in range(first, first + 40):
        p = random_problem(seed, users=2, per_user=per_user, n_slots=n_slots)
        compiled, _ = prepare(p)
        d, draw = compiled.instance, np.random.default_rng(seed)
        slots, channels = p.n_slots, len(compiled.channels)
        capacity = draw.uniform(0, 0.3, channels * slots) * (draw.random(channels * slots) < 0.5)
        campaign = draw.uniform(-0.2, 0.3, len(compiled.campaigns))
        prices = Prices(capacity, campaign, draw.uniform(0, 1), draw.uniform(0, 0.1), np.inf, np.inf)
        user_rules_only = replace(
            p, limits=Limits(caps=p.limits.caps, min_gap_minutes=p.limits.min_gap_minutes, fatigue=p.limits.fatigue)
        )
        worth = np.empty(len(compiled.cell))
        for i, c in enumerate(compiled.cell):
            m = p.cells.message[c]
            at = compiled.channels.index(p.messages.channel[m]) * slots + p.cells.slot[c]
            paid = capacity[at] + campaign[compiled.campaigns.index(p.messages.campaign[m])]
            unit = compiled.units
            value, opt_outs = p.cells.value[c] / unit.value, p.cells.p_opt_out[c] / unit.opt_outs
            worth[i] = value - paid - prices.opt_outs * opt_outs - prices.cost * p.cells.cost[c] / unit.cost
        scratch = scratch_for(d)
        for u in range(len(d.most)):
            n, value, bound, _ = respond(d, prices, u, scratch)
            cells = scratch.best[:n].copy()
            assert audit_plan(user_rules_only, compiled.cell[cells]) == ()
            best = _best_by_trying_all(user_rules_only, d, u, compiled.cell, worth)
            assert (value, bound, worth[cells].sum()) == pytest.approx((best,) * 3, abs=1e-9), (seed, u)


def _best_by_trying_all(p: Problem, d, u: int, cell: np.ndarray, worth: np.ndarray) -> float:
    messages = range(d.message_start[u], d.message_start[u + 1])
    spans = [range(d.cell_start[m], d.cell_start[m + 1]) for m in messages]
    options = [[None, *(i for i in span if d.value[i] > 0 and worth[i] > 0)] for span in spans]
    best = 0.0
    for pick in itertools.product(*options):
        chosen = np.array([i for i in pick if i is not None], np.int64)
        total = worth[chosen].sum()
        if total > best and not audit_plan(p, cell[chosen]):
            best = total
    return best


def test_prices_stay_within_a_small_gap_and_keep_every_limit() -> None:
    p = world()
    solution = allocate(p, PRICES)
    assert audit(p, solution).violations == ()
    assert solution.method == "prices"
    assert solution.cut_users == 0
    assert 0 <= solution.gap < 0.003
    assert all(row.used <= row.limit + 1e-9 for row in solution.prices if row.kind != "campaign_min")
    assert allocate(p, PRICES).chosen.tobytes() == solution.chosen.tobytes()


def test_two_threads_sum_up_to_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market, "BLOCK", 16)
    compiled, _ = prepare(world())
    prices = np.full(len(compiled.rows.names), 0.01)
    single, double = (market.Market(compiled, threads=n).respond(prices) for n in (1, 2))
    assert (single.bound, single.value) == (double.bound, double.value)
    assert single.use.tobytes() == double.use.tobytes()


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_prices_forecast_what_a_tenth_of_a_limit_is_worth(share: float) -> None:
    """Of all capacities together: never less than what a re-solve gains, never more than what it loses (¶13)."""
    p = world(400)
    p = with_limits(p, capacity={"push": 20, "sms": 20}, opt_outs={"max_expected": 90.0}, campaigns={})
    now = allocate(p, PRICES)
    moved = allocate(with_limits(p, capacity={"push": round(20 * share), "sms": round(20 * share)}), PRICES)
    forecast = sum(row.price * row.limit * (share - 1) for row in now.prices if row.kind == "capacity")
    assert abs(forecast) > 0.01 * now.objective
    assert moved.objective - now.objective <= forecast + (now.bound - now.objective) + 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [range(5000, 5300), pytest.param(range(5300, 6000), marks=pytest.mark.long)])
def test_a_thousand_small_problems_are_planned_within_their_certificates(seeds: range) -> None:
    """The exact optimum lies between what prices reach and what they prove, under every rule at once."""
    proven = 0
    for seed in seeds:
        p = random_problem(seed)
        exact, priced = allocate(p, EXACT), allocate(p, PRICES)
        tolerance = 1e-6 * max(1.0, abs(exact.objective))
        assert priced.objective - tolerance <= exact.objective <= priced.bound + tolerance, seed
        assert audit(p, priced).violations == (), seed
        proven += exact.objective - priced.objective <= tolerance
    assert proven >= 0.9 * len(seeds)  # ten users decide little about prices: some plans are a send away


@pytest.mark.parametrize(("slot_minutes", "days", "per_user"), [(15, 7, 3), (30, 1, 20), (120, 3, 20), (240, 7, 6)])
def test_every_grid_horizon_and_number_of_messages(slot_minutes: int, days: int, per_user: int) -> None:
    """With a cap in every kind of window, fatigue, spacing and a history; nobody's search is cut."""
    slots = days * 1440 // slot_minutes
    draw = np.random.default_rng(slot_minutes + per_user)
    users = [f"u{i:02d}" for i in range(40)]
    messages = [
        Message(u, f"{u}m{k}", campaign=f"c{(i + k) % 6}", channel=("push", "sms")[k % 2], category=f"k{k % 3}")
        for i, u in enumerate(users)
        for k in range(per_user)
    ]
    picked = [(m, s) for m in range(len(messages)) for s in draw.choice(slots, min(slots, 20), replace=False)]
    cells = [
        Cell(
            message=m,
            slot=int(s),
            value=float(draw.gamma(2.0, 0.05)),
            p_opt_out=0.01,
            cost=0.1,
            local_day=20_000 + int(s) * slot_minutes // 1440,
        )
        for m, s in picked
    ]
    history = [
        PastSend(u, minutes_before=float(draw.integers(-300, 4000)), category="k0", campaign="c0", local_day=19_999)
        for u in users[::2]
    ]
    limits = {
        "caps": {
            "day": {"window_minutes": 1440, "max": 3},
            "week": {"calendar": "week", "max": 8},
            "kind": {"scope": "category:k1", "window_minutes": 2880, "max": 1},
        },
        "min_gap_minutes": 120,
        "fatigue": {"half_life_hours": 36.0, "points_per_send": {"push": 1.0, "sms": 1.5}, "max_points": 4.0},
        "capacity": {"push": 4},
        "campaigns": {f"c{i}": {"max_sends": 25} for i in range(6)},
    }
    p = problem(messages, cells, limits, history, n_slots=slots, slot_minutes=slot_minutes)
    solution = allocate(p, PRICES)
    assert audit(p, solution).violations == ()
    assert solution.cut_users == 0
    assert len(solution.chosen) > len(users)
    assert 0 <= solution.gap < 0.03
