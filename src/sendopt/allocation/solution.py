"""What an allocation returns: the chosen cells, how good they are (the certificate) and what each limit is worth."""

from __future__ import annotations

from dataclasses import dataclass

from sendopt.stats.arrays import Ints

TENTH = 0.1  # of a limit
ROUNDING = 1e-9  # of value or penalty: by so much two sums of the same numbers may differ


@dataclass(frozen=True)
class Price:
    """One coupling row (model ¶9e to ¶9h): `price` >= 0 is the value of one more unit of `limit` (¶13)."""

    row: str  # capacity:push:17, campaign_max:spring_sale, campaign_min:spring_sale, opt_outs, cost
    kind: str  # capacity | campaign_max | campaign_min | opt_outs | cost
    limit: float
    used: float
    price: float

    @property
    def gain_of_10_percent(self) -> float:
        """What a tenth more of a maximum, or a tenth less of a minimum, is forecast to add to the objective (¶13)."""
        return self.price * self.limit * TENTH


@dataclass(frozen=True)
class Tier:
    """One tier's plan and proof, the sends of the tiers above counted as committed."""

    tier: int
    value: float
    penalty: float
    objective: float
    bound: float
    gap: float
    method: str
    termination: str
    cut_users: int
    prices: dict[str, float]  # by row
    bound_by_prices: float  # what these prices prove (¶11), and the audit too; >= bound
    proof: str  # of `bound`: prices, or program where HiGHS's search proves less, which the audit cannot
    warning: str = ""  # why the method is not the one that was due


@dataclass(frozen=True)
class Solution:
    """An integer plan and its proof: objective = value - penalty <= bound, and `gap` as `gap_of` has it.

    `bound` is the least that is proven: by prices (¶11), which the audit repeats, or by the search of the integer
    program, which it cannot (docs/adr/0018); `bound_by_prices` is the former.
    """

    chosen: Ints  # rows of Problem.cells, ascending, shape (sends,)
    value: float
    penalty: float  # sum of shortfall_price * missing sends
    objective: float
    bound: float
    gap: float
    method: str  # exact | prices
    termination: str  # optimal | gap_reached | passes_done | work_limit | cancelled: the worst that any tier met
    cut_users: int  # whose search was cut, and who therefore enter the bound relaxed
    prices: tuple[Price, ...]  # of several tiers the highest
    shortfall: dict[str, int]  # campaign -> missing sends, only where > 0
    tiers: tuple[Tier, ...]  # in order
    bound_by_prices: float
    proof: str  # program where any tier's bound is the program's
    greedy: float | None = None  # objective of the plan by value alone, for comparison; None: not asked for

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on tiers that were not planned by the method that was due."""
        return tuple(tier.warning for tier in self.tiers if tier.warning)


def gap_of(value: float, penalty: float, bound: float) -> float:
    """Return what a better plan could still gain, relative to the larger of the plan's value and penalty (model ¶11).

    Where both are 0 it is relative to the bound: 1.0 says that nothing is planned and nothing proves that rightly so.
    """
    size = max(abs(value), penalty) or abs(bound)
    return (bound - (value - penalty)) / size if size else 0.0


def proven_bound(value: float, penalty: float, bound: float, unit: float = 0.0) -> float:
    """Return `bound`, or the objective where the two are equal but for the order of a sum.

    `unit` is the size of a single value: what the sums' parts are like where nothing is planned.
    """
    objective = value - penalty
    close = abs(bound - objective) <= ROUNDING * max(abs(value), penalty, unit)
    return max(bound, objective) if close else bound
