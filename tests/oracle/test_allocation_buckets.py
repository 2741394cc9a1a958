"""Buckets on a few hundred users: audited, near the bound, the same bytes twice."""

from __future__ import annotations

import numpy as np
from allocation_worlds import problem

from sendopt.allocation import Problem, allocate, audit
from sendopt.allocation.buckets import Work, plan
from sendopt.allocation.contract import canonical
from sendopt.allocation.coupling import coupling
from sendopt.allocation.greedy import fill
from sendopt.allocation.user_rows import user_rows
from sendopt.config.schema import Allocation


def world(users: int = 120) -> Problem:
    draw = np.random.default_rng(3)
    messages = [
        (f"u{u:03d}", f"m{u}{k}", f"c{(u + k) % 5}", ("push", "sms")[(u + k) % 2], "k")
        for u in range(users)
        for k in range(2)
    ]
    cells = [
        (m, s, float(draw.gamma(2.0, 0.03)), 0.01, 1.0, 100)
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


def test_buckets_stay_within_a_small_gap_and_keep_every_limit() -> None:
    p = world()
    solution = allocate(p, Allocation(exact_max_users=1, bucket_users=20))
    assert audit(p, solution).violations == ()
    assert solution.method == "buckets"
    assert 0 <= solution.gap < 0.01
    assert all(row.used <= row.limit + 1e-9 for row in solution.prices if row.kind != "campaign_min")
    again = allocate(p, Allocation(exact_max_users=1, bucket_users=20))
    assert again.chosen.tobytes() == solution.chosen.tobytes()


def test_without_a_relaxation_even_quotas_still_make_a_whole_plan() -> None:
    p, _ = canonical(world())
    work = Work(p, user_rows(p), coupling(p), p.messages.user[p.cells.message])
    chosen, termination = plan(work, None, Allocation(bucket_users=40, relative_gap=0.0))
    assert termination == "optimal"
    assert chosen.sum() > 55
    assert (work.coupling.use @ chosen <= work.coupling.limit + 1e-9)[~work.coupling.is_minimum].all()


def test_filling_follows_the_prices() -> None:
    """Five units of money: one send of 0.5 for all of it, or two of 0.4 for two each. A price of 0.15 tells which."""
    messages = [(name, name, "sale", "sms", "k") for name in ("ann", "bob", "cid")]
    p = problem(
        messages, [(0, 0, 0.5, 0.0, 5.0), (1, 0, 0.4, 0.0, 2.0), (2, 0, 0.4, 0.0, 2.0)], {"cost": {"max_total": 5}}
    )
    work = Work(p, user_rows(p), coupling(p), p.messages.user[p.cells.message])
    empty = np.zeros(3, dtype=bool)
    assert fill(work, empty, np.array([0.15])).tolist() == [False, True, True]
    assert fill(work, empty, np.array([0.0])).tolist() == [True, False, False]
