"""Prices that minimise the bound D (model ¶11): L-BFGS-B on scaled prices, first on a hash sample, then on all."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog, minimize

from sendopt.allocation.prices.sweep import Market, Response
from sendopt.allocation.problem import Floats

SAMPLE_USERS = 50_000
SAMPLE_PASSES = 60
PASSES = 25
MANY_PASSES = 7  # where the sample has said nearly all
MANY_USERS = 300_000
FEW_PASSES = 100  # where they cost little
MEMORY = 20
TOLERANCE = 1e-10  # of the bound; a step may gain little and the next one much
CUTS = 80  # passes of cutting planes; only where a pass is cheap
CUT_USERS = 20_000


def scale_of(market: Market, coefficient: Floats) -> Floats:
    """(R,) by which prices are multiplied: sqrt(room * mean coefficient), so that rows of all sizes move alike."""
    return np.sqrt(np.maximum(market.rows.room, 1.0) * coefficient)


def minimise(market: Market, start: Floats, users: int, passes: int, tolerance: float) -> list[Response]:
    """Every response on the way, the best bound last. Stops where passes gain less than `tolerance` of the bound."""
    rows = market.rows
    share = users / max(1, market.n_users)
    sends = market.d.p_opt_out, market.d.cost
    mean = {rows.opt_outs: sends[0], rows.cost: sends[1]}
    coefficient = np.ones(len(rows.names))
    for row, values in mean.items():
        if row >= 0 and len(values):
            coefficient[row] = max(float(values.mean()), 1e-12)
    scale = scale_of(market, coefficient) * np.sqrt(share)
    seen: list[Response] = []

    def bound(y: Floats) -> tuple[float, Floats]:
        found = market.respond(market.on_grid(y / scale), users)
        seen.append(found)
        size = max(abs(seen[0].bound), 1e-9)  # so that the tolerance is relative to the first bound
        slope = market.sign * (rows.room * share - found.use)
        return found.bound / size, slope / scale / size

    if len(rows.names) == 0:
        return [market.respond(np.zeros(0), users)]
    limits = [(0.0, None if np.isinf(most) else most * s) for most, s in zip(market.most_price, scale, strict=True)]
    minimize(
        bound, start * scale, jac=True, method="L-BFGS-B", bounds=limits,
        options={"maxfun": passes, "maxiter": passes, "maxcor": MEMORY, "ftol": tolerance, "gtol": 0.0},
    )  # fmt: skip
    best = min(range(len(seen)), key=lambda i: seen[i].bound)
    return [r for i, r in enumerate(seen) if i != best] + [seen[best]]


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
        radius = share * (best.prices + 0.1 * best.prices.max(initial=0.0) + 1e-6)
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
        if model.x is None or best.bound - model.x[-1] <= tolerance * max(1.0, abs(best.bound)):
            break
        found.append(market.respond(market.on_grid(np.asarray(model.x[:n], np.float64))))
        # trust the model further where it was right
        kept = found[-1].bound < best.bound
        share = min(1.0, share * 1.5) if kept else share * 0.6
        if kept:
            best = found[-1]
    return [r for r in found if r is not best] + [best]
