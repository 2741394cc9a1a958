"""Repair and fill: sends that overfill rows are moved or dropped, room that is left is filled (model ¶11).

In kernels: d instance; u user, m message, c cell, k campaign; p prices of a send; w working memory of a thread.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sendopt.allocation.coupling import ROUNDING, up_to
from sendopt.allocation.prices.best_response import respond
from sendopt.allocation.prices.instance import Instance
from sendopt.allocation.prices.market import NONE, Market, message_of
from sendopt.allocation.prices.params import SolveParams
from sendopt.allocation.prices.scratch import LEAST, Prices, Scratch
from sendopt.allocation.prices.user_rules import cost_of, opt_out_of
from sendopt.compiled import entry, kernel
from sendopt.stats.arrays import Flags, Floats, Ints


class Room(NamedTuple):
    """Room left in each row by a plan, as `Prices` are laid out; inf where there is no row, negative where overfull."""

    capacity: Floats  # (channels * n_slots,) sends
    campaign: Floats  # (campaigns,) sends to the maximum
    missing: Floats  # (campaigns,) sends missing to the minimum; negative beyond it, -inf where there is none
    budgets: Floats  # (2,) opt-outs, cost; with the rounding of their sums


class Pricing(NamedTuple):
    """Prices of a revision, and the share of them that counts."""

    prices: Prices
    shortfall: Floats  # (campaigns,) price of a missing send
    open_share: float  # of a row's price where it has room
    own_share: float  # of the price of a full row, for the sends that are in it already


def room_after(market: Market, use: Floats) -> Room:
    """Return the room that `use` (R,) leaves in each row."""
    rest = np.append(market.rows.room - use, np.inf)
    rows = market.rows
    missing = np.append(rest[:-1], -np.inf)
    return Room(
        rest[market.capacity_row],
        rest[market.max_row],
        missing[market.min_row],
        np.append(up_to(rows.room) - use, np.inf)[[rows.opt_outs, rows.cost]],
    )


def copy_room(room: Room) -> Room:
    """Return a copy of `room` that shares no array with it."""
    return Room(*(part.copy() for part in room))


@kernel()
def _move(d: Instance, u: int, c: int, sends: float, room: Room) -> None:
    """Take `sends` of cell c out of the room."""
    m = message_of(d, u, c)
    room.capacity[d.channel[m] * d.rules.n_slots + d.slot[c]] -= sends
    room.campaign[d.campaign[m]] -= sends
    room.missing[d.campaign[m]] -= sends
    room.budgets[0] -= sends * opt_out_of(d, c, m)
    room.budgets[1] -= sends * cost_of(d, c, m)


@kernel()
def _open_price(room: float, price: float) -> float:
    """Return the price of a row with this room: inf where not even one send fits."""
    return price if room >= 1.0 else np.inf


@kernel()
def _campaign_price(pricing: Pricing, room: Room, k: int, share: float) -> float:
    """Return the price of a send of campaign k, less the shortfall price where its minimum is missed."""
    price = _open_price(room.campaign[k], share * max(pricing.prices.campaign[k], 0.0))
    return price - pricing.shortfall[k] if room.missing[k] > 0.0 else price


@entry(fastmath={"nnan", "nsz"})
def revise(
    d: Instance,
    pricing: Pricing,
    order: Ints,
    must: bool,
    apply: bool,
    plan: Ints,
    room: Room,
    gains: Floats,
    w: Scratch,
    capacity: Floats,
    campaign: Floats,
    old: Ints,
) -> int:
    """Return the number of users whose plan would change, or (`apply`) has changed; `gains` (len(order),) of each.

    Each user of `order` in turn gives back what they use, and takes the best response that fits into the room. With
    `must` those who use an overfull row respond, whatever it costs them; otherwise those who gain. The last three
    arguments are working memory: prices of the rows (as `Prices`), and the user's old cells.
    """
    p, slots = pricing.prices, d.rules.n_slots
    for i in range(len(capacity)):
        capacity[i] = _open_price(room.capacity[i], pricing.open_share * p.capacity[i])
    for k in range(len(campaign)):
        campaign[k] = _campaign_price(pricing, room, k, pricing.open_share)
    changed = 0
    for x in range(len(order)):
        u = order[x]
        n_old = 0
        over = room.budgets[0] < 0.0 or room.budgets[1] < 0.0
        while n_old < plan.shape[1] and plan[u, n_old] != NONE:
            c = plan[u, n_old]
            old[n_old] = c
            n_old += 1
            over = over or (must and _overfills(d, c, message_of(d, u, c), room))
        if must and (not over or n_old == 0):
            continue
        _give_back(d, u, old, n_old, pricing, room, capacity, campaign)
        share = pricing.own_share
        now = Prices(capacity, campaign, share * p.opt_outs, share * p.cost, room.budgets[0], room.budgets[1])
        old_worth, value_gain = 0.0, 0.0
        for i in range(n_old):
            c = old[i]
            value_gain -= _true_value(d, pricing, room, c, message_of(d, u, c))
            m = message_of(d, u, c)
            at, k = d.channel[m] * slots + d.slot[c], d.campaign[m]
            # a row that stays overfull is shut, yet what its sends are worth decides who leaves it
            old_worth += d.value[c] - (p.capacity[at] if np.isinf(capacity[at]) else capacity[at])
            old_worth -= p.campaign[k] if np.isinf(campaign[k]) else campaign[k]
            old_worth -= now.opt_outs * opt_out_of(d, c, m)
            old_worth -= now.cost * cost_of(d, c, m)
        n, new_worth, _, _ = respond(d, now, u, w)
        gains[x] = new_worth - old_worth
        for i in range(n):
            value_gain += _true_value(d, pricing, room, w.best[i], message_of(d, u, w.best[i]))
        accepted = must or (new_worth > old_worth + ROUNDING and value_gain > ROUNDING)
        changed += accepted
        kept = 0
        if accepted and apply:
            kept = _take_fitting(d, u, n, w, room)
            if kept < n and not must:
                for i in range(kept):
                    _move(d, u, w.place[i], -1.0, room)
                accepted, kept = False, 0
                changed -= 1
        if accepted and apply:
            for i in range(plan.shape[1]):
                plan[u, i] = w.place[i] if i < kept else NONE
        else:
            kept = n_old
            for i in range(n_old):
                _move(d, u, old[i], 1.0, room)
        for i in range(n_old):
            _reprice(d, u, old[i], pricing, room, capacity, campaign)
        for i in range(kept):
            if plan[u, i] != NONE:
                _reprice(d, u, plan[u, i], pricing, room, capacity, campaign)
    return changed


@kernel()
def _give_back(
    d: Instance, u: int, old: Ints, n_old: int, pricing: Pricing, room: Room, capacity: Floats, campaign: Floats
) -> None:
    """Return the user's old cells to the room; rows that were full get the price for the sends already in them."""
    p = pricing.prices
    for i in range(n_old):
        m = message_of(d, u, old[i])
        at, k = d.channel[m] * d.rules.n_slots + d.slot[old[i]], d.campaign[m]
        full, spent = room.capacity[at] < 1.0, room.campaign[k] < 1.0
        _move(d, u, old[i], -1.0, room)
        share = pricing.own_share if full else pricing.open_share
        capacity[at] = _open_price(room.capacity[at], share * p.capacity[at])
        campaign[k] = _campaign_price(pricing, room, k, pricing.own_share if spent else pricing.open_share)


@kernel()
def _take_fitting(d: Instance, u: int, n: int, w: Scratch, room: Room) -> int:
    """Move the n cells of w.best that fit into the room; return their number, with the cells in w.place."""
    kept = 0
    for i in range(n):
        m = message_of(d, u, w.best[i])
        if _fits(d, w.best[i], m, room):
            _move(d, u, w.best[i], 1.0, room)
            w.place[kept] = w.best[i]
            kept += 1
    return kept


@kernel()
def _true_value(d: Instance, pricing: Pricing, room: Room, c: int, m: int) -> float:
    """Return the value of cell c, with the shortfall price where its campaign's minimum is missed."""
    k = d.campaign[m]
    return d.value[c] + (pricing.shortfall[k] if room.missing[k] > 0.0 else 0.0)


@kernel()
def _fits(d: Instance, c: int, m: int, room: Room) -> bool:
    """Return whether cell c fits into the room: two sends of one user may want the same last place."""
    return (
        room.capacity[d.channel[m] * d.rules.n_slots + d.slot[c]] >= 1.0
        and room.campaign[d.campaign[m]] >= 1.0
        and room.budgets[0] >= opt_out_of(d, c, m)
        and room.budgets[1] >= cost_of(d, c, m)
    )


@kernel()
def _overfills(d: Instance, c: int, m: int, room: Room) -> bool:
    """Return whether cell c stands in a slot or campaign that holds too many sends."""
    at = d.channel[m] * d.rules.n_slots + d.slot[c]
    return room.capacity[at] < -ROUNDING or room.campaign[d.campaign[m]] < -ROUNDING


@kernel()
def _reprice(d: Instance, u: int, c: int, pricing: Pricing, room: Room, capacity: Floats, campaign: Floats) -> None:
    """Set the prices of the rows of cell c to those of their room now."""
    m = message_of(d, u, c)
    at, k = d.channel[m] * d.rules.n_slots + d.slot[c], d.campaign[m]
    capacity[at] = _open_price(room.capacity[at], pricing.open_share * pricing.prices.capacity[at])
    campaign[k] = _campaign_price(pricing, room, k, pricing.open_share)


@entry()
def mark_overfull(d: Instance, plan: Ints, room: Room, is_over: Flags) -> None:
    """Mark in `is_over` (U,) the users with a send in an overfull row."""
    for u in range(len(plan)):
        for i in range(plan.shape[1]):
            c = plan[u, i]
            if c == NONE:
                break
            m = message_of(d, u, c)
            if (
                _overfills(d, c, m, room)
                or (room.budgets[0] < 0.0 and opt_out_of(d, c, m) > 0.0)
                or (room.budgets[1] < 0.0 and cost_of(d, c, m) > 0.0)
            ):
                is_over[u] = True


def run_revision(
    market: Market, pricing: Pricing, order: Ints, must: bool, apply: bool, plan: Ints, room: Room, gains: Floats
) -> int:
    """Run `revise` with working memory of its own."""
    memory = np.empty(len(room.capacity)), np.empty(len(room.campaign)), np.empty(plan.shape[1], np.int64)
    return int(revise(market.d, pricing, order, must, apply, plan, room, gains, market.scratch(), *memory))


def repair(market: Market, by_row: Floats, plan: Ints, use: Floats, params: SolveParams) -> Room:
    """Return the room left once no row is overfull; `plan` (U, width) is changed in place.

    `by_row` (R,) are the prices, `use` (R,) is what `plan` uses. Users of least regret move first.
    """
    room = room_after(market, use)
    prices = market.prices(by_row)
    shortfall = shortfall_by_campaign(market)
    for attempt in range(params.evictions + 1):
        if not _is_over(room):
            return room
        is_over = np.zeros(len(plan), np.bool_)
        mark_overfull(market.d, plan, room, is_over)
        over = np.flatnonzero(is_over).astype(np.int64)
        factor = params.eviction_growth**attempt if attempt < params.evictions else np.inf
        pricing = Pricing(_raise_budget_prices(prices, room, factor), shortfall, 1.0, 1.0)
        gains = np.zeros(len(over))
        run_revision(market, pricing, over, True, False, plan, copy_room(room), gains)
        order = over[np.lexsort((over, -gains))]
        run_revision(market, pricing, order, True, True, plan, room, np.zeros(len(order)))
    return room


def _is_over(room: Room) -> bool:
    sends = min(room.capacity.min(initial=0.0), room.campaign.min(initial=0.0))
    return bool(sends < -ROUNDING or room.budgets.min() < 0.0)


def _raise_budget_prices(prices: Prices, room: Room, factor: float) -> Prices:
    """Return `prices` with overfull budgets at a higher price; each send uses a little, so none need be shut."""

    def raised(price: float, rest: float) -> float:
        if rest >= 0.0:
            return price
        return np.inf if np.isinf(factor) else max(price, LEAST) * 1.1 * factor

    opt_outs, cost = raised(prices.opt_outs, room.budgets[0]), raised(prices.cost, room.budgets[1])
    return prices._replace(opt_outs=opt_outs, cost=cost)


def fill(market: Market, by_row: Floats, plan: Ints, room: Room, params: SolveParams) -> None:
    """Fill `room`: each user may take more or other sends, those who gain most first.

    `plan` (U, width) and `room` are changed in place. Each round asks for a lower share of the prices `by_row` (R,).
    """
    everyone = np.arange(market.n_users)
    for turn, share in enumerate(params.fill_shares):
        pricing = Pricing(market.prices(by_row), shortfall_by_campaign(market), share, share)
        gains = np.zeros(market.n_users)
        if not run_revision(market, pricing, everyone, False, False, plan, copy_room(room), gains):
            continue
        gaining = np.flatnonzero(gains > ROUNDING)
        order = gaining[np.lexsort((gaining, -gains[gaining]))].astype(np.int64)
        run_revision(market, pricing, order, False, True, plan, room, np.zeros(len(order)))
        if turn > 0 and gains[gaining].sum() < params.fill_tolerance * market.d.value[plan[plan != NONE]].sum():
            return


def shortfall_by_campaign(market: Market) -> Floats:
    """Return (campaigns,) the price of a missing send; 0 where there is no minimum."""
    return np.append(market.rows.shortfall_price, 0.0)[market.min_row]
