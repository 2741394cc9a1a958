"""The uniform_time arm: slots drawn with an exactly known probability, inside every limit (model ¶15).

Order matters for honesty: admission first, from budgets alone; then capacity is set aside; only then slots are drawn,
and nothing that a draw brings changes who was admitted or what the other arm may use.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from sendopt.domain.keys import keyed_hash, unit_interval
from sendopt.domain.limits import CampaignLimits, CostBudget, Limits, OptOutBudget
from sendopt.domain.rules import Send, first_broken

MESSAGE = ["user_id", "notification_id"]
SIGMAS = 4.0
PLANNED_UNSENT = "planned_unsent"


@dataclass(frozen=True)
class UniformArm:
    """`drawn`: user_id, notification_id, slot, pscore, planned (bool), reason (None or planned_unsent).
    `refused`: user_id, notification_id, reason. `rest`: what the limits leave to the other arms.
    `warnings`: a sentence for each slot that cannot hold what the arm may draw."""

    drawn: pd.DataFrame
    refused: pd.DataFrame
    rest: Limits
    warnings: tuple[str, ...]


class _Cell(NamedTuple):
    user_id: str
    notification_id: str
    campaign_id: str
    channel: str
    category: str
    slot: int
    local_day: int
    value: float
    p_opt_out: float
    cost: float


class _Message(NamedTuple):
    """A message with its cells by slot; value, p_opt_out and cost are the largest of its cells."""

    user_id: str
    notification_id: str
    campaign_id: str
    channel: str
    value: float
    p_opt_out: float
    cost: float
    cells: tuple[_Cell, ...]


class _Draw(NamedTuple):
    message: _Message
    slot: int
    pscore: float


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
    of its arguments, whatever the order of rows.
    """
    messages = _in_hash_order(cells, salt)
    admitted, refused = _admit(messages, limits, share)
    feasible = [_feasible(m, history.get(m.user_id, ()), limits, slot_minutes) for m in admitted]
    reserved, short = _within_capacity(_reserve(admitted, feasible), limits)
    draws, missed = _draw(admitted, history, limits, slot_minutes, salt)
    planned = _hold_to(draws, reserved, limits)
    drawn = pd.DataFrame(
        {
            "user_id": [d.message.user_id for d in draws],
            "notification_id": [d.message.notification_id for d in draws],
            "slot": np.array([d.slot for d in draws], np.int64),
            "pscore": np.array([d.pscore for d in draws], float),
            "planned": np.array(planned, bool),
            "reason": np.array([None if fits else PLANNED_UNSENT for fits in planned], object),
        }
    )
    sent = Counter(d.message.campaign_id for d, fits in zip(draws, planned, strict=True) if fits)
    refusals = pd.DataFrame(refused + missed, columns=[*MESSAGE, "reason"])
    return UniformArm(drawn, refusals, _what_is_left(limits, admitted, reserved, sent, n_slots), tuple(short))


def _in_hash_order(cells: pd.DataFrame, salt: str) -> list[_Message]:
    """Messages in the order in which admission and draws take them."""
    columns = [cells[name].tolist() for name in _Cell._fields]
    by_message: dict[tuple[str, str], list[_Cell]] = {}
    for cell in (_Cell(*values) for values in zip(*columns, strict=True)):
        by_message.setdefault((cell.user_id, cell.notification_id), []).append(cell)
    messages = [
        _Message(
            user_id=user,
            notification_id=notification,
            campaign_id=mine[0].campaign_id,
            channel=mine[0].channel,
            value=max(c.value for c in mine),
            p_opt_out=max(c.p_opt_out for c in mine),
            cost=max(c.cost for c in mine),
            cells=tuple(sorted(mine, key=lambda c: c.slot)),
        )
        for (user, notification), mine in by_message.items()
    ]
    return sorted(messages, key=lambda m: keyed_hash("uniform_order", salt, m.user_id, m.notification_id))


def _admit(messages: list[_Message], limits: Limits, share: float) -> tuple[list[_Message], list[tuple[str, str, str]]]:
    """Messages that the arm's part of the budgets carries, and the others with the budget that refused them."""
    sends: Counter[str] = Counter()
    opt_outs = cost = 0.0
    kept: list[_Message] = []
    refused: list[tuple[str, str, str]] = []
    for m in messages:
        most = limits.campaigns.get(m.campaign_id, CampaignLimits()).max_sends
        reason = None
        if m.value <= 0:
            reason = "negative_value"
        elif most is not None and sends[m.campaign_id] >= math.floor(most * share):
            reason = "campaign_budget"
        elif limits.opt_outs and opt_outs + m.p_opt_out > limits.opt_outs.max_expected * share:
            reason = "opt_out_budget"
        elif limits.cost and cost + m.cost > limits.cost.max_total * share:
            reason = "cost_budget"
        if reason:
            refused.append((m.user_id, m.notification_id, reason))
            continue
        kept.append(m)
        sends[m.campaign_id] += 1
        opt_outs, cost = opt_outs + m.p_opt_out, cost + m.cost
    return kept, refused


def _send(cell: _Cell, slot_minutes: int) -> Send:
    return Send(
        minute=float(cell.slot * slot_minutes),
        channel=cell.channel,
        category=cell.category,
        campaign=cell.campaign_id,
        local_day=cell.local_day,
        planned=True,
        message_id=cell.notification_id,
    )


def _feasible(message: _Message, sends: Sequence[Send], limits: Limits, slot_minutes: int) -> list[_Cell]:
    """Cells that a user's rules leave to a message, given `sends`, by slot."""
    return [c for c in message.cells if first_broken(limits, sends, _send(c, slot_minutes)) is None]


def _reserve(admitted: list[_Message], feasible: list[list[_Cell]]) -> dict[tuple[str, int], int]:
    """Capacity set aside by (channel, slot): expected use of the draws plus 4 sigma of it."""
    mean: defaultdict[tuple[str, int], float] = defaultdict(float)
    variance: defaultdict[tuple[str, int], float] = defaultdict(float)
    for message, cells in zip(admitted, feasible, strict=True):
        for cell in cells:
            p, key = 1.0 / len(cells), (message.channel, cell.slot)
            mean[key] += p
            variance[key] += p * (1.0 - p)
    return {key: math.ceil(mean[key] + SIGMAS * math.sqrt(variance[key]) - 1e-9) for key in mean}


def _capacity(limits: Limits, channel: str, slot: int) -> int | None:
    known = limits.capacity.get(channel)
    return known.get(slot) if isinstance(known, dict) else known


def _within_capacity(
    wanted: Mapping[tuple[str, int], int], limits: Limits
) -> tuple[dict[tuple[str, int], int], list[str]]:
    """(what is reserved, a sentence for each slot that has less than is wanted): the sends that find no room there stay
    planned and unsent, so that a night is planned all the same."""
    reserved, short = dict(wanted), []
    for (channel, slot), need in sorted(wanted.items()):
        room = _capacity(limits, channel, slot)
        if room is not None and need > room:
            reserved[channel, slot] = room
            short.append(
                f"arm uniform_time wants {need} of capacity.{channel} in slot {slot}, which is {room}: what does not "
                "fit stays unsent; lower arms.uniform_time_fraction or raise the capacity"
            )
    return reserved, short


def _draw(
    admitted: list[_Message],
    history: Mapping[str, Sequence[Send]],
    limits: Limits,
    slot_minutes: int,
    salt: str,
) -> tuple[list[_Draw], list[tuple[str, str, str]]]:
    taken: dict[str, list[Send]] = {}
    draws: list[_Draw] = []
    missed: list[tuple[str, str, str]] = []
    for m in admitted:
        sends = taken.setdefault(m.user_id, list(history.get(m.user_id, ())))
        free = _feasible(m, sends, limits, slot_minutes)
        if not free:
            reason = first_broken(limits, sends, _send(m.cells[0], slot_minutes)) or "user_cap"
            missed.append((m.user_id, m.notification_id, reason))
            continue
        cell = free[int(unit_interval("uniform_slot", salt, m.user_id, m.notification_id) * len(free))]
        sends.append(_send(cell, slot_minutes))
        draws.append(_Draw(m, cell.slot, 1.0 / len(free)))
    return draws, missed


def _hold_to(draws: list[_Draw], reserved: Mapping[tuple[str, int], int], limits: Limits) -> list[bool]:
    """False for what exceeds the reservation, in hash order: planned but unsent, never moved."""
    used: Counter[tuple[str, int]] = Counter()
    planned: list[bool] = []
    for d in draws:
        key = (d.message.channel, d.slot)
        fits = _capacity(limits, *key) is None or used[key] < reserved.get(key, 0)
        used[key] += fits
        planned.append(fits)
    return planned


def _what_is_left(
    limits: Limits,
    admitted: list[_Message],
    reserved: Mapping[tuple[str, int], int],
    sent: Mapping[str, int],
    n_slots: int,
) -> Limits:
    """Limits of the other arms: capacity less the reservation, budgets less what was admitted."""
    capacity: dict[str, dict[int, int]] = {}
    for channel in limits.capacity:
        rooms = {slot: _capacity(limits, channel, slot) for slot in range(n_slots)}
        capacity[channel] = {s: room - reserved.get((channel, s), 0) for s, room in rooms.items() if room is not None}
    taken = Counter(m.campaign_id for m in admitted)
    campaigns = {name: _less(c, taken[name], sent.get(name, 0)) for name, c in limits.campaigns.items()}
    opt_outs, cost = math.fsum(m.p_opt_out for m in admitted), math.fsum(m.cost for m in admitted)
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
    most, least = campaign.max_sends, max(0, campaign.min_sends - sent)
    if most is not None:
        if campaign.min_sends <= most:  # a contradiction in the settings must stay one; rounding must not make one
            least = min(least, most - admitted)
        most -= admitted
    return campaign.model_copy(update={"max_sends": most, "min_sends": least})
