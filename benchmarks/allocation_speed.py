"""Seconds and gap of the allocation on an invented night: `python benchmarks/allocation_speed.py --users 2000`."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np

from sendopt.allocation import Cells, History, Messages, Problem, allocate, audit
from sendopt.config.schema import Allocation
from sendopt.domain.limits import Limits

CHANNELS = ("push", "email", "sms")
SLOTS = 24


def night(users: int, messages_per_user: int, seed: int, fatigue: bool) -> Problem:
    """A world of zones, quiet hours (22 to 8), 12 campaigns and about 60 coupling rows, most of them tight."""
    draw = np.random.default_rng(seed)
    zone = draw.integers(-8, 9, users)
    taste = draw.gamma(4.0, 0.25, users)
    peak = draw.integers(8, 22, users)
    campaign_channel = draw.choice(3, 12, p=[0.5, 0.35, 0.15])
    campaign_weight = draw.uniform(0.6, 1.6, 12)
    owner = np.repeat(np.arange(users), messages_per_user)
    campaign = np.concatenate([draw.choice(12, messages_per_user, replace=False) for _ in range(users)])
    messages = Messages(
        user=owner,
        message_id=np.array([f"m{i}" for i in range(len(owner))], object),
        campaign=np.array([f"c{c:02d}" for c in campaign], object),
        channel=np.array([CHANNELS[campaign_channel[c]] for c in campaign], object),
        category=np.array([f"k{c % 4}" for c in campaign], object),
    )
    message, slot = np.divmod(np.arange(len(owner) * SLOTS), SLOTS)
    local = (slot + zone[owner[message]]) % 24
    away = abs(local - peak[owner[message]])
    habit = np.exp(-0.5 * (np.minimum(away, 24 - away) / 3) ** 2)
    p_open = 0.06 * taste[owner[message]] * (0.6 + habit) * draw.uniform(0.9, 1.1, len(slot))
    p_opt_out = np.clip(draw.gamma(2.0, 0.001, len(owner)), 0, 1)[message]
    value = p_open * campaign_weight[campaign[message]] - 3.0 * p_opt_out
    keep = (local >= 8) & (local < 22)
    cells = Cells(
        message=message[keep],
        slot=slot[keep],
        value=value[keep],
        p_opt_out=p_opt_out[keep],
        cost=np.where(messages.channel[message[keep]] == "sms", 0.05, 0.0).astype(np.float64),
        local_day=np.floor_divide(slot[keep] + zone[owner[message[keep]]], 24) + 20000,
    )
    past = draw.integers(0, users, users)
    before = draw.uniform(60, 4 * 1440, users).round()
    history = History(
        user=past,
        channel=draw.choice(np.array(CHANNELS, object), users),
        category=np.full(users, "k0", object),
        campaign=np.full(users, "c00", object),
        minutes_before=before,
        local_day=20000 - np.ceil(before / 1440).astype(np.int64),
        p_opt_out=np.zeros(users),
        cost=np.zeros(users),
    )
    limits = Limits.model_validate(
        {
            "caps": {
                "daily": {"scope": "all", "window_minutes": 1440, "max": 2},
                "weekly": {"scope": "channel:push", "calendar": "week", "max": 3},
            },
            "min_gap_minutes": 240,
            "fatigue": {
                "half_life_hours": 72.0,
                "points_per_send": {"push": 1.0, "email": 0.5, "sms": 1.5},
                "max_points": 2.2,
            }
            if fatigue
            else None,
            "capacity": {"push": int(users * 0.05), "email": int(users * 0.03)},
            "campaigns": {
                f"c{i:02d}": {"max_sends": int(users * 0.12), "min_sends": int(users * 0.03) if i < 2 else 0}
                for i in range(12)
            },
            "opt_outs": {"max_expected": users * 0.002},
            "cost": {"max_total": users * 0.01},
        }
    )
    return Problem(
        slot_minutes=60,
        n_slots=SLOTS,
        users=np.array([f"u{i:06d}" for i in range(users)], object),
        messages=messages,
        cells=cells,
        limits=limits,
        history=history,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--messages", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-fatigue", action="store_true")
    parser.add_argument("--loose", action="store_true", help="no row across users binds: all prices are 0")
    parser.add_argument("--bucket-users", type=int, default=500)
    parser.add_argument("--exact-max-users", type=int, default=500)
    arguments = parser.parse_args()
    problem = night(arguments.users, arguments.messages, arguments.seed, not arguments.no_fatigue)
    if arguments.loose:
        free = {"capacity": {}, "campaigns": {}, "opt_outs": None, "cost": None}
        problem = replace(problem, limits=problem.limits.model_copy(update=free))
    settings = Allocation(bucket_users=arguments.bucket_users, exact_max_users=arguments.exact_max_users)
    begin = time.perf_counter()
    solution = allocate(problem, settings)
    solved = time.perf_counter()
    report = audit(problem, solution)
    done = time.perf_counter()
    binding = sum(p.price > 0 for p in solution.prices)
    print(  # noqa: T201
        f"users {arguments.users} cells {len(problem.cells.slot)} rows {len(solution.prices)} ({binding} priced) "
        f"method {solution.method} {solution.termination} sends {len(solution.chosen)} value {solution.value:.4f} "
        f"penalty {solution.penalty:.4f} bound {solution.bound:.4f} gap {100 * solution.gap:.4f} % "
        f"allocate {solved - begin:.1f} s audit {done - solved:.1f} s "
        f"ok {report.ok} D(prices) {report.weak_bound:.4f} "
        f"cut {report.cut_users} {report.violations[:3]}"
    )


if __name__ == "__main__":
    main()
