"""The problem that each tier of a plan solves (model ¶9), derived for the audit from the inputs and the plan alone.

A tier is planned after every tier with a lower number. The sends of those tiers count as committed at their minute,
and their exclusive groups are no longer available. A minimum counts in the last tier that has messages of its campaign.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sendopt.allocation.audit.ledger import largest_values
from sendopt.allocation.problem import Cells, History, Problem
from sendopt.domain.limits import CampaignLimits
from sendopt.stats.arrays import Ints


def tier_numbers(problem: Problem) -> list[int]:
    """Return the tiers that have a message, in the order of planning; [1] where there is no message."""
    return sorted(set(problem.messages.tier.tolist())) or [1]


def last_tiers(problem: Problem) -> dict[str, int]:
    """Return {campaign: last tier that has a message of it}; campaigns without a message are absent."""
    code, names = pd.factorize(problem.messages.campaign)
    last = np.zeros(len(names), np.int64)
    np.maximum.at(last, code, problem.messages.tier)
    return dict(zip(map(str, names), last.tolist(), strict=True))


def as_planned(problem: Problem, tier: int, above: Ints) -> tuple[Problem, Ints]:
    """Return (the problem of one tier after the cells `above` are planned, the row of `problem.cells` of each cell).

    `above` are the planned cells of the tiers before. Return `problem` itself where every message has this tier.
    """
    if tier_numbers(problem) == [tier]:
        return problem, np.arange(len(problem.cells.message))
    of_tier = (problem.messages.tier == tier) & ~_group_is_gone(problem, problem.cells.message[above])
    rows = np.flatnonzero(of_tier[problem.cells.message])
    cells = Cells(**{name: column[rows] for name, column in vars(problem.cells).items()})
    limits = problem.limits.model_copy(update={"campaigns": _campaigns(problem, tier)})
    return replace(problem, cells=cells, history=_history(problem, above), limits=limits), rows


def _group_is_gone(problem: Problem, sent: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return flags (M,): True where one of the messages `sent` to the same user is of the same exclusive group."""
    m = problem.messages
    group, names = pd.factorize(m.exclusive_group)
    key = m.user * np.int64(len(names) + 1) + group
    grouped = m.exclusive_group.astype(bool)
    return np.asarray(grouped & np.isin(key, key[sent][grouped[sent]]))


def _history(problem: Problem, above: Ints) -> History:
    """Return the history with the cells `above` as sends at their slot's start; minute 0 is inside the horizon."""
    m, c = problem.messages, problem.cells
    message = c.message[above]
    sends = {
        "user": m.user[message],
        "channel": m.channel[message],
        "category": m.category[message],
        "campaign": m.campaign[message],
        "minutes_before": -1.0 * problem.slot_minutes * c.slot[above],
        "local_day": c.local_day[above],
        "p_opt_out": c.p_opt_out[above],
        "cost": c.cost[above],
    }
    return History(**{name: np.concatenate([getattr(problem.history, name), sends[name]]) for name in sends})


def _campaigns(problem: Problem, tier: int) -> dict[str, CampaignLimits]:
    """Return the campaigns' limits in `tier`: minimums that count in another tier are 0, all have a price."""
    last, largest = last_tiers(problem), largest_values(problem)
    final = tier_numbers(problem)[-1]
    campaigns = {}
    for name, limits in problem.limits.campaigns.items():
        counts = last.get(name, final) == tier
        price = largest.get(name, 0.0) if limits.shortfall_price is None else limits.shortfall_price
        campaigns[name] = limits.model_copy(
            update={"min_sends": limits.min_sends if counts else 0, "shortfall_price": price}
        )
    return campaigns
