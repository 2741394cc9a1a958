"""The uniform_time arm: slots drawn with an exactly known probability, inside every limit (model ¶15).

The messages of the arm are given (`sendopt.experiment.plan`): those that the program would send its users. A slot is
drawn for each, among the slots that earlier draws leave; the number of these slots gives its probability. No draw
decides which messages the arm sends.
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
SEARCHED = 2_000  # placements tried for a user's later messages before a slot counts as leaving them none
_ROUNDING = 1e-9  # tolerance of sums of budgets


@dataclass(frozen=True)
class UniformArm:
    """The draws of the arm.

    `drawn`: user_id, notification_id, slot, pscore. `refused`: user_id, notification_id, reason, of messages that no
    draw could place. `rest`: what the draws leave of the limits. `warnings`: sentences.
    """

    drawn: pd.DataFrame
    refused: pd.DataFrame
    rest: Limits
    warnings: tuple[str, ...]


class _Cell(NamedTuple):
    """A message in one slot."""

    user_id: str
    notification_id: str
    campaign_id: str
    channel: str
    category: str
    slot: int
    local_day: int
    p_opt_out: float
    cost: float
    chosen: bool  # whether the program would take this slot
    send: Send  # the cell as a send


class _Message(NamedTuple):
    """A message with its cells by slot; `chosen` is the cell of the program."""

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
    category, slot, local_day, p_opt_out, cost, and chosen (True for one cell of each message: the program's slot).
    `history` holds the sends of the arm's users and all sends committed inside the horizon. The latter use
    `committed_opt_outs` and `committed_cost` of the budgets.

    Users are drawn in the order of a keyed hash, and so are the messages of a user. A message takes one of the slots
    that the user's rules and the capacity leave, given all earlier draws, and that leave each later message of the user
    a slot. Each of these slots has pscore 1 / their number. A message is refused as uniform_full where earlier draws
    have filled all its slots. The result does not depend on the order of rows.
    """
    room = _Room(limits, history, slot_minutes, committed_opt_outs, committed_cost)
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
    rows = [(message.user_id, message.notification_id, "uniform_full") for message in refused]
    refusals = pd.DataFrame(rows, columns=[*MESSAGE, "reason"])
    return UniformArm(_table(draws), refusals, _limits_left(limits, draws, n_slots), tuple(_warnings(len(refused))))


def _table(draws: Sequence[_Draw]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "user_id": [draw.cell.user_id for draw in draws],
            "notification_id": [draw.cell.notification_id for draw in draws],
            "slot": np.array([draw.cell.slot for draw in draws], np.int64),
            "pscore": np.array([draw.pscore for draw in draws], float),
        }
    )


def _messages(cells: pd.DataFrame, slot_minutes: int, salt: str) -> list[_Message]:
    """Return the messages; those of a user are in the order of their draws."""
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
            campaign_id=options[0].campaign_id,
            cells=tuple(sorted(options, key=lambda cell: cell.slot)),
            chosen=next(cell for cell in options if cell.chosen),
        )
        for (user, notification), options in by_message.items()
    ]
    return sorted(messages, key=lambda m: keyed_hash("uniform_order", salt, m.user_id, m.notification_id))


class _Room:
    """Room that committed sends and draws so far leave in the limits across users.

    Limits of campaigns are not checked: a draw does not change which messages are sent. Budgets matter only where the
    slots of a message differ in their use. `spare_…` is what is left if every message still to draw gets its chosen
    slot.
    """

    def __init__(
        self, limits: Limits, history: Mapping[str, Sequence[Send]], slot_minutes: int, opt_outs: float, cost: float
    ) -> None:
        """Start with the room that committed sends leave; they use `opt_outs` and `cost` of the budgets."""
        self._capacity = limits.capacity
        self._used: Counter[tuple[str, int]] = Counter(
            (s.channel, int(s.minute // slot_minutes)) for sends in history.values() for s in sends if s.minute >= 0
        )
        self.spare_opt_outs = (limits.opt_outs.max_expected if limits.opt_outs else math.inf) - opt_outs
        self.spare_cost = (limits.cost.max_total if limits.cost else math.inf) - cost

    def expect(self, chosen: _Cell) -> None:
        """Reserve the budgets of a message that is still to draw."""
        self.spare_opt_outs -= chosen.p_opt_out
        self.spare_cost -= chosen.cost

    def take(self, cell: _Cell, chosen: _Cell) -> None:
        """Put a message into `cell`, in place of its reserved `chosen` cell."""
        self._used[cell.channel, cell.slot] += 1
        self.spare_opt_outs -= cell.p_opt_out - chosen.p_opt_out
        self.spare_cost -= cell.cost - chosen.cost

    def untake(self, cell: _Cell, spare: tuple[float, float]) -> None:
        """Undo `take`; `spare`: the budgets before it, so that no rounding remains."""
        self._used[cell.channel, cell.slot] -= 1
        self.spare_opt_outs, self.spare_cost = spare

    def give_back(self, chosen: _Cell) -> None:
        """Release the budgets of a message that is not sent."""
        self.spare_opt_outs += chosen.p_opt_out
        self.spare_cost += chosen.cost

    def has(self, cell: _Cell) -> bool:
        """Return whether the capacity of the cell's channel and slot has room for a send."""
        capacity = self._capacity.get(cell.channel)
        most = capacity.get(cell.slot) if isinstance(capacity, dict) else capacity
        return most is None or self._used[cell.channel, cell.slot] < most

    def affords(self, cell: _Cell, chosen: _Cell) -> bool:
        """Return whether the budgets allow `cell` in place of the reserved `chosen` cell."""
        more_opt_outs, more_cost = cell.p_opt_out - chosen.p_opt_out, cell.cost - chosen.cost
        return (more_opt_outs <= 0 or more_opt_outs <= self.spare_opt_outs + _ROUNDING) and (
            more_cost <= 0 or more_cost <= self.spare_cost + _ROUNDING
        )


class _Lot:
    """The draws of one user; `sends` grows with each draw."""

    def __init__(self, limits: Limits, room: _Room, sends: list[Send], salt: str) -> None:
        self._limits, self._room, self._sends, self._salt = limits, room, sends, salt
        self._left = 0

    def draw(self, messages: list[_Message]) -> tuple[list[_Draw], list[_Message]]:
        """Return (a draw for each message that can be placed, the messages that no placement could hold)."""
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
        """Return (messages that can all be sent, those that cannot, a placement of the former)."""
        planned = [m.chosen for m in messages]
        placement = self._place(messages, planned)
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
        """Return a placement of `later` once `message` has `cell`; None where the cell is not allowed or none is found.

        `placement`: a valid placement of `message` and `later`.
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
        """Return a slot for each of `messages` within all rules, trying `first` first; None where the search fails."""
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
        """Return whether all limits and the user's rules allow the cell."""
        if not self._room.has(cell) or not self._room.affords(cell, chosen):
            return False
        return first_broken(self._limits, self._sends, cell.send) is None

    def _put(self, message: _Message, cell: _Cell) -> tuple[float, float]:
        """Put the message into the cell; return the budgets before."""
        before = self._room.spare_opt_outs, self._room.spare_cost
        self._sends.append(cell.send)
        self._room.take(cell, message.chosen)
        return before

    def _take_back(self, cell: _Cell, before: tuple[float, float]) -> None:
        self._sends.pop()
        self._room.untake(cell, before)


def _limits_left(limits: Limits, draws: Sequence[_Draw], n_slots: int) -> Limits:
    """Return the limits of the other arms: exactly what the draws do not use."""
    if not draws:
        return limits
    by_slot = Counter((d.cell.channel, d.cell.slot) for d in draws)
    by_campaign = Counter(d.cell.campaign_id for d in draws)
    capacity: dict[str, dict[int, int]] = {}
    for channel, most in limits.capacity.items():
        rooms = {slot: most.get(slot) if isinstance(most, dict) else most for slot in range(n_slots)}
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
