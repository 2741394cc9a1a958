"""Check prices: move a limit by a tenth, solve again and compare the gain with the forecast (model ¶13)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sendopt.allocation.coupling import Rows, rows_of
from sendopt.allocation.problem import Problem
from sendopt.allocation.solution import TENTH, Price, Solution
from sendopt.allocation.solve import allocate
from sendopt.allocation.statuses import RowKind
from sendopt.config.schema import Allocation
from sendopt.domain.limits import CampaignLimits, Limits

MISLEADING = 0.25  # of the forecast


@dataclass(frozen=True)
class PriceCheck:
    """The gain in the objective from a tenth more room: the price's forecast and the gain after solving again.

    The true gain lies in [least, most] by both plans' bounds. A forecast is never below `least`, but it can be far
    above `most`: a price holds for the first additional send.
    """

    row: str
    limit: float
    moved_to: float
    forecast: float
    gain: float
    least: float
    most: float
    warning: str | None


def check_prices(problem: Problem, solution: Solution, settings: Allocation, most: int) -> tuple[PriceCheck, ...]:
    """Return checks of the `most` rows with the largest forecast gain, the largest first.

    Each check is a whole solve with `settings`. Rows with a price of 0 are not checked.
    """
    priced = [p for p in solution.prices if p.gain_of_10_percent > 0]
    chosen = sorted(priced, key=lambda p: (-p.gain_of_10_percent, p.row))[:most]
    rows = rows_of(problem)
    return tuple(_check(problem, solution, settings, rows, price) for price in chosen)


def _check(problem: Problem, solution: Solution, settings: Allocation, rows: Rows, price: Price) -> PriceCheck:
    limits, moved_to = _moved(problem.limits, rows, price)
    again = allocate(replace(problem, limits=limits), settings)
    forecast = price.price * abs(moved_to - price.limit)
    gain = again.objective - solution.objective
    least = max(0.0, again.objective - solution.bound)
    most = max(0.0, again.bound - solution.objective)
    return PriceCheck(
        price.row, price.limit, moved_to, forecast, gain, least, most, _warning(price, forecast, gain, most)
    )


def _warning(price: Price, forecast: float, gain: float, most: float) -> str | None:
    if gain < 0:
        return (
            f"{price.row}: more room gave a plan {-gain:.4g} below this one, within what both certificates leave open; "
            "a smaller relative_gap would tell"
        )
    if most < (1 - MISLEADING) * forecast:
        return (
            f"{price.row}: a tenth more room is forecast to gain {forecast:.4g} and gains at most {most:.4g}; the "
            "price holds for the first sends only"
        )
    return None


def _moved(limits: Limits, rows: Rows, price: Price) -> tuple[Limits, float]:
    """Return (limits with that of `price` a tenth wider, its new value); whole sends, at least one."""
    _, _, name = price.row.partition(":")
    kind = price.kind
    step = TENTH * price.limit
    if kind not in (RowKind.OPT_OUTS, RowKind.COST):
        step = max(1.0, float(round(step)))
    to = price.limit + step
    fields = {field: getattr(limits, field) for field in Limits.model_fields}
    if kind == RowKind.CAPACITY:
        channel, _, slot = name.rpartition(":")
        old = limits.capacity[channel]
        slots = range(len(rows.capacity[channel]))
        by_slot = dict(old) if isinstance(old, dict) else dict.fromkeys(slots, old)
        by_slot[int(slot)] = int(to)
        fields["capacity"] = {**limits.capacity, channel: by_slot}
    elif kind in (RowKind.CAMPAIGN_MAX, RowKind.CAMPAIGN_MIN):
        old_bounds = limits.campaigns[name]
        if kind == RowKind.CAMPAIGN_MIN:
            to = max(0.0, price.limit - step)
        bounds = {"max_sends" if kind == RowKind.CAMPAIGN_MAX else "min_sends": int(to)}
        fields["campaigns"] = {
            **limits.campaigns,
            name: CampaignLimits(**{**old_bounds.model_dump(), **bounds}),
        }
    elif kind == RowKind.OPT_OUTS:
        fields["opt_outs"] = type(limits.opt_outs)(max_expected=to)  # type: ignore[misc]
    else:
        fields["cost"] = type(limits.cost)(max_total=to)  # type: ignore[misc]
    return Limits(**fields), to
