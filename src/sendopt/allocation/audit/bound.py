"""A bound on every plan from prices alone (model ¶11): weak duality, proved without a solver.

For prices λ >= 0 on the rows (for a minimum's row at most its shortfall price) no plan has a larger objective than
D(λ) = Σ_u best(u, λ) + λ·room - Σ μ·missing. best(u, λ) is an upper bound on what user u alone could earn at those
prices.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sendopt.allocation.audit.ledger import Ledger
from sendopt.allocation.audit.search import CHECKS_PER_USER, Options, best_responses
from sendopt.allocation.audit.user_rules import users_of
from sendopt.allocation.problem import Problem
from sendopt.stats.arrays import Floats, Ints


def weak_bound(
    problem: Problem, book: Ledger, prices: dict[str, float], planned: Ints, most_checks: int = CHECKS_PER_USER
) -> tuple[float, int]:
    """Return (D(λ), users whose search was cut) at `prices` by row name; a row without a price has price 0.

    `planned` are the cells of a plan that keeps the rules. Its value makes the search unnecessary for most users.
    """
    legal = {name: _legal(prices.get(name, 0.0), row.price) for name, row in book.by_price.items()}
    worth = _after_prices(problem, legal)
    gain = (problem.cells.value > 0) & (worth > 0)
    owner = problem.messages.user[problem.cells.message]
    earned = np.where(gain[planned], worth[planned], 0.0)
    reached = np.asarray(np.bincount(owner[planned], weights=earned, minlength=len(problem.users)), np.float64)
    best, cut = best_responses(users_of(problem), _options(problem, gain, owner, worth), reached, most_checks)
    rent = [legal[name] * row.room for name, row in book.maximums.items()]
    missing = [-legal[f"campaign_min:{name}"] * row.room for name, row in book.minimums.items()]
    return math.fsum([*best.tolist(), *rent, *missing]), cut


def _legal(price: float, most: float) -> float:
    """Return the nearest price for which weak duality holds; `check.price_violations` reports illegal prices."""
    return min(max(0.0, price), most) if math.isfinite(price) else 0.0


def _after_prices(problem: Problem, prices: dict[str, float]) -> Floats:
    """Return the worth (C,) of each cell: its value minus the prices of its rows; a minimum's price is added."""
    cells, m = problem.cells, problem.messages
    worth = np.array(cells.value, np.float64)
    for name, used in (("opt_outs", cells.p_opt_out), ("cost", cells.cost)):
        if prices.get(name):
            worth -= prices[name] * used
    code, campaigns = pd.factorize(m.campaign)
    of_campaign = np.array(
        [prices.get(f"campaign_max:{c}", 0.0) - prices.get(f"campaign_min:{c}", 0.0) for c in campaigns], np.float64
    )
    if of_campaign.any():
        worth -= of_campaign[code][cells.message]
    code, channels = pd.factorize(m.channel)
    by_slot = np.array(
        [[prices.get(f"capacity:{c}:{s}", 0.0) for s in range(problem.n_slots)] for c in channels], np.float64
    )
    if by_slot.any():
        worth -= by_slot.ravel()[(code * problem.n_slots)[cells.message] + cells.slot]
    return worth


def _options(problem: Problem, gain: np.ndarray[tuple[int], np.dtype[np.bool_]], owner: Ints, worth: Floats) -> Options:
    """Return the cells in which `gain` (C,) is True, ordered by user."""
    cells = np.flatnonzero(gain)
    user = owner[cells]
    if (np.diff(user) < 0).any():
        order = np.argsort(user, kind="stable")
        cells, user = cells[order], user[order]
    identity, identities = _identities(problem)
    calendar = any(cap.calendar for cap in problem.limits.caps.values())
    return Options(
        start=np.concatenate([[0], np.cumsum(np.bincount(user, minlength=len(problem.users)))]),
        message=problem.cells.message[cells].astype(np.int64, copy=False),
        slot=problem.cells.slot[cells].astype(np.int64, copy=False),
        day=problem.cells.local_day[cells].astype(np.int64, copy=False) if calendar else np.zeros(len(cells), np.int64),
        worth=worth[cells],
        identity=identity,
        identities=identities,
    )


def _identities(problem: Problem) -> tuple[Ints, Ints]:
    """Return (number (M,) of each message within its user, how many numbers each user has (U,)).

    Messages of the same exclusive group of a user have the same number.
    """
    m = problem.messages
    group, names = pd.factorize(m.exclusive_group)
    alone = ~m.exclusive_group.astype(bool)
    key = np.where(alone, len(names) + np.arange(len(group)), group)
    order = np.lexsort((key, m.user))
    user, key = m.user[order], key[order]
    new_user = np.diff(user, prepend=-1) != 0
    number = np.cumsum(new_user | (np.diff(key, prepend=-1) != 0)) - 1
    identity = np.empty(len(order), np.int64)
    identity[order] = number - np.maximum.accumulate(np.where(new_user, number, 0))
    identities = np.zeros(len(problem.users), np.int64)
    np.maximum.at(identities, m.user, identity + 1)
    return identity, identities
