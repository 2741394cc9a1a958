"""Best responses of many users at given prices, summed in a fixed order (model ¶11, ¶14).

In kernels: d instance; u user, m message, c cell; p prices of a send; w working memory of a thread.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sendopt.allocation.prices.best_response import respond
from sendopt.allocation.prices.course import Course
from sendopt.allocation.prices.instance import Compiled, Instance
from sendopt.allocation.prices.scratch import CUT, FAST, SEARCHED, Prices, Scratch, scratch_for
from sendopt.allocation.prices.user_rules import cost_of, opt_out_of
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Flags, Floats, Ints

BLOCK = 1 << 14  # users summed together; fixed, so that sums do not depend on threads
DECIMALS = 10  # of prices: the grid of ¶14
NONE = -1  # no cell, no row
_BOUND, _VALUE, _OPT_OUTS, _COST, _SLOW, _SEARCHED, _CUT = range(7)


class Use(NamedTuple):
    """Use of the rows by responses, as `Prices` are laid out."""

    capacity: Floats
    campaign: Floats
    totals: Floats  # (7,) by _BOUND ... _CUT


@dataclass(frozen=True)
class Response:
    """All users' best responses at one price vector, in the market's units unless said otherwise."""

    prices: Floats  # (R,)
    bound: float  # D(prices) over the users asked
    value: float
    use: Floats  # (R,)
    slow: int  # users who left the fast path
    searched: int  # of them, those for whom labels decided
    cut: int


@entry(fastmath={"nnan", "nsz"})
def sweep(
    d: Instance, p: Prices, first: int, last: int, w: Scratch, plan: Ints, worth: Floats, use: Use, who: Flags
) -> None:
    """Add the responses of users first..last - 1 to `use`; of these only those that `who` (U,) marks.

    Their cells are written to `plan` (U, width), their worth after prices to `worth` (U,). Each of the three arrays may
    be empty: then all users respond, or nothing is written.
    """
    slots = d.rules.n_slots
    for u in range(first, last):
        if len(who) and not who[u]:
            continue
        n, worth_after, bound, path = respond(d, p, u, w)
        use.totals[_BOUND] += bound
        use.totals[_SLOW] += path != FAST
        use.totals[_SEARCHED] += path >= SEARCHED
        use.totals[_CUT] += path == CUT
        for i in range(n):
            c = w.best[i]
            m = message_of(d, u, c)
            use.capacity[d.channel[m] * slots + d.slot[c]] += 1.0
            use.campaign[d.campaign[m]] += 1.0
            use.totals[_VALUE] += d.value[c]
            use.totals[_OPT_OUTS] += opt_out_of(d, c, m)
            use.totals[_COST] += cost_of(d, c, m)
        if len(worth):
            worth[u] = worth_after
        if len(plan):
            for i in range(plan.shape[1]):
                plan[u, i] = w.best[i] if i < n else NONE


@kernel(inline="always")
def message_of(d: Instance, u: int, c: int) -> int:
    """Return the message of cell c of user u."""
    m = d.message_start[u]
    while d.cell_start[m + 1] <= c:
        m += 1
    return m


class Market:
    """The rows across users as the kernels see them, and sweeps over users. All in the units of `Compiled`."""

    def __init__(self, compiled: Compiled, threads: int = 1) -> None:
        d, rows = compiled.instance, compiled.units.rows(compiled.rows)
        self.unit = compiled.units.value
        self.row_unit = compiled.units.of_rows(rows)  # (R,)
        self.d, self.rows, self.threads = d, rows, threads
        self.n_users = len(d.most)
        self.width = int(max(1, min(d.most.max(initial=0), np.diff(d.message_start).max(initial=0))))
        self._scratch = [scratch_for(d) for _ in range(threads)]
        none = np.full(d.rules.n_slots, NONE)
        by_channel = [rows.capacity.get(name, none) for name in compiled.channels]
        self.capacity_row = np.concatenate([*by_channel, np.empty(0, np.int64)]).astype(np.int64)
        self.max_row = np.array([rows.campaign_max.get(n, NONE) for n in compiled.campaigns], np.int64)
        self.min_row = np.array([rows.campaign_min.get(n, NONE) for n in compiled.campaigns], np.int64)
        self.sign = np.where(rows.is_minimum, -1.0, 1.0)
        self.most_price = np.where(rows.is_minimum, rows.shortfall_price, np.inf)
        self.mean_use = np.ones(len(rows.names))  # (R,) of a row by a send
        for row, of_sends in ((rows.opt_outs, d.p_opt_out), (rows.cost, d.cost)):
            if row >= 0 and len(of_sends):
                self.mean_use[row] = max(float(of_sends.mean()), 1e-12)
        self.answers = 0  # responses of users, so far
        self.course = Course(self.n_users)

    def own_prices(self, stated: Floats) -> Floats:
        """Return (R,) prices in the market's units, from those in the problem's."""
        return stated / self.unit * self.row_unit

    def stated(self, response: Response) -> Response:
        """Return `response` in the problem's units."""
        return replace(
            response,
            prices=response.prices * self.unit / self.row_unit,
            bound=response.bound * self.unit,
            value=response.value * self.unit,
            use=response.use * self.row_unit,
        )

    def prices(self, by_row: Floats) -> Prices:
        """Return the prices of a send, from those of the rows (R,)."""
        padded = np.append(by_row, 0.0)  # NONE is the last
        rows = self.rows
        return Prices(
            padded[self.capacity_row],
            padded[self.max_row] - padded[self.min_row],
            float(padded[rows.opt_outs]),
            float(padded[rows.cost]),
            np.inf,
            np.inf,
        )

    def on_grid(self, by_row: Floats) -> Floats:
        """Return the nearest prices that prove a bound, on the grid of ¶14: a minimum's at most its shortfall price."""
        return np.clip(np.round(by_row, DECIMALS), 0.0, self.most_price)

    def empty_plan(self) -> Ints:
        """Return a plan (U, width) without sends."""
        return np.full((self.n_users, self.width), NONE, np.int64)

    def respond(
        self,
        by_row: Floats,
        users: int | None = None,
        plan: Ints | None = None,
        worth: Floats | None = None,
        who: Flags | None = None,
    ) -> Response:
        """Return the sum of the responses of the first `users` (all by default); only of those in `who` (U,) if given.

        Cells are written to `plan` (U, width), worths after prices to `worth` (U,), where given.
        """
        self.course.ask()
        n = self.n_users if users is None else users
        self.answers += n if who is None else int(who[:n].sum())
        use = self._sweep_all(
            self.prices(by_row),
            n,
            np.empty((0, 0), np.int64) if plan is None else plan,
            np.empty(0) if worth is None else worth,
            np.empty(0, np.bool_) if who is None else who,
        )
        rent = float((self.sign * by_row * self.rows.room).sum()) * (n / max(1, self.n_users))
        t = use.totals
        slow, searched, cut = (int(t[k]) for k in (_SLOW, _SEARCHED, _CUT))
        bound, value = float(t[_BOUND]) + rent, float(t[_VALUE])
        response = Response(by_row, bound, value, self.use_of(use), slow, searched, cut)
        self.course.answered(n, response if who is None else None)
        return response

    def _sweep_all(self, p: Prices, n: int, plan: Ints, worth: Floats, who: Flags) -> Use:
        """Return the use of the first n users: blocks on all threads, summed in the order of blocks."""
        starts = list(range(0, n, BLOCK))
        uses = [self._no_use() for _ in starts]

        def work(thread: int) -> None:
            for b in range(thread, len(starts), self.threads):
                last = min(n, starts[b] + BLOCK)
                sweep(self.d, p, starts[b], last, self._scratch[thread], plan, worth, uses[b], who)

        if self.threads == 1:
            work(0)
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(work, range(self.threads)))
        total = self._no_use()
        for use in uses:
            for part_total, part in zip(total, use, strict=True):
                part_total += part
        return total

    def answer(self, by_row: Floats, first: int, last: int, plan: Ints) -> Floats:
        """Return (R,) the use of the responses of users first..last - 1, and write them to `plan` (U, width)."""
        self.course.ask()
        use = self._no_use()
        self.answers += last - first
        self.course.answered(last - first, None)
        sweep(self.d, self.prices(by_row), first, last, self._scratch[0], plan, np.empty(0), use, np.empty(0, np.bool_))
        return self.use_of(use)

    def _no_use(self) -> Use:
        return Use(np.zeros(len(self.capacity_row)), np.zeros(len(self.max_row)), np.zeros(7))

    def use_of(self, use: Use) -> Floats:
        """Return (R,) the use by row."""
        by_row = np.zeros(len(self.rows.names) + 1)  # NONE is the last
        np.add.at(by_row, self.capacity_row, use.capacity)
        np.add.at(by_row, self.max_row, use.campaign)
        np.add.at(by_row, self.min_row, use.campaign)
        by_row[self.rows.opt_outs] += use.totals[_OPT_OUTS]
        by_row[self.rows.cost] += use.totals[_COST]
        return by_row[:-1]

    def scratch(self) -> Scratch:
        """Return the working memory of the first thread."""
        return self._scratch[0]
