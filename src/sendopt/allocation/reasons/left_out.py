"""The reason why each unsent message is left out of a plan, for all messages at once (model ¶13).

The reasons are those of `reasons.one_message`, computed with arrays instead of objects; tests compare the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from sendopt.allocation.coupling import rows_of, up_to
from sendopt.allocation.prices.instance import ALL, CAMPAIGN, CATEGORY, CHANNEL, DAY, ROLLING, WEEK
from sendopt.allocation.problem import Problem
from sendopt.allocation.reasons import windows
from sendopt.allocation.solution import Solution
from sendopt.domain.limits import Limits
from sendopt.stats.arrays import Floats, Ints, Texts

SCHEMA = pa.schema([(name, pa.string()) for name in ("user_id", "message_id", "reason", "detail")])
_EQUAL = 1e-9  # of a cell's value: at the optimum a cell at the margin is worth exactly its price
_KINDS = ("capacity", "campaign_budget", "opt_out_budget", "cost_budget")  # reasons, in the order of the rows
_USER_RULES = {
    windows.ALREADY_SENT: "already_sent",
    windows.USER_CAP: "user_cap",
    windows.MIN_GAP: "min_gap",
    windows.FATIGUE: "fatigue",
}


def left_out(problem: Problem, solution: Solution) -> pa.Table:
    """Return a row for each unsent message: user_id, message_id, reason, detail; by user_id, then message_id.

    `reason` is a code of `sendopt.domain.reasons`. `detail` is JSON: the message's best slot at the plan's prices, its
    value, and the numbers of the rule that decided.
    """
    m = problem.messages
    sent = np.zeros(len(m.user), np.bool_)
    sent[problem.cells.message[solution.chosen]] = True
    unsent = np.flatnonzero(~sent)
    reason = np.full(len(m.user), "not_eligible", object)
    detail = np.full(len(m.user), "{}", object)
    view = _View(problem, solution)
    cells = view.best(np.flatnonzero(~sent[problem.cells.message]))
    message = problem.cells.message[cells]
    reason[message], detail[message] = view.why(cells)
    columns = (problem.users[m.user[unsent]], m.message_id[unsent], reason[unsent], detail[unsent])
    table = pa.table([pa.array(column, pa.string()) for column in columns], schema=SCHEMA)
    return table.sort_by([("user_id", "ascending"), ("message_id", "ascending")])


def by_reason(table: pa.Table) -> dict[str, int]:
    """Return {reason: messages}, the most frequent reason first."""
    counts = table["reason"].value_counts().to_pylist()
    pairs = sorted(((entry["values"], entry["counts"]) for entry in counts), key=lambda pair: (-pair[1], pair[0]))
    return dict(pairs)


class _Uses(NamedTuple):
    """The use of the four kinds of maxima by Q cells, in the order of `_KINDS`."""

    row: Ints  # (Q, 4); -1: none
    amount: Floats  # (Q, 4)


class _View:
    """A solved problem with prices and use of its rows, which gives reasons for many cells at once."""

    def __init__(self, problem: Problem, solution: Solution) -> None:
        self.problem, self.rows = problem, rows_of(problem)
        prices = {p.row: p.price for p in solution.prices}
        self.price = np.array([*(prices[name] for name in self.rows.names), 0.0])  # row -1 has price 0
        self.used = np.append(self.rows.used(problem, solution.chosen), 0.0)
        self.limit = np.append(self.rows.limit, np.inf)
        self.chosen = solution.chosen
        m = problem.messages
        self.channel, channels = pd.factorize(m.channel)
        none = np.full(problem.n_slots, -1, np.int64)
        self.by_slot = np.array([self.rows.capacity.get(str(c), none) for c in channels], np.int64)
        self.most_row = _rows_of_names(m.campaign, self.rows.campaign_max)
        self.least_row = _rows_of_names(m.campaign, self.rows.campaign_min)

    def uses(self, cells: Ints) -> _Uses:
        """Return the use of maxima by `cells` (Q,)."""
        c = self.problem.cells
        message = c.message[cells]
        row = np.empty((len(cells), 4), np.int64)
        row[:, 0] = self.by_slot[self.channel[message], c.slot[cells]] if len(cells) else -1
        row[:, 1] = self.most_row[message]
        row[:, 2], row[:, 3] = self.rows.opt_outs, self.rows.cost
        amount = np.ones((len(cells), 4))
        amount[:, 2], amount[:, 3] = c.p_opt_out[cells], c.cost[cells]
        return _Uses(row, amount)

    def adjusted(self, cells: Ints) -> Floats:
        """Return the value (Q,) of each cell minus the prices of its rows; a minimum's price is added."""
        c, rows = self.problem.cells, self.rows
        message = c.message[cells]
        worth = c.value[cells] - (self.price[self.most_row] - self.price[self.least_row])[message]
        if len(cells) and self.by_slot.max() >= 0:
            of_slot = self.price[self.by_slot].ravel()
            worth -= of_slot[self.channel[message] * self.problem.n_slots + c.slot[cells]]
        for row, use in ((rows.opt_outs, c.p_opt_out), (rows.cost, c.cost)):
            if self.price[row] > 0:
                worth -= self.price[row] * use[cells]
        return np.asarray(worth, np.float64)

    def best(self, cells: Ints) -> Ints:
        """Return the best cell of each message after prices; of equal cells, the one of the earliest slot.

        Where a message has cells of positive value, only those are compared.
        """
        message = self.problem.cells.message[cells]
        if len(cells) and (np.diff(message) < 0).any():
            order = np.argsort(message, kind="stable")
            cells, message = cells[order], message[order]
        if not len(cells):
            return cells
        first = np.flatnonzero(np.r_[True, np.diff(message) > 0])
        group = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(cells)]))
        positive = self.problem.cells.value[cells] > 0
        compared = positive | ~np.logical_or.reduceat(positive, first)[group]
        score = np.where(compared, self.adjusted(cells), -np.inf)
        top = compared & (score == np.maximum.reduceat(score, first)[group])
        slot = np.where(top, self.problem.cells.slot[cells], self.problem.n_slots)
        return np.asarray(cells[top & (slot == np.minimum.reduceat(slot, first)[group])], np.int64)

    def why(self, cells: Ints) -> tuple[Texts, Texts]:
        """Return (reasons (Q,), details (Q,)) of cells that are not sent."""
        c, uses = self.problem.cells, self.uses(cells)
        value, adjusted = c.value[cells], self.adjusted(cells)
        paid = self.price[uses.row] * uses.amount
        dearest = 3 - np.argmax(paid[:, ::-1], axis=1)  # of equal prices the last row
        too_dear = (paid[np.arange(len(cells)), dearest] > 0) & (adjusted <= _EQUAL * value)
        full = self.used[uses.row] + uses.amount > up_to(self.limit)[uses.row]
        reason = np.full(len(cells), "displaced", object)
        about = [f'"slot": {s}, "value": {v!r}' for s, v in zip(c.slot[cells].tolist(), value.tolist(), strict=True)]
        detail = np.array([f"{{{text}}}" for text in about], object)
        worthless = value <= 0
        reason[worthless] = "negative_value"
        undecided = ~worthless & ~too_dear
        broken, kernel_input = self._broken(cells[undecided])
        kind = np.zeros(len(cells), np.int64)
        kind[undecided] = broken.kind
        which = np.where(too_dear, dearest, np.argmax(full, axis=1))
        limited = np.flatnonzero(~worthless & (too_dear | ((kind == windows.NOTHING) & full.any(axis=1))))
        needs = (value - adjusted)[limited].tolist()
        row_texts = [self._row_text(row) for row in range(len(self.rows.names))]
        for i, k, need in zip(limited.tolist(), which[limited].tolist(), needs, strict=True):
            reason[i] = _KINDS[k]
            detail[i] = f'{{{about[i]}, {row_texts[uses.row[i, k]]}, "needs": {need!r}}}'
        texts = _details(self.problem.limits, broken, kernel_input)
        for i, text in zip(np.flatnonzero(undecided).tolist(), texts, strict=True):
            if kind[i] != windows.NOTHING:
                reason[i] = _USER_RULES[int(kind[i])]
                detail[i] = f"{{{about[i]}{text}}}"
        return reason, detail

    def _row_text(self, row: int) -> str:
        """Return the numbers of a row as entries of a JSON object."""
        used, limit, price = (float(numbers[row]) for numbers in (self.used, self.limit, self.price))
        return f'"rule": {json.dumps(self.rows.names[row])}, "used": {used!r}, "limit": {limit!r}, "price": {price!r}'

    def _broken(self, cells: Ints) -> tuple[windows.Broken, _KernelInput]:
        """Return (the rule that each cell would break, the input from which the kernel computed it)."""
        given = _kernel_input(self.problem, self.chosen, cells)
        numbers = np.zeros((4, len(cells)), np.int64)
        broken = windows.Broken(numbers[0], numbers[1], numbers[2], numbers[3], np.zeros(len(cells)))
        windows.ask(given.rules, given.sends, given.start, given.new, broken)
        return broken, given


class _Codes(NamedTuple):
    """Names of M messages and H past sends as codes. Names are sorted."""

    channel: Ints  # (M + H,) messages first
    category: Ints  # (M + H,)
    campaign: Ints  # (M + H,)
    identity: Ints  # (M,) the same for messages of an exclusive group; a user gets each identity at most once
    names: dict[str, list[str]]  # by code, of channel, category and campaign


class _KernelInput(NamedTuple):
    """A problem as the kernel `windows.ask` reads it."""

    rules: windows.Rules
    sends: windows.Sends  # past and planned, by user and minute
    start: Ints  # (U + 1,) first of each user's sends
    new: windows.Sends  # the sends in question
    campaigns: Texts  # by code


def _kernel_input(problem: Problem, chosen: Ints, cells: Ints) -> _KernelInput:
    """Return past sends and the planned cells `chosen`, sorted, and the cells in question."""
    codes = _codes(problem)
    past, planned = _past_sends(problem, codes), _sends_of_cells(problem, codes, chosen, planned=True)
    order = np.lexsort((np.r_[past.minute, planned.minute], np.r_[past.user, planned.user]))
    sends = windows.Sends(*(np.concatenate(pair)[order] for pair in zip(past, planned, strict=True)))
    return _KernelInput(
        rules=_rules(problem.limits, codes.names),
        sends=sends,
        start=np.r_[0, np.cumsum(np.bincount(sends.user, minlength=len(problem.users)))].astype(np.int64),
        new=_sends_of_cells(problem, codes, cells, planned=False),
        campaigns=np.array(codes.names["campaign"], object),
    )


def _codes(problem: Problem) -> _Codes:
    """Return the names of messages and past sends as codes."""
    m, h = problem.messages, problem.history
    codes: dict[str, Ints] = {}
    names: dict[str, list[str]] = {}
    for column in ("channel", "category", "campaign"):
        code, unique = pd.factorize(np.concatenate([getattr(m, column), getattr(h, column)]), sort=True)
        codes[column] = code.astype(np.int64)
        names[column] = [str(name) for name in unique]
    identity = pd.factorize(np.where(m.exclusive_group.astype(bool), m.exclusive_group, m.message_id))[0]
    return _Codes(**codes, identity=identity.astype(np.int64), names=names)


def _sends_of_cells(problem: Problem, codes: _Codes, cells: Ints, *, planned: bool) -> windows.Sends:
    """Return a send for each of `cells`, at its slot's start."""
    c, message = problem.cells, problem.cells.message[cells]
    return windows.Sends(
        user=problem.messages.user[message],
        minute=np.asarray(c.slot[cells] * problem.slot_minutes, np.float64),
        channel=codes.channel[message],
        category=codes.category[message],
        campaign=codes.campaign[message],
        day=np.asarray(c.local_day[cells]),
        identity=codes.identity[message],
        planned=np.full(len(cells), planned),
    )


def _past_sends(problem: Problem, codes: _Codes) -> windows.Sends:
    """Return the sends of the history."""
    h, messages = problem.history, len(problem.messages.user)
    return windows.Sends(
        user=h.user,
        minute=-h.minutes_before,
        channel=codes.channel[messages:],
        category=codes.category[messages:],
        campaign=codes.campaign[messages:],
        day=h.local_day,
        identity=np.full(len(h.user), -1, np.int64),
        planned=np.zeros(len(h.user), np.bool_),
    )


def _rules(limits: Limits, names: dict[str, list[str]]) -> windows.Rules:
    """Return the rules for single users, with the codes of `names` for the names of scopes."""
    caps = list(limits.caps.values())
    scopes = [cap.scope.partition(":")[::2] for cap in caps]
    kinds = {"all": ALL, "channel": CHANNEL, "category": CATEGORY, "campaign": CAMPAIGN}
    periods = {None: ROLLING, "day": DAY, "week": WEEK}
    fatigue = limits.fatigue
    by_channel = fatigue.points_per_send if fatigue else {}
    return windows.Rules(
        scope=np.array([kinds[kind] for kind, _ in scopes], np.int64),
        code=np.array([names[k].index(n) if k != "all" and n in names[k] else -1 for k, n in scopes], np.int64),
        period=np.array([periods[cap.calendar] for cap in caps], np.int64),
        window=np.array([float(cap.window_minutes or 0) for cap in caps], np.float64),
        most=np.array([cap.max for cap in caps], np.int64),
        gap=float(limits.min_gap_minutes),
        half_life=fatigue.half_life_hours * 60.0 if fatigue else 1.0,
        points=np.array([by_channel.get(name, 0.0) for name in names["channel"]], np.float64),
        max_points=fatigue.max_points if fatigue else np.inf,
    )


def _details(limits: Limits, broken: windows.Broken, kernel_input: _KernelInput) -> Iterator[str]:
    """Yield the numbers of each broken rule as further entries of a JSON object; empty where no rule is broken."""
    cap_texts = []
    for name, cap in limits.caps.items():
        window = f'"window_minutes": {cap.window_minutes}' if cap.window_minutes else f'"calendar": "{cap.calendar}"'
        cap_texts.append(
            (f', "rule": {json.dumps(f"cap:{name}")}, "scope": {json.dumps(cap.scope)}, {window}', cap.max)
        )
    campaigns = [json.dumps(str(name)) for name in kernel_input.campaigns]
    columns = (column.tolist() for column in broken)
    for kind, which, used, planned, points in zip(*columns, strict=True):
        if kind == windows.USER_CAP:
            text, limit = cap_texts[which]
            yield f'{text}, "used": {used}, "limit": {limit}, "planned": {planned}'
        elif kind == windows.MIN_GAP:
            sends = kernel_input.sends
            campaign, minute = campaigns[sends.campaign[which]], float(sends.minute[which])
            to = f'"to_campaign": {campaign}, "to_minute": {minute!r}, "planned": {"true" if planned else "false"}'
            yield f', "rule": "min_gap", "minutes": {limits.min_gap_minutes}, {to}'
        elif kind == windows.FATIGUE and limits.fatigue is not None:
            yield f', "rule": "fatigue", "points": {points!r}, "limit": {limits.fatigue.max_points!r}'
        else:
            yield ""


def _rows_of_names(names: Texts, row_of: dict[str, int]) -> Ints:
    """Return the row (M,) of each name, -1 where it has none."""
    code, unique = pd.factorize(names)
    rows = np.array([row_of.get(str(name), -1) for name in unique], np.int64)
    return rows[code] if len(unique) else np.empty(0, np.int64)
