"""The uniform_time arm: slots drawn with an exactly known probability, inside every limit (model ¶15).

Which messages the arm sends is settled before (`sendopt.experiment`): those that the program would send these users.
Here each gets a slot by lot. Whatever an earlier draw took is taken into account in what a later one may choose from,
and the number of choices is logged; no draw decides which messages the arm sends.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from sendopt.domain.keys import keyed_hash, unit_interval
from sendopt.domain.limits import CampaignLimits, CostBudget, Limits, OptOutBudget
from sendopt.domain.rules import Send, first_broken

MESSAGE = ["user_id", "notification_id"]
SEARCHED = 2_000  # placements tried for one user's other messages before a slot counts as leaving them none
_ROUNDING = 1e-9  # of sums of budgets


@dataclass(frozen=True)
class UniformArm:
    """`drawn`: user_id, notification_id, slot, pscore. `refused`: user_id, notification_id, reason, of messages that
    no draw could place. `rest`: what the limits leave to the other arms. `warnings`: sentences."""

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
    p_opt_out: float
    cost: float
    chosen: bool  # the slot that the program would take
    send: Send  # what it would be


class _Message(NamedTuple):
    """A message with its cells by slot, and what its chosen cell uses of the budgets."""

    user_id: str
    notification_id: str
    campaign_id: str
    cells: tuple[_Cell, ...]
    chosen: _Cell


class _Draw(NamedTuple):
    cell: _Cell
    pscore: float


def plan_uniform_time(
    cells: pd.DataFrame,
    history: Mapping[str, Sequence[Send]],
    limits: Limits,
    slot_minutes: int,
    n_slots: int,
    salt: str,
    committed_opt_outs: float = 0.0,
    committed_cost: float = 0.0,
) -> UniformArm:
    """Draw the slots of the arm's messages.

    `cells` holds all eligible cells of the messages that the arm sends: user_id, notification_id, campaign_id, channel,
    category, slot, local_day, p_opt_out, cost, and chosen (True for one cell of each: the program's own slot).
    `history` holds the sends of the arm's users and all that are committed inside the horizon; what the latter use of
    the budgets is `committed_opt_outs` and `committed_cost`.

    Users come in the order of a keyed hash, and so do the messages of one. A message takes one of the slots that the
    user's rules and the capacity leave, given all earlier draws, and that leave the user's later messages a slot each;
    every one of these has pscore 1 / their number. Where earlier draws have filled every slot of a message it is
    refused as uniform_full. The result is a function of the arguments, whatever the order of rows.
    """
    room = _Room(limits, history, slot_minutes)
    room.spare_opt_outs -= committed_opt_outs
    room.spare_cost -= committed_cost
    by_user: defaultdict[str, list[_Message]] = defaultdict(list)
    for message in _messages(cells, slot_minutes, salt):
        by_user[message.user_id].append(message)
        room.expect(message.chosen)
    draws: list[_Draw] = []
    refused: list[_Message] = []
    for user in sorted(by_user, key=lambda u: keyed_hash("uniform_order", salt, u)):
        lot = _Lot(limits, room, list(history.get(user, ())), salt)
        placed, unplaced = lot.draw(by_user[user])
        draws += placed
        refused += unplaced
    drawn = pd.DataFrame(
        {
            "user_id": [d.cell.user_id for d in draws],
            "notification_id": [d.cell.notification_id for d in draws],
            "slot": np.array([d.cell.slot for d in draws], np.int64),
            "pscore": np.array([d.pscore for d in draws], float),
        }
    )
    reason = "uniform_full"
    refusals = pd.DataFrame([(m.user_id, m.notification_id, reason) for m in refused], columns=[*MESSAGE, "reason"])
    return UniformArm(drawn, refusals, _what_is_left(limits, draws, n_slots), tuple(_warnings(len(refused))))


def _messages(cells: pd.DataFrame, slot_minutes: int, salt: str) -> list[_Message]:
    """Messages in the order in which they are drawn, within a user."""
    columns = [cells[name].tolist() for name in _Cell._fields if name != "send"]
    by_message: defaultdict[tuple[str, str], list[_Cell]] = defaultdict(list)
    for row in zip(*columns, strict=True):
        user, notification, campaign, channel, category, slot, day, opt_outs, cost, chosen = row
        send = Send(float(slot * slot_minutes), channel, category, campaign, day, True, notification)
        cell = _Cell(user, notification, campaign, channel, category, slot, day, opt_outs, cost, chosen, send)
        by_message[user, notification].append(cell)
    messages = [
        _Message(
            user_id=user,
            notification_id=notification,
            campaign_id=own[0].campaign_id,
            cells=tuple(sorted(own, key=lambda c: c.slot)),
            chosen=next(c for c in own if c.chosen),
        )
        for (user, notification), own in by_message.items()
    ]
    return sorted(messages, key=lambda m: keyed_hash("uniform_order", salt, m.user_id, m.notification_id))


class _Room:
    """What committed sends and draws so far leave of the limits across users.

    Campaigns need no look: a draw does not change which messages are sent. Budgets matter only where the slots of a
    message differ in what they use: `spare` is what is left once every message still to draw has its chosen slot.
    """

    def __init__(self, limits: Limits, history: Mapping[str, Sequence[Send]], slot_minutes: int) -> None:
        self._capacity = limits.capacity
        self._used: Counter[tuple[str, int]] = Counter(
            (s.channel, int(s.minute // slot_minutes)) for sends in history.values() for s in sends if s.minute >= 0
        )
        self.spare_opt_outs = limits.opt_outs.max_expected if limits.opt_outs else math.inf
        self.spare_cost = limits.cost.max_total if limits.cost else math.inf

    def expect(self, chosen: _Cell) -> None:
        self.spare_opt_outs -= chosen.p_opt_out
        self.spare_cost -= chosen.cost

    def take(self, cell: _Cell, chosen: _Cell) -> None:
        self._used[cell.channel, cell.slot] += 1
        self.spare_opt_outs -= cell.p_opt_out - chosen.p_opt_out
        self.spare_cost -= cell.cost - chosen.cost

    def untake(self, cell: _Cell, spare: tuple[float, float]) -> None:
        self._used[cell.channel, cell.slot] -= 1
        self.spare_opt_outs, self.spare_cost = spare

    def give_back(self, chosen: _Cell) -> None:
        self.spare_opt_outs += chosen.p_opt_out
        self.spare_cost += chosen.cost

    def has(self, cell: _Cell) -> bool:
        known = self._capacity.get(cell.channel)
        room = known.get(cell.slot) if isinstance(known, dict) else known
        return room is None or self._used[cell.channel, cell.slot] < room

    def affords(self, cell: _Cell, chosen: _Cell) -> bool:
        more_opt_outs, more_cost = cell.p_opt_out - chosen.p_opt_out, cell.cost - chosen.cost
        return (more_opt_outs <= 0 or more_opt_outs <= self.spare_opt_outs + _ROUNDING) and (
            more_cost <= 0 or more_cost <= self.spare_cost + _ROUNDING
        )


class _Lot:
    """The draws of one user, `sends` growing with each."""

    def __init__(self, limits: Limits, room: _Room, sends: list[Send], salt: str) -> None:
        self._limits, self._room, self._sends, self._salt = limits, room, sends, salt
        self._left = 0

    def draw(self, messages: list[_Message]) -> tuple[list[_Draw], list[_Message]]:
        """A slot for each message, and the messages that none of this user's placements could hold."""
        messages, unplaced, placement = self._placeable(messages)
        draws = []
        for i, message in enumerate(messages):
            later = messages[i + 1 :]
            options: list[tuple[_Cell, list[_Cell]]] = []
            for cell in message.cells:
                rest = self._rest(message, cell, later, placement)
                if rest is not None:
                    options.append((cell, rest))
            at = unit_interval("uniform_slot", self._salt, message.user_id, message.notification_id)
            cell, placement = options[int(at * len(options))]
            self._put(message, cell)
            draws.append(_Draw(cell, 1.0 / len(options)))
        return draws, unplaced

    def _placeable(self, messages: list[_Message]) -> tuple[list[_Message], list[_Message], list[_Cell]]:
        """(messages that can all be sent, the others, one placement of the first)."""
        wanted = [m.chosen for m in messages]
        placement = self._place(messages, wanted)
        if placement is not None:
            return messages, [], placement
        kept: list[_Message] = []
        unplaced, placement = [], list[_Cell]()
        for message in messages:
            more = self._place([*kept, message], [*placement, message.chosen])
            if more is None:
                unplaced.append(message)
                self._room.give_back(message.chosen)
            else:
                kept, placement = [*kept, message], more
        return kept, unplaced, placement

    def _rest(
        self, message: _Message, cell: _Cell, later: list[_Message], placement: list[_Cell]
    ) -> list[_Cell] | None:
        """Where `later` messages can go once `message` has `cell`; None where it may not have it, or they find none.

        `placement` is a sound one of `message` and `later`.
        """
        if cell is placement[0]:
            return placement[1:]
        if not self._fits(cell, message.chosen):
            return None
        if not later:
            return []
        undo = self._put(message, cell)
        rest = self._place(later, placement[1:])
        self._take_back(cell, undo)
        return rest

    def _place(self, messages: list[_Message], first: list[_Cell]) -> list[_Cell] | None:
        """A slot for each of `messages` that all rules allow, `first` tried first; None where the search finds none."""
        self._left = SEARCHED
        return self._search(messages, first)

    def _search(self, messages: list[_Message], first: list[_Cell]) -> list[_Cell] | None:
        if not messages:
            return []
        message = messages[0]
        for cell in (first[0], *(c for c in message.cells if c is not first[0])):
            if self._left <= 0:
                return None
            self._left -= 1
            if not self._fits(cell, message.chosen):
                continue
            undo = self._put(message, cell)
            rest = self._search(messages[1:], first[1:])
            self._take_back(cell, undo)
            if rest is not None:
                return [cell, *rest]
        return None

    def _fits(self, cell: _Cell, chosen: _Cell) -> bool:
        if not self._room.has(cell) or not self._room.affords(cell, chosen):
            return False
        return first_broken(self._limits, self._sends, cell.send) is None

    def _put(self, message: _Message, cell: _Cell) -> tuple[float, float]:
        before = self._room.spare_opt_outs, self._room.spare_cost
        self._sends.append(cell.send)
        self._room.take(cell, message.chosen)
        return before

    def _take_back(self, cell: _Cell, before: tuple[float, float]) -> None:
        self._sends.pop()
        self._room.untake(cell, before)


def _what_is_left(limits: Limits, draws: Sequence[_Draw], n_slots: int) -> Limits:
    """Limits of the other arms: exactly what the draws do not use."""
    if not draws:
        return limits
    by_slot = Counter((d.cell.channel, d.cell.slot) for d in draws)
    by_campaign = Counter(d.cell.campaign_id for d in draws)
    capacity: dict[str, dict[int, int]] = {}
    for channel, known in limits.capacity.items():
        rooms = {slot: known.get(slot) if isinstance(known, dict) else known for slot in range(n_slots)}
        capacity[channel] = {s: room - by_slot[channel, s] for s, room in rooms.items() if room is not None}
    opt_outs, cost = (math.fsum(getattr(d.cell, use) for d in draws) for use in ("p_opt_out", "cost"))
    return limits.model_copy(
        update={
            "capacity": capacity,
            "campaigns": {name: _less(c, by_campaign[name]) for name, c in limits.campaigns.items()},
            "opt_outs": limits.opt_outs
            and OptOutBudget(max_expected=max(0.0, limits.opt_outs.max_expected - opt_outs)),
            "cost": limits.cost and CostBudget(max_total=max(0.0, limits.cost.max_total - cost)),
        }
    )


def _less(campaign: CampaignLimits, sent: int) -> CampaignLimits:
    most = None if campaign.max_sends is None else campaign.max_sends - sent
    return campaign.model_copy(update={"max_sends": most, "min_sends": max(0, campaign.min_sends - sent)})


def _warnings(unplaced: int) -> Iterator[str]:
    if unplaced:
        yield (
            f"arm uniform_time: {unplaced} message{'s' * (unplaced != 1)} found no slot to draw, because earlier draws "
            "filled the capacity of all; lower arms.uniform_time_fraction or raise the capacity"
        )
