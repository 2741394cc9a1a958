"""The dual: prices of the least bound D (model ¶11), by L-BFGS-B on scaled prices, on a sample and on all users."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog, minimize

from sendopt.allocation.prices.market import Market, Response
from sendopt.allocation.prices.params import DEFAULT_PARAMS, Effort, SolveParams
from sendopt.allocation.prices.scratch import LEAST
from sendopt.stats.arrays import Floats, Ints


def size_of(market: Market, value: float, users: int | None = None, params: SolveParams = DEFAULT_PARAMS) -> float:
    """Return what gaps and tolerances are relative to: `value`, yet no more than `price_ceiling` units a user.

    One value of another size would end all work on the rest. A bound would not do: it may be near 0, or far below it
    where a minimum cannot be met.
    """
    return max(min(value, params.price_ceiling * (market.n_users if users is None else users)), LEAST)


def least_bound(market: Market, effort: Effort, tolerance: float, params: SolveParams) -> list[Response]:
    """Return responses of all users on the way to the least bound, the best last."""
    if market.n_users <= effort.all_users:
        seen = minimise_below_ceiling(market, market.n_users, effort.all_passes, params)
        return cutting_planes(market, seen, tolerance, params)
    sample = min(effort.sample, market.n_users // 2)
    prices = minimise_below_ceiling(market, sample, effort.sample_passes, params)[-1].prices
    return correct_sample(market, prices, sample, effort.corrections, params)


def least_bound_from(
    market: Market, effort: Effort, tolerance: float, start: Floats, params: SolveParams
) -> list[Response]:
    """Return what `least_bound` returns, from prices `start` (R,) near the least: the sample only corrects them."""
    if market.n_users <= effort.all_users:
        seen = minimise(market, start, market.n_users, effort.all_passes, params)
        return cutting_planes(market, seen, tolerance, params)
    sample = min(effort.sample, market.n_users // 2)
    if effort.corrections == 0:
        start = minimise(market, start, sample, effort.sample_passes, params)[-1].prices
    return correct_sample(market, start, sample, effort.corrections, params)


def minimise_below_ceiling(
    market: Market, users: int, passes: int, params: SolveParams, plans: list[Ints] | None = None
) -> list[Response]:
    """Return every response of the first `users` on the way from prices of 0 to the least bound, which is the last.

    A shortfall price may be a million times what a send is worth. A minimum that can be met needs no such price. One
    that cannot be met drives its own price up, and in proportion those of the rows that stand in its way. So minimums'
    prices are held below a ceiling that rises only while some minimum is stuck at it, and each search starts where the
    last two point to. `plans` as in `minimise`.
    """
    rows, ceiling = market.rows, params.price_ceiling
    start = previous = np.zeros(len(rows.names))
    seen: list[Response] = []
    while True:
        seen += minimise(market, start, users, passes, params, ceiling=ceiling, plans=plans)
        best = seen[-1].prices
        near_ceiling = best >= ceiling * (1 - params.ceiling_slack)
        stuck = rows.is_minimum & near_ceiling & (market.most_price > ceiling)
        if not stuck.any():
            return seen
        ahead = best + (best - previous) * (params.ceiling_growth if previous.any() else 0.0)
        ceiling *= params.ceiling_growth
        start = np.where(stuck, np.minimum(ceiling, market.most_price), np.clip(ahead, 0.0, market.most_price))
        previous = best


def minimise(
    market: Market,
    start: Floats,
    users: int,
    passes: int,
    params: SolveParams,
    tilt: Floats | None = None,
    ceiling: float = np.inf,
    plans: list[Ints] | None = None,
) -> list[Response]:
    """Return every response of the first `users` on the way from prices `start` (R,), the best bound last.

    Stops where a step gains less than `bound_tolerance` of what users earn. With a `tilt` (R,) the function minimised
    is bound + tilt · prices. No minimum's price is above `ceiling`. Plans that users answer with are added to `plans`.
    """
    rows = market.rows
    if len(rows.names) == 0:
        return [market.respond(np.zeros(0), users)]
    dual = _ScaledDual(market, users, params, tilt, plans)
    top = np.where(rows.is_minimum, np.minimum(market.most_price, ceiling), np.inf)
    limits = [(0.0, None if np.isinf(most) else most * s) for most, s in zip(top, dual.scale, strict=True)]
    minimize(
        dual.evaluate,
        start * dual.scale,
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={
            "maxfun": passes,
            "maxiter": passes,
            "maxcor": params.memory,
            "ftol": params.bound_tolerance,
            "gtol": 0.0,
        },
    )
    best = min(range(len(dual.seen)), key=lambda i: dual.totals[i])
    return [r for i, r in enumerate(dual.seen) if i != best] + [dual.seen[best]]


class _ScaledDual:
    """The bound of the first `users` as a function of scaled prices, and every response it has met."""

    def __init__(
        self, market: Market, users: int, params: SolveParams, tilt: Floats | None, plans: list[Ints] | None
    ) -> None:
        self.market, self.users, self.params, self.tilt, self.plans = market, users, params, tilt, plans
        self.share = users / max(1, market.n_users)
        # rows of all sizes move alike
        sends = np.maximum(market.rows.room * market.mean_use, market.mean_use**2) * self.share
        self.scale = np.sqrt(sends) / params.first_step  # (R,)
        self.seen: list[Response] = []
        self.totals: list[float] = []  # of each response: bound, with the tilt

    def evaluate(self, y: Floats) -> tuple[float, Floats]:
        """Return (bound, slope (R,)) at the scaled prices y (R,), relative to the first response."""
        market = self.market
        plan = None if self.plans is None else market.empty_plan()
        response = market.respond(market.on_grid(y / self.scale), self.users, plan)
        self.seen.append(response)
        if self.plans is not None and plan is not None:
            self.plans.append(plan)
        size = size_of(market, self.seen[0].value, self.users, self.params)
        slope = market.sign * (market.rows.room * self.share - response.use)
        total = response.bound
        if self.tilt is not None:
            slope = slope + self.tilt
            total += float(self.tilt @ response.prices)
        self.totals.append(total)
        return (total - self.totals[0]) / size, slope / self.scale / size


def correct_sample(market: Market, prices: Floats, users: int, rounds: int, params: SolveParams) -> list[Response]:
    """Return responses of all users, the best bound last: prices of the first `users`, corrected by all users.

    The sample's dual is solved again with its slope shifted by the difference to that of all, so that each pass over
    all gains what a Newton step would (Shamir, Srebro and Zhang 2014, "DANE").
    """
    rows, share = market.rows, users / market.n_users
    seen = [market.respond(prices)]
    best = seen[0]
    step = 1.0
    for _ in range(rounds):
        slope = market.sign * (rows.room - best.use)
        of_sample = market.respond(best.prices, users)
        tilt = slope * share - market.sign * (rows.room * share - of_sample.use)
        target = minimise(market, best.prices, users, params.correction_passes, params, tilt)[-1].prices
        at = market.on_grid(best.prices + step * (target - best.prices))
        seen.append(market.respond(at))
        gain = best.bound - seen[-1].bound
        if gain > 0:
            best = seen[-1]
        else:
            step *= 0.5
        if 0 <= gain <= params.bound_tolerance * size_of(market, best.value, params=params):
            break
    return [r for r in seen if r is not best] + [best]


def cutting_planes(market: Market, seen: list[Response], tolerance: float, params: SolveParams) -> list[Response]:
    """Return `seen` and further responses, the best bound last: least points of a model in a trust region.

    Where few users decide, the bound has kinks that a quasi-Newton step stalls on; a piecewise linear model does not.
    Stops where the model promises a gain of less than `tolerance`, relative to `size_of`.
    """
    seen = list(seen)
    best = seen[-1]
    n = len(best.prices)
    if n == 0:
        return seen
    region = params.trust_region
    for _ in range(params.cuts):
        least = _least_of_model(market, seen, best, region, params)
        if least is None or best.bound - least[-1] <= tolerance * size_of(market, best.value, params=params):
            break
        seen.append(market.respond(market.on_grid(np.asarray(least[:n], np.float64))))
        if seen[-1].bound < best.bound:
            best = seen[-1]
            region = min(1.0, region * params.trust_growth)
        else:
            region *= params.trust_shrink
    return [r for r in seen if r is not best] + [best]


def _least_of_model(
    market: Market, seen: list[Response], best: Response, region: float, params: SolveParams
) -> Floats | None:
    """Return (R + 1,) the prices of the model's least bound near `best`, then that bound; None where HiGHS fails.

    The model is the greatest of the tangents at the prices of `seen`.
    """
    n = len(best.prices)
    slopes = np.array([market.sign * (market.rows.room - r.use) for r in seen])
    at = np.array([r.prices for r in seen])
    bounds = np.array([r.bound for r in seen])
    of_send = np.minimum(best.prices * market.mean_use, params.price_ceiling)
    radius = region * (of_send + 0.1 * of_send.max(initial=0.0) + 1e-6) / market.mean_use
    box = [
        (max(0.0, p - r), min(most, p + r)) for p, r, most in zip(best.prices, radius, market.most_price, strict=True)
    ]
    model = linprog(
        np.r_[np.zeros(n), 1.0],
        A_ub=np.column_stack([slopes, -np.ones(len(seen))]),
        b_ub=(slopes * at).sum(axis=1) - bounds,
        bounds=[*box, (None, None)],
        method="highs",
    )
    return None if model.x is None else np.asarray(model.x)
