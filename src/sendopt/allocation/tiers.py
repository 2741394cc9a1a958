"""Strict priority tiers (model ¶9): each tier is planned with the sends of the higher tiers as committed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from sendopt.allocation.problem import Cells, History, Problem
from sendopt.domain.limits import Limits
from sendopt.stats.arrays import Ints


def tiers_of(problem: Problem) -> list[int]:
    """Return the tiers that occur, highest (least number) first; [1] where there is no message."""
    return np.unique(problem.messages.tier).tolist() or [1]


def tier_problem(problem: Problem, tier: int, above: Ints) -> tuple[Problem, Ints]:
    """Return (the problem of one tier after the cells `above` are planned, row of `problem.cells` for each cell).

    A minimum counts in the last tier that has messages of its campaign, where it is known how many sends are missing.
    """
    tiers = tiers_of(problem)
    if len(tiers) == 1:
        return problem, np.arange(len(problem.cells.slot))
    m, c = problem.messages, problem.cells
    identity = _identities(problem)
    free = ~np.isin(identity, identity[c.message[above]])
    keep = np.flatnonzero(((m.tier == tier) & free)[c.message])
    cells = Cells(**{name: column[keep] for name, column in vars(c).items()})
    return replace(
        problem, cells=cells, history=_with_planned(problem, above), limits=_limits(problem, tier, tiers[-1])
    ), keep


def _identities(problem: Problem) -> Ints:
    """Return the identity (M,) of each message, of which a user gets at most one message.

    Messages of the same exclusive group of a user share theirs.
    """
    m = problem.messages
    group, names = pd.factorize(m.exclusive_group)
    alone = np.array([not name for name in names], bool)[group]
    grouped = m.user * np.int64(len(names)) + group
    return np.where(alone, -1 - np.arange(len(group)), grouped)


def _with_planned(problem: Problem, planned: Ints) -> History:
    """Return the history with the cells `planned` as committed sends; a send in slot 0 is committed at minute 0."""
    m, c, h = problem.messages, problem.cells, problem.history
    message = c.message[planned]
    added = {
        "user": m.user[message],
        "channel": m.channel[message],
        "category": m.category[message],
        "campaign": m.campaign[message],
        "minutes_before": -(c.slot[planned] * float(problem.slot_minutes)),
        "local_day": c.local_day[planned],
        "p_opt_out": c.p_opt_out[planned],
        "cost": c.cost[planned],
    }
    return History(**{name: np.concatenate([getattr(h, name), column]) for name, column in added.items()})


def _limits(problem: Problem, tier: int, last: int) -> Limits:
    """Return the limits of one tier: minimums that count in another tier are 0, all have a shortfall price."""
    m, c = problem.messages, problem.cells
    code, names = pd.factorize(m.campaign)
    last_tier = np.zeros(len(names), np.int64)
    np.maximum.at(last_tier, code, m.tier)
    largest = np.zeros(len(names))
    np.maximum.at(largest, code[c.message], c.value)
    code_of = {str(name): i for i, name in enumerate(names)}
    campaigns = {}
    for name, bounds in problem.limits.campaigns.items():
        i = code_of.get(name)
        counts = last if i is None else last_tier[i]
        default = 0.0 if i is None else float(largest[i])
        price = default if bounds.shortfall_price is None else bounds.shortfall_price
        campaigns[name] = bounds.model_copy(
            update={"min_sends": bounds.min_sends if counts == tier else 0, "shortfall_price": price}
        )
    return problem.limits.model_copy(update={"campaigns": campaigns})
