"""Plans by prices where few users decide and answers are dear: gap, CPU, answers, users searched (`make bench-small`).

Each line is a process of its own on one core. `gap` is certified: part of it lies between the bound and what any plan
of whole sends can reach.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
CHANNELS = ("email", "push", "sms")
COST = {"email": 0.001, "push": 0.0, "sms": 0.05}
NAMES = ("400 users, two peaks", "400 users, fatigue", "week of quarter hours", "week, few cells", "plain thousand")
LINES = [(name, seed) for name in NAMES for seed in (1, 2)]


def curve(draw: np.random.Generator, users: int, hours: NDArray[np.float64]) -> NDArray[np.float64]:
    """(users, slots) chance of an open: a level and a daily wave of one's own, and two peaks of everyone's."""
    level, wave = draw.normal(-1.9, 0.6, (users, 1)), draw.normal(0, 0.5, (users, 2))
    day = 2 * np.pi * hours / 24
    peaks = 0.9 * np.exp(-(((hours - 19) / 1.5) ** 2)) + 0.7 * np.exp(-(((hours - 8) / 1.0) ** 2))
    return 1 / (1 + np.exp(-(level + wave[:, :1] * np.cos(day) + wave[:, 1:] * np.sin(day) + peaks)))


def problem_of(name: str, seed: int):
    """The problem of a line."""
    if name == "plain thousand":
        from instances import instance

        return instance(1000, seed=seed)
    draw = np.random.default_rng(seed)
    if name.startswith("week"):
        kept = 0.05 if name.endswith("few cells") else 1.0
        return _problem(draw, users=60, per_user=20, slots=672, minutes=15, limits=_week(draw, 60), kept=kept)
    return _problem(draw, users=400, per_user=6, slots=24, minutes=60, limits=_day(400, name.endswith("fatigue")))


def _day(users: int, fatigue: bool) -> dict[str, object]:
    """Three channels, of which each has two hours that all want."""
    limits = {
        "caps": {
            "day": {"window_minutes": 1440, "max": 3},
            "sms": {"scope": "channel:sms", "window_minutes": 720, "max": 1},
        },
        "min_gap_minutes": 180,
        "capacity": {"push": int(0.08 * users), "email": int(0.06 * users), "sms": int(0.02 * users)},
        "campaigns": {f"c{i}": {"max_sends": int(0.17 * users)} for i in range(12)},
        "opt_outs": {"max_expected": users * 0.0022},
        "cost": {"max_total": users * 0.008},
    }
    limits["campaigns"]["c3"] = {"min_sends": int(0.2 * users)}
    if fatigue:
        limits["fatigue"] = {"half_life_hours": 6, "points_per_send": dict.fromkeys(CHANNELS, 1.0), "max_points": 1.6}
    return limits


def _week(draw: np.random.Generator, users: int) -> dict[str, object]:
    return {
        "min_gap_minutes": 240,
        "fatigue": {
            "half_life_hours": 6,
            "points_per_send": {"email": 0.7, "push": 1.0, "sms": 1.2},
            "max_points": 1.7,
        },
        "capacity": {"push": 3, "email": 3, "sms": 1},
        "campaigns": {f"c{i}": {"max_sends": int(draw.uniform(0.6, 1.2) * users)} for i in range(12)},
        "opt_outs": {"max_expected": users * 0.012},
        "cost": {"max_total": users * 0.1},
    }


def _problem(
    draw: np.random.Generator,
    *,
    users: int,
    per_user: int,
    slots: int,
    minutes: int,
    limits: dict[str, object],
    kept: float = 1.0,
):
    from sendopt.allocation import Cells, Messages, Problem, empty_history
    from sendopt.domain.limits import Limits

    rows = users * per_user
    hours = ((np.arange(slots) * minutes / 60)[None, :] + draw.choice([-5, 0, 1, 8], (users, 1))) % 24
    chance = curve(draw, users, hours)
    owner = np.repeat(np.arange(users), per_user)
    campaign = draw.integers(0, 12, rows)
    channel = draw.integers(0, 3, rows)
    weight = draw.uniform(0.5, 1.5, 12)
    may = ((hours >= 7) & (hours < 23))[owner]
    if kept < 1.0:
        may &= draw.random(may.shape) < kept
    message, slot = np.nonzero(may)
    p_opt_out = np.round(draw.beta(1, 800, rows), 6)
    value = chance[owner[message], slot] * weight[campaign[message]] * draw.uniform(0.9, 1.1, rows)[message]
    of_channel = np.array(CHANNELS, object)
    return Problem(
        slot_minutes=minutes,
        n_slots=slots,
        users=np.array([f"u{i:05d}" for i in range(users)], object),
        messages=Messages(
            user=owner,
            message_id=np.tile(np.array([f"m{i}" for i in range(per_user)], object), users),
            campaign=np.array([f"c{i}" for i in campaign], object),
            channel=of_channel[channel],
            category=np.array([f"k{i % 4}" for i in campaign], object),
            exclusive_group=np.full(rows, "", object),
            tier=np.ones(rows, np.int64),
        ),
        cells=Cells(
            message=message,
            slot=slot,
            value=value - p_opt_out[message],
            p_opt_out=p_opt_out[message],
            cost=np.array([COST[c] for c in CHANNELS])[channel[message]],
            local_day=(slot * minutes) // 1440,
        ),
        limits=Limits.model_validate(limits),
        history=empty_history(),
    )


def measure(name: str, seed: int, gap: float) -> dict[str, float | str]:
    """One line, in this process."""
    from sendopt.allocation.prices import engine
    from sendopt.allocation.prices.fit import objective
    from sendopt.allocation.solution import gap_of

    engine.solve(engine.prepare(problem_of("400 users, fatigue", 9))[1], 1e-1)  # kernels compiled
    problem = problem_of(name, seed)
    _, market = engine.prepare(problem)
    clock = time.process_time()
    plan, best = engine.solve(market, gap)
    cpu = time.process_time() - clock
    answers, best = market.answers, market.stated(best)
    reached = objective(market, plan) * market.unit
    again = market.respond(market.own_prices(best.prices))
    value = float(market.d.value[plan[plan >= 0]].sum()) * market.unit
    return {
        "users": market.n_users,
        "cells": len(problem.cells.slot),
        "objective": reached,
        "bound": best.bound,
        "gap": gap_of(value, value - reached, best.bound),
        "cpu": cpu,
        "ms_per_user": 1e3 * cpu / market.n_users,
        "answers": answers / market.n_users,
        "searched": again.searched / market.n_users,
        "cut": again.cut,
        "missing": value - reached,
    }


def main() -> None:
    """Print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="only lines whose name holds this text")
    parser.add_argument("--gap", type=float, default=1e-4)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        name, seed, gap = json.loads(given.one)
        sys.stdout.write(json.dumps(measure(name, seed, gap)) + "\n")
        return
    heads = ["instance", "seed", "users", "objective", "gap", "CPU s", "ms/user", "answers", "searched", "cut"]
    sys.stdout.write("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|\n")
    for name, seed in LINES:
        if given.only in name:
            r = run(name, seed, 1e-3 if name.startswith("week") else given.gap)
            cells = [
                name,
                str(seed),
                f"{r['users']:,}",
                f"{r['objective']:,.4f}",
                f"{100 * r['gap']:.4f} %",
                f"{r['cpu']:.2f}",
                f"{r['ms_per_user']:.1f}",
                f"{r['answers']:.0f}",
                f"{r['searched']:.0%}",
                str(r["cut"]),
            ]
            sys.stdout.write("| " + " | ".join(cells) + " |\n")
            sys.stdout.flush()


def run(name: str, seed: int, gap: float) -> dict[str, float]:
    """One line in a process of its own."""
    path = f"{Path(__file__).parent}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        [sys.executable, __file__, "--one", json.dumps([name, seed, gap])],
        env={**os.environ, **ONE_CORE, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{name}, seed {seed}:\n{done.stderr}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


if __name__ == "__main__":
    main()
