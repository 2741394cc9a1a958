"""One bucket, start to end: its part of the bound at the common prices, a plan within its share, audited and written."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.allocation.audit_parts import AuditPart, audit_part
from sendopt.allocation.buckets.store import read_buckets
from sendopt.allocation.coupling import Rows
from sendopt.allocation.prices.dual import CUT_USERS, TOLERANCE, minimise, sharpen
from sendopt.allocation.prices.engine import prepare
from sendopt.allocation.prices.mixture import mixed_plan
from sendopt.allocation.prices.revise import fill, make_fit
from sendopt.allocation.prices.sweep import NONE, Market, Response
from sendopt.allocation.problem import Floats, Ints, Problem
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.domain.limits import SolveLimits

PASSES = 4  # of a bucket's own dual, from prices that are nearly right
SCHEMA = pa.schema([("user_id", pa.string()), ("message_id", pa.string()), ("slot", pa.int32())])


@dataclass(frozen=True)
class Task:
    """What every bucket is told; small, for it travels to workers."""

    folder: str  # of the buckets
    out: str  # of the plan's files
    limits: SolveLimits  # each minimum with its shortfall price
    n_slots: int
    rows: Rows  # across users, with all of the limits
    minimum_tier: dict[str, int]  # in which tier a campaign's minimum counts
    prices: dict[int, Floats]  # common prices (R,) by tier
    shares: Floats  # (B, R) of what committed sends leave of each limit
    audit: bool = True
    passes: int = PASSES


@dataclass(frozen=True)
class TierPart:
    """One tier of one bucket."""

    value: float
    use: Floats  # (R,)
    best: float  # Σ best response at the common prices
    cut: int


@dataclass(frozen=True)
class Part:
    """What a bucket gives back: sums only."""

    bucket: int
    users: int
    sends: int
    tiers: dict[int, TierPart]
    audit: AuditPart | None
    seconds: dict[str, float]  # read, plan, audit, write


def plan_bucket(task: Task, bucket: int) -> Part:
    """Reads the bucket, plans it tier by tier within its share, audits its part and writes its file of the plan."""
    clock = [time.perf_counter()]
    problem = read_buckets(Path(task.folder), [bucket], task.limits, task.n_slots)
    clock.append(time.perf_counter())
    room = task.shares[bucket]
    chosen: dict[int, Ints] = {}
    tiers: dict[int, TierPart] = {}
    above = np.empty(0, np.int64)
    for tier in tiers_of(problem) if len(problem.cells.slot) else []:
        part, rows = tier_problem(problem, tier, above)
        cell, market = market_of(part, task.rows, room, counting(task, tier))
        response, plan = _plan(market, task.prices[tier], task.passes)
        planned = plan[plan != NONE]
        chosen[tier] = np.sort(rows[cell[planned]])
        best = response.bound - math.fsum(market.sign * response.prices * market.rows.room)
        value = math.fsum(market.d.value[planned].tolist())
        use = task.rows.used(problem, chosen[tier]) - task.rows.committed
        tiers[tier] = TierPart(value, use, best, response.cut)
        room = np.maximum(0.0, room - use)
        above = np.sort(np.concatenate([above, chosen[tier]]))
    clock.append(time.perf_counter())
    audited = None
    if task.audit:
        by_row = {t: dict(zip(task.rows.names, task.prices[t].tolist(), strict=True)) for t in chosen}
        audited = audit_part(problem, chosen, by_row, task.minimum_tier)
    clock.append(time.perf_counter())
    _write(Path(task.out) / f"{bucket:05d}.parquet", problem, above)
    clock.append(time.perf_counter())
    spent = dict(zip(("read", "plan", "audit", "write"), np.diff(clock).tolist(), strict=True))
    return Part(bucket, len(problem.users), len(above), tiers, audited, spent)


def counting(task: Task, tier: int) -> Floats:
    """(R,) 0 for the minimums that count in another tier, else 1."""
    other = {name for name, counts in task.minimum_tier.items() if counts != tier}
    names = task.rows.names
    return np.array([0.0 if n.removeprefix("campaign_min:") in other and n.startswith("campaign_min:") else 1.0 for n in names])


def market_of(problem: Problem, rows: Rows, room: Floats, counts: Floats) -> tuple[Ints, Market]:
    """(row of problem.cells of each cell, the market of these users) with `room` (R,) to share among them."""
    compiled, _ = prepare(problem)
    shared = replace(
        rows, limit=room * counts, committed=np.zeros(len(room)), shortfall_price=rows.shortfall_price * counts
    )
    return compiled.cell, Market(compiled._replace(rows=shared))


def _plan(market: Market, prices: Floats, passes: int) -> tuple[Response, Ints]:
    """(the response at the common prices, a plan (U, width) that keeps the share)."""
    if passes <= 1:
        plan = market.empty_plan()
        common = market.respond(prices, plan=plan)
        use, own = common.use, prices
    else:
        pool = minimise(market, prices, market.n_users, passes, TOLERANCE)
        at_common = [r for r in pool if np.array_equal(r.prices, prices)]
        common = at_common[0] if at_common else market.respond(prices)
        if market.n_users <= CUT_USERS:
            pool = sharpen(market, pool, 1e-5)
        plan, use = mixed_plan(market, pool)
        own = pool[-1].prices
    fill(market, own, plan, make_fit(market, own, plan, use))
    return common, plan


def _write(path: Path, problem: Problem, chosen: Ints) -> None:
    message, m = problem.cells.message[chosen], problem.messages
    plan = pd.DataFrame(
        {
            "user_id": problem.users[m.user[message]],
            "message_id": m.message_id[message],
            "slot": problem.cells.slot[chosen],
        }
    ).sort_values(["user_id", "slot", "message_id"], ignore_index=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pandas(plan, schema=SCHEMA, preserve_index=False), path)
