"""Claims that hold for every problem: limits kept, duality, monotone budgets, order and repetition without effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from allocation_worlds import EXACT, objective, planned, random_problem, shuffled, with_limits
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_audit import Send as CountedSend
from plain_audit import broken_user_rules

from sendopt.allocation import allocate, audit, audit_plan
from sendopt.allocation.exact.user_rows import past_sends, planned_send
from sendopt.config.schema import Allocation
from sendopt.domain.limits import Limits
from sendopt.domain.rules import Send, first_broken

SEEDS = st.integers(0, 10**6)
few = settings(max_examples=15, deadline=None, derandomize=True)
many = settings(max_examples=200, deadline=None, derandomize=True)


@few
@given(SEEDS, st.sampled_from([0, 10**6]))
def test_no_limit_is_ever_exceeded(seed: int, exact_max_users: int) -> None:
    p = random_problem(seed, users=6, per_user=3, n_slots=5)
    solution = allocate(p, Allocation(exact_max_users=exact_max_users))
    assert audit(p, solution).violations == ()


@few
@given(SEEDS)
def test_more_budget_never_lowers_the_optimum(seed: int) -> None:
    p = random_problem(seed, users=4)
    tight, loose = (
        allocate(with_limits(p, capacity={"push": n}, opt_outs={"max_expected": n / 4}), EXACT) for n in (1, 2)
    )
    assert loose.objective >= tight.objective - 1e-9
    assert loose.bound >= tight.objective - 1e-9


@few
@given(SEEDS, st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_any_legal_prices_bound_the_optimum(seed: int, draws: list[float]) -> None:
    """Weak duality, ¶11: the audit's D(λ) is an upper bound whatever the prices are."""
    p = random_problem(seed)
    solution = allocate(p, EXACT)
    most = {row.row: 1.0 if row.kind != "campaign_min" else 0.0 for row in solution.prices}
    prices = tuple(replace(row, price=d * most[row.row]) for row, d in zip(solution.prices, draws, strict=False))
    moved = audit(p, replace(solution, prices=prices))
    assert moved.weak_bound >= solution.objective - 1e-9


@few
@given(SEEDS, st.sampled_from([0, 10**6]))
def test_input_order_is_irrelevant_and_twice_is_the_same(seed: int, exact_max_users: int) -> None:
    p = random_problem(seed, users=5)
    chosen = Allocation(exact_max_users=exact_max_users)
    once, again = allocate(p, chosen), allocate(p, chosen)
    assert once.chosen.tobytes() == again.chosen.tobytes()
    assert replace(once, chosen=None) == replace(again, chosen=None)
    other = shuffled(p, seed)
    moved = allocate(other, chosen)
    assert planned(p, once.chosen) == planned(other, moved.chosen)
    assert (once.value, once.bound, once.prices) == (moved.value, moved.bound, moved.prices)


@few
@given(SEEDS, st.sampled_from([0, 10**6]))
def test_a_lower_tier_never_displaces_a_higher_one(seed: int, exact_max_users: int) -> None:
    p, draw = random_problem(seed, users=5, per_user=3), np.random.default_rng(seed)
    chosen = Allocation(exact_max_users=exact_max_users)
    tiers = draw.integers(1, 3, len(p.messages.tier))
    both = allocate(replace(p, messages=replace(p.messages, tier=tiers)), chosen)
    assert audit(replace(p, messages=replace(p.messages, tier=tiers)), both).violations == ()
    # the first tier's plan is that of a world without the second; its minimums count where their last message is
    first = np.flatnonzero(tiers[p.cells.message] == 1)
    kept = replace(p.cells, **{name: column[first] for name, column in vars(p.cells).items()})
    campaigns = {
        name: bounds.model_copy(update={"min_sends": 0})
        for name, bounds in p.limits.campaigns.items()
        if (tiers[p.messages.campaign == name] == 2).any() or not (p.messages.campaign == name).any()
    }
    limits = p.limits.model_copy(update={"campaigns": {**p.limits.campaigns, **campaigns}})
    alone = allocate(replace(p, cells=kept, limits=limits), chosen)
    assert set(first[alone.chosen]) == {c for c in both.chosen.tolist() if tiers[p.cells.message[c]] == 1}


@many
@given(SEEDS)
def test_rules_and_audit_agree_on_every_next_send(seed: int) -> None:
    """Two implementations of ¶9a to ¶9d: sends are offered one by one; both must take and refuse the same."""
    p = random_problem(seed, users=2, per_user=4, n_slots=6)
    draw = np.random.default_rng(seed)
    sends, chosen = past_sends(p), []
    no_rows = p.limits.model_copy(update={"capacity": {}, "campaigns": {}, "opt_outs": None, "cost": None})
    alone = replace(p, limits=no_rows)
    for c in draw.permutation(len(p.cells.slot)).tolist():
        user = int(p.messages.user[p.cells.message[c]])
        send = planned_send(p, c)
        refused = first_broken(p.limits, sends[user], send)
        assert (refused is not None) == bool(audit_plan(alone, np.array([*chosen, c])))
        if refused is None:
            chosen.append(c)
            sends[user].append(send)


@many
@given(SEEDS)
def test_rules_and_audit_agree_on_times_between_slots(seed: int) -> None:
    draw = np.random.default_rng(seed)
    limits = Limits.model_validate(
        {
            "caps": {
                "a": {"scope": "all", "window_minutes": 60, "max": int(draw.integers(0, 3))},
                "w": {"scope": "channel:push", "calendar": "week", "max": 3},
            },
            "min_gap_minutes": int(draw.integers(0, 40)),
            "fatigue": {"half_life_hours": 6.0, "points_per_send": {"push": 1.0}, "max_points": 3.5},
        }
    )

    def one(planned_now: bool) -> Send:
        minute = float(draw.integers(0 if planned_now else -200, 200))
        return Send(minute, str(draw.choice(["push", "sms"])), "k", "c", int(minute // 100) + 2, planned_now)

    sends = [one(False) for _ in range(draw.integers(0, 6))]
    for _ in range(8):
        new = one(True)
        refused = first_broken(limits, sends, new)
        counted = [
            CountedSend(s.minute, s.channel, s.category, s.campaign, s.local_day, s.planned) for s in (*sends, new)
        ]
        assert (refused is not None) == bool(broken_user_rules(limits, counted))
        if refused is None:
            sends.append(new)


def test_objective_of_the_worlds_counts_like_the_audit() -> None:
    for seed in range(20):
        p = random_problem(seed)
        solution = allocate(p, EXACT)
        assert abs(objective(p, solution.chosen.tolist()) - solution.objective) < 1e-9
