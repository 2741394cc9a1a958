"""The result of an allocation: the chosen cells, their certificate (value, bound, gap) and a price for each limit."""

from __future__ import annotations

from dataclasses import dataclass

from sendopt.allocation.statuses import Method, Proof, RowKind, Termination
from sendopt.stats.arrays import Ints

TENTH = 0.1  # of a limit
ROUNDING = 1e-9  # of value or penalty: by so much two sums of the same numbers may differ


@dataclass(frozen=True)
class Price:
    """One coupling row (model ¶9e to ¶9h): `price` >= 0 is the value of one more unit of `limit` (¶13)."""

    row: str  # capacity:push:17, campaign_max:spring_sale, campaign_min:spring_sale, opt_outs, cost
    kind: RowKind
    limit: float
    used: float
    price: float

    @property
    def gain_of_10_percent(self) -> float:
        """The forecast gain in the objective from a tenth more of a maximum, or a tenth less of a minimum (¶13)."""
        return self.price * self.limit * TENTH


@dataclass(frozen=True)
class Tier:
    """One tier's plan and proof. The sends of the tiers above count as committed."""

    tier: int
    value: float
    penalty: float
    objective: float
    bound: float
    gap: float
    method: Method
    termination: Termination
    cut_users: int
    prices: dict[str, float]  # by row
    bound_by_prices: float  # proven by these prices (¶11) and repeated by the audit; >= bound
    proof: Proof  # of `bound`: PROGRAM where the solver's search proves a lower one than the prices
    warning: str = ""  # why the method is not the one that the number of users calls for


@dataclass(frozen=True)
class Solution:
    """An integer plan and its proof: objective = value - penalty <= bound, and `gap` as `gap_of` has it.

    `bound` is the lower of two bounds: that of the prices (¶11, `bound_by_prices`), which the audit repeats, and
    that of the search of the integer program, which it cannot repeat (docs/adr/0018).
    """

    chosen: Ints  # rows of Problem.cells, ascending, shape (sends,)
    value: float
    penalty: float  # Σ shortfall_price · missing sends
    objective: float
    bound: float
    gap: float
    method: Method
    termination: Termination  # the worst of all tiers
    cut_users: int  # users whose search was cut and who enter the bound relaxed
    prices: tuple[Price, ...]  # of several tiers the highest
    shortfall: dict[str, int]  # campaign -> missing sends, only where > 0
    tiers: tuple[Tier, ...]  # in order
    bound_by_prices: float
    proof: Proof
    greedy: float | None = None  # objective of the plan by value alone, for comparison; None: not asked for

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for each tier that was not planned by the method that the number of users calls for."""
        return tuple(tier.warning for tier in self.tiers if tier.warning)


def gap_of(value: float, penalty: float, bound: float) -> float:
    """Return the gain that the bound leaves possible, relative to the larger of value and penalty (model ¶11).

    Where both are 0 it is relative to the bound: 1.0 means that nothing is planned and that sends may be worth it.

    >>> gap_of(value=100.0, penalty=20.0, bound=81.0)
    0.01
    >>> gap_of(value=0.0, penalty=0.0, bound=5.0), gap_of(value=0.0, penalty=0.0, bound=0.0)
    (1.0, 0.0)
    """
    size = max(abs(value), penalty) or abs(bound)
    return (bound - (value - penalty)) / size if size else 0.0


def proven_bound(value: float, penalty: float, bound: float, unit: float = 0.0) -> float:
    """Return `bound`, or the objective where `bound` is below it by rounding only.

    `unit` is the size of a single value. It is the scale of rounding where nothing is planned.
    """
    objective = value - penalty
    close = abs(bound - objective) <= ROUNDING * max(abs(value), penalty, unit)
    return max(bound, objective) if close else bound
