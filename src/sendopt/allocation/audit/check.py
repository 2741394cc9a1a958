"""The executable specification of a plan (model ¶9 to ¶12), written to be read; it shares no code with the solver.

Everything is recomputed from the problem's inputs: the sends of each user, every window, every limit across users, the
value, and a bound on what any plan could reach, tier by tier. This file defines the rules; the solver must agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sendopt.allocation.audit.bound import weak_bound
from sendopt.allocation.audit.ledger import Ledger, ledger
from sendopt.allocation.audit.tiers import as_planned, tier_numbers
from sendopt.allocation.audit.user_rules import broken_rules
from sendopt.allocation.problem import Problem
from sendopt.allocation.solution import Price, Solution, Tier
from sendopt.allocation.statuses import Proof
from sendopt.errors import AuditError
from sendopt.stats.arrays import Ints

VIOLATIONS_NAMED = 20
TOLERANCE = 1e-6  # relative to a number's size, at least one send's: above a solver's tolerance, below what matters
OUTSIDE = "chosen: a row is outside the problem's cells"


@dataclass(frozen=True)
class Audit:
    """The result of the audit. `weak_bound` is D(prices) of ¶11: no plan of this problem has a larger objective."""

    violations: tuple[str, ...]  # one sentence each: rule, row, count; never a user id
    value: float
    objective: float
    weak_bound: float
    cut_users: int  # users whose search stopped at its limit and who entered `weak_bound` relaxed

    @property
    def ok(self) -> bool:
        """Whether no rule is broken."""
        return not self.violations


@dataclass(frozen=True)
class Worth:
    """Value and penalty of a plan, or of one tier of it.

    >>> Worth(value=10.0, penalty=2.0).objective
    8.0
    """

    value: float
    penalty: float

    @classmethod
    def of(cls, problem: Problem, planned: Ints, book: Ledger) -> Worth:
        """Return value and penalty of the cells `planned`, whose use of the rows `book` holds."""
        missing = [row.price * max(0.0, row.limit - row.used) for row in book.minimums.values()]
        return cls(math.fsum(problem.cells.value[planned].tolist()), math.fsum(missing))

    @property
    def objective(self) -> float:
        return self.value - self.penalty


def audit_plan(problem: Problem, chosen: Ints) -> tuple[str, ...]:
    """Return a sentence for every rule of ¶9 that the cells `chosen` break; values play no part.

    >>> from sendopt.allocation.build import empty_problem
    >>> from sendopt.domain.limits import SolveLimits
    >>> problem = empty_problem(SolveLimits(capacity={"push": 5}), n_slots=24)
    >>> audit_plan(problem, np.array([], np.int64))
    ()
    >>> audit_plan(problem, np.array([7]))
    ("chosen: a row is outside the problem's cells",)
    """
    rows = np.asarray(chosen, np.int64)
    book = _ledger_of(problem, rows)
    return (OUTSIDE,) if book is None else (*user_violations(problem, rows), *row_violations(book))


def _ledger_of(problem: Problem, rows: Ints) -> Ledger | None:
    """Return the limits across users with the plan's use of them; None where a row is no cell of the problem."""
    outside = (rows < 0) | (rows >= len(problem.cells.message))
    return None if outside.any() else ledger(problem, rows)


def user_violations(problem: Problem, rows: Ints) -> tuple[str, ...]:
    """Return a sentence for each broken rule of single users (¶9a to ¶9d)."""
    return (
        *_repeated_messages(problem, rows),
        *_repeated_groups(problem, rows),
        *_broken_rules(problem, rows),
    )


def audit(problem: Problem, solution: Solution) -> Audit:
    """Return the audit of `solution`: every rule, sum, bound, gap and price row, recomputed from `problem`."""
    rows = np.asarray(solution.chosen, np.int64)
    book = _ledger_of(problem, rows)
    if book is None:
        return Audit((OUTSIDE,), math.nan, math.nan, math.nan, 0)
    violations = [*user_violations(problem, rows), *row_violations(book)]
    if (np.diff(rows) < 0).any():
        violations.append("chosen: rows are not in ascending order")
    worthless = int((~(problem.cells.value[rows] > 0)).sum())
    if worthless:
        violations.append(f"value: {worthless} planned sends are not worth sending (value <= 0, ¶6)")
    unit = worth_of_a_send(problem)
    true = Worth.of(problem, rows, book)
    violations += misstatements(solution, true, unit)
    shortfall = {name: int(m.limit - m.used) for name, m in book.minimums.items() if m.used < m.limit}
    if solution.shortfall != shortfall:
        violations.append(f"shortfall: stated {solution.shortfall}, recomputed {shortfall}")
    violations += price_violations(book, solution.prices, unit)
    if solution.bound < true.objective - slack(true.objective, unit):
        violations.append(f"bound: {solution.bound:.9g} is below the objective {true.objective:.9g}")
    bound, cut, unproven = _tier_by_tier(problem, solution, unit)
    return Audit((*violations, *unproven), true.value, true.objective, bound, cut)


def _tier_by_tier(problem: Problem, solution: Solution, unit: float) -> tuple[float, int, list[str]]:
    """Return (bound proven by the prices, users whose search was cut, sentences on statements that differ)."""
    violations, bounds, cut_users = [], [], 0
    if [t.tier for t in solution.tiers] != tier_numbers(problem):
        violations.append("tiers: those stated are not those of the messages")
    above = np.empty(0, np.int64)
    several = len(solution.tiers) > 1
    for tier in solution.tiers:
        part, rows = as_planned(problem, tier.tier, above)
        planned = np.flatnonzero(np.isin(rows, solution.chosen))
        book = ledger(part, planned)
        prices = tier.prices if several else {p.row: p.price for p in solution.prices}
        stated = tier.bound_by_prices if several else solution.bound_by_prices
        bound, cut = weak_bound(part, book, prices, planned)
        of_tier = f" of tier {tier.tier}" if several else ""
        if cut == 0 and stated < bound - slack(bound, unit):
            violations.append(f"bound{of_tier}: the prices prove {bound:.9g}, not the stated {stated:.9g}")
        if several:
            true = Worth.of(part, planned, book)
            violations += misstatements(tier, true, unit, of_tier)
            if tier.bound < true.objective - slack(true.objective, unit):
                violations.append(f"bound{of_tier}: {tier.bound:.9g} is below the objective {true.objective:.9g}")
            violations += _unlisted_prices(solution, tier)
        violations += unproven_bound(tier, unit)
        bounds.append(bound)
        cut_users += cut
        above = np.concatenate([above, rows[planned]])
    return math.fsum(bounds), cut_users, violations + not_the_sum_of_tiers(solution, unit)


def not_the_sum_of_tiers(solution: Solution, unit: float) -> list[str]:
    """Return a sentence for each bound that is not the sum of the tiers' bounds."""
    sums = [
        (name, getattr(solution, name), math.fsum(getattr(tier, name) for tier in solution.tiers))
        for name in ("bound", "bound_by_prices")
    ]
    return [
        f"{name}: stated {stated:.9g}, the tiers' sum is {total:.9g}"
        for name, stated, total in sums
        if not abs(stated - total) <= slack(total, unit)
    ]


def unproven_bound(tier: Tier, unit: float) -> list[str]:
    """Return a sentence where a tier's bound is above that of its prices, or below it without a program (¶11)."""
    sentence = f"bound of tier {tier.tier}: stated {tier.bound:.9g} where prices prove {tier.bound_by_prices:.9g}"
    most = slack(tier.bound_by_prices, unit)
    off = tier.bound - tier.bound_by_prices
    if not math.isfinite(off) or off > most:
        return [sentence]
    if tier.proof not in list(Proof) or (tier.proof == Proof.PRICES and -off > most):
        return [f"{sentence}, with proof {tier.proof!r}"]
    return []


def _unlisted_prices(solution: Solution, tier: Tier) -> list[str]:
    """Return a sentence for each price of a tier above the price listed for all tiers, which is the highest."""
    listed = {p.row: p.price for p in solution.prices}
    return [
        f"prices: {row} is listed at {listed.get(row, 0.0):.9g}, tier {tier.tier} has {price:.9g}"
        for row, price in tier.prices.items()
        if price > listed.get(row, 0.0)
    ]


def check(problem: Problem, solution: Solution) -> Audit:
    """Return the audit of `solution`; raise AuditError (exit 7) with every violation if there is one (¶12)."""
    result = audit(problem, solution)
    require_no_violation(result.violations)
    return result


def require_no_violation(violations: Sequence[str]) -> None:
    """Raise AuditError (exit 7) that names the first violations and carries all of them."""
    if not violations:
        return
    some = "; ".join(violations[:VIOLATIONS_NAMED]) + ("; …" if len(violations) > VIOLATIONS_NAMED else "")
    raise AuditError(
        f"allocation: the audit refused the plan for {len(violations)} reason(s): {some}; "
        "nothing may be published, please report this with the problem's inputs",
        violations=list(violations),
    )


def slack(number: float, unit: float = 1.0) -> float:
    """Return the largest difference allowed between stated and recomputed; `unit` is the size of one send's part."""
    return TOLERANCE * max(unit, abs(number))


def worth_of_a_send(problem: Problem) -> float:
    """Return the largest absolute value of a cell: the scale for differences of values, bounds and prices."""
    return float(np.abs(problem.cells.value).max(initial=0.0))


def gap_of(value: float, penalty: float, bound: float) -> float:
    """Return the gap of ¶11: bound minus objective, relative to the larger of value and penalty, else to the bound."""
    size = max(abs(value), penalty) or abs(bound)
    return (bound - (value - penalty)) / size if size else 0.0


def _repeated_messages(problem: Problem, rows: Ints) -> list[str]:
    repeated = _repeats(problem.cells.message[rows])
    return [f"once: {repeated} messages are planned more than once (¶9a)"] if repeated else []


def _repeated_groups(problem: Problem, rows: Ints) -> list[str]:
    sent = problem.cells.message[rows]
    sent = sent[problem.messages.exclusive_group[sent].astype(bool)]
    group, names = pd.factorize(problem.messages.exclusive_group[sent])
    repeated = _repeats(problem.messages.user[sent] * np.int64(len(names)) + group)
    return [f"exclusive_group: {repeated} groups of a user are sent more than once (¶9a)"] if repeated else []


def _repeats(keys: Ints) -> int:
    """Return how many keys occur more than once."""
    return int((np.unique(keys, return_counts=True)[1] > 1).sum())


def _broken_rules(problem: Problem, rows: Ints) -> list[str]:
    """Return a sentence for each broken cap, gap or fatigue limit, with the number of users it is broken for."""
    broken = broken_rules(problem, rows) if len(rows) else {}
    return [f"{rule}: broken for {count} users" for rule, count in sorted(broken.items())]


def row_violations(book: Ledger) -> list[str]:
    """Return a sentence for each maximum of which the plan uses more than committed sends leave (¶9e to ¶9h)."""
    return [
        f"{name}: planned {row.planned:.9g}, room for {row.room:.9g} of {row.limit:.9g}"
        for name, row in book.maximums.items()
        if row.planned > row.room * (1.0 + TOLERANCE)
    ]


def misstatements(stated: Solution | Tier, true: Worth, unit: float, of_tier: str = "") -> list[str]:
    """Return a sentence for each of value, penalty, objective and gap that is not the plan's."""
    compared = [
        ("value", stated.value, true.value, unit),
        ("penalty", stated.penalty, true.penalty, unit),
        ("objective", stated.objective, true.objective, unit),
        ("gap", stated.gap, gap_of(true.value, true.penalty, stated.bound), 1.0),
    ]
    return [
        f"{name}{of_tier}: stated {number:.9g}, recomputed {recomputed:.9g}"
        for name, number, recomputed, least in compared
        if not abs(number - recomputed) <= slack(recomputed, least)
    ]


def price_violations(book: Ledger, prices: Sequence[Price], unit: float) -> list[str]:
    """Return sentences where the rows are not listed once each with true limit, true use and a valid price (¶11).

    A price is valid if weak duality holds with it.
    """
    rows = book.by_price
    violations = []
    if sorted(p.row for p in prices) != sorted(rows):
        violations.append("prices: the rows listed are not the rows of the limits, each once")
    for p in prices:
        row = rows.get(p.row)
        if row is None:
            continue
        if not (math.isfinite(p.price) and 0 <= p.price <= row.price + slack(row.price, unit)):
            violations.append(f"prices: {p.row} has price {p.price:.9g}, outside [0, {row.price:.9g}]")
        for name, number, true in (("limit", p.limit, row.limit), ("used", p.used, row.used)):
            if not abs(number - true) <= slack(true):
                violations.append(f"prices: {p.row} states {name} {number:.9g}, recomputed {true:.9g}")
    return violations
