"""Plan a bucket: find its part of the bound at the common prices, plan within its share, audit and write the plan."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sendopt.allocation.audit.parts import AuditPart, audit_part
from sendopt.allocation.buckets.store import read_buckets
from sendopt.allocation.coupling import Rows
from sendopt.allocation.prices.dual import size_of
from sendopt.allocation.prices.engine import arrays, paced, solve
from sendopt.allocation.prices.fit import better, fitted, objective
from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.params import DEFAULT_PARAMS
from sendopt.allocation.problem import Problem
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.domain.limits import SolveLimits
from sendopt.stats.arrays import Floats, Ints

GOOD = 1e-3  # gap within the share, relative to the value, up to which the common prices are kept
GOOD_OF_FEW = 1e-4  # the same for a bucket of few users
SCHEMA = pa.schema([("user_id", pa.string()), ("message_id", pa.string()), ("slot", pa.int32())])


@dataclass(frozen=True)
class Task:
    """The input that all B buckets share. It is small, because it is sent to workers."""

    folder: str  # of the buckets
    out: str  # folder of the plan's files
    limits: SolveLimits  # each minimum with its shortfall price
    n_slots: int
    rows: Rows  # the R rows across users, with the whole limits
    minimum_tier: dict[str, int]  # tier in which each campaign's minimum counts
    prices: dict[int, Floats]  # common prices (R,) by tier
    shares: Floats  # (B, R) each bucket's share of the room that committed sends leave
    audit: bool = True
    own_prices: bool = True  # whether a bucket may solve for prices where the common ones leave a gap


@dataclass(frozen=True)
class TierPart:
    """Sums of one tier in one bucket."""

    value: float
    use: Floats  # (R,) of the rows by planned sends
    best: float  # Σ best response at the common prices
    cut: int  # users whose best response was cut


@dataclass(frozen=True)
class Part:
    """The result of a bucket: sums only."""

    bucket: int
    users: int
    sends: int
    tiers: dict[int, TierPart]
    audit: AuditPart | None  # None: not asked for
    seconds: dict[str, float]  # read, plan, audit, write


def plan_bucket(task: Task, bucket: int) -> Part:
    """Read the bucket, plan it tier by tier within its share, audit and write its plan; return its sums."""
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
        response, plan = _plan(market, market.own_prices(task.prices[tier]), task.own_prices)
        planned = plan[plan != NONE]
        chosen[tier] = np.sort(rows[cell[planned]])
        best = response.bound - math.fsum(market.sign * response.prices * market.rows.room)
        value = math.fsum(market.d.value[planned].tolist()) * market.unit
        use = use_of_plan(market, plan) * market.row_unit
        tiers[tier] = TierPart(value, use, best * market.unit, response.cut)
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
    """Return flags (R,): 0 for the minimums that count in another tier, else 1."""
    not_counted = {f"campaign_min:{name}" for name, counts in task.minimum_tier.items() if counts != tier}
    return np.array([0.0 if name in not_counted else 1.0 for name in task.rows.names])


def market_of(problem: Problem, rows: Rows, room: Floats, counts: Floats) -> tuple[Ints, Market]:
    """Return (row of `problem.cells` for each cell of the market, the market of these users with `room` (R,)).

    `counts` (R,) is 0 for rows that do not count.
    """
    compiled = arrays(problem)
    shared = replace(
        rows, limit=room * counts, committed=np.zeros(len(room)), shortfall_price=rows.shortfall_price * counts
    )
    return compiled.cell, Market(compiled._replace(rows=shared))


def _plan(market: Market, prices: Floats, own_prices: bool) -> tuple[Response, Ints]:
    """Return (best response at the common prices, a plan (U, width) that keeps the share).

    The common prices suffice in most buckets. Where they leave a gap, the bucket is solved for prices of its own, and
    the better plan is kept.
    """
    plan = market.empty_plan()
    common = market.respond(prices, plan=plan)
    plan = fitted(market, prices, plan, common.use)
    few = market.n_users <= DEFAULT_PARAMS.few_users
    wanted = GOOD_OF_FEW if few else GOOD
    if own_prices and common.bound - objective(market, plan) > wanted * size_of(market, common.value):
        solved, _ = solve(market, wanted) if few else paced(market, plan, common, wanted)
        plan = better(market, plan, solved)
    return common, plan


def _write(path: Path, problem: Problem, chosen: Ints) -> None:
    """Write the cells `chosen` as a file of the plan, by user in hash order, then by slot."""
    message, m = problem.cells.message[chosen], problem.messages
    order = np.lexsort((message, problem.cells.slot[chosen], m.user[message]))
    message = message[order]
    columns = [
        pa.array(problem.users[m.user[message]], pa.string()),
        pa.array(m.message_id[message], pa.string()),
        pa.array(problem.cells.slot[chosen][order].astype(np.int32)),
    ]
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd", compression_level=1)
