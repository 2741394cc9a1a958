"""Prices that minimise the bound D (model ¶11): L-BFGS-B on scaled prices, first on a hash sample, then on all."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog, minimize

from sendopt.allocation.prices.market import Market, Response
from sendopt.allocation.prices.scratch import LEAST
from sendopt.stats.arrays import Floats, Ints

MEMORY = 20
TOLERANCE = 1e-10  # of the bound; a step may gain little and the next one much
CORRECTION_PASSES = 30
FIRST_STEP = 8.0  # the first step of all prices together is so long, in units times the square root of a row's sends
CEILING = 16.0  # units: of a minimum's price, to begin with, and of what a user can be worth to a tolerance
STEEPER = 8.0
STUCK = 0.01
CUTS = 80  # passes of cutting planes; only where a pass is cheap


class Effort(NamedTuple):
    """How many users answer how often."""

    few: int  # users up to which all of them answer every time
    few_passes: int
    sample: int
    sample_passes: int
    rounds: int  # over all users, corrections of the sample's prices


QUICK = Effort(20_000, 100, 50_000, 60, 2)  # a fraction of a microsecond an answer
SLOW = Effort(1_000, 60, 5_000, 40, 0)  # tens of them


def size_of(market: Market, value: float, users: int | None = None) -> float:
    """What gaps and tolerances are relative to: the value, yet no more than CEILING units a user.

    One value of another size would end all work on the rest; a bound may be near 0, or far below it where a minimum
    cannot be met.
    """
    return max(min(value, CEILING * (market.n_users if users is None else users)), LEAST)


def least_bound(market: Market, effort: Effort, tolerance: float) -> list[Response]:
    """Responses of all users on the way to the least bound, the best last."""
    if market.n_users <= effort.few:
        return sharpen(market, climb(market, market.n_users, effort.few_passes), tolerance)
    sample = min(effort.sample, market.n_users // 2)
    first = climb(market, sample, effort.sample_passes)[-1].prices
    return correct(market, first, sample, effort.rounds, TOLERANCE)


def least_bound_from(market: Market, effort: Effort, tolerance: float, start: Floats) -> list[Response]:
    """The same from prices (R,) that are near already: the sample need not find them, only correct them."""
    if market.n_users <= effort.few:
        return sharpen(market, minimise(market, start, market.n_users, effort.few_passes, TOLERANCE), tolerance)
    sample = min(effort.sample, market.n_users // 2)
    if effort.rounds == 0:
        start = minimise(market, start, sample, effort.sample_passes, TOLERANCE)[-1].prices
    return correct(market, start, sample, effort.rounds, TOLERANCE)


def climb(market: Market, users: int, passes: int, plans: list[Ints] | None = None) -> list[Response]:
    """Every response of the first `users` on the way from no prices to the least bound, which is the last.

    A shortfall price may be a million times what a send is worth. A minimum that can be met needs no such price; one
    that cannot drives its own price, and those of the rows that stand in its way, up in proportion. So minimums' prices
    are held below a ceiling that rises only while some minimum is stuck at it, and each search starts where the last
    two point to.
    """
    rows, ceiling = market.rows, CEILING
    start = before = np.zeros(len(rows.names))
    seen: list[Response] = []
    while True:
        seen += minimise(market, start, users, passes, TOLERANCE, ceiling=ceiling, plans=plans)
        best = seen[-1].prices
        stuck = rows.is_minimum & (best >= ceiling * (1 - STUCK)) & (market.most_price > ceiling)
        if not stuck.any():
            return seen
        ahead = best + (best - before) * (STEEPER if before.any() else 0.0)
        ceiling *= STEEPER
        start = np.where(stuck, np.minimum(ceiling, market.most_price), np.clip(ahead, 0.0, market.most_price))
        before = best


def minimise(
    market: Market,
    start: Floats,
    users: int,
    passes: int,
    tolerance: float,
    tilt: Floats | None = None,
    ceiling: float = np.inf,
    plans: list[Ints] | None = None,
) -> list[Response]:
    """Every response of the first `users` on the way, the best bound last.

    Stops where passes gain less than `tolerance` of what users earn. With a `tilt` (R,) the least of bound + tilt ·
    prices. No minimum's price is above `ceiling`. What users answer is added to `plans`.
    """
    rows = market.rows
    share = users / max(1, market.n_users)
    # rows of all sizes move alike
    scale = np.sqrt(np.maximum(rows.room * market.mean_use, market.mean_use**2) * share) / FIRST_STEP
    seen: list[Response] = []
    totals: list[float] = []

    def bound(y: Floats) -> tuple[float, Floats]:
        plan = None if plans is None else market.empty_plan()
        found = market.respond(market.on_grid(y / scale), users, plan)
        seen.append(found)
        if plans is not None and plan is not None:
            plans.append(plan)
        size = size_of(market, seen[0].value, users)
        slope = market.sign * (rows.room * share - found.use)
        total = found.bound
        if tilt is not None:
            slope = slope + tilt
            total += float(tilt @ found.prices)
        totals.append(total)
        return (total - totals[0]) / size, slope / scale / size

    if len(rows.names) == 0:
        return [market.respond(np.zeros(0), users)]
    top = np.where(rows.is_minimum, np.minimum(market.most_price, ceiling), np.inf)
    limits = [(0.0, None if np.isinf(most) else most * s) for most, s in zip(top, scale, strict=True)]
    minimize(
        bound,
        start * scale,
        jac=True,
        method="L-BFGS-B",
        bounds=limits,
        options={"maxfun": passes, "maxiter": passes, "maxcor": MEMORY, "ftol": tolerance, "gtol": 0.0},
    )
    best = min(range(len(seen)), key=lambda i: totals[i])
    return [r for i, r in enumerate(seen) if i != best] + [seen[best]]


def correct(market: Market, prices: Floats, users: int, rounds: int, tolerance: float) -> list[Response]:
    """Responses of all users, the best bound last: prices of the first `users`, corrected by what all make of them.

    The sample's dual is solved again with its slope shifted by the difference to that of all, so that each pass over
    all gains what a Newton step would (Shamir, Srebro and Zhang 2014, "DANE").
    """
    rows, share = market.rows, users / market.n_users
    found = [market.respond(prices)]
    best = found[0]
    step = 1.0
    for _ in range(rounds):
        slope = market.sign * (rows.room - best.use)
        mine = market.respond(best.prices, users)
        tilt = slope * share - market.sign * (rows.room * share - mine.use)
        target = minimise(market, best.prices, users, CORRECTION_PASSES, tolerance, tilt)[-1].prices
        at = market.on_grid(best.prices + step * (target - best.prices))
        found.append(market.respond(at))
        gain = best.bound - found[-1].bound
        if gain > 0:
            best = found[-1]
        else:
            step *= 0.5
        if 0 <= gain <= tolerance * size_of(market, best.value):
            break
    return [r for r in found if r is not best] + [best]


def sharpen(market: Market, seen: list[Response], tolerance: float) -> list[Response]:
    """`seen` and further responses, the best bound last: cutting planes, not far from the best so far.

    Where few users decide, the bound has kinks that a quasi-Newton step stalls on; a piecewise linear model does not.
    """
    rows, sign = market.rows, market.sign
    found = list(seen)
    best = found[-1]
    n = len(best.prices)
    if n == 0:
        return found
    share = 0.3
    for _ in range(CUTS):
        slopes = np.array([sign * (rows.room - r.use) for r in found])
        at = np.array([r.prices for r in found])
        bounds = np.array([r.bound for r in found])
        of_send = np.minimum(best.prices * market.mean_use, CEILING)
        radius = share * (of_send + 0.1 * of_send.max(initial=0.0) + 1e-6) / market.mean_use
        box = [
            (max(0.0, p - r), min(most, p + r))
            for p, r, most in zip(best.prices, radius, market.most_price, strict=True)
        ]
        model = linprog(
            np.r_[np.zeros(n), 1.0],
            A_ub=np.column_stack([slopes, -np.ones(len(found))]),
            b_ub=(slopes * at).sum(axis=1) - bounds,
            bounds=[*box, (None, None)],
            method="highs",
        )
        if model.x is None or best.bound - model.x[-1] <= tolerance * size_of(market, best.value):
            break
        found.append(market.respond(market.on_grid(np.asarray(model.x[:n], np.float64))))
        # trust the model further where it was right
        kept = found[-1].bound < best.bound
        share = min(1.0, share * 1.5) if kept else share * 0.6
        if kept:
            best = found[-1]
    return [r for r in found if r is not best] + [best]
