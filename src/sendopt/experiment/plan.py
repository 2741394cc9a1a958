"""The plan of all arms of a night: one rule chooses everyone's messages, the arm decides how times are chosen (¶15).

1. A first program, by prices whatever the size, plans everyone as if all were treated. The users of uniform_time get
   the messages that it sends them.
2. A slot is drawn for each of these messages, among those that the user's rules and the capacity leave.
3. A second program plans the other users under exactly what the draws leave of each limit.

The hash that draws the arms does not depend on what users do. So the first program sends both arms the same expected
number of messages for each user, and the draws lose none while the capacity has a slot for each.
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
from sendopt.stats.arrays import Flags, Ints


@dataclass(frozen=True)
class Cost:
    """The cost of random times tonight, in units of value, negative for a gain.

    `drawn`: loss of the arm's messages against the program's slots. `others`: loss of the other users by the room that
    the draws take.
    """

    drawn: float
    others: float


@dataclass(frozen=True)
class ArmsPlan:
    """The plan of all arms. Rows are those of the whole problem: `chosen` of its cells, `why` of its messages.

    `others` and `solution`: the program of the users whose times are not drawn, with its certificate. `pscore`
    (sends,): probabilities of the slots in `chosen`. `lost`: by row of a sent cell, why a slot of more value is not
    sent.
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
    """Return the plan of `problem`, in which users with `drawn` (U,) get their messages at random times.

    The plan does not depend on the order of rows. Raises what `allocate` raises.
    """
    of_arm = drawn[problem.messages.user]  # (M,)
    if not of_arm.any():
        solution = allocate(problem, settings)
        why, lost = why_unplanned(problem, solution, ~of_arm), why_lost(problem, solution)
        return ArmsPlan(solution.chosen, np.ones(len(solution.chosen)), problem, solution, why, lost, None, ())
    everyone = allocate(problem, settings.model_copy(update={"exact_max_users": 0}))
    arm = _draw(problem, everyone, of_arm, salt)
    drawn_cells = _drawn_cells(problem, arm)
    kept = np.flatnonzero(~of_arm[problem.cells.message])
    others = replace(
        problem, limits=arm.rest, cells=Cells(**{name: column[kept] for name, column in vars(problem.cells).items()})
    )
    solution = allocate(others, settings)
    chosen = np.concatenate([kept[solution.chosen], drawn_cells])
    order = np.argsort(chosen)
    pscore = np.concatenate([np.ones(len(solution.chosen)), arm.drawn["pscore"].to_numpy(float)])
    unplaced = _messages_of(problem, arm.refused["user_id"], arm.refused["notification_id"])
    why = {
        **why_unplanned(problem, everyone, of_arm),
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
        _cost(problem, everyone, of_arm, drawn_cells, solution),
        arm.warnings,
    )


def _draw(problem: Problem, everyone: Solution, of_arm: Flags, salt: str) -> UniformArm:
    """Return the draws of the messages that the program of everyone sends to the arm."""
    cells, messages = problem.cells, problem.messages
    sent = np.zeros(len(messages.user), bool)
    sent[cells.message[everyone.chosen]] = True
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
            "chosen": np.isin(rows, everyone.chosen),
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


def _drawn_cells(problem: Problem, arm: UniformArm) -> Ints:
    """Return the drawn cells, in the order of the draws."""
    message = _messages_of(problem, arm.drawn["user_id"], arm.drawn["notification_id"])
    cells = pd.MultiIndex.from_arrays([problem.cells.message, problem.cells.slot])
    return cells.get_indexer(pd.MultiIndex.from_arrays([message, arm.drawn["slot"]])).astype(np.int64)


def _messages_of(problem: Problem, users: pd.Series[str], notifications: pd.Series[str]) -> Ints:
    names = pd.MultiIndex.from_arrays([problem.users[problem.messages.user], problem.messages.message_id])
    return names.get_indexer(pd.MultiIndex.from_arrays([users, notifications])).astype(np.int64)


def _cost(problem: Problem, everyone: Solution, of_arm: Flags, drawn: Ints, solution: Solution) -> Cost:
    """Return the cost of the `drawn` cells against the program of `everyone`."""
    value = problem.cells.value
    planned = everyone.chosen[of_arm[problem.cells.message[everyone.chosen]]]
    value_planned = float(value[planned].sum())
    return Cost(value_planned - float(value[drawn].sum()), everyone.objective - value_planned - solution.objective)
