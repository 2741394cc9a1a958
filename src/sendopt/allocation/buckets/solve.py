"""Prices from the first buckets, one map over all of them, sums: the plan of any number of users with its proof."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sendopt.allocation.audit.parts import check_parts
from sendopt.allocation.buckets.plan import Part, Task, TierPart, counting, market_of, plan_bucket
from sendopt.allocation.buckets.shares import shares, total
from sendopt.allocation.buckets.store import Summary, is_bucketed, read_buckets, summaries
from sendopt.allocation.control import UNWATCHED, Control, Progress
from sendopt.allocation.coupling import rows_of, uses_of_send
from sendopt.allocation.prices import engine
from sendopt.allocation.prices.market import NONE
from sendopt.allocation.problem import Cells, Messages, Problem
from sendopt.allocation.solution import Solution, Tier, gap_of, proven_bound
from sendopt.allocation.solve import add_up
from sendopt.allocation.tables.files import as_json, require_days, require_horizon, require_limits
from sendopt.allocation.tables.out_folder import MANIFEST, OUTPUT, PLAN, require_out
from sendopt.allocation.tables.start_prices import unmatched
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.domain.limits import Limits, SolveLimits
from sendopt.lake.files import both_or_neither
from sendopt.stats.arrays import Floats

__all__ = ["Planned", "is_bucketed", "solve_buckets"]

SAMPLE_USERS = 100_000  # in whole buckets, at least one
SAMPLE_GAP = 1e-4
Run = Callable[[Callable[[int], Part], int], Iterable[Part]]


@dataclass(frozen=True)
class Planned:
    """A plan in files and its proof. `solution.chosen` is empty: no one place holds the cells."""

    solution: Solution
    sends: int
    users: int
    buckets: int
    seconds: dict[str, float]  # prices and map on the clock; read, plan, audit and write summed over buckets
    warnings: tuple[str, ...] = ()


def one_after_the_other(work: Callable[[int], Part], buckets: int) -> Iterator[Part]:
    """The map in this process: the memory of one bucket."""
    return map(work, range(buckets))


def solve_buckets(
    folder: Path,
    limits: SolveLimits,
    out: Path,
    relative_gap: float,
    run: Run = one_after_the_other,
    *,
    audit: bool = True,
    sample_users: int = SAMPLE_USERS,
    own_prices: bool = True,
    seconds_before: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
    control: Control = UNWATCHED,
) -> Planned:
    """Plans the buckets of `folder`; `out` gets `plan.parquet` (a folder, one file a bucket) and `solution.json`.

    Both or neither. `run` maps a function over the buckets' numbers, anywhere and in any order: the same bytes come
    out. Of `control` start prices and progress count, not the wish to end.
    Raises ContractError (exit 3), InfeasibleError (exit 4), AuditError (exit 7).
    """
    require_limits(limits)
    require_out(out, [], in_parts=True)
    clock = time.perf_counter()
    told = summaries(folder)
    require_days(folder, limits, all(s.days for s in told))
    with both_or_neither(out, MANIFEST, OUTPUT) as staged:
        task = _task(folder.resolve(), staged / PLAN, limits, told, audit, own_prices)
        (staged / PLAN).mkdir()
        task = replace(task, prices=_common_prices(task, told, sample_users, control))
        priced = time.perf_counter()
        parts = sorted(_counted(run(_Work(task), len(told)), control), key=lambda part: part.bucket)
        mapped = time.perf_counter()
        solution = _solution(task, parts, relative_gap)
        if audit:
            audited = [part.audit for part in parts if part.audit]
            check_parts(_empty(limits, task.n_slots), solution, audited, task.minimum_tier)
        seconds = {**(seconds_before or {}), "prices": priced - clock, "map": mapped - priced}
        seconds |= {name: math.fsum(p.seconds[name] for p in parts) for name in ("read", "plan", "audit", "write")}
        found = Planned(
            solution,
            sum(p.sends for p in parts),
            sum(s.users for s in told),
            len(told),
            seconds,
            (*warnings, *unmatched(control.start_prices, task.rows.names)),
        )
        (staged / MANIFEST).write_text(json.dumps(told_of(found), indent=2) + "\n")
    return found


def told_of(planned: Planned) -> dict[str, object]:
    """What `solution.json` holds."""
    sizes = {"sends": planned.sends, "users": planned.users, "buckets": planned.buckets}
    return {**as_json(planned.solution, planned.seconds, warnings=planned.warnings), **sizes}


@dataclass(frozen=True)
class _Work:
    """`plan_bucket` of one task, as something that travels."""

    task: Task

    def __call__(self, bucket: int) -> Part:
        return plan_bucket(self.task, bucket)


def _task(folder: Path, out: Path, limits: SolveLimits, told: list[Summary], audit: bool, own_prices: bool) -> Task:
    """All but the prices."""
    least = min((s.least_minutes_before for s in told), default=0.0)
    n_slots = 1 + require_horizon(folder, None, limits, max((s.last_slot for s in told), default=0), least)
    campaigns = {
        name: c.model_copy(update={"shortfall_price": max((s.largest.get(name, 0.0) for s in told), default=0.0)})
        if c.shortfall_price is None
        else c
        for name, c in limits.campaigns.items()
    }
    limits = limits.model_copy(update={"campaigns": campaigns})
    rows = rows_of(_empty(limits, n_slots))
    uses: dict[int, list[float]] = {}
    for s in told:
        for channel, campaign, minute, sends, p_opt_out, cost in s.committed:
            slot = int(minute // limits.slot_minutes)
            for row, use in uses_of_send(rows, channel, slot, campaign, p_opt_out, cost):
                uses.setdefault(row, []).append(use * sends if rows.counts_sends[row] else use)
    for row, each in uses.items():
        rows.committed[row] = math.fsum(each)
    last = max((t for s in told for t in s.tiers), default=1)
    minimum_tier = {name: max((s.last_tier.get(name, 0) for s in told), default=0) or last for name in campaigns}
    weights = np.array([[float(s.users)] for s in told]).repeat(len(rows.names), axis=1)
    split = shares(rows.room, weights, rows.counts_sends, rows.names)
    return Task(
        folder=str(folder),
        out=str(out),
        limits=limits,
        n_slots=n_slots,
        rows=rows,
        minimum_tier=minimum_tier,
        prices={},
        shares=split,
        audit=audit,
        own_prices=own_prices,
    )


def _counted(parts: Iterable[Part], control: Control) -> Iterator[Part]:
    for done, part in enumerate(parts, 1):
        control.report(Progress("buckets", done))
        yield part


def _common_prices(task: Task, told: list[Summary], sample_users: int, control: Control) -> dict[int, Floats]:
    """Prices by tier that minimise the bound over the first buckets at their part of the limits."""
    everyone = sum(s.users for s in told)
    which = sampled(told, sample_users)
    users = sum(told[bucket].users for bucket in which)
    none = np.zeros(len(task.rows.names))
    prices = {tier: none for tier in sorted({t for s in told for t in s.tiers}) or [1]}
    if users == 0 or len(none) == 0:
        return prices
    problem = read_buckets(Path(task.folder), which, task.limits, task.n_slots)
    room = task.rows.room * (users / everyone)
    above = np.empty(0, np.int64)
    tiers = tiers_of(problem)
    for tier in tiers:
        part, rows = tier_problem(problem, tier, above)
        cell, market = market_of(part, task.rows, room, counting(task, tier))
        start = control.start(task.rows)
        own = None if start is None else market.own_prices(start)
        plan, best = engine.solve(market, SAMPLE_GAP, own)
        prices[tier] = market.stated(best).prices
        if tier != tiers[-1]:
            planned = np.sort(rows[cell[plan[plan != NONE]]])
            room = np.maximum(0.0, room - (task.rows.used(problem, planned) - task.rows.committed))
            above = np.sort(np.concatenate([above, planned]))
    return prices


def sampled(told: list[Summary], users: int) -> list[int]:
    """The first buckets that have so many users together, at least one: all, where there are fewer."""
    before = np.cumsum([0, *(s.users for s in told)])[:-1]
    return [s.bucket for s, earlier in zip(told, before.tolist(), strict=True) if earlier < users]


def _solution(task: Task, parts: list[Part], relative_gap: float) -> Solution:
    """The sums of all parts, tier by tier."""
    rows = task.rows
    used = rows.committed.copy()
    tiers = []
    for tier, prices in task.prices.items():
        counts = counting(task, tier)
        sign = np.where(rows.is_minimum, -1.0, 1.0) * counts
        room = np.maximum(0.0, rows.limit - used)
        none = TierPart(0.0, np.zeros(len(rows.names)), 0.0, 0)
        mine = [part.tiers.get(tier, none) for part in parts]
        used = used + total([part.use for part in mine])
        value = math.fsum(part.value for part in mine)
        penalty = math.fsum(rows.missing(used) * rows.shortfall_price * counts)
        bound = math.fsum([*(part.best for part in mine), *(sign * prices * room).tolist()])
        objective, bound = value - penalty, proven_bound(value, penalty, bound)
        gap = gap_of(value, penalty, bound)
        ended = "gap_reached" if gap <= relative_gap else "passes_done"
        by_row = dict(zip(rows.names, prices.tolist(), strict=True))
        cut = sum(part.cut for part in mine)
        tiers.append(Tier(tier, value, penalty, objective, bound, gap, "prices", ended, cut, by_row, bound, "prices"))
    return add_up(rows, used, np.empty(0, np.int64), tiers)


def _empty(limits: Limits, n_slots: int) -> Problem:
    texts, ints, floats = np.empty(0, object), np.empty(0, np.int64), np.empty(0, np.float64)
    only = Limits(**{name: getattr(limits, name) for name in Limits.model_fields})
    return Problem(
        slot_minutes=getattr(limits, "slot_minutes", 60),
        n_slots=n_slots,
        users=texts,
        messages=Messages(
            user=ints, message_id=texts, campaign=texts, channel=texts, category=texts, exclusive_group=texts, tier=ints
        ),
        cells=Cells(message=ints, slot=ints, value=floats, p_opt_out=floats, cost=floats, local_day=ints),
        limits=only,
    )
