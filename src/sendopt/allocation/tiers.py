"""Strict priority tiers (model ¶9): each is planned with the sends of the tiers above frozen as committed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sendopt.allocation.problem import Cells, History, Ints, Problem
from sendopt.domain.limits import Limits


def tiers_of(problem: Problem) -> list[int]:
    """The tiers that occur, highest (least number) first; [1] where there is no message."""
    return np.unique(problem.messages.tier).tolist() or [1]


def tier_problem(problem: Problem, tier: int, above: Ints) -> tuple[Problem, Ints]:
    """(the problem of one tier after the cells `above` are planned, rows of `problem.cells` for its cells).

    A minimum counts in the last tier that has messages of its campaign: only there is it known what is missing.
    """
    tiers = tiers_of(problem)
    if len(tiers) == 1:
        return problem, np.arange(len(problem.cells.slot))
    m, c = problem.messages, problem.cells
    taken = {(u, g) for u, g in zip(*_groups(problem, c.message[above]), strict=True) if g}
    users, groups = _groups(problem, np.arange(len(m.user)))
    free = np.array([(u, g) not in taken for u, g in zip(users, groups, strict=True)], bool)
    keep = np.flatnonzero((m.tier == tier)[c.message] & free[c.message])
    cells = Cells(**{name: column[keep] for name, column in vars(c).items()})
    return replace(
        problem, cells=cells, history=_with_planned(problem, above), limits=_limits(problem, tier, tiers[-1])
    ), keep


def _groups(problem: Problem, messages: Ints) -> tuple[list[int], list[object]]:
    return problem.messages.user[messages].tolist(), problem.messages.exclusive_group[messages].tolist()


def _with_planned(problem: Problem, planned: Ints) -> History:
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
    # a send at the plan's start is committed too: -0.0 would read as history
    added["minutes_before"] = np.where(added["minutes_before"] == 0, -1e-9, added["minutes_before"])
    return History(**{name: np.concatenate([getattr(h, name), column]) for name, column in added.items()})


def _limits(problem: Problem, tier: int, last: int) -> Limits:
    m, c = problem.messages, problem.cells
    campaigns = {}
    for name, bounds in problem.limits.campaigns.items():
        mine = m.campaign == name
        counts = int(m.tier[mine].max()) if mine.any() else last
        values = c.value[mine[c.message]] if bounds.shortfall_price is None else np.zeros(0)
        price = max(0.0, float(values.max(initial=0.0))) if bounds.shortfall_price is None else bounds.shortfall_price
        campaigns[name] = bounds.model_copy(
            update={"min_sends": bounds.min_sends if counts == tier else 0, "shortfall_price": price}
        )
    return problem.limits.model_copy(update={"campaigns": campaigns})
