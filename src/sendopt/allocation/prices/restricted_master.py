"""The restricted master over whole plans of each user, for prices and for the plan of few users (model ¶11).

Column generation (Dantzig and Wolfe 1960): the linear program over the known plans gives prices, and users answer them
with further plans, until no answer raises its optimum. Then its prices are those of the least bound. The same program
in integers chooses the plan. Its columns are all answers on the way, and every plan worth nearly as much as a user's
best one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csc_matrix, csr_matrix, hstack, vstack

from sendopt.allocation.prices.market import NONE, Market, Response
from sendopt.allocation.prices.mixture import uses_of_plans
from sendopt.allocation.prices.near_best import near_best
from sendopt.allocation.prices.params import SolveParams
from sendopt.allocation.prices.program import Program, least_cost
from sendopt.stats.arrays import Flags, Floats, Ints


@dataclass(frozen=True)
class Columns:
    """N distinct plans of users, ordered by user."""

    owner: Ints  # (N,)
    plans: Ints  # (N, width)
    value: Floats  # (N,)
    use: csr_matrix  # (N, R)

    def regret(self, market: Market, best: Response, worth: Floats) -> Floats:
        """Return (N,) the worth of each plan less than its user's best, `worth` (U,), at the prices of `best`."""
        return worth[self.owner] - (self.value - self.use @ (market.sign * best.prices))

    def subset(self, keep: Flags) -> Columns:
        """Return the columns that `keep` (N,) marks."""
        return Columns(self.owner[keep], self.plans[keep], self.value[keep], self.use[keep])


class Answer(NamedTuple):
    """The solution of a program over columns."""

    x: Floats  # (N,) share of each column, 0 to 1
    prices: Floats  # (R,), zeros for an integer program
    objective: float


def columns_of(market: Market, owner: Ints, plans: Ints) -> Columns:
    """Return the columns of `plans` (N, width) of the users `owner` (N,), without repeats."""
    distinct = np.unique(np.column_stack([owner, plans]), axis=0)
    owner, plans = distinct[:, 0], distinct[:, 1:]
    row, column, amount = uses_of_plans(market, plans)
    use = csr_matrix((amount, (row, column)), shape=(len(owner), len(market.rows.names)))
    value = np.where(plans == NONE, 0.0, market.d.value[np.maximum(plans, 0)]).sum(axis=1)
    return Columns(owner, plans, value, use)


def joined(market: Market, columns: Columns, owner: Ints, plans: Ints) -> Columns:
    """Return `columns` and those of further plans."""
    return columns_of(market, np.r_[columns.owner, owner], np.vstack([columns.plans, plans]))


def solve_columns(
    market: Market, columns: Columns, params: SolveParams, *, integer: bool, gap: float = 0.0
) -> Answer | None:
    """Return the best choice of at most one column a user; None where HiGHS ends without a solution.

    The linear program is solved to optimality, the integer program to within `gap` units or `choice_nodes` nodes.
    """
    rows, n = market.rows, len(columns.owner)
    ids, of_user = np.unique(columns.owner, return_inverse=True)
    several = np.bincount(of_user) > 1
    one_each = csr_matrix((np.ones(n), (of_user, np.arange(n))), shape=(len(ids), n))[several]
    short = np.flatnonzero(rows.is_minimum)
    shortfall = csr_matrix((np.ones(len(short)), (short, np.arange(len(short)))), shape=(len(rows.names), len(short)))
    none = csr_matrix((one_each.shape[0], len(short)))
    matrix = csc_matrix(vstack([hstack([columns.use.T, shortfall]), hstack([one_each, none])]))
    whole = np.where(rows.counts_sends & integer, params.whole_slack, 0.0)
    program = Program(
        cost=np.r_[-columns.value, rows.shortfall_price[short]],
        top=np.r_[np.ones(n), np.full(len(short), np.inf)],
        matrix=matrix,
        lower=np.r_[np.where(rows.is_minimum, rows.room, -np.inf), np.full(one_each.shape[0], -np.inf)],
        upper=np.r_[np.where(rows.is_minimum, np.inf, rows.room + whole), np.ones(one_each.shape[0])],
        whole=n if integer else 0,
    )
    options = {"mip_rel_gap": 0.0, "mip_abs_gap": max(gap, params.least_choice_gap)}
    least = least_cost(program, options | ({"mip_max_nodes": params.choice_nodes} if integer else {}))
    if least is None:
        return None
    dual = np.zeros(len(rows.names)) if integer else least.dual[: len(rows.names)]
    return Answer(least.x[:n], np.maximum(0.0, -market.sign * dual), -least.cost)


def generate(
    market: Market, columns: Columns, best: Response, tolerance: float, params: SolveParams
) -> tuple[Columns, Response]:
    """Return (columns, the response of the least bound) within `tolerance` units of the least that prices can prove.

    Prices asked for are between those of the program and those of the best bound: a program with few plans strays.
    """
    everyone = np.arange(market.n_users)
    reached, idle = -np.inf, 0
    pull = params.pull
    for _ in range(params.master_rounds):
        program = solve_columns(market, columns, params, integer=False)
        if program is None or best.bound - program.objective <= tolerance or idle == params.idle_rounds:
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
            pull = min(params.pull_most, pull + params.pull_growth)
        else:
            pull = max(0.0, pull - params.pull_drop)
    return columns, best


def near_columns(market: Market, columns: Columns, best: Response, slack: float, most: int) -> Columns:
    """Return `columns` and the plans within `slack` of a user's best at the prices of `best`, at most `most` a user."""
    return joined(market, columns, *near_best(market, best.prices, slack, most))


def rounded(market: Market, columns: Columns, seed: int, params: SolveParams) -> Ints | None:
    """Return a plan (U, width), which may overfill rows: of each user one column, drawn by its share in the program.

    With `seed` 0 it is the column of the largest share. None where the linear program has no solution.
    """
    program = solve_columns(market, columns, params, integer=False)
    if program is None:
        return None
    draw = np.random.default_rng(seed)
    chance = np.maximum(program.x, 0.0)
    # the least of exponential clocks of these rates is a draw by share
    clock = np.ones(len(chance)) if seed == 0 else draw.exponential(size=len(chance))
    clock /= np.maximum(chance, params.least_share)
    order = np.lexsort((clock, columns.owner))
    first = np.ones(len(order), np.bool_)
    first[1:] = columns.owner[order][1:] != columns.owner[order][:-1]
    chosen = order[first & (chance[order] > params.least_share)]
    plan = market.empty_plan()
    plan[columns.owner[chosen]] = columns.plans[chosen]
    return plan
