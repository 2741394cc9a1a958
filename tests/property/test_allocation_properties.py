"""Claims that hold for every problem: limits kept, duality, monotone budgets, order and repetition without effect."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from allocation_worlds import EXACT, objective, planned, shuffled, with_limits
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_audit import Send as CountedSend
from plain_audit import broken_user_rules
from strategies import problems

from sendopt.allocation import Problem, allocate, audit, audit_plan
from sendopt.allocation.exact.user_rows import past_sends, planned_send
from sendopt.config.schema import Allocation
from sendopt.domain.limits import Limits
from sendopt.domain.rules import Send, first_broken

few = settings(max_examples=15)
many = settings(max_examples=200)


@few
@given(problems(users=6, per_user=3, n_slots=5), st.sampled_from([0, 10**6]))
def test_no_limit_is_ever_exceeded(p: Problem, exact_max_users: int) -> None:
    solution = allocate(p, Allocation(exact_max_users=exact_max_users))
    assert audit(p, solution).violations == ()


@few
@given(problems(users=4))
def test_more_budget_never_lowers_the_optimum(p: Problem) -> None:
    tight, loose = (
        allocate(with_limits(p, capacity={"push": n}, opt_outs={"max_expected": n / 4}), EXACT) for n in (1, 2)
    )
    assert loose.objective >= tight.objective - 1e-9
    assert loose.bound >= tight.objective - 1e-9


@few
@given(problems(), st.lists(st.floats(0, 1), min_size=40, max_size=40))
def test_any_legal_prices_bound_the_optimum(p: Problem, draws: list[float]) -> None:
    """Weak duality, ¶11: the audit's D(λ) is an upper bound whatever the prices are."""
    solution = allocate(p, EXACT)
    most = {row.row: 1.0 if row.kind != "campaign_min" else 0.0 for row in solution.prices}
    prices = tuple(replace(row, price=d * most[row.row]) for row, d in zip(solution.prices, draws, strict=False))
    moved = audit(p, replace(solution, prices=prices))
    assert moved.weak_bound >= solution.objective - 1e-9


@few
@given(problems(users=5), st.integers(0, 10**6), st.sampled_from([0, 10**6]))
def test_input_order_is_irrelevant_and_twice_is_the_same(p: Problem, seed: int, exact_max_users: int) -> None:
    chosen = Allocation(exact_max_users=exact_max_users)
    once, again = allocate(p, chosen), allocate(p, chosen)
    assert once.chosen.tobytes() == again.chosen.tobytes()
    assert replace(once, chosen=None) == replace(again, chosen=None)
    reordered = shuffled(p, seed)
    moved = allocate(reordered, chosen)
    assert planned(p, once.chosen) == planned(reordered, moved.chosen)
    assert (once.value, once.bound, once.prices) == (moved.value, moved.bound, moved.prices)


@few
@given(problems(users=5, per_user=3), st.sampled_from([0, 10**6]), st.data())
def test_a_lower_tier_never_displaces_a_higher_one(p: Problem, exact_max_users: int, data: st.DataObject) -> None:
    chosen = Allocation(exact_max_users=exact_max_users)
    n_messages = len(p.messages.tier)
    tiers = np.array(data.draw(st.lists(st.integers(1, 2), min_size=n_messages, max_size=n_messages)), np.int64)
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
@given(problems(users=2, per_user=4, n_slots=6), st.data())
def test_rules_and_audit_agree_on_every_next_send(p: Problem, data: st.DataObject) -> None:
    """Two implementations of ¶9a to ¶9d: sends are offered one by one; both must take and refuse the same."""
    sends, chosen = past_sends(p), []
    no_rows = p.limits.model_copy(update={"capacity": {}, "campaigns": {}, "opt_outs": None, "cost": None})
    alone = replace(p, limits=no_rows)
    for c in data.draw(st.permutations(range(len(p.cells.slot)))):
        user = int(p.messages.user[p.cells.message[c]])
        send = planned_send(p, c)
        refused = first_broken(p.limits, sends[user], send)
        assert (refused is not None) == bool(audit_plan(alone, np.array([*chosen, c])))
        if refused is None:
            chosen.append(c)
            sends[user].append(send)


TIMED_LIMITS = st.builds(
    lambda most, gap: Limits.model_validate(
        {
            "caps": {
                "a": {"scope": "all", "window_minutes": 60, "max": most},
                "w": {"scope": "channel:push", "calendar": "week", "max": 3},
            },
            "min_gap_minutes": gap,
            "fatigue": {"half_life_hours": 6.0, "points_per_send": {"push": 1.0}, "max_points": 3.5},
        }
    ),
    most=st.integers(0, 2),
    gap=st.integers(0, 39),
)


def timed_sends(*, planned_now: bool) -> st.SearchStrategy[Send]:
    """Return a strategy of sends at any whole minute: of the plan, or up to 200 minutes before its start."""
    return st.builds(
        lambda minute, channel: Send(float(minute), channel, "k", "c", minute // 100 + 2, planned_now),
        minute=st.integers(0 if planned_now else -200, 199),
        channel=st.sampled_from(["push", "sms"]),
    )


@many
@given(
    TIMED_LIMITS,
    st.lists(timed_sends(planned_now=False), max_size=5),
    st.lists(timed_sends(planned_now=True), min_size=8, max_size=8),
)
def test_rules_and_audit_agree_on_times_between_slots(limits: Limits, past: list[Send], offered: list[Send]) -> None:
    sends = list(past)
    for send in offered:
        refused = first_broken(limits, sends, send)
        counted = [
            CountedSend(s.minute, s.channel, s.category, s.campaign, s.local_day, s.planned) for s in (*sends, send)
        ]
        assert (refused is not None) == bool(broken_user_rules(limits, counted))
        if refused is None:
            sends.append(send)


@settings(max_examples=20)
@given(problems())
def test_objective_of_the_worlds_counts_like_the_audit(p: Problem) -> None:
    solution = allocate(p, EXACT)
    assert abs(objective(p, solution.chosen.tolist()) - solution.objective) < 1e-9
