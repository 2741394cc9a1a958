"""What each tier of a plan was planned under (model ¶9), derived for the audit from the inputs and the plan alone.

Tier t is planned after every tier of a lower number. To it, the sends of those tiers are committed at their own
minute, and the exclusive groups that they used are gone. A minimum counts in the last tier that has messages of its
campaign.
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
    """The tiers that have a message, in the order of planning; [1] without a message."""
    return sorted(set(problem.messages.tier.tolist())) or [1]


def last_tiers(problem: Problem) -> dict[str, int]:
    """The last tier that has messages of each campaign, by campaign; campaigns without a message are absent."""
    code, names = pd.factorize(problem.messages.campaign)
    last = np.zeros(len(names), np.int64)
    np.maximum.at(last, code, problem.messages.tier)
    return dict(zip(map(str, names), last.tolist(), strict=True))


def as_planned(problem: Problem, tier: int, above: Ints) -> tuple[Problem, Ints]:
    """(the problem of one tier once the cells `above` of higher tiers are planned, rows of `problem.cells` in it).

    The problem itself where no message has another tier.
    """
    if tier_numbers(problem) == [tier]:
        return problem, np.arange(len(problem.cells.message))
    of_tier = (problem.messages.tier == tier) & ~_group_is_gone(problem, problem.cells.message[above])
    rows = np.flatnonzero(of_tier[problem.cells.message])
    cells = Cells(**{name: column[rows] for name, column in vars(problem.cells).items()})
    limits = problem.limits.model_copy(update={"campaigns": _campaigns(problem, tier)})
    return replace(problem, cells=cells, history=_history(problem, above), limits=limits), rows


def _group_is_gone(problem: Problem, sent: Ints) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(M,) True for messages whose exclusive group is that of one of the messages `sent` to the same user."""
    m = problem.messages
    group, names = pd.factorize(m.exclusive_group)
    key = m.user * np.int64(len(names) + 1) + group
    grouped = m.exclusive_group.astype(bool)
    return np.asarray(grouped & np.isin(key, key[sent][grouped[sent]]))


def _history(problem: Problem, above: Ints) -> History:
    """The history and the cells `above`, each at its slot's start: minute 0 is inside the horizon."""
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
    """Limits by campaign as they count in `tier`: minimums of other tiers are 0, shortfall prices are named."""
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
