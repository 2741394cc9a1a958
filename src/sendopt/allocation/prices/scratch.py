"""Arguments of the kernels of a best response: prices, and the working memory of one thread.

The constants are globals of compiled kernels; they bound memory and work of one answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.prices.instance import Instance
from sendopt.stats.arrays import Floats

MAX_STATES = 4096  # states of a slot in the relaxation's table
MAX_TRACKED = 16  # identities and caps that the relaxation tracks
MAX_LABELS = 4096  # labels open at a time; once so many were made, only MOST_NARROW stay open
MOST_NARROW = 128
FAST, TRACKED, SEARCHED, CUT = range(4)  # the path to an answer, by rising cost
LEAST = 1e-12  # worth of a send after prices, units


class Prices(NamedTuple):
    """Prices that a send pays; inf shuts it out."""

    capacity: Floats  # (channels * n_slots,)
    campaign: Floats  # (campaigns,) price of the maximum less that of the minimum
    opt_outs: float  # per expected opt-out
    cost: float  # per unit of money
    most_opt_out: float  # most that one send may use
    most_cost: float  # most that one send may use


class Labels(NamedTuple):
    """Plans under way: the last send of each, and the state of the rules after all its sends."""

    value: Floats
    points: Floats  # of fatigue just after the last send
    step: NDArray[np.int64]  # of fatigue, as a relaxation rounds it
    rent: Floats  # of the identities not sent yet
    state: NDArray[np.int64]
    identities: NDArray[np.int64]  # bits; of those beyond 62 several share one
    item: NDArray[np.int64]  # the last item
    items: NDArray[np.int64]  # (labels, messages) all items, in time order
    free: NDArray[np.int64]  # labels given back
    sends: NDArray[np.int64]
    next: NDArray[np.int64]  # first group that the gap allows
    active: NDArray[np.int64]  # open labels
    reach: Floats  # the most that an active label may end at
    caps: NDArray[np.int64]  # caps that may bind


class Scratch(NamedTuple):
    """Working memory of one thread, for the largest user."""

    cell: NDArray[np.int64]  # of an item
    message: NDArray[np.int64]  # of an item
    slot: NDArray[np.int64]  # of an item
    worth: Floats  # of an item, after prices
    group: NDArray[np.int64]  # group of an item: its slot, or itself where no gap keeps a slot's sends apart
    first: NDArray[np.int64]  # first item of a group
    after: NDArray[np.int64]  # first group that the gap allows after this one
    spare: NDArray[np.int64]
    place: NDArray[np.int64]
    by_slot: NDArray[np.int64]
    table: Floats  # (groups * states) of `relaxation`
    tired: Floats  # (groups * levels * messages) of `fatigue`
    path: NDArray[np.int64]  # items of the relaxed answer
    best: NDArray[np.int64]  # cells of the answer
    tracked: NDArray[np.int64]  # identity >= 0, or -1 - cap
    stride: NDArray[np.int64]
    radix: NDArray[np.int64]
    rent: Floats  # (messages,) by identity
    times: NDArray[np.int64]  # (messages,) that a relaxed answer sends an identity
    pick: NDArray[np.int64]  # (groups * channels) item
    net: Floats  # (groups * channels) worth of that item after rent
    moves: NDArray[np.int64]  # (messages * states) state after a message; -1 where a tracked rule forbids it
    dense: Floats  # (messages * n_slots) worth by slot
    early: Floats  # (messages * n_slots) best worth up to a slot
    tops: Floats  # (messages,) of a pair
    kept: NDArray[np.int64]
    labels: Labels
    limit: NDArray[np.int64]  # (1,) labels open at a time once many were made; below MOST_NARROW: at any time


def scratch_for(d: Instance) -> Scratch:
    """Return working memory for the user with the most cells and the user with the most messages."""
    cells = int(np.diff(d.cell_start[d.message_start]).max(initial=1)) + 1
    messages = int(np.diff(d.message_start).max(initial=1)) + 2
    slots = d.rules.n_slots
    states = max(MAX_STATES, messages)
    groups = min(cells, slots) + 1 if d.rules.spacing_minutes > 0 else cells + 1
    picks = groups * len(d.rules.points) if d.rules.levels > 1 else 0
    return Scratch(
        cell=_ints(cells),
        message=_ints(cells),
        slot=_ints(cells),
        worth=np.zeros(cells),
        group=_ints(cells),
        first=_ints(cells + 1),
        after=_ints(cells),
        spare=_ints(cells),
        place=_ints(cells),
        by_slot=_ints(slots + 1),
        table=np.zeros(groups * states + cells),
        tired=np.zeros(groups * d.rules.levels * messages),
        path=_ints(messages),
        best=_ints(messages),
        tracked=_ints(MAX_TRACKED),
        stride=_ints(MAX_TRACKED),
        radix=_ints(MAX_TRACKED),
        rent=np.zeros(messages),
        times=_ints(messages),
        pick=_ints(picks),
        net=np.zeros(picks),
        moves=_ints(messages * states),
        dense=np.zeros(messages * slots),
        early=np.zeros(messages * slots),
        tops=np.zeros(messages),
        kept=_ints(messages),
        labels=_labels_for(messages, len(d.rules.cap_max)),
        limit=np.full(1, MOST_NARROW, np.int64),
    )


def _labels_for(messages: int, caps: int) -> Labels:
    """Return MAX_LABELS labels for plans of at most `messages` sends under so many caps."""
    n = MAX_LABELS
    return Labels(
        value=np.zeros(n),
        points=np.zeros(n),
        step=_ints(n),
        rent=np.zeros(n),
        state=_ints(n),
        identities=_ints(n),
        item=_ints(n),
        items=np.zeros((n, messages), np.int64),
        free=_ints(n),
        sends=_ints(n),
        next=_ints(n),
        active=_ints(n),
        reach=np.zeros(n),
        caps=_ints(caps),
    )


def _ints(n: int) -> NDArray[np.int64]:
    return np.zeros(n, np.int64)
