"""The executable specification of a plan (model ¶9 to ¶12): no solver, no shared code, meant to be read.

Everything is recomputed from the problem's inputs: who got what, every window, every limit across users, the value,
and a bound on what any plan could reach. What this file says is the rule; the solver only has to agree.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.audit_bound import weak_bound
from sendopt.allocation.audit_rules import Ledger, Send, broken_user_rules, ledger, past_sends, planned_send
from sendopt.allocation.problem import Ints, Problem
from sendopt.allocation.solution import Price, Solution
from sendopt.allocation.tiers import tier_problem, tiers_of
from sendopt.errors import AuditError

TOLERANCE = 1e-6  # relative: above a solver's feasibility tolerance, below anything that matters


@dataclass(frozen=True)
class Audit:
    """What the audit found. `weak_bound` is D(prices) of ¶11: no plan of this problem has a larger objective."""

    violations: tuple[str, ...]  # one sentence each: rule, row, count; never a user id
    value: float
    objective: float
    weak_bound: float
    cut_users: int  # users whose search stopped at its limit and who entered `weak_bound` relaxed

    @property
    def ok(self) -> bool:
        return not self.violations


def audit_plan(problem: Problem, chosen: Ints) -> tuple[str, ...]:
    """Sentences for every rule of ¶9 that the cells `chosen` break; empty for a feasible plan. Values play no part."""
    rows = [int(c) for c in chosen]
    if any(not 0 <= c < len(problem.cells.message) for c in rows):
        return ("chosen: a row is outside the problem's cells",)
    return (*user_violations(problem, rows), *_row_violations(problem, rows))


def user_violations(problem: Problem, rows: list[int]) -> tuple[str, ...]:
    """The same for the rules of each user alone (¶9a to ¶9d)."""
    return (
        *_repeated_messages(problem, rows),
        *_repeated_groups(problem, rows),
        *_broken_rules(problem, rows),
    )


def audit(problem: Problem, solution: Solution) -> Audit:
    """Every rule, value, penalty, objective, bound, gap and price row of `solution`, recomputed from `problem`."""
    violations = list(audit_plan(problem, solution.chosen))
    if violations and violations[0].startswith("chosen:"):
        return Audit(tuple(violations), math.nan, math.nan, math.nan, 0)
    rows = [int(c) for c in solution.chosen]
    if rows != sorted(rows):
        violations.append("chosen: rows are not in ascending order")
    worthless = sum(not problem.cells.value[c] > 0 for c in rows)
    if worthless:
        violations.append(f"value: {worthless} planned sends are not worth sending (value <= 0, ¶6)")
    book = ledger(problem, rows)
    value = math.fsum(float(problem.cells.value[c]) for c in rows)
    shortfall = {name: m.limit - m.used for name, m in book.minimums.items() if m.used < m.limit}
    penalty = math.fsum(book.minimums[name].price * missing for name, missing in shortfall.items())
    objective = value - penalty
    violations += _misstatements(solution, value, penalty, {k: int(v) for k, v in shortfall.items()})
    violations += price_violations(book, solution.prices)
    if solution.bound < objective - worth_slack(value, penalty, float(problem.cells.value.max(initial=0.0))):
        violations.append(f"bound: {solution.bound:.9g} is below the objective {objective:.9g}")
    bound, cut, unproven = _bounds(problem, solution)
    return Audit((*violations, *unproven), value, objective, bound, cut)


def _bounds(problem: Problem, solution: Solution) -> tuple[float, int, list[str]]:
    """(what the prices prove, users whose search was cut, what is stated otherwise), tier by tier."""
    found, bounds, cut = [], [], 0
    above = np.empty(0, np.int64)
    if [t.tier for t in solution.tiers] != tiers_of(problem):
        found.append("tiers: those stated are not those of the messages")
    for tier in solution.tiers:
        part, rows = tier_problem(problem, tier.tier, above)
        mine = np.flatnonzero(np.isin(rows, solution.chosen))
        prices = tier.prices if len(solution.tiers) > 1 else {p.row: p.price for p in solution.prices}
        stated = tier.bound if len(solution.tiers) > 1 else solution.bound
        bound, cut_here = weak_bound(part, ledger(part, mine.tolist()), prices, mine)
        if cut_here == 0 and stated < bound - worth_slack(bound, float(part.cells.value.max(initial=0.0))):
            name = f"bound of tier {tier.tier}" if len(solution.tiers) > 1 else "bound"
            found.append(f"{name}: the prices prove {bound:.9g}, not the stated {stated:.9g}")
        bounds.append(bound)
        cut += cut_here
        above = np.concatenate([above, rows[mine]])
    total = math.fsum(t.bound for t in solution.tiers)
    if len(solution.tiers) > 1 and not abs(total - solution.bound) <= worth_slack(total, *bounds):
        found.append(f"bound: stated {solution.bound:.9g}, the tiers' sum is {total:.9g}")
    return math.fsum(bounds), cut, found


def check(problem: Problem, solution: Solution) -> Audit:
    """The audit of `solution`; raises AuditError (exit 7) with every violation if there is one (¶12)."""
    result = audit(problem, solution)
    if not result.ok:
        raise AuditError(
            f"allocation: the audit refused the plan for {len(result.violations)} reason(s): "
            + "; ".join(result.violations)
            + "; nothing may be published, please report this with the problem's inputs",
            violations=list(result.violations),
        )
    return result


def slack(number: float) -> float:
    """What a stated number of sends, opt-outs or money may differ from the recomputed one."""
    return TOLERANCE * max(1.0, abs(number))


def worth_slack(*numbers: float) -> float:
    """What a stated worth may differ from the recomputed one, in whatever unit the largest of `numbers` is."""
    return TOLERANCE * max(map(abs, numbers))


def gap_of(value: float, penalty: float, bound: float) -> float:
    """The gap of ¶11: what is left to gain, relative to the larger of value and penalty, else to the bound."""
    size = abs(value) if abs(value) >= penalty else penalty
    if size == 0:
        size = abs(bound)
    return 0.0 if size == 0 else (bound - value + penalty) / size


def _repeated_messages(problem: Problem, rows: list[int]) -> list[str]:
    times = Counter(int(problem.cells.message[c]) for c in rows)
    repeated = sum(n > 1 for n in times.values())
    return [f"once: {repeated} messages are planned more than once (¶9a)"] if repeated else []


def _repeated_groups(problem: Problem, rows: list[int]) -> list[str]:
    m = problem.messages
    sent = [int(problem.cells.message[c]) for c in rows]
    times = Counter((int(m.user[i]), m.exclusive_group[i]) for i in sent if m.exclusive_group[i])
    repeated = sum(n > 1 for n in times.values())
    return [f"exclusive_group: {repeated} groups of a user are sent more than once (¶9a)"] if repeated else []


def _broken_rules(problem: Problem, rows: list[int]) -> list[str]:
    """Caps, gap and fatigue: one sentence a rule, with the number of users it is broken for."""
    planned: dict[int, list[Send]] = defaultdict(list)
    users = problem.messages.user[problem.cells.message[rows]] if rows else np.empty(0, np.int64)
    asked = _may_break(problem, np.array(rows, np.int64), users)[users]
    for c, user, ask in zip(rows, users.tolist(), asked.tolist(), strict=True):
        if ask:
            planned[user].append(planned_send(problem, c))
    past = past_sends(problem) if planned else {}
    broken: Counter[str] = Counter()
    for user, sends in planned.items():
        broken.update(broken_user_rules(problem.limits, [*past.get(user, []), *sends]))
    return [f"{rule}: broken for {count} users" for rule, count in sorted(broken.items())]


def _may_break(problem: Problem, rows: Ints, users: Ints) -> NDArray[np.bool_]:
    """(U,) False for users with too few sends, and too far apart, for any rule: no window needs to be looked at."""
    limits, h = problem.limits, problem.history
    owner = np.concatenate([users, h.user])
    minute = np.concatenate([problem.cells.slot[rows] * float(problem.slot_minutes), -h.minutes_before])
    sends = np.bincount(owner, minlength=len(problem.users))
    may = sends > min((cap.max for cap in limits.caps.values()), default=len(owner))
    if limits.fatigue is not None:
        most = max(limits.fatigue.points_per_send.values(), default=0.0)
        may |= sends * most > limits.fatigue.max_points
    order = np.lexsort((minute, owner))
    near = (np.diff(owner[order]) == 0) & (np.diff(minute[order]) < limits.min_gap_minutes)
    may[owner[order][1:][near]] = True
    return np.asarray(may)


def _row_violations(problem: Problem, rows: list[int]) -> list[str]:
    """Limits across users: planned sends may use only what committed sends leave (¶9e to ¶9h)."""
    found = []
    for name, row in ledger(problem, rows).maximums.items():
        room = max(0.0, row.limit - row.committed)
        if row.planned > room + slack(room):
            found.append(f"{name}: planned {row.planned:.9g}, room for {room:.9g} of {row.limit:.9g}")
    return found


def _misstatements(solution: Solution, value: float, penalty: float, shortfall: dict[str, int]) -> list[str]:
    size, gap = worth_slack(value, penalty), gap_of(value, penalty, solution.bound)
    stated = [
        ("value", solution.value, value, size),
        ("penalty", solution.penalty, penalty, size),
        ("objective", solution.objective, value - penalty, size),
        ("gap", solution.gap, gap, slack(gap)),
    ]
    found = [
        f"{name}: stated {said:.9g}, recomputed {true:.9g}"
        for name, said, true, most in stated
        if not abs(said - true) <= most
    ]
    if solution.shortfall != shortfall:
        found.append(f"shortfall: stated {solution.shortfall}, recomputed {shortfall}")
    return found


def price_violations(book: Ledger, prices: tuple[Price, ...]) -> list[str]:
    """Every row listed once with its true limit and use, and a price that keeps weak duality valid (¶11)."""
    rows = {**book.maximums, **{f"campaign_min:{name}": row for name, row in book.minimums.items()}}
    found = []
    if sorted(p.row for p in prices) != sorted(rows):
        found.append("prices: the rows listed are not the rows of the limits, each once")
    for p in prices:
        row = rows.get(p.row)
        if row is None:
            continue
        if not (math.isfinite(p.price) and 0 <= p.price <= row.price + worth_slack(row.price)):
            found.append(f"prices: {p.row} has price {p.price:.9g}, outside [0, {row.price:.9g}]")
        for name, said, true in (("limit", p.limit, row.limit), ("used", p.used, row.used)):
            if not abs(said - true) <= slack(true):
                found.append(f"prices: {p.row} states {name} {said:.9g}, recomputed {true:.9g}")
    return found
