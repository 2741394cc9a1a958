"""The uniform_time arm: slots drawn with an exactly known probability, inside every limit (model ¶15).

Order matters for honesty: admission first, from budgets alone; then capacity is set aside; only then slots are drawn,
and nothing that a draw brings changes who was admitted or what the other arm may use.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sendopt.domain.keys import keyed_hash, unit_interval
from sendopt.domain.limits import CampaignLimits, CostBudget, Limits, OptOutBudget
from sendopt.domain.rules import Send, first_broken
from sendopt.errors import InfeasibleError

MESSAGE = ["user_id", "notification_id"]
SIGMAS = 4.0
PLANNED_UNSENT = "planned_unsent"


@dataclass(frozen=True)
class UniformArm:
    """`drawn`: user_id, notification_id, slot, pscore, planned (bool), reason (None or planned_unsent).
    `refused`: user_id, notification_id, reason. `rest`: what the limits leave to the other arms."""

    drawn: pd.DataFrame
    refused: pd.DataFrame
    rest: Limits


def plan_uniform_time(
    cells: pd.DataFrame,
    history: Mapping[str, Sequence[Send]],
    limits: Limits,
    share: float,
    slot_minutes: int,
    n_slots: int,
    salt: str,
) -> UniformArm:
    """Draw the arm's slots.

    `cells` holds the arm's eligible cells: user_id, notification_id, campaign_id, channel, category, slot, local_day,
    value, p_opt_out, cost. `share` in [0, 1] is the arm's part of every budget across users. The result is a function
    of its arguments, whatever the order of rows. Raises InfeasibleError where the reservation exceeds a capacity.
    """
    messages = _in_hash_order(cells, salt)
    admitted, refused = _admit(messages, limits, share)
    slots = {key: group for key, group in cells.sort_values("slot").groupby(MESSAGE, sort=False)}
    feasible = {
        row.Index: _feasible(
            slots[row.user_id, row.notification_id], row, list(history.get(row.user_id, ())), limits, slot_minutes
        )
        for row in admitted.itertuples()
    }
    reserved = _reserve(admitted, feasible)
    _require_room(reserved, limits)
    drawn, missed = _draw(admitted, slots, history, limits, slot_minutes, salt)
    drawn = _hold_to(drawn, reserved, limits)
    columns = [*MESSAGE, "slot", "pscore", "planned", "reason"]
    refusals = pd.DataFrame(refused + missed, columns=[*MESSAGE, "reason"])
    return UniformArm(
        drawn.reindex(columns=columns), refusals, _what_is_left(limits, admitted, reserved, drawn, share, n_slots)
    )


def _in_hash_order(cells: pd.DataFrame, salt: str) -> pd.DataFrame:
    """One row a message, in the order in which admission and draws take them."""
    first = cells.groupby(MESSAGE, as_index=False).agg(
        campaign_id=("campaign_id", "first"),
        channel=("channel", "first"),
        category=("category", "first"),
        value=("value", "max"),
        p_opt_out=("p_opt_out", "max"),
        cost=("cost", "max"),
    )
    pairs = zip(first["user_id"], first["notification_id"], strict=True)
    first["order"] = [keyed_hash("uniform_order", salt, u, n) for u, n in pairs]
    return first.sort_values("order", ignore_index=True)


def _admit(messages: pd.DataFrame, limits: Limits, share: float) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
    """Messages that the arm's part of the budgets carries, and the others with the budget that refused them."""
    sends: dict[str, int] = {}
    opt_outs = cost = 0.0
    kept: list[int] = []
    refused: list[tuple[str, str, str]] = []
    for row in messages.itertuples():
        campaign = limits.campaigns.get(row.campaign_id, CampaignLimits())
        reason = None
        if row.value <= 0:
            reason = "negative_value"
        elif campaign.max_sends is not None and sends.get(row.campaign_id, 0) >= math.floor(campaign.max_sends * share):
            reason = "campaign_budget"
        elif limits.opt_outs and opt_outs + row.p_opt_out > limits.opt_outs.max_expected * share:
            reason = "opt_out_budget"
        elif limits.cost and cost + row.cost > limits.cost.max_total * share:
            reason = "cost_budget"
        if reason:
            refused.append((row.user_id, row.notification_id, reason))
            continue
        kept.append(row.Index)
        sends[row.campaign_id] = sends.get(row.campaign_id, 0) + 1
        opt_outs, cost = opt_outs + row.p_opt_out, cost + row.cost
    return messages.loc[kept], refused


def _send(cell, slot_minutes: int) -> Send:  # type: ignore[no-untyped-def]
    return Send(
        minute=float(cell.slot * slot_minutes),
        channel=cell.channel,
        category=cell.category,
        campaign=cell.campaign_id,
        local_day=int(cell.local_day),
        planned=True,
        message_id=cell.notification_id,
    )


def _feasible(cells: pd.DataFrame, row, sends: list[Send], limits: Limits, slot_minutes: int) -> list[int]:  # type: ignore[no-untyped-def]
    """Slots that a user's rules leave to a message, given `sends`, ascending."""
    return [int(c.slot) for c in cells.itertuples() if first_broken(limits, sends, _send(c, slot_minutes)) is None]


def _reserve(admitted: pd.DataFrame, feasible: Mapping[int, list[int]]) -> dict[tuple[str, int], int]:
    """Capacity set aside by (channel, slot): expected use of the draws plus 4 σ of it."""
    mean: dict[tuple[str, int], float] = {}
    variance: dict[tuple[str, int], float] = {}
    for row in admitted.itertuples():
        for slot in feasible[row.Index]:
            p, key = 1.0 / len(feasible[row.Index]), (row.channel, slot)
            mean[key] = mean.get(key, 0.0) + p
            variance[key] = variance.get(key, 0.0) + p * (1.0 - p)
    return {key: math.ceil(mean[key] + SIGMAS * math.sqrt(variance[key]) - 1e-9) for key in mean}


def _capacity(limits: Limits, channel: str, slot: int) -> int | None:
    known = limits.capacity.get(channel)
    return known.get(slot) if isinstance(known, dict) else known


def _require_room(reserved: Mapping[tuple[str, int], int], limits: Limits) -> None:
    over = [
        f"capacity.{channel} in slot {slot} is {_capacity(limits, channel, slot)}, reserved {need}"
        for (channel, slot), need in sorted(reserved.items())
        if (room := _capacity(limits, channel, slot)) is not None and need > room
    ]
    if over:
        raise InfeasibleError(
            f"the uniform_time arm reserves more than there is: {'; '.join(over[:3])}"
            + (f" and {len(over) - 3} more" if len(over) > 3 else "")
            + "; lower arms.uniform_time_fraction or raise the capacity",
            limits=over,
        )


def _draw(
    admitted: pd.DataFrame,
    slots: Mapping[tuple[str, str], pd.DataFrame],
    history: Mapping[str, Sequence[Send]],
    limits: Limits,
    slot_minutes: int,
    salt: str,
) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
    taken: dict[str, list[Send]] = {}
    drawn: list[dict[str, object]] = []
    missed: list[tuple[str, str, str]] = []
    for row in admitted.itertuples():
        sends = taken.setdefault(row.user_id, list(history.get(row.user_id, ())))
        mine = slots[row.user_id, row.notification_id]
        free = _feasible(mine, row, sends, limits, slot_minutes)
        if not free:
            first = next(mine.itertuples())
            reason = first_broken(limits, sends, _send(first, slot_minutes)) or "user_cap"
            missed.append((row.user_id, row.notification_id, reason))
            continue
        slot = free[int(unit_interval("uniform_slot", salt, row.user_id, row.notification_id) * len(free))]
        sends.append(_send(next(mine[mine["slot"] == slot].itertuples()), slot_minutes))
        drawn.append(
            {
                "user_id": row.user_id,
                "notification_id": row.notification_id,
                "campaign_id": row.campaign_id,
                "channel": row.channel,
                "slot": slot,
                "pscore": 1.0 / len(free),
            }
        )
    columns = [*MESSAGE, "campaign_id", "channel", "slot", "pscore"]
    return pd.DataFrame(drawn, columns=columns), missed


def _hold_to(drawn: pd.DataFrame, reserved: Mapping[tuple[str, int], int], limits: Limits) -> pd.DataFrame:
    """Mark what exceeds the reservation, in hash order, as planned but unsent; it is never moved."""
    used: dict[tuple[str, int], int] = {}
    planned: list[bool] = []
    for row in drawn.itertuples():
        key = (row.channel, row.slot)
        fits = _capacity(limits, row.channel, row.slot) is None or used.get(key, 0) < reserved.get(key, 0)
        used[key] = used.get(key, 0) + fits
        planned.append(fits)
    return drawn.assign(planned=np.array(planned, dtype=bool), reason=[None if p else PLANNED_UNSENT for p in planned])


def _what_is_left(
    limits: Limits,
    admitted: pd.DataFrame,
    reserved: Mapping[tuple[str, int], int],
    drawn: pd.DataFrame,
    share: float,
    n_slots: int,
) -> Limits:
    """Limits of the other arms: capacity less the reservation, budgets less what was admitted."""
    capacity: dict[str, dict[int, int]] = {}
    for channel in limits.capacity:
        rooms = {slot: _capacity(limits, channel, slot) for slot in range(n_slots)}
        capacity[channel] = {s: room - reserved.get((channel, s), 0) for s, room in rooms.items() if room is not None}
    taken = admitted["campaign_id"].value_counts().to_dict()
    sent = drawn[drawn["planned"]]["campaign_id"].value_counts().to_dict()
    campaigns = {name: _less(c, taken.get(name, 0), sent.get(name, 0)) for name, c in limits.campaigns.items()}
    opt_outs, cost = float(admitted["p_opt_out"].sum()), float(admitted["cost"].sum())
    return limits.model_copy(
        update={
            "capacity": capacity,
            "campaigns": campaigns,
            "opt_outs": limits.opt_outs
            and OptOutBudget(max_expected=max(0.0, limits.opt_outs.max_expected - opt_outs)),
            "cost": limits.cost and CostBudget(max_total=max(0.0, limits.cost.max_total - cost)),
        }
    )


def _less(campaign: CampaignLimits, admitted: int, sent: int) -> CampaignLimits:
    most, least = campaign.max_sends, max(0, campaign.min_sends - int(sent))
    if most is not None:
        if campaign.min_sends <= most:  # a contradiction in the settings must stay one; rounding must not make one
            least = min(least, most - int(admitted))
        most -= int(admitted)
    return campaign.model_copy(update={"max_sends": most, "min_sends": least})
