"""All arms of a night in one plan: messages chosen alike for everyone, times by the plan or by lot (model ¶15).

1. One program, by prices whatever the size, plans everyone as if all were treated. What it sends to the users of
   uniform_time is what they get.
2. Each of these messages draws a slot among those that the user's rules and the capacity leave.
3. A second program plans the others under exactly what the draws leave of each limit.

Arms are drawn by a hash that knows nothing of users, so the first program sends both arms equally many messages a user
in expectation, and the draws lose none while the capacity has a slot for each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.allocation import allocate
from sendopt.allocation.coupling import rows_of
from sendopt.allocation.exact.user_rows import past_sends
from sendopt.allocation.problem import Cells, Problem
from sendopt.allocation.reasons.one_message import Why, why_lost, why_unplanned
from sendopt.allocation.solution import Solution
from sendopt.config.schema import Allocation
from sendopt.domain.rules import Send
from sendopt.experiment.uniform_time import UniformArm, plan_uniform_time
from sendopt.stats.arrays import Flags, Ints, Texts


@dataclass(frozen=True)
class Cost:
    """What random times cost tonight, in units of value, negative where they gain: `drawn` is what the arm's own
    messages lose beside the program's slots, `others` what the room that they take costs the other users."""

    drawn: float
    others: float


@dataclass(frozen=True)
class ArmsPlan:
    """A night of all arms. Rows are those of the whole problem: `chosen` of its cells, `why` of its messages.

    `others` and `solution` are the program of the users whose times are not drawn, under what the draws leave, with its
    certificate; `pscore` (sends,) goes with `chosen`; `lost` says of a cell that is sent, by its row, why a slot of
    more value is not.
    """

    chosen: Ints
    pscore: NDArray[np.float64]
    others: Problem
    solution: Solution
    why: Mapping[int, Why]
    lost: Mapping[int, Why]
    cost: Cost | None
    warnings: tuple[str, ...]


def plan_arms(problem: Problem, drawn: Flags, settings: Allocation, salt: str) -> ArmsPlan:
    """The plan of `problem`, in which users with `drawn` (U,) get their messages at random times.

    Raises what `allocate` raises. The same whatever the order of rows.
    """
    of_arm = drawn[problem.messages.user]  # (M,)
    if not of_arm.any():
        solution = allocate(problem, settings)
        why, lost = why_unplanned(problem, solution, ~of_arm), why_lost(problem, solution)
        return ArmsPlan(solution.chosen, np.ones(len(solution.chosen)), problem, solution, why, lost, None, ())
    alike = allocate(problem, settings.model_copy(update={"exact_max_users": 0}))
    arm = _draw(problem, alike, of_arm, salt)
    at = _rows(problem, arm)
    kept = np.flatnonzero(~of_arm[problem.cells.message])
    others = replace(
        problem, limits=arm.rest, cells=Cells(**{name: column[kept] for name, column in vars(problem.cells).items()})
    )
    solution = allocate(others, settings)
    chosen = np.concatenate([kept[solution.chosen], at])
    order = np.argsort(chosen)
    pscore = np.concatenate([np.ones(len(solution.chosen)), arm.drawn["pscore"].to_numpy(float)])
    unplaced = _messages_of(problem, arm.refused["user_id"], arm.refused["notification_id"])
    why = {
        **why_unplanned(problem, alike, of_arm),
        **{m: Why("uniform_full", {}) for m in unplaced.tolist()},
        **why_unplanned(others, solution, ~of_arm, problem.limits),
    }
    lost = {int(kept[c]): w for c, w in why_lost(others, solution, problem.limits).items()}
    return ArmsPlan(
        chosen[order],
        pscore[order],
        others,
        solution,
        why,
        lost,
        _cost(problem, alike, of_arm, at, solution),
        arm.warnings,
    )


def _draw(problem: Problem, alike: Solution, of_arm: Flags, salt: str) -> UniformArm:
    """The draws of the messages that the program of everyone sends to the arm."""
    cells, messages = problem.cells, problem.messages
    sent = np.zeros(len(messages.user), bool)
    sent[cells.message[alike.chosen]] = True
    rows = np.flatnonzero((sent & of_arm)[cells.message])
    message = cells.message[rows]
    frame = pd.DataFrame(
        {
            "user_id": problem.users[messages.user[message]],
            "notification_id": messages.message_id[message],
            "campaign_id": messages.campaign[message],
            "channel": messages.channel[message],
            "category": messages.category[message],
            "slot": cells.slot[rows],
            "local_day": cells.local_day[rows],
            "p_opt_out": cells.p_opt_out[rows],
            "cost": cells.cost[rows],
            "chosen": np.isin(rows, alike.chosen),
        }
    )
    users = {str(problem.users[u]) for u in np.unique(messages.user[of_arm]).tolist()}
    history: dict[str, list[Send]] = {
        str(user): sends
        for user, sends in zip(problem.users, past_sends(problem), strict=True)
        if sends and (str(user) in users or any(s.minute >= 0 for s in sends))
    }
    across = rows_of(problem)
    committed = [0.0 if row < 0 else float(across.committed[row]) for row in (across.opt_outs, across.cost)]
    return plan_uniform_time(frame, history, problem.limits, problem.slot_minutes, problem.n_slots, salt, *committed)


def _rows(problem: Problem, arm: UniformArm) -> Ints:
    """The cells that were drawn, in the order of the draws."""
    message = _messages_of(problem, arm.drawn["user_id"], arm.drawn["notification_id"])
    place = pd.MultiIndex.from_arrays([problem.cells.message, problem.cells.slot])
    return place.get_indexer(pd.MultiIndex.from_arrays([message, arm.drawn["slot"]])).astype(np.int64)


def _messages_of(problem: Problem, users: pd.Series[str], notifications: pd.Series[str]) -> Ints:
    named = pd.MultiIndex.from_arrays([_owners(problem), problem.messages.message_id])
    return named.get_indexer(pd.MultiIndex.from_arrays([users, notifications])).astype(np.int64)


def _owners(problem: Problem) -> Texts:
    return problem.users[problem.messages.user]


def _cost(problem: Problem, alike: Solution, of_arm: Flags, at: Ints, solution: Solution) -> Cost:
    value = problem.cells.value
    best = alike.chosen[of_arm[problem.cells.message[alike.chosen]]]
    of_best = float(value[best].sum())
    return Cost(of_best - float(value[at].sum()), alike.objective - of_best - solution.objective)
