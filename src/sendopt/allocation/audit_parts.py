"""The audit of a plan that no one place holds: each part by `audit`'s rules for users, the rows across users by sums.

No solver and no code of one, as in `audit`: what a part uses of every row is counted anew from its cells.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sendopt.allocation.audit import gap_of, price_violations, slack, user_violations, worth_slack
from sendopt.allocation.audit_bound import weak_bound
from sendopt.allocation.audit_rules import Ledger, Row, ledger
from sendopt.allocation.problem import Ints, Problem
from sendopt.allocation.solution import Solution
from sendopt.allocation.tiers import tier_problem
from sendopt.errors import AuditError


@dataclass(frozen=True)
class AuditPart:
    """What the audit counted in one part. Rows by name as in `Price.row`."""

    violations: tuple[str, ...]
    value: dict[int, float]  # by tier
    planned: dict[int, dict[str, float]]  # by tier and row; rows that are not used may be absent
    committed: dict[str, float]
    best: dict[int, float]  # Σ best response at the tier's prices
    cut: dict[int, int]


def audit_part(
    problem: Problem, chosen: dict[int, Ints], prices: dict[int, dict[str, float]], minimum_tier: dict[str, int]
) -> AuditPart:
    """The cells `chosen` (by tier, highest first) of some users: their own rules, and what they use and could earn."""
    everything = np.sort(np.concatenate([np.empty(0, np.int64), *chosen.values()]))
    violations = list(user_violations(problem, everything.tolist()))
    worthless = int((~(problem.cells.value[everything] > 0)).sum())
    if worthless:
        violations.append(f"value: {worthless} planned sends are not worth sending (value <= 0, ¶6)")
    book = ledger(problem, [])
    rows_of_all = book.maximums | {f"campaign_min:{name}": row for name, row in book.minimums.items()}
    committed = {name: row.committed for name, row in rows_of_all.items() if row.committed}
    value, planned, best, cut = {}, {}, {}, {}
    above = np.empty(0, np.int64)
    for tier, cells in chosen.items():
        value[tier] = math.fsum(problem.cells.value[cells].tolist())
        planned[tier] = _use(problem, cells)
        part, rows = tier_problem(problem, tier, above)
        mine = np.flatnonzero(np.isin(rows, cells))
        if len(mine) != len(cells):
            violations.append(f"tier {tier}: {len(cells) - len(mine)} planned sends are not of this tier")
        best[tier], cut[tier] = weak_bound(part, _without_room(book, tier, minimum_tier), prices[tier], mine)
        above = np.sort(np.concatenate([above, cells]))
    return AuditPart(tuple(violations), value, planned, committed, best, cut)


def _use(problem: Problem, planned: Ints) -> dict[str, float]:
    """What the cells use of every row that could be limited, by row."""
    m, c = problem.messages, problem.cells
    message = c.message[planned]
    campaigns = Counter(m.campaign[message].tolist())
    slots = Counter(zip(m.channel[message].tolist(), c.slot[planned].tolist(), strict=True))
    used = {f"capacity:{channel}:{slot}": float(n) for (channel, slot), n in slots.items()}
    used |= {f"campaign_{end}:{name}": float(n) for name, n in campaigns.items() for end in ("max", "min")}
    used["opt_outs"] = math.fsum(c.p_opt_out[planned].tolist())
    used["cost"] = math.fsum(c.cost[planned].tolist())
    return used


def _without_room(book: Ledger, tier: int, minimum_tier: dict[str, int]) -> Ledger:
    """The rows with no room: a bound by it is what users earn, without the rent of the limits."""
    least = {name: Row(0.0, row.price) for name, row in book.minimums.items() if minimum_tier.get(name) == tier}
    return Ledger({name: Row(0.0) for name in book.maximums}, least)


def check_parts(empty: Problem, solution: Solution, parts: Sequence[AuditPart], minimum_tier: dict[str, int]) -> None:
    """Nothing, or AuditError (exit 7): every limit of `empty.limits`, objective, bound and price, from the parts' sums.

    `empty` has no cell; its limits name each minimum's shortfall price.
    """
    book = ledger(empty, [])
    rows = book.maximums | {f"campaign_min:{name}": row for name, row in book.minimums.items()}
    sums: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        for name, used in part.committed.items():
            sums[name].append(used)
    for name, row in rows.items():
        row.committed = math.fsum(sums[name])
    found = [sentence for part in parts for sentence in part.violations]
    objectives, bounds, worths = [], [], []
    for tier in solution.tiers:
        left = {name: max(0.0, row.limit - row.committed - row.planned) for name, row in rows.items()}
        planned: dict[str, list[float]] = defaultdict(list)
        for part in parts:
            for name, used in part.planned.get(tier.tier, {}).items():
                planned[name].append(used)
        for name, row in rows.items():
            row.planned += math.fsum(planned[name])
        minimums = [name for name in book.minimums if minimum_tier.get(name) == tier.tier]
        missing = {name: max(0.0, (m := book.minimums[name]).limit - m.used) for name in minimums}
        value = math.fsum(part.value.get(tier.tier, 0.0) for part in parts)
        penalty = math.fsum(book.minimums[name].price * short for name, short in missing.items())
        objectives.append(value - penalty)
        worths += [value, penalty]
        rent = [tier.prices.get(name, 0.0) * left[name] for name in book.maximums]
        rent += [-tier.prices.get(f"campaign_min:{n}", 0.0) * left[f"campaign_min:{n}"] for n in minimums]
        bounds.append(math.fsum([*(part.best.get(tier.tier, 0.0) for part in parts), *rent]))
        cut = sum(part.cut.get(tier.tier, 0) for part in parts)
        told = f"tier {tier.tier}"
        most = worth_slack(value, penalty)
        if not abs(tier.objective - objectives[-1]) <= most:
            found.append(f"objective of {told}: stated {tier.objective:.9g}, recomputed {objectives[-1]:.9g}")
        if (cut == 0 and tier.bound < bounds[-1] - max(most, worth_slack(bounds[-1]))) or (
            tier.bound < tier.objective - most
        ):
            found.append(f"bound of {told}: stated {tier.bound:.9g}, the prices prove {bounds[-1]:.9g}")
        if any(not (math.isfinite(p) and p >= 0) for p in tier.prices.values()):
            found.append(f"prices of {told}: not all are finite and >= 0")
    for name, row in book.maximums.items():
        room = max(0.0, row.limit - row.committed)
        if row.planned > room + slack(room):
            found.append(f"{name}: planned {row.planned:.9g}, room for {room:.9g} of {row.limit:.9g}")
    found += price_violations(book, solution.prices)
    gap = gap_of(solution.value, solution.penalty, solution.bound)
    for name, stated, true, most in (
        ("objective", solution.objective, math.fsum(objectives), worth_slack(0.0, *worths)),
        ("gap", solution.gap, gap, slack(gap)),
    ):
        if not abs(stated - true) <= most:
            found.append(f"{name}: stated {stated:.9g}, recomputed {true:.9g}")
    if found:
        raise AuditError(
            f"allocation: the audit refused the plan for {len(found)} reason(s): {'; '.join(found[:20])}; "
            "nothing may be published, please report this with the problem's inputs",
            violations=found,
        )
