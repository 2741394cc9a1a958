"""The arms of a night in one plan (model ¶15): equal volumes, exact probabilities, every limit, what it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from allocation_worlds import EXACT, Cell, Message, PastSend, problem, random_problem, shuffled

from sendopt.allocation import allocate, audit, audit_plan
from sendopt.config.schema import Allocation
from sendopt.errors import InfeasibleError
from sendopt.experiment import plan_arms

CAMPAIGNS = {
    "sale": ("push", "deals"),
    "digest": ("email", "news"),
    "tips": ("push", "account"),
    "flash": ("sms", "deals"),
}
PER_USER = {
    "daily": {"window_minutes": 1440, "max": 2},
    "sms": {"scope": "channel:sms", "window_minutes": 1440, "max": 1},
}
WORLDS = {
    "no limit binds": {},
    "caps and gap": {"caps": PER_USER, "min_gap_minutes": 240},
    "opt-outs": {"caps": PER_USER, "opt_outs": {"max_expected": 0.25}},
    "cost": {"caps": PER_USER, "min_gap_minutes": 180, "cost": {"max_total": 25.0}},
    "campaigns": {"caps": PER_USER, "campaigns": {"sale": {"max_sends": 12}, "tips": {"min_sends": 30}}},
    "capacity": {"caps": PER_USER, "min_gap_minutes": 120, "capacity": {"push": 5, "email": 4, "sms": 1}},
    "fatigue": {"fatigue": {"half_life_hours": 24, "points_per_send": {"push": 1.0, "email": 0.5}, "max_points": 1.4}},
    "all at once": {
        "caps": PER_USER,
        "min_gap_minutes": 240,
        "opt_outs": {"max_expected": 0.4},
        "cost": {"max_total": 40.0},
        "capacity": {"push": 5, "email": 4, "sms": 2},
        "campaigns": {"sale": {"max_sends": 25}},
    },
}
USERS, SLOTS, FOLDS = 50, 14, 5
QUICK = Allocation(exact_max_users=0, relative_gap=2e-3)


def world(seed, limits):
    """Return 50 users of 2 to 3 messages in 14 hours; e-mail in the first six hours; a third has a past send."""
    draw = np.random.default_rng(seed)
    messages, cells, history = [], [], []
    for u in range(USERS):
        peak, level = draw.integers(0, SLOTS), draw.uniform(0.05, 0.5)
        for name in draw.choice(list(CAMPAIGNS), size=draw.integers(2, 4), replace=False):
            channel, category = CAMPAIGNS[name]
            messages.append(
                Message(f"u{u:02d}", f"m{u:02d}{name}", campaign=str(name), channel=channel, category=category)
            )
            opt_out, cost = {"push": (0.008, 0.5), "email": (0.004, 0.2), "sms": (0.02, 1.0)}[channel]
            for slot in range(6 if channel == "email" else SLOTS):
                value = level * np.exp(-abs(slot - peak) / 4) + draw.uniform(0, 0.02) - 0.03
                cells.append(
                    Cell(message=len(messages) - 1, slot=slot, value=float(value), p_opt_out=opt_out, cost=cost)
                )
        if draw.random() < 0.3:
            history.append(
                PastSend(f"u{u:02d}", minutes_before=float(draw.integers(1, 1400)), category="deals", local_day=99)
            )
    return problem(messages, cells, limits, history, n_slots=SLOTS)


def fold(p, k, salt="s"):
    """Return the mask of fold `k`: a fifth of the users. The five folds together are all users."""
    order = np.random.default_rng(sum(map(ord, salt))).permutation(len(p.users))
    drawn = np.zeros(len(p.users), bool)
    drawn[order[k::FOLDS]] = True
    return drawn


def sends_by_arm(p, plan, drawn):
    owner = p.messages.user[p.cells.message[plan.chosen]]
    return int(drawn[owner].sum()), int((~drawn[owner]).sum())


def volumes(limits, seeds):
    """Return the sends a user in the random arm and in the rest. Each user is once in the arm and four times among the
    others, so that chance in who is drawn averages out."""
    sent, users = np.zeros(2), np.zeros(2)
    for seed in range(seeds):
        p = world(seed, limits)
        for k in range(FOLDS):
            drawn = fold(p, k)
            sent += sends_by_arm(p, plan_arms(p, drawn, QUICK, f"night-{seed}-{k}"), drawn)
            users += drawn.sum(), (~drawn).sum()
    assert sent[0] > 10 * seeds
    return sent / users


@pytest.mark.parametrize("name", ["caps and gap", "fatigue", "all at once"])
def test_both_arms_send_equally_many_messages_a_user(name):
    random_arm, other_arms = volumes(WORLDS[name], 1)
    assert abs(random_arm / other_arms - 1) <= 0.02, (random_arm, other_arms)


@pytest.mark.slow
@pytest.mark.parametrize("limits", WORLDS.values(), ids=WORLDS)
def test_both_arms_send_equally_many_messages_a_user_in_many_worlds(limits):
    random_arm, other_arms = volumes(limits, 2)
    assert abs(random_arm / other_arms - 1) <= 0.02, (random_arm, other_arms)


@pytest.mark.parametrize("limits", WORLDS.values(), ids=WORLDS)
def test_the_random_arm_sends_the_messages_that_the_program_would_send_its_users_whatever_the_draws(limits):
    p = world(7, limits)
    drawn = fold(p, 0)
    as_if_treated = allocate(p, QUICK)
    messages = {m for m in p.cells.message[as_if_treated.chosen].tolist() if drawn[p.messages.user[m]]}
    slots = set()
    for salt in "abc":
        plan = plan_arms(p, drawn, QUICK, salt)
        sent = plan.chosen[drawn[p.messages.user[p.cells.message[plan.chosen]]]]
        assert set(p.cells.message[sent].tolist()) == messages
        slots.add(tuple(p.cells.slot[sent].tolist()))
    assert len(slots) == 3, "the times are drawn anew under another salt"


@pytest.mark.parametrize("seed", range(40))
def test_every_limit_holds_for_all_arms_together(seed):
    """Worlds in which every kind of rule may bind, slots of one message use budgets differently, and sends are
    committed inside the horizon."""
    p = random_problem(seed, users=5, per_user=3, n_slots=5)
    drawn = np.random.default_rng(seed).random(len(p.users)) < 0.5
    try:
        plan = plan_arms(p, drawn, EXACT, str(seed))
    except InfeasibleError:
        with pytest.raises(InfeasibleError):  # a minimum over its maximum is one without arms too
            allocate(p, EXACT)
        return
    assert audit_plan(p, plan.chosen) == ()
    assert audit(plan.others, plan.solution).ok
    owner = p.messages.user[p.cells.message[plan.chosen]]
    assert (plan.pscore[~drawn[owner]] == 1.0).all()
    assert ((plan.pscore > 0) & (plan.pscore <= 1)).all()
    sent = set(p.cells.message[plan.chosen].tolist())
    assert sent.isdisjoint(plan.why)
    assert sent | set(plan.why) == set(range(len(p.messages.user)))


def test_nothing_is_kept_free_beside_what_the_random_arm_uses():
    p = world(3, WORLDS["capacity"])
    drawn = fold(p, 2)
    plan = plan_arms(p, drawn, QUICK, "s")
    random_sends = plan.chosen[drawn[p.messages.user[p.cells.message[plan.chosen]]]]
    used = Counter(
        zip(p.messages.channel[p.cells.message[random_sends]], p.cells.slot[random_sends].tolist(), strict=True)
    )
    for channel, most in p.limits.capacity.items():
        for slot in range(SLOTS):
            assert plan.others.limits.capacity[channel][slot] == most - used[channel, slot]


def test_the_cost_of_random_times_is_the_programs_value_less_the_nights():
    p = world(5, WORLDS["all at once"])
    drawn = fold(p, 1)
    plan = plan_arms(p, drawn, QUICK, "s")
    best = allocate(p, QUICK).objective
    value = float(p.cells.value[plan.chosen].sum())
    assert plan.cost is not None
    assert plan.cost.drawn + plan.cost.others == pytest.approx(best - value)
    assert plan.cost.drawn > 0


def test_the_order_of_rows_changes_nothing_and_a_night_without_the_arm_is_planned_at_once():
    p = world(2, WORLDS["all at once"])
    drawn = fold(p, 0)
    names = set(p.users[drawn].tolist())

    def rows(q, plan):
        m = q.cells.message[plan.chosen]
        return sorted(zip(q.messages.message_id[m], q.cells.slot[plan.chosen].tolist(), plan.pscore, strict=True))

    q = shuffled(p, 1)
    in_arm = np.array([u in names for u in q.users])
    assert rows(p, plan_arms(p, drawn, QUICK, "s")) == rows(q, plan_arms(q, in_arm, QUICK, "s"))
    nobody = plan_arms(p, np.zeros(len(p.users), bool), QUICK, "s")
    assert nobody.chosen.tolist() == allocate(p, QUICK).chosen.tolist()
    assert nobody.others.limits == p.limits
    assert nobody.cost is None


def test_what_the_plan_cannot_be_blamed_for_is_no_reason_of_the_random_arm():
    """Room in a budget is not said to be used up: each refusal by a limit names one that is full, or a price."""
    p = world(1, WORLDS["all at once"])
    plan = plan_arms(p, fold(p, 3), Allocation(exact_max_users=10**6), "s")
    by_limit = [w for w in plan.why.values() if "limit" in w.detail and "price" in w.detail]
    assert by_limit
    for why in by_limit:
        assert why.detail["price"] > 0 or why.detail["used"] + 1 > why.detail["limit"]
        if why.reason != "capacity":  # of the other users' room nothing more than a send is left
            assert why.detail["used"] >= 0.8 * why.detail["limit"], why


def test_an_arm_of_everyone_is_possible():
    p = world(4, WORLDS["capacity"])
    plan = plan_arms(p, np.ones(len(p.users), bool), QUICK, "s")
    assert audit_plan(p, plan.chosen) == ()
    assert len(plan.chosen) > 0.9 * len(allocate(p, QUICK).chosen)
    assert replace(plan.solution).chosen.tolist() == []
