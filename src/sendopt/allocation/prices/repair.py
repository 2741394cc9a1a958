"""A plan made to fit: sends that overfill rows are moved or dropped, room that is left is filled (model ¶11)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.coupling import ROUNDING, up_to
from sendopt.allocation.prices.best_response import respond
from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.market import NONE, Market, message_of
from sendopt.allocation.prices.scratch import LEAST, Prices, Scratch
from sendopt.allocation.prices.user_rules import cost_of, opt_out_of
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Floats, Ints

EVICTIONS = 12  # rounds; each makes what is still overfull dearer
LITTLE = 1e-6  # of the plan's value: a round that gains no more is the last
FILLS = (1.0, 0.9, 0.5, 0.0, 0.0)  # of the prices that a send into free room must be worth


class Left(NamedTuple):
    """What a plan leaves of each row, as `Prices` are laid out; inf where there is no row, negative where overfull."""

    capacity: Floats
    campaign: Floats  # of the maximum
    missing: Floats  # (campaigns,) sends missing to the minimum; negative beyond it, -inf where there is none
    budgets: Floats  # (2,) opt-outs, cost; with the rounding of their sums


class Pay(NamedTuple):
    """How prices count in a revision."""

    prices: Prices
    shortfall: Floats  # (campaigns,) price of a missing send
    open_share: float  # of a row's price where it has room
    own_share: float  # of the price of a full row for the sends that are in it already


def left_by(market: Market, use: Floats) -> Left:
    """What `use` (R,) leaves."""
    rest = np.append(market.rows.room - use, np.inf)
    rows = market.rows
    missing = np.append(rest[:-1], -np.inf)
    return Left(
        rest[market.capacity_row],
        rest[market.max_row],
        missing[market.min_row],
        np.append(up_to(rows.room) - use, np.inf)[[rows.opt_outs, rows.cost]],
    )


@kernel()
def _move(d: Instance, u: int, c: int, sends: float, left: Left) -> None:
    """Takes `sends` of cell c out of what is left."""
    m = message_of(d, u, c)
    left.capacity[d.channel[m] * d.rules.n_slots + d.slot[c]] -= sends
    left.campaign[d.campaign[m]] -= sends
    left.missing[d.campaign[m]] -= sends
    left.budgets[0] -= sends * opt_out_of(d, c, m)
    left.budgets[1] -= sends * cost_of(d, c, m)


@kernel()
def _open_price(left: float, price: float) -> float:
    return price if left >= 1.0 else np.inf


@kernel()
def _campaign_price(pay: Pay, left: Left, k: int, share: float) -> float:
    price = _open_price(left.campaign[k], share * max(pay.prices.campaign[k], 0.0))
    return price - pay.shortfall[k] if left.missing[k] > 0.0 else price


@entry(fastmath={"nnan", "nsz"})
def revise(
    d: Instance,
    pay: Pay,
    order: Ints,
    must: bool,
    apply: bool,
    plan: Ints,
    left: Left,
    gains: Floats,
    w: Scratch,
    capacity: Floats,
    campaign: Floats,
    old: Ints,
) -> int:
    """Number of users whose plan would change, or (apply) has changed; `gains` (users of `order`) of each.

    Each user in turn gives back what they use and takes the best that fits into what is left. With `must` those who
    use an overfull row, whatever it costs them; otherwise those who gain. The last three arguments are working memory.
    """
    p, slots = pay.prices, d.rules.n_slots
    for i in range(len(capacity)):
        capacity[i] = _open_price(left.capacity[i], pay.open_share * p.capacity[i])
    for k in range(len(campaign)):
        campaign[k] = _campaign_price(pay, left, k, pay.open_share)
    changed = 0
    for x in range(len(order)):
        u = order[x]
        n_old = 0
        over = left.budgets[0] < 0.0 or left.budgets[1] < 0.0
        while n_old < plan.shape[1] and plan[u, n_old] != NONE:
            c = plan[u, n_old]
            old[n_old] = c
            n_old += 1
            over = over or (must and _overfills(d, c, message_of(d, u, c), left))
        if must and (not over or n_old == 0):
            continue
        for i in range(n_old):
            m = message_of(d, u, old[i])
            at, k = d.channel[m] * slots + d.slot[old[i]], d.campaign[m]
            full, spent = left.capacity[at] < 1.0, left.campaign[k] < 1.0
            _move(d, u, old[i], -1.0, left)
            capacity[at] = _open_price(left.capacity[at], (pay.own_share if full else pay.open_share) * p.capacity[at])
            campaign[k] = _campaign_price(pay, left, k, pay.own_share if spent else pay.open_share)
        share = pay.own_share
        now = Prices(capacity, campaign, share * p.opt_outs, share * p.cost, left.budgets[0], left.budgets[1])
        worth, value = 0.0, 0.0
        for i in range(n_old):
            c = old[i]
            value -= _true_value(d, pay, left, c, message_of(d, u, c))
            m = message_of(d, u, c)
            at, k = d.channel[m] * slots + d.slot[c], d.campaign[m]
            # a row that stays overfull is shut, yet what its sends are worth decides who leaves it
            worth += d.value[c] - (p.capacity[at] if np.isinf(capacity[at]) else capacity[at])
            worth -= p.campaign[k] if np.isinf(campaign[k]) else campaign[k]
            worth -= now.opt_outs * opt_out_of(d, c, m)
            worth -= now.cost * cost_of(d, c, m)
        n, found, _, _ = respond(d, now, u, w)
        gains[x] = found - worth
        for i in range(n):
            value += _true_value(d, pay, left, w.best[i], message_of(d, u, w.best[i]))
        better = must or (found > worth + ROUNDING and value > ROUNDING)
        changed += better
        kept = 0
        if better and apply:
            for i in range(n):
                m = message_of(d, u, w.best[i])
                if _fits(d, w.best[i], m, left):
                    _move(d, u, w.best[i], 1.0, left)
                    w.place[kept] = w.best[i]
                    kept += 1
            if kept < n and not must:
                for i in range(kept):
                    _move(d, u, w.place[i], -1.0, left)
                better, kept = False, 0
                changed -= 1
        if better and apply:
            for i in range(plan.shape[1]):
                plan[u, i] = w.place[i] if i < kept else NONE
        else:
            kept = n_old
            for i in range(n_old):
                _move(d, u, old[i], 1.0, left)
        for i in range(n_old):
            _reprice(d, u, old[i], pay, left, capacity, campaign)
        for i in range(kept):
            if plan[u, i] != NONE:
                _reprice(d, u, plan[u, i], pay, left, capacity, campaign)
    return changed


@kernel()
def _true_value(d: Instance, pay: Pay, left: Left, c: int, m: int) -> float:
    k = d.campaign[m]
    return d.value[c] + (pay.shortfall[k] if left.missing[k] > 0.0 else 0.0)


@kernel()
def _fits(d: Instance, c: int, m: int, left: Left) -> bool:
    """Two sends of one user may want the same last place."""
    return (
        left.capacity[d.channel[m] * d.rules.n_slots + d.slot[c]] >= 1.0
        and left.campaign[d.campaign[m]] >= 1.0
        and left.budgets[0] >= opt_out_of(d, c, m)
        and left.budgets[1] >= cost_of(d, c, m)
    )


@kernel()
def _overfills(d: Instance, c: int, m: int, left: Left) -> bool:
    """Does the send stand in a slot or campaign that holds too many?"""
    at = d.channel[m] * d.rules.n_slots + d.slot[c]
    return left.capacity[at] < -ROUNDING or left.campaign[d.campaign[m]] < -ROUNDING


@kernel()
def _reprice(d: Instance, u: int, c: int, pay: Pay, left: Left, capacity: Floats, campaign: Floats) -> None:
    m = message_of(d, u, c)
    at, k = d.channel[m] * d.rules.n_slots + d.slot[c], d.campaign[m]
    capacity[at] = _open_price(left.capacity[at], pay.open_share * pay.prices.capacity[at])
    campaign[k] = _campaign_price(pay, left, k, pay.open_share)


@entry()
def users_over(d: Instance, plan: Ints, left: Left, found: NDArray[np.bool_]) -> None:
    """Marks in `found` (U,) users with a send in an overfull row."""
    for u in range(len(plan)):
        for i in range(plan.shape[1]):
            c = plan[u, i]
            if c == NONE:
                break
            m = message_of(d, u, c)
            if (
                _overfills(d, c, m, left)
                or (left.budgets[0] < 0.0 and opt_out_of(d, c, m) > 0.0)
                or (left.budgets[1] < 0.0 and cost_of(d, c, m) > 0.0)
            ):
                found[u] = True


def revision(
    market: Market, pay: Pay, order: Ints, must: bool, apply: bool, plan: Ints, left: Left, gains: Floats
) -> int:
    """`revise` with its working memory."""
    memory = np.empty(len(left.capacity)), np.empty(len(left.campaign)), np.empty(plan.shape[1], np.int64)
    return int(revise(market.d, pay, order, must, apply, plan, left, gains, market.scratch(), *memory))


def make_fit(market: Market, by_row: Floats, plan: Ints, use: Floats) -> Left:
    """What is left once no row is overfull; `plan` (U, width) is changed in place, users of least regret first."""
    left = left_by(market, use)
    prices = market.prices(by_row)
    shortfall = shortfall_by_campaign(market)
    for attempt in range(EVICTIONS + 1):
        if not _is_over(left):
            return left
        found = np.zeros(len(plan), np.bool_)
        users_over(market.d, plan, left, found)
        over = np.flatnonzero(found).astype(np.int64)
        dearer = _dearer(prices, left, 1.5**attempt if attempt < EVICTIONS else np.inf)
        pay = Pay(dearer, shortfall, 1.0, 1.0)
        gains = np.zeros(len(over))
        trial = Left(*(part.copy() for part in left))
        revision(market, pay, over, True, False, plan, trial, gains)
        order = over[np.lexsort((over, -gains))]
        revision(market, pay, order, True, True, plan, left, np.zeros(len(order)))
    return left


def _is_over(left: Left) -> bool:
    sends = min(left.capacity.min(initial=0.0), left.campaign.min(initial=0.0))
    return bool(sends < -ROUNDING or left.budgets.min() < 0.0)


def _dearer(prices: Prices, left: Left, factor: float) -> Prices:
    """Budgets that are overfull at a higher price: no one row is shut where each send uses a little."""

    def more(price: float, rest: float) -> float:
        if rest >= 0.0:
            return price
        return np.inf if np.isinf(factor) else max(price, LEAST) * 1.1 * factor

    return prices._replace(opt_outs=more(prices.opt_outs, left.budgets[0]), cost=more(prices.cost, left.budgets[1]))


def fill(market: Market, by_row: Floats, plan: Ints, left: Left) -> None:
    """Uses what is left: each user may take more or other sends; those who gain most come first."""
    everyone = np.arange(market.n_users)
    for turn, share in enumerate(FILLS):
        pay = Pay(market.prices(by_row), shortfall_by_campaign(market), share, share)
        gains = np.zeros(market.n_users)
        trial = Left(*(part.copy() for part in left))
        if not revision(market, pay, everyone, False, False, plan, trial, gains):
            continue
        who = np.flatnonzero(gains > ROUNDING)
        order = who[np.lexsort((who, -gains[who]))].astype(np.int64)
        revision(market, pay, order, False, True, plan, left, np.zeros(len(order)))
        if turn > 0 and gains[who].sum() < LITTLE * market.d.value[plan[plan != NONE]].sum():
            return


def shortfall_by_campaign(market: Market) -> Floats:
    """(campaigns,) the price of a missing send."""
    return np.append(market.rows.shortfall_price, 0.0)[market.min_row]
