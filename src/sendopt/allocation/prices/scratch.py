"""What the kernels of a best response work on: prices, and the memory of one thread."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sendopt.allocation.prices.instance import Instance
from sendopt.stats.arrays import Floats

MAX_STATES = 4096  # per slot
MAX_TRACKED = 16
MAX_LABELS = 4096  # open at a time; once so many were made fewer stay open: ...
MOST_NARROW = 128  # ... so many
FAST, TRACKED, SEARCHED, CUT = range(4)  # how an answer was found
LEAST = 1e-12  # worth of a send after prices


class Prices(NamedTuple):
    """What a send pays; inf shuts it out."""

    capacity: Floats  # (channels * n_slots,)
    campaign: Floats  # (campaigns,) of the maximum less that of the minimum
    opt_outs: float  # per expected opt-out
    cost: float  # per unit of money
    most_opt_out: float  # a send may use no more
    most_cost: float


class Labels(NamedTuple):
    """Plans under way: the last send of each, and what all its sends make of the rules."""

    value: Floats
    points: Floats  # of fatigue just after the last send
    step: NDArray[np.int64]  # of fatigue, as a relaxation rounds it
    rent: Floats  # of the identities not sent yet
    state: NDArray[np.int64]
    identities: NDArray[np.int64]  # bits; of those beyond 62 several share one
    item: NDArray[np.int64]  # the last
    items: NDArray[np.int64]  # (labels, messages) all, in time order
    free: NDArray[np.int64]
    sends: NDArray[np.int64]
    next: NDArray[np.int64]  # first group that the gap allows
    active: NDArray[np.int64]
    reach: Floats  # the most that an active label may end at
    caps: NDArray[np.int64]  # that may bind


class Scratch(NamedTuple):
    """Working memory of one thread, for the largest user."""

    cell: NDArray[np.int64]
    message: NDArray[np.int64]
    slot: NDArray[np.int64]
    worth: Floats
    group: NDArray[np.int64]  # group of an item: its slot, or itself where no gap keeps a slot's sends apart
    first: NDArray[np.int64]  # first item of a group
    after: NDArray[np.int64]  # first group that the gap allows after this one
    spare: NDArray[np.int64]
    place: NDArray[np.int64]
    by_slot: NDArray[np.int64]
    table: Floats
    tired: Floats
    path: NDArray[np.int64]
    best: NDArray[np.int64]
    tracked: NDArray[np.int64]  # identity >= 0, or -1 - cap
    stride: NDArray[np.int64]
    radix: NDArray[np.int64]
    rent: Floats  # (messages,) by identity
    times: NDArray[np.int64]  # (messages,) that a relaxed answer sends an identity
    pick: NDArray[np.int64]  # (groups * channels) item
    net: Floats  # its worth after rent
    moves: NDArray[np.int64]  # (messages * states) state after a message; -1 where a tracked rule forbids it
    dense: Floats  # (messages * n_slots) worth by slot
    early: Floats  # (messages * n_slots) best worth up to a slot
    tops: Floats  # (messages,) of a pair
    kept: NDArray[np.int64]
    labels: Labels
    limit: NDArray[np.int64]  # (1,) labels open at a time once many were made; below MOST_NARROW: at any time


def scratch_for(d: Instance) -> Scratch:
    """Memory for the user with the most cells."""
    cells = int(np.diff(d.cell_start[d.message_start]).max(initial=1)) + 1
    messages = int(np.diff(d.message_start).max(initial=1)) + 2

    def ints(n: int) -> NDArray[np.int64]:
        return np.zeros(n, np.int64)

    slots = d.rules.n_slots
    states = max(MAX_STATES, messages)
    groups = min(cells, slots) + 1 if d.rules.spacing_minutes > 0 else cells + 1
    picks = groups * len(d.rules.points) if d.rules.levels > 1 else 0
    n = MAX_LABELS
    labels = Labels(
        value=np.zeros(n),
        points=np.zeros(n),
        step=ints(n),
        rent=np.zeros(n),
        state=ints(n),
        identities=ints(n),
        item=ints(n),
        items=np.zeros((n, messages), np.int64),
        free=ints(n),
        sends=ints(n),
        next=ints(n),
        active=ints(n),
        reach=np.zeros(n),
        caps=ints(len(d.rules.cap_max)),
    )
    return Scratch(
        ints(cells),
        ints(cells),
        ints(cells),
        np.zeros(cells),
        ints(cells),
        ints(cells + 1),
        ints(cells),
        ints(cells),
        ints(cells),
        ints(slots + 1),
        np.zeros(groups * states + cells),
        np.zeros(groups * d.rules.levels * messages),
        ints(messages),
        ints(messages),
        ints(MAX_TRACKED),
        ints(MAX_TRACKED),
        ints(MAX_TRACKED),
        np.zeros(messages),
        ints(messages),
        ints(picks),
        np.zeros(picks),
        ints(messages * states),
        np.zeros(messages * slots),
        np.zeros(messages * slots),
        np.zeros(messages),
        ints(messages),
        labels,
        np.full(1, MOST_NARROW, np.int64),
    )
