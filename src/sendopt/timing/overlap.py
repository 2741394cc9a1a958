"""Overlap: which decisions of a log really had several possible slots, and whether the draws are as stated.

A batch is what goes out together: a campaign's decisions of one day, else a campaign's, else a day's. If all of a batch
goes out in one slot, a better time cannot be told from a better message, whatever `pscore` says. A single send in
another slot changes nothing. What counts is the diversity: the probability that two decisions of a batch, picked at
random, are in different slots. Under independent draws it is at least the mean of 1 − pscore in expectation, since
Σ_s (mean P(s))² <= mean Σ_s P(s)² (Jensen).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.timing.decisions import DecisionKind, Decisions, totals

LEAST_DIVERSITY = 0.03  # observed, and stated: about one decision in seventy outside the batch's main slot
LEAST_OF_STATED = 1 / 3  # of the diversity that the pscores state
ENOUGH = 20.0  # decisions expected outside the main slot before a batch, or a pool of batches, is judged
BALANCED, BY_CHANCE = 0.4, 1e-3  # with this diversity stated, a batch is judged alone if chance hardly gives one slot
LEAST_SHARE = 0.1  # of all decisions that must overlap; fewer would not represent the log
LEAST_EXCESS = 0.1  # of the stated diversity that must be missing before draws count as repeated
SIGMAS = 5.0


@dataclass(frozen=True)
class Overlap:
    """Flags of shape (N,) and the counts of batches.

    `several`: the decision's batch had several slots. `as_stated`: no slot of the batch was more frequent than its
    pscores allow. `batches`: number of judged batches; `one_slot`: those with one slot only. `by`: what a batch is.
    """

    several: Flags
    as_stated: Flags
    batches: int
    one_slot: int
    by: str

    @property
    def usable(self) -> Flags:
        """Decisions that can be valued: several slots were possible, with the stated probabilities."""
        return self.several & self.as_stated


class Batches(NamedTuple):
    """Groups of decisions: arrays of shape (G,). `of` (N,) is each decision's group."""

    of: Ints
    sizes: Ints
    agreement: Floats  # observed probability that two decisions of the group are in one slot
    stated: Floats  # the same probability by the pscores
    slots: Ints


def overlap(log: Decisions) -> Overlap:
    """Return the overlap of a log without certain decisions.

    A batch too small to be judged alone is judged with the small ones of its campaign, else with all small ones, else
    at the next coarser level: campaign and day, campaign, day, the whole log.
    """
    several, as_stated = np.zeros(len(log), bool), np.ones(len(log), bool)
    left = np.arange(len(log))
    judged = one_slot = 0
    named = ""
    for by, key, parent in _levels(log):
        if not len(left):
            break
        rows = log.rows(left)
        groups = batches(rows, key[left], 1.0 - _diversity(log))
        last = by == "log"
        alone = _alone(groups) | last
        good, pooled = _pooled(groups, parent[left], ~alone & (groups.sizes > 1))
        done = alone | pooled
        several[left] = np.where(alone, _diverse(groups), good)[groups.of]
        as_stated[left] = ~_too_frequent(rows, groups, alone)[groups.of]
        if done.any() and not last:
            named = named or by
            judged, one_slot = judged + int(done.sum()), one_slot + int((groups.slots[done] == 1).sum())
        left = left[~done[groups.of]]
    return Overlap(several, as_stated, judged, one_slot, named or "log")


def batches(log: Decisions, key: Ints, send_agreement: float) -> Batches:
    """Return the decisions grouped by `key` (N,).

    Where sending was drawn, no pscore is that of a slot. Then `send_agreement`, that of the log, is the stated one.
    """
    _, of, sizes = np.unique(key, return_inverse=True, return_counts=True)
    count = len(sizes)
    cells, number = np.unique(of * len(log.slots) + log.slot, return_counts=True)
    pairs = totals(cells // len(log.slots), (number * (number - 1)).astype(np.float64), count)
    agreement = np.where(sizes > 1, pairs / np.maximum(sizes * (sizes - 1), 1), 1.0)
    stated = totals(of, log.pscore, count) / sizes if log.kind == DecisionKind.SLOT else np.full(count, send_agreement)
    slots = np.bincount(cells // len(log.slots), minlength=count)
    return Batches(of.astype(np.int64), sizes.astype(np.int64), agreement, stated, slots.astype(np.int64))


def repeated_by_person(log: Decisions) -> float | None:
    """Return the share of pairs of one person's decisions in the same slot, None unless far above the stated share.

    A higher share means that a slot was drawn once for the person and kept. The person's past then predicts the next
    slot, so `pscore` is not the probability of the draw given the past, and no policy that learns from the person can
    be valued.
    """
    return _repeated(log, log.user)


def repeated_in_batches(log: Decisions) -> float | None:
    """Return the share of pairs of one batch's decisions in the same slot, None unless far above the stated share.

    A higher share means that times were drawn for whole batches, or deviate from one time of each batch.
    """
    return _repeated(log, _levels(log)[0][1])


def _repeated(log: Decisions, key: Ints) -> float | None:
    if log.kind != DecisionKind.SLOT or not len(log):
        return None
    groups = batches(log, key, 0.0)
    several = groups.sizes > 1
    if not _repeats(groups, np.zeros(len(several), np.int64), 1, several)[0]:
        return None
    return float(np.average(groups.agreement[several], weights=groups.sizes[several]))


def _levels(log: Decisions) -> list[tuple[str, Ints, Ints]]:
    """Return (what a batch is, each decision's batch, the group that small batches are pooled in), finest first."""
    whole = np.zeros(len(log), np.int64)
    if log.day is None:
        return [("campaign", log.campaign, whole), ("log", whole, whole)]
    days = np.unique(log.day, return_inverse=True)[1].astype(np.int64)
    both = log.campaign * (int(days.max(initial=0)) + 1) + days
    several = len(np.unique(log.campaign)) > 1
    finest = ("campaign and day" if several else "day", both, log.campaign)
    return [finest, ("campaign", log.campaign, whole), ("day", days, whole), ("log", whole, whole)]


def _diversity(log: Decisions) -> float:
    shares = np.bincount(log.slot) / max(len(log), 1)
    return float(1.0 - (shares**2).sum())


def _alone(groups: Batches) -> Flags:
    """Return the groups large enough to be judged by themselves, shape (G,)."""
    stated = 1.0 - groups.stated
    chance = groups.stated ** np.maximum(groups.sizes - 1, 0)
    return (_expected(groups) >= ENOUGH) | ((stated >= BALANCED) & (chance < BY_CHANCE))


def _expected(groups: Batches) -> Floats:
    """Return the decisions expected outside the main slot, by the pscores or the least diversity; shape (G,)."""
    return np.asarray(groups.sizes * np.maximum(1.0 - groups.stated, LEAST_DIVERSITY), dtype=np.float64)


def _diverse(groups: Batches) -> Flags:
    return _enough(1.0 - groups.agreement, 1.0 - groups.stated)


def _enough(diversity: Floats, stated: Floats) -> Flags:
    real = diversity >= np.maximum(LEAST_DIVERSITY, LEAST_OF_STATED * stated)
    return np.asarray(real & (stated >= LEAST_DIVERSITY), dtype=np.bool_)


def _pooled(groups: Batches, parent: Ints, small: Flags) -> tuple[Flags, Flags]:
    """Return (which groups have several slots, which could be judged) of the `small` ones, pooled by `parent` (N,)."""
    of_group = np.zeros(len(groups.sizes), np.int64)
    of_group[groups.of] = parent
    pool = np.where(small, np.unique(of_group, return_inverse=True)[1] + 1, 0)  # 0: groups that no pool can judge
    pools = int(pool.max(initial=0)) + 1
    expected = np.where(small, _expected(groups), 0.0)
    pool = np.where(totals(pool, expected, pools)[pool] >= ENOUGH, pool, 0)
    size, same, stated = (
        totals(pool, small * groups.sizes * w, pools) for w in (np.ones(len(pool)), groups.agreement, groups.stated)
    )
    weight = np.maximum(size, 1.0)
    good = _enough(1.0 - same / weight, 1.0 - stated / weight) & ~_repeats(groups, pool, pools, small)
    judged = small & (totals(pool, expected, pools)[pool] >= ENOUGH)
    return judged & good[pool], judged


def _repeats(groups: Batches, pool: Ints, pools: int, which: Flags) -> Flags:
    """Return the pools whose groups agree far more than stated, and significantly so; shape (pools,)."""
    excess = which * groups.sizes * (groups.agreement - groups.stated)
    missing = which * groups.sizes * (1.0 - groups.stated)
    spread = np.sqrt(totals(pool, excess**2, pools))
    bound = np.maximum(SIGMAS * spread, LEAST_EXCESS * totals(pool, missing, pools))
    return np.asarray(totals(pool, excess, pools) > bound, dtype=np.bool_)


def _too_frequent(log: Decisions, groups: Batches, alone: Flags) -> Flags:
    """Return the groups, judged alone, with a slot more frequent than its stated probability allows; shape (G,)."""
    result = np.zeros(len(groups.sizes), bool)
    if log.kind != DecisionKind.SLOT:
        return result
    cells, of = np.unique(groups.of * len(log.slots) + log.slot, return_inverse=True)
    at = cells // len(log.slots)
    result[at[more_than_stated(log.pscore, of, len(cells), groups.sizes[at])]] = True
    return result & alone


def more_than_stated(pscore: Floats, cell: Ints, cells: int, decisions: Ints) -> Flags:
    """Return whether a cell holds more decisions than their pscores allow among `decisions` (cells,); shape (cells,).

    `cell` (N,) is each decision's. Σ 1/pscore over a cell is at most the number of decisions in expectation. A cell is
    flagged where the sum exceeds that by more than five standard deviations.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        inverse = 1.0 / pscore
        expected = totals(cell, inverse, cells)
        spread = np.sqrt(totals(cell, inverse * (inverse - 1.0), cells))
        return np.asarray(expected > decisions + SIGMAS * spread + 1.0, dtype=np.bool_)
