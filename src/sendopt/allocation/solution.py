"""What an allocation returns: the chosen cells, how good they are (the certificate) and what each limit is worth."""

from __future__ import annotations

from dataclasses import dataclass

from sendopt.allocation.problem import Ints


@dataclass(frozen=True)
class Price:
    """One coupling row (model ¶9e to ¶9h): `price` >= 0 is the value of one more unit of `limit` (¶13)."""

    row: str  # capacity:push:17, campaign_max:spring_sale, campaign_min:spring_sale, opt_outs, cost
    kind: str  # capacity | campaign_max | campaign_min | opt_outs | cost
    limit: float
    used: float
    price: float


@dataclass(frozen=True)
class Solution:
    """An integer plan and its proof: objective = value - penalty <= bound, gap = (bound - objective) / max(1, |value|).

    `bound` is what the prices prove (¶11); a plan that is optimal among integers may therefore show a gap above 0.
    """

    chosen: Ints  # rows of Problem.cells, ascending, shape (sends,)
    value: float
    penalty: float  # sum of shortfall_price * missing sends
    objective: float
    bound: float
    gap: float
    method: str  # exact | buckets
    termination: str  # optimal | gap_reached | time_limit | greedy: the worst that any part met
    prices: tuple[Price, ...]
    shortfall: dict[str, int]  # campaign -> missing sends, only where > 0
