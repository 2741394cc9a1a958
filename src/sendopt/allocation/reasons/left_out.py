"""Why each message that is not sent is left out, for all of them at once: the frame beside a plan (model ¶13).

It says what `reasons.one_message` says of one message, in arrays instead of objects; tests compare the two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

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
    """One row a message that is not sent: user_id, message_id, reason, detail; by user_id, then message_id.

    `reason` is a code of `sendopt.domain.reasons`; `detail` is JSON: the slot looked at (the best one at the plan's
    prices), its value, and the numbers of the rule that decided.
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
    """Messages by reason, the most frequent first."""
    counts = table["reason"].value_counts().to_pylist()
    pairs = sorted(((entry["values"], entry["counts"]) for entry in counts), key=lambda pair: (-pair[1], pair[0]))
    return dict(pairs)


class _Uses(NamedTuple):
    """What Q cells use of the four kinds of maxima, in the order of the rows; a row of -1 is none."""

    row: Ints  # (Q, 4)
    amount: Floats  # (Q, 4)


class _View:
    """A solved problem, asked about many cells."""

    def __init__(self, problem: Problem, solution: Solution) -> None:
        self.problem, self.rows = problem, rows_of(problem)
        prices = {p.row: p.price for p in solution.prices}
        self.price = np.array([*(prices[name] for name in self.rows.names), 0.0])  # of no row: 0
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
        """(Q,) value after the prices of what a cell uses."""
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
        """Of the cells of each message the best after prices, of positive value if there is one, the earliest slot."""
        message = self.problem.cells.message[cells]
        if len(cells) and (np.diff(message) < 0).any():
            order = np.argsort(message, kind="stable")
            cells, message = cells[order], message[order]
        if not len(cells):
            return cells
        first = np.flatnonzero(np.r_[True, np.diff(message) > 0])
        group = np.repeat(np.arange(len(first)), np.diff(np.r_[first, len(cells)]))
        worth_it = self.problem.cells.value[cells] > 0
        asked = worth_it | ~np.logical_or.reduceat(worth_it, first)[group]
        score = np.where(asked, self.adjusted(cells), -np.inf)
        top = asked & (score == np.maximum.reduceat(score, first)[group])
        slot = np.where(top, self.problem.cells.slot[cells], self.problem.n_slots)
        return np.asarray(cells[top & (slot == np.minimum.reduceat(slot, first)[group])], np.int64)

    def why(self, cells: Ints) -> tuple[Texts, Texts]:
        """(reasons, details) of cells that are not sent."""
        c, uses = self.problem.cells, self.uses(cells)
        value, adjusted = c.value[cells], self.adjusted(cells)
        pays = self.price[uses.row] * uses.amount
        dearest = 3 - np.argmax(pays[:, ::-1], axis=1)  # of equal ones the last row
        at = np.arange(len(cells))
        too_dear = (pays[at, dearest] > 0) & (adjusted <= _EQUAL * value)
        full = self.used[uses.row] + uses.amount > up_to(self.limit)[uses.row]
        reason = np.full(len(cells), "displaced", object)
        about = [f'"slot": {s}, "value": {v!r}' for s, v in zip(c.slot[cells].tolist(), value.tolist(), strict=True)]
        detail = np.array([f"{{{text}}}" for text in about], object)
        worthless = value <= 0
        reason[worthless] = "negative_value"
        open_ = ~worthless & ~too_dear
        broken, sends = self._broken(cells[open_])
        kind = np.zeros(len(cells), np.int64)
        kind[open_] = broken.kind
        which = np.where(too_dear, dearest, np.argmax(full, axis=1))
        limited = np.flatnonzero(~worthless & (too_dear | ((kind == windows.NOTHING) & full.any(axis=1))))
        needs = (value - adjusted)[limited].tolist()
        of_row = [self._row_text(r) for r in range(len(self.rows.names))]
        for i, k, need in zip(limited.tolist(), which[limited].tolist(), needs, strict=True):
            reason[i] = _KINDS[k]
            detail[i] = f'{{{about[i]}, {of_row[uses.row[i, k]]}, "needs": {need!r}}}'
        asked = np.flatnonzero(open_)
        for i, text in zip(asked.tolist(), _details(self.problem.limits, broken, sends), strict=True):
            if kind[i] != windows.NOTHING:
                reason[i] = _USER_RULES[int(kind[i])]
                detail[i] = f"{{{about[i]}{text}}}"
        return reason, detail

    def _row_text(self, row: int) -> str:
        used, limit, price = (float(x[row]) for x in (self.used, self.limit, self.price))
        return f'"rule": {json.dumps(self.rows.names[row])}, "used": {used!r}, "limit": {limit!r}, "price": {price!r}'

    def _broken(self, cells: Ints) -> tuple[windows.Broken, _Kept]:
        """(the rule that each cell would break, the sends that it would break it with)."""
        kept = _kept(self.problem, self.chosen, cells)
        whole = np.zeros((4, len(cells)), np.int64)
        out = windows.Broken(whole[0], whole[1], whole[2], whole[3], np.zeros(len(cells)))
        windows.ask(kept.rules, kept.sends, kept.start, kept.new, out)
        return out, kept


class _Kept(NamedTuple):
    """A problem as the kernel reads it."""

    rules: windows.Rules
    sends: windows.Sends  # past and planned, by user and minute
    start: Ints  # (U + 1,)
    new: windows.Sends
    campaigns: Texts  # by code


def _kept(problem: Problem, chosen: Ints, cells: Ints) -> _Kept:
    m, c, h = problem.messages, problem.cells, problem.history
    codes: dict[str, NDArray[np.int64]] = {}
    names: dict[str, list[str]] = {}
    for field in ("channel", "category", "campaign"):
        every = np.concatenate([getattr(m, field), getattr(h, field)])
        codes[field], unique = pd.factorize(every, sort=True)
        names[field] = [str(name) for name in unique]
    own = len(m.user)
    identity = pd.factorize(np.where(m.exclusive_group.astype(bool), m.exclusive_group, m.message_id))[0]

    channel, category, campaign = (codes[field].astype(np.int64) for field in ("channel", "category", "campaign"))

    def of_cells(which: Ints, planned: bool) -> windows.Sends:
        message = c.message[which]
        minute = np.asarray(c.slot[which] * problem.slot_minutes, np.float64)
        return windows.Sends(
            m.user[message],
            minute,
            channel[:own][message],
            category[:own][message],
            campaign[:own][message],
            np.asarray(c.local_day[which]),
            identity[message].astype(np.int64),
            np.full(len(which), planned),
        )

    past = windows.Sends(
        h.user,
        -h.minutes_before,
        channel[own:],
        category[own:],
        campaign[own:],
        h.local_day,
        np.full(len(h.user), -1, np.int64),
        np.zeros(len(h.user), np.bool_),
    )
    both = [np.concatenate(pair) for pair in zip(past, of_cells(chosen, True), strict=True)]
    order = np.lexsort((both[1], both[0]))
    sends = windows.Sends(*(column[order] for column in both))
    start = np.r_[0, np.cumsum(np.bincount(sends.user, minlength=len(problem.users)))].astype(np.int64)
    campaigns = np.array(names["campaign"], object)
    return _Kept(_rules(problem.limits, names), sends, start, of_cells(cells, False), campaigns)


def _rules(limits: Limits, names: dict[str, list[str]]) -> windows.Rules:
    caps = list(limits.caps.values())
    scopes = [cap.scope.partition(":")[::2] for cap in caps]
    kinds = {"all": ALL, "channel": CHANNEL, "category": CATEGORY, "campaign": CAMPAIGN}
    periods = {None: ROLLING, "day": DAY, "week": WEEK}
    fatigue = limits.fatigue
    by_channel = fatigue.points_per_send if fatigue else {}
    return windows.Rules(
        np.array([kinds[kind] for kind, _ in scopes], np.int64),
        np.array([names[k].index(n) if k != "all" and n in names[k] else -1 for k, n in scopes], np.int64),
        np.array([periods[cap.calendar] for cap in caps], np.int64),
        np.array([float(cap.window_minutes or 0) for cap in caps], np.float64),
        np.array([cap.max for cap in caps], np.int64),
        float(limits.min_gap_minutes),
        fatigue.half_life_hours * 60.0 if fatigue else 1.0,
        np.array([by_channel.get(name, 0.0) for name in names["channel"]], np.float64),
        fatigue.max_points if fatigue else np.inf,
    )


def _details(limits: Limits, broken: windows.Broken, kept: _Kept) -> Iterator[str]:
    """The numbers of each broken rule, as the rest of a JSON object; empty where there are none."""
    of_cap = []
    for name, cap in limits.caps.items():
        window = f'"window_minutes": {cap.window_minutes}' if cap.window_minutes else f'"calendar": "{cap.calendar}"'
        of_cap.append((f', "rule": {json.dumps(f"cap:{name}")}, "scope": {json.dumps(cap.scope)}, {window}', cap.max))
    campaigns = [json.dumps(str(name)) for name in kept.campaigns]
    columns = (column.tolist() for column in broken)
    for kind, which, used, planned, points in zip(*columns, strict=True):
        if kind == windows.USER_CAP:
            text, limit = of_cap[which]
            yield f'{text}, "used": {used}, "limit": {limit}, "planned": {planned}'
        elif kind == windows.MIN_GAP:
            near, minute = campaigns[kept.sends.campaign[which]], float(kept.sends.minute[which])
            to = f'"to_campaign": {near}, "to_minute": {minute!r}, "planned": {"true" if planned else "false"}'
            yield f', "rule": "min_gap", "minutes": {limits.min_gap_minutes}, {to}'
        elif kind == windows.FATIGUE and limits.fatigue is not None:
            yield f', "rule": "fatigue", "points": {points!r}, "limit": {limits.fatigue.max_points!r}'
        else:
            yield ""


def _rows_of_names(names: Texts, row_of: dict[str, int]) -> Ints:
    """(M,) the row of each name, -1 where it has none."""
    code, unique = pd.factorize(names)
    rows = np.array([row_of.get(str(name), -1) for name in unique], np.int64)
    return rows[code] if len(unique) else np.empty(0, np.int64)
