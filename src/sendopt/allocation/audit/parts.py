"""The audit of a plan in parts: the rules for single users in each part, the limits across users from sums of parts.

Like `check`, it shares no code with the solver. The use of every row is counted again from the cells of each part. The
tier in which a minimum counts and the price of a missing send are derived from the messages of the parts.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sendopt.allocation.audit.bound import weak_bound
from sendopt.allocation.audit.check import (
    Worth,
    misstatements,
    not_the_sum_of_tiers,
    price_violations,
    require_no_violation,
    row_violations,
    slack,
    unproven_bound,
    user_violations,
)
from sendopt.allocation.audit.check import worth_of_a_send as largest_worth
from sendopt.allocation.audit.ledger import Ledger, Row, committed_sends, largest_values, ledger, planned_sends
from sendopt.allocation.audit.tiers import as_planned, last_tiers, tier_numbers
from sendopt.allocation.problem import Problem
from sendopt.allocation.solution import Solution, Tier
from sendopt.stats.arrays import Ints


@dataclass(frozen=True)
class AuditPart:
    """Counts and sums of the audit for one part. Rows are named as in `Price.row`."""

    violations: tuple[str, ...]
    value: dict[int, float]  # by tier
    planned: dict[int, dict[str, float]]  # use by tier and row; rows that are not used may be absent
    committed: dict[str, float]  # use by row
    best: dict[int, float]  # Σ best response at the tier's prices
    cut: dict[int, int]  # users whose search was cut, by tier
    last_tier: dict[str, int]  # of each campaign that has messages in the part
    largest: dict[str, float]  # largest value of each of these campaigns
    unit: float  # the largest size of a value


def audit_part(
    problem: Problem, chosen: dict[int, Ints], prices: dict[int, dict[str, float]], minimum_tier: dict[str, int]
) -> AuditPart:
    """Return the audit of the cells `chosen` by tier: the rules of single users, use of rows, and best responses.

    `minimum_tier` states the tier in which each campaign's minimum counts; `check_parts` verifies it.
    """
    everything = np.sort(np.concatenate([np.empty(0, np.int64), *chosen.values()]))
    violations = list(user_violations(problem, everything))
    worthless = int((~(problem.cells.value[everything] > 0)).sum())
    if worthless:
        violations.append(f"value: {worthless} planned sends are not worth sending (value <= 0, ¶6)")
    tiers = tier_numbers(problem)
    violations += [f"tier {t}: {len(c)} planned sends of no such tier" for t, c in chosen.items() if t not in tiers]
    book = ledger(problem, np.empty(0, np.int64))
    value, planned, best, cut = {}, {}, {}, {}
    above = np.empty(0, np.int64)
    for tier in tiers if len(problem.cells.message) else []:
        cells = chosen.get(tier, np.empty(0, np.int64))
        value[tier] = math.fsum(problem.cells.value[cells].tolist())
        planned[tier] = planned_sends(problem, cells).uses()
        part, rows = as_planned(problem, tier, above)
        sent = np.flatnonzero(np.isin(rows, cells))
        if len(sent) != len(cells):
            violations.append(f"tier {tier}: {len(cells) - len(sent)} planned sends are not of this tier")
        best[tier], cut[tier] = weak_bound(part, _without_room(book, tier, minimum_tier), prices.get(tier, {}), sent)
        above = np.sort(np.concatenate([above, cells]))
    return AuditPart(
        violations=tuple(violations),
        value=value,
        planned=planned,
        committed=committed_sends(problem).uses(),
        best=best,
        cut=cut,
        last_tier=last_tiers(problem),
        largest=largest_values(problem),
        unit=largest_worth(problem),
    )


def _without_room(book: Ledger, tier: int, minimum_tier: dict[str, int]) -> Ledger:
    """Return the rows with no room, so that a bound from them holds the users' best responses only.

    The limits' part of the bound and the check of the prices follow in `check_parts`, from the sums.
    """
    least = {name: Row(0.0) for name in book.minimums if minimum_tier.get(name) == tier}
    return Ledger({name: Row(0.0) for name in book.maximums}, least)


def check_parts(empty: Problem, solution: Solution, parts: Sequence[AuditPart], minimum_tier: dict[str, int]) -> None:
    """Raise AuditError (exit 7) where the sums of the parts break a limit or differ from what `solution` states.

    Objective, bound, gap and prices are compared, by tier and in total. `empty` is a problem without cells under all
    of the configured limits.
    """
    book = _book(empty, parts)
    last = _last_tiers(book, parts)
    unit = max((part.unit for part in parts), default=0.0)
    violations = [sentence for part in parts for sentence in part.violations]
    violations += [
        f"campaign_min:{name}: counted in tier {minimum_tier.get(name)}, its last messages are of tier {tier}"
        for name, tier in last.items()
        if minimum_tier.get(name) != tier
    ]
    if [t.tier for t in solution.tiers] != (sorted({tier for part in parts for tier in part.value}) or [1]):
        violations.append("tiers: those stated are not those of the messages")
    for tier in solution.tiers:
        minimums = [name for name in book.minimums if last[name] == tier.tier]
        room = {name: max(0.0, row.limit - row.used) for name, row in book.by_price.items()}
        _add_up(book, (part.planned.get(tier.tier, {}) for part in parts))
        missing = [(m := book.minimums[name]).price * max(0.0, m.limit - m.used) for name in minimums]
        true = Worth(math.fsum(part.value.get(tier.tier, 0.0) for part in parts), math.fsum(missing))
        rent = [tier.prices.get(name, 0.0) * room[name] for name in book.maximums]
        rent += [-tier.prices.get(f"campaign_min:{n}", 0.0) * room[f"campaign_min:{n}"] for n in minimums]
        bound = math.fsum([*(part.best.get(tier.tier, 0.0) for part in parts), *rent])
        cut = sum(part.cut.get(tier.tier, 0) for part in parts)
        violations += misstatements(tier, true, unit, f" of tier {tier.tier}")
        violations += _bound_violations(tier, true, None if cut else bound, unit)
        violations += _illegal_prices(book, tier, unit)
    violations += row_violations(book)
    violations += price_violations(book, solution.prices, unit)
    value, penalty = (math.fsum(getattr(t, name) for t in solution.tiers) for name in ("value", "penalty"))
    violations += misstatements(solution, Worth(value, penalty), unit)
    violations += not_the_sum_of_tiers(solution, unit)
    require_no_violation(violations)


def _book(empty: Problem, parts: Sequence[AuditPart]) -> Ledger:
    """Return the rows with the parts' committed sends.

    The price of a minimum without a shortfall price is the largest value of its campaign.
    """
    book = ledger(empty, np.empty(0, np.int64))
    for name, row in book.minimums.items():
        if empty.limits.campaigns[name].shortfall_price is None:
            row.price = max((part.largest.get(name, 0.0) for part in parts), default=0.0)
    committed = _sums(part.committed for part in parts)
    for name, row in book.by_price.items():
        row.committed = committed.get(name, 0.0)
    return book


def _last_tiers(book: Ledger, parts: Sequence[AuditPart]) -> dict[str, int]:
    """Return the tier in which each minimum counts: the last of its campaign's messages, else the last of all."""
    last = max((tier for part in parts for tier in part.last_tier.values()), default=1)
    return {
        name: max((p.last_tier[name] for p in parts if name in p.last_tier), default=last) for name in book.minimums
    }


def _add_up(book: Ledger, planned: Iterable[Mapping[str, float]]) -> None:
    """Add the parts' use of each row to `book`."""
    sums = _sums(planned)
    for name, row in book.by_price.items():
        row.planned += sums.get(name, 0.0)


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the sum of each row's numbers, the same in any order of `parts`."""
    numbers: dict[str, list[float]] = defaultdict(list)
    for part in parts:
        for name, used in part.items():
            numbers[name].append(used)
    return {name: math.fsum(used) for name, used in numbers.items()}


def _bound_violations(tier: Tier, true: Worth, proven: float | None, unit: float) -> list[str]:
    """Return sentences where the stated bound is not what the prices prove, or is below the objective.

    `proven` is None where a search was cut, so that the prices' bound is not known exactly.
    """
    violations, stated = unproven_bound(tier, unit), tier.bound_by_prices
    if proven is not None and stated < proven - slack(proven, unit):
        violations.append(f"bound of tier {tier.tier}: stated {stated:.9g}, the prices prove {proven:.9g}")
    if tier.bound < true.objective - slack(true.objective, unit):
        violations.append(f"bound of tier {tier.tier}: {tier.bound:.9g} is below the objective {true.objective:.9g}")
    return violations


def _illegal_prices(book: Ledger, tier: Tier, unit: float) -> list[str]:
    """Return a sentence where weak duality does not hold for a price: the parts used the nearest legal price."""
    most = {name: row.price for name, row in book.by_price.items()}
    illegal = sum(
        not (math.isfinite(price) and 0 <= price <= most.get(name, 0.0) + slack(most.get(name, 0.0), unit))
        for name, price in tier.prices.items()
    )
    sentence = f"prices of tier {tier.tier}: {illegal} are not between 0 and what a send of their row can be worth"
    return [sentence] if illegal else []
