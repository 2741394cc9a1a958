"""Plan any number of users: common prices from the first buckets, one map over all buckets, proof from their sums."""

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
from sendopt.allocation.build import empty_problem
from sendopt.allocation.control import UNWATCHED, Control, Progress
from sendopt.allocation.coupling import Rows, rows_of, uses_of_send
from sendopt.allocation.prices import engine
from sendopt.allocation.prices.market import NONE
from sendopt.allocation.solution import Solution, Tier, gap_of, proven_bound
from sendopt.allocation.solve import add_up
from sendopt.allocation.statuses import Method, Proof, Termination
from sendopt.allocation.tables.files import as_json, require_days, require_horizon, require_limits
from sendopt.allocation.tables.out_folder import MANIFEST, OUTPUT, PLAN, require_out
from sendopt.allocation.tables.start_prices import unmatched
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.domain.limits import CampaignLimits, SolveLimits
from sendopt.lake.files import both_or_neither
from sendopt.stats.arrays import Floats

__all__ = ["Planned", "is_bucketed", "solve_buckets"]

SAMPLE_USERS = 100_000  # users whose buckets set the common prices, rounded up to whole buckets
SAMPLE_GAP = 1e-4  # relative gap at which the search for common prices ends
Run = Callable[[Callable[[int], Part], int], Iterable[Part]]


@dataclass(frozen=True)
class Planned:
    """A plan in files and its proof. `solution.chosen` is empty, because no process holds all cells."""

    solution: Solution
    sends: int
    users: int
    buckets: int
    seconds: dict[str, float]  # prices and map: elapsed; read, plan, audit and write: summed over buckets
    warnings: tuple[str, ...] = ()


def one_after_the_other(work: Callable[[int], Part], buckets: int) -> Iterator[Part]:
    """Map in this process, with the memory of one bucket."""
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
    """Plan the buckets of `folder`; write `plan.parquet` (a folder, one file a bucket) and `solution.json` to `out`.

    Both are written or neither. `run` maps a function over the numbers of the buckets; the written bytes do not depend
    on where and in which order it does so. `control` gives first prices and receives progress; it cannot cancel.
    Raises ContractError (exit 3), InfeasibleError (exit 4), AuditError (exit 7).
    """
    require_limits(limits)
    require_out(out, [], in_parts=True)
    clock = time.perf_counter()
    bucket_summaries = summaries(folder)
    require_days(folder, limits, all(s.days for s in bucket_summaries))
    with both_or_neither(out, MANIFEST, OUTPUT) as staged:
        task = _task(folder.resolve(), staged / PLAN, limits, bucket_summaries, audit, own_prices)
        (staged / PLAN).mkdir()
        task = replace(task, prices=_common_prices(task, bucket_summaries, sample_users, control))
        priced = time.perf_counter()
        parts = sorted(_reported(run(_Work(task), len(bucket_summaries)), control), key=lambda part: part.bucket)
        mapped = time.perf_counter()
        planned = Planned(
            solution=_audited(task, limits, parts, relative_gap),
            sends=sum(p.sends for p in parts),
            users=sum(s.users for s in bucket_summaries),
            buckets=len(bucket_summaries),
            seconds={
                **(seconds_before or {}),
                "prices": priced - clock,
                "map": mapped - priced,
                **{name: math.fsum(p.seconds[name] for p in parts) for name in ("read", "plan", "audit", "write")},
            },
            warnings=(*warnings, *unmatched(control.start_prices, task.rows.names)),
        )
        (staged / MANIFEST).write_text(json.dumps(told_of(planned), indent=2) + "\n")
    return planned


def _audited(task: Task, limits: SolveLimits, parts: list[Part], relative_gap: float) -> Solution:
    """Return the solution of all parts; raise AuditError where the audit that the task asks for refuses it.

    `limits` are those configured: the audit derives shortfall prices by itself.
    """
    solution = _solution(task, parts, relative_gap)
    if task.audit:
        audits = [part.audit for part in parts if part.audit]
        check_parts(empty_problem(limits, task.n_slots), solution, audits, task.minimum_tier)
    return solution


def told_of(planned: Planned) -> dict[str, object]:
    """Return the document of `solution.json`."""
    sizes = {"sends": planned.sends, "users": planned.users, "buckets": planned.buckets}
    return {**as_json(planned.solution, planned.seconds, warnings=planned.warnings), **sizes}


@dataclass(frozen=True)
class _Work:
    """`plan_bucket` with its task, as a function that can be pickled."""

    task: Task

    def __call__(self, bucket: int) -> Part:
        return plan_bucket(self.task, bucket)


def _task(
    folder: Path, out: Path, limits: SolveLimits, summaries: list[Summary], audit: bool, own_prices: bool
) -> Task:
    """Return the task of all buckets, still without prices."""
    least = min((s.least_minutes_before for s in summaries), default=0.0)
    last_slot = max((s.last_slot for s in summaries), default=0)
    n_slots = 1 + require_horizon(folder, None, limits, last_slot, least)
    priced = _with_shortfall_prices(limits, summaries)
    rows = rows_of(empty_problem(priced, n_slots))
    rows = rows.with_committed(_committed_uses(rows, summaries, limits.slot_minutes))
    last = max((t for s in summaries for t in s.tiers), default=1)
    minimum_tier = {
        name: max((s.last_tier.get(name, 0) for s in summaries), default=0) or last for name in priced.campaigns
    }
    weights = np.array([[float(s.users)] for s in summaries]).repeat(len(rows.names), axis=1)
    return Task(
        folder=str(folder),
        out=str(out),
        limits=priced,
        n_slots=n_slots,
        rows=rows,
        minimum_tier=minimum_tier,
        prices={},
        shares=shares(rows.room, weights, rows.counts_sends, rows.names),
        audit=audit,
        own_prices=own_prices,
    )


def _with_shortfall_prices(limits: SolveLimits, summaries: list[Summary]) -> SolveLimits:
    """Return the limits with a shortfall price for each campaign: as given, or the largest value of its candidates."""

    def priced(name: str, campaign: CampaignLimits) -> CampaignLimits:
        if campaign.shortfall_price is not None:
            return campaign
        largest = max((s.largest.get(name, 0.0) for s in summaries), default=0.0)
        return campaign.model_copy(update={"shortfall_price": largest})

    return limits.model_copy(update={"campaigns": {name: priced(name, c) for name, c in limits.campaigns.items()}})


def _committed_uses(rows: Rows, summaries: list[Summary], slot_minutes: int) -> dict[int, list[float]]:
    """Return {row: use by committed sends}, an entry for each channel, campaign and minute of each bucket."""
    uses: dict[int, list[float]] = {}
    for s in summaries:
        for channel, campaign, minute, sends, p_opt_out, cost in s.committed:
            slot = int(minute // slot_minutes)
            for row, use in uses_of_send(rows, channel, slot, campaign, p_opt_out, cost):
                uses.setdefault(row, []).append(use * sends if rows.counts_sends[row] else use)
    return uses


def _reported(parts: Iterable[Part], control: Control) -> Iterator[Part]:
    """Yield `parts` and report how many are done."""
    for done, part in enumerate(parts, 1):
        control.report(Progress("buckets", done))
        yield part


def _common_prices(task: Task, summaries: list[Summary], sample_users: int, control: Control) -> dict[int, Floats]:
    """Return the prices (R,) by tier that minimise the bound over the first buckets at their share of the limits."""
    all_users = sum(s.users for s in summaries)
    which = sampled(summaries, sample_users)
    users = sum(summaries[bucket].users for bucket in which)
    zeros = np.zeros(len(task.rows.names))
    prices = {tier: zeros for tier in sorted({t for s in summaries for t in s.tiers}) or [1]}
    if users == 0 or len(zeros) == 0:
        return prices
    problem = read_buckets(Path(task.folder), which, task.limits, task.n_slots)
    room = task.rows.room * (users / all_users)
    above = np.empty(0, np.int64)
    tiers = tiers_of(problem)
    for tier in tiers:
        part, rows = tier_problem(problem, tier, above)
        cell, market = market_of(part, task.rows, room, counting(task, tier))
        start = control.start(task.rows)
        first_prices = None if start is None else market.own_prices(start)
        plan, best = engine.solve(market, SAMPLE_GAP, first_prices)
        prices[tier] = market.stated(best).prices
        if tier != tiers[-1]:
            planned = np.sort(rows[cell[plan[plan != NONE]]])
            room = np.maximum(0.0, room - (task.rows.used(problem, planned) - task.rows.committed))
            above = np.sort(np.concatenate([above, planned]))
    return prices


def sampled(summaries: list[Summary], users: int) -> list[int]:
    """Return the first buckets that hold this many users together, or all buckets where they hold fewer."""
    before = np.cumsum([0, *(s.users for s in summaries)])[:-1]
    return [s.bucket for s, earlier in zip(summaries, before.tolist(), strict=True) if earlier < users]


def _solution(task: Task, parts: list[Part], relative_gap: float) -> Solution:
    """Return the sums of all parts, tier by tier."""
    rows = task.rows
    used = rows.committed.copy()
    tiers = []
    for tier, prices in task.prices.items():
        counts = counting(task, tier)
        sign = np.where(rows.is_minimum, -1.0, 1.0) * counts
        room = np.maximum(0.0, rows.limit - used)
        nothing = TierPart(0.0, np.zeros(len(rows.names)), 0.0, 0)
        tier_parts = [part.tiers.get(tier, nothing) for part in parts]
        used = used + total([part.use for part in tier_parts])
        value = math.fsum(part.value for part in tier_parts)
        penalty = math.fsum(rows.missing(used) * rows.shortfall_price * counts)
        bound = math.fsum([*(part.best for part in tier_parts), *(sign * prices * room).tolist()])
        objective, bound = value - penalty, proven_bound(value, penalty, bound)
        gap = gap_of(value, penalty, bound)
        tiers.append(
            Tier(
                tier=tier,
                value=value,
                penalty=penalty,
                objective=objective,
                bound=bound,
                gap=gap,
                method=Method.PRICES,
                termination=Termination.GAP_REACHED if gap <= relative_gap else Termination.PASSES_DONE,
                cut_users=sum(part.cut for part in tier_parts),
                prices=dict(zip(rows.names, prices.tolist(), strict=True)),
                bound_by_prices=bound,
                proof=Proof.PRICES,
            )
        )
    return add_up(rows, used, np.empty(0, np.int64), tiers)
