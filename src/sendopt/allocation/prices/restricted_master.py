"""Where few users decide: a program over whole plans of each user, for prices and for the plan (model ¶11).

Column generation (Dantzig and Wolfe 1960): the linear program over the plans known gives prices, users answer them with
further plans, until no answer lifts it: then its prices are those of the least bound. The same program in integers
chooses the plan. Its plans are all answers on the way, and every plan that is worth nearly as much as a user's best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_matrix, csr_matrix, hstack, vstack

from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import uses_of_plans
from sendopt.allocation.prices.near_best import near_best
from sendopt.allocation.prices.program import WHOLE, Program, least_cost
from sendopt.stats.arrays import Floats, Ints

ROUNDS = 30  # of prices from a program
IDLE = 3  # rounds that gain nothing
TINY = 1e-9  # a share that is none


@dataclass(frozen=True)
class Columns:
    """N plans of users, each once, by user."""

    owner: Ints  # (N,)
    plans: Ints  # (N, width)
    value: Floats  # (N,)
    use: csr_matrix  # (N, R)

    def regret(self, market: Market, best: Response, worth: Floats) -> Floats:
        """(N,) what each plan is worth less than its user's best (U,) at the prices of `best`."""
        return worth[self.owner] - (self.value - self.use @ (market.sign * best.prices))

    def some(self, keep: NDArray[np.bool_]) -> Columns:
        return Columns(self.owner[keep], self.plans[keep], self.value[keep], self.use[keep])


class Answer(NamedTuple):
    """Of a program over columns."""

    x: Floats  # (N,)
    prices: Floats  # (R,), zeros where it is one of integers
    objective: float


def columns_of(market: Market, owner: Ints, plans: Ints) -> Columns:
    """The columns of these plans, without repeats."""
    distinct = np.unique(np.column_stack([owner, plans]), axis=0)
    owner, plans = distinct[:, 0], distinct[:, 1:]
    row, column, amount = uses_of_plans(market, plans)
    use = csr_matrix((amount, (row, column)), shape=(len(owner), len(market.rows.names)))
    value = np.where(plans == NONE, 0.0, market.d.value[np.maximum(plans, 0)]).sum(axis=1)
    return Columns(owner, plans, value, use)


def joined(market: Market, columns: Columns, owner: Ints, plans: Ints) -> Columns:
    """`columns` and those of further plans."""
    return columns_of(market, np.r_[columns.owner, owner], np.vstack([columns.plans, plans]))


def solve_columns(market: Market, columns: Columns, integer: bool, gap: float = 0.0, nodes: int = 0) -> Answer | None:
    """The best choice of at most one column a user, of integers to within `gap`; None where the nodes end first."""
    rows, n = market.rows, len(columns.owner)
    ids, of_user = np.unique(columns.owner, return_inverse=True)
    several = np.bincount(of_user) > 1
    one_each = csr_matrix((np.ones(n), (of_user, np.arange(n))), shape=(len(ids), n))[several]
    short = np.flatnonzero(rows.is_minimum)
    lack = csr_matrix((np.ones(len(short)), (short, np.arange(len(short)))), shape=(len(rows.names), len(short)))
    none = csr_matrix((one_each.shape[0], len(short)))
    matrix = csc_matrix(vstack([hstack([columns.use.T, lack]), hstack([one_each, none])]))
    whole = np.where(rows.counts_sends & integer, WHOLE, 0.0)
    program = Program(
        cost=np.r_[-columns.value, rows.shortfall_price[short]],
        top=np.r_[np.ones(n), np.full(len(short), np.inf)],
        matrix=matrix,
        lower=np.r_[np.where(rows.is_minimum, rows.room, -np.inf), np.full(one_each.shape[0], -np.inf)],
        upper=np.r_[np.where(rows.is_minimum, np.inf, rows.room + whole), np.ones(one_each.shape[0])],
        whole=n if integer else 0,
    )
    options = {"mip_rel_gap": 0.0, "mip_abs_gap": max(gap, 1e-6)}
    found = least_cost(program, options | ({"mip_max_nodes": nodes} if integer else {}))
    if found is None:
        return None
    dual = np.zeros(len(rows.names)) if integer else found.dual[: len(rows.names)]
    return Answer(found.x[:n], np.maximum(0.0, -market.sign * dual), -found.cost)


def generate(
    market: Market, columns: Columns, best: Response, tolerance: float, rounds: int = ROUNDS
) -> tuple[Columns, Response]:
    """(columns, the response of the least bound) within `tolerance` of the least that prices can prove."""
    everyone = np.arange(market.n_users)
    reached, idle = -np.inf, 0
    pull = 0.5  # towards the prices of the best bound: those of a program with few plans stray
    for _ in range(rounds):
        program = solve_columns(market, columns, integer=False)
        if program is None or best.bound - program.objective <= tolerance or idle == IDLE:
            break
        idle = 0 if program.objective > reached + tolerance else idle + 1
        reached = max(reached, program.objective)
        plan = market.empty_plan()
        at = market.on_grid(pull * best.prices + (1 - pull) * program.prices)
        answer = market.respond(at, plan=plan)
        columns = joined(market, columns, everyone, plan)
        if answer.bound < best.bound:
            idle = idle if answer.bound > best.bound - tolerance else 0
            best = answer
            pull = min(0.8, pull + 0.1)
        else:
            pull = max(0.0, pull - 0.15)
    return columns, best


def near_columns(market: Market, columns: Columns, best: Response, slack: float, most: int) -> Columns:
    """`columns` and the plans within `slack` of a user's best at the prices of `best`, at most so many a user."""
    return joined(market, columns, *near_best(market, best.prices, slack, most))


def rounded(market: Market, columns: Columns, seed: int) -> Ints | None:
    """A plan (U, width), which may overfill rows: of each user one column, drawn by its share in the linear program.

    With `seed` 0 the column of the largest share.
    """
    program = solve_columns(market, columns, integer=False)
    if program is None:
        return None
    draw = np.random.default_rng(seed)
    chance = np.maximum(program.x, 0.0)
    # the least of exponential clocks of these rates is a draw by share
    clock = np.ones(len(chance)) if seed == 0 else draw.exponential(size=len(chance))
    clock /= np.maximum(chance, TINY)
    order = np.lexsort((clock, columns.owner))
    first = np.ones(len(order), np.bool_)
    first[1:] = columns.owner[order][1:] != columns.owner[order][:-1]
    chosen = order[first & (chance[order] > TINY)]
    plan = market.empty_plan()
    plan[columns.owner[chosen]] = columns.plans[chosen]
    return plan
