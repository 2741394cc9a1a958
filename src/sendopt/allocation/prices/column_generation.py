"""Plans for few users: prices by column generation, then an integer program over their plans (model ¶11)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sendopt.allocation.prices.dual import minimise_below_ceiling, size_of
from sendopt.allocation.prices.fit import better, fitted, objective
from sendopt.allocation.prices.market import Market, Response
from sendopt.allocation.prices.mixture import use_of_plan
from sendopt.allocation.prices.params import SolveParams
from sendopt.allocation.prices.restricted_master import (
    Columns,
    columns_of,
    generate,
    near_columns,
    rounded,
    solve_columns,
)
from sendopt.allocation.prices.scratch import MOST_NARROW
from sendopt.stats.arrays import Floats, Ints


@dataclass(frozen=True)
class _FirstPrices:
    """Prices before any column is generated."""

    best: Response  # of the least bound so far
    answers: list[Ints]  # (U, width) plans of all users on the way
    is_cut: bool  # many searches are cut, so answers are expensive


def solve_by_columns(market: Market, relative_gap: float, params: SolveParams) -> tuple[Ints, Response]:
    """Return (plan (U, width), the response whose prices prove the bound).

    Steps: first prices, a fitted plan, columns, restricted master, choice in integers. Each may end the solve where the
    plan is within `relative_gap` of the bound.
    """
    market.course.enter("prices")
    first = _first_prices(market, params)
    best = first.best
    market.course.enter("plan")
    plan = _first_plan(market, best, params)
    allowed = relative_gap * size_of(market, best.value, params=params)
    missed = best.bound - objective(market, plan)
    if missed <= allowed:
        return plan, best
    answers = [*first.answers[-params.kept_answers :], plan]
    columns = columns_of(market, np.tile(np.arange(market.n_users), len(answers)), np.vstack(answers))
    mean_worth = float(_worth(market, best).mean())
    if not first.is_cut:
        slack = min(missed, params.slack_shares[0] * mean_worth)
        columns = near_columns(market, columns, best, slack, _most_near_plans(market, params))
    columns, best = generate(market, columns, best, params.master_tolerance * allowed, params)
    if first.is_cut:
        plan = _round(market, columns, best, plan, params)
        market.scratch().limit[0] = MOST_NARROW  # once, for the proof
        return plan, min(best, market.respond(best.prices), key=lambda response: response.bound)
    market.course.enter("choice")
    return _choose(market, columns, best, plan, allowed, mean_worth, params), best


def _first_prices(market: Market, params: SolveParams) -> _FirstPrices:
    """Return the least bound of a few quasi-Newton passes; where many searches are cut, of fewer and shorter ones."""
    answers: list[Ints] = []
    is_cut = market.respond(np.zeros(len(market.rows.names))).cut > params.cut_share * market.n_users
    if is_cut:
        market.scratch().limit[0] = params.cut_labels
    passes = params.first_passes_cut if is_cut else params.first_passes
    return _FirstPrices(minimise_below_ceiling(market, market.n_users, passes, params, answers)[-1], answers, is_cut)


def _first_plan(market: Market, best: Response, params: SolveParams) -> Ints:
    """Return the responses to the prices of `best`, made to fit."""
    plan = market.empty_plan()
    use = market.respond(best.prices, plan=plan).use
    plan = fitted(market, best.prices, plan, use, params)
    market.course.planned(plan, objective(market, plan))
    return plan


def _choose(
    market: Market,
    columns: Columns,
    best: Response,
    plan: Ints,
    allowed: float,
    mean_worth: float,
    params: SolveParams,
) -> Ints:
    """Return `plan` or a better one, by integer programs over columns of growing slack.

    Slack is what a user's plan may be worth less than their best. A plan of which a user's part has a larger regret
    than the slack lies further below the bound than that. Ends where the gap `allowed` is reached, where no further
    column can help, or where the programs have had `most_columns`.
    """
    slacks = [*(times * allowed for times in params.slack_gaps), *(share * mean_worth for share in params.slack_shares)]
    work = 0
    for slack in sorted(slacks):
        missed = best.bound - objective(market, plan)
        if missed <= allowed:
            break
        columns = near_columns(market, columns, best, min(missed, slack), _most_near_plans(market, params))
        regret = columns.regret(market, best, _worth(market, best))
        largest = np.sort(regret)[: params.most_columns][-1]
        candidates = columns.subset(regret <= min(missed, slack, largest))
        work += len(candidates.owner)
        if work > params.most_columns and work > len(candidates.owner):
            break
        plan = _choose_columns(market, candidates, best, plan, params.choice_gap * allowed, params)
        market.course.planned(plan, objective(market, plan))
        if slack >= missed:
            break
    return plan


def _choose_columns(
    market: Market, columns: Columns, best: Response, plan: Ints, gap: float, params: SolveParams
) -> Ints:
    """Return the best choice of `columns` to within `gap` units; or `plan` where that is worth more."""
    answer = solve_columns(market, columns, params, integer=True, gap=gap)
    if answer is None:
        return plan
    challenger, taken = market.empty_plan(), answer.x > 0.5
    challenger[columns.owner[taken]] = columns.plans[taken]
    return _better_fitted(market, best, plan, challenger, params)


def _round(market: Market, columns: Columns, best: Response, plan: Ints, params: SolveParams) -> Ints:
    """Return the best of `plan` and some roundings; an integer program takes too long where answers are expensive."""
    for seed in range(params.roundings):
        challenger = rounded(market, columns, seed, params)
        if challenger is not None:
            plan = _better_fitted(market, best, plan, challenger, params)
    return plan


def _better_fitted(market: Market, best: Response, plan: Ints, challenger: Ints, params: SolveParams) -> Ints:
    """Return the better of `plan` and `challenger`, once the latter is made to fit at the prices of `best`."""
    return better(market, plan, fitted(market, best.prices, challenger, use_of_plan(market, challenger), params))


def _most_near_plans(market: Market, params: SolveParams) -> int:
    """Return how many plans near the best one a user may add as columns."""
    per_user = params.most_columns // max(1, market.n_users)
    return max(params.near_plans, min(params.most_near_plans, per_user))


def _worth(market: Market, best: Response) -> Floats:
    """Return (U,) what each user's best response is worth at the prices of `best`."""
    worth = np.empty(market.n_users)
    market.respond(best.prices, worth=worth)
    return worth
