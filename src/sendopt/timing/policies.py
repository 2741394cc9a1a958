"""The policies of an evaluation: which slot each takes. All are fitted and tuned on the first part of the log only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.losses import log_loss
from sendopt.timing import outcome_model, success_rates
from sendopt.timing.decisions import Decisions, totals
from sendopt.timing.outcome_model import NoModelError, OutcomeModel
from sendopt.timing.success_rates import ADDITIVE, BY_SEGMENT, COMMON, SlotRates

UNIFORM, GLOBAL, SEGMENT, RAW, PERSONAL, MODEL = (
    "uniform",
    "global_best",
    "segment_best",
    "user_raw_best",
    "personal",
    "model",
)


@dataclass(frozen=True)
class Policies:
    """The fitted policies. `choices[name]` (N,) is the slot of each decision of the rest; `uniform` has none.

    `common` names the best policy that knows no person: the global or the segments' best slots, whichever did better
    within the first part.
    """

    choices: dict[str, Ints]
    common: str
    supported: Flags
    rates: SlotRates
    model: OutcomeModel | None
    raw: dict[str, SlotRates]  # rates of the simpler levels, to compare log loss with
    no_model: str | None = None  # why there is no model, where one was asked for

    def of_rows(self, which: Flags) -> Policies:
        """Return the policies at the decisions of the rest where `which` (N,) is True."""
        return replace(self, choices={name: slots[which] for name, slots in self.choices.items()})

    def probability(self, name: str, slot: Ints) -> Floats:
        """Return the policy's probability of `slot` at each decision of the rest, shape (N,)."""
        if name == UNIFORM:
            return np.asarray(self.supported[slot] / self.supported.sum(), dtype=np.float64)
        return np.asarray(self.choices[name] == slot, dtype=np.float64)

    def mean(self, name: str, if_sent: Floats) -> Floats:
        """Return the mean of `if_sent` (N, K) under the policy, shape (N,)."""
        if name == UNIFORM:
            return np.asarray(if_sent[:, self.supported].mean(axis=1), dtype=np.float64)
        return np.asarray(np.take_along_axis(if_sent, self.choices[name][:, None], 1)[:, 0], dtype=np.float64)


def fit(first: Decisions, rest: Decisions, supported: Flags, users: int, seed: int, trees: bool) -> Policies:
    """Return the policies fitted on `first`, applied to the users and segments of `rest`. No outcome of `rest` is used.

    `supported` (K,): slots that a policy may choose. `trees`: whether to train LightGBM too.
    """
    inner = first.first_part("tuning")
    pooled = _pooling_helps(first, inner, users)
    rates = success_rates.fit(first, pooled, users)
    blind = Decisions(**{**vars(rest), "success": np.zeros(len(rest))})
    choices = {GLOBAL: _best(rates.if_sent(blind, COMMON), supported)}
    if len(first.segments) > 1:
        choices[SEGMENT] = _best(rates.if_sent(blind, BY_SEGMENT), supported)
    choices[RAW] = _raw_best(first, blind, choices[GLOBAL], supported, users)
    choices[PERSONAL] = _best(rates.if_sent(blind), supported)
    model, no_model = _model(first, rates, inner, seed) if trees else (None, None)
    if model is not None:
        choices[MODEL] = _best(model.if_sent(blind), supported)
    simpler = {
        "global_rate": success_rates.fit(first, pooled, users, ()),
        "slot": success_rates.fit(first, pooled, users, COMMON),
        "user": success_rates.fit(first, pooled, users, ("user",)),
        "user_slot": success_rates.fit(first, pooled, users, ADDITIVE),
    }
    common = _best_common(first, inner, supported, pooled, users)
    return Policies(choices, common, supported, rates, model, simpler, no_model)


def _model(first: Decisions, rates: SlotRates, inner: Flags, seed: int) -> tuple[OutcomeModel | None, str | None]:
    """Return (the LightGBM model or None, why there is none or None)."""
    try:
        return outcome_model.fit(first, rates, inner, seed), None
    except NoModelError as error:
        return None, str(error)


def _best(if_sent: Floats, supported: Flags) -> Ints:
    return np.asarray(np.where(supported, if_sent, -1.0).argmax(axis=1), dtype=np.int64)


def _raw_best(first: Decisions, rest: Decisions, fallback: Ints, supported: Flags, users: int) -> Ints:
    """Return the slot with each user's highest raw rate, shape (N,); of equal rates, the one with more sends."""
    k, sent = len(first.slots), first.rows(first.acted)
    cell = sent.user * k + sent.slot
    n, x = (totals(cell, w, users * k).reshape(users, k) for w in (sent.acted, sent.success))
    score = np.where((n > 0) & supported, x / np.maximum(n, 1) + 1e-9 * n, -1.0)
    chosen = score.argmax(axis=1)[rest.user]
    return np.where(score.max(axis=1)[rest.user] >= 0, chosen, fallback).astype(np.int64)


def _pooling_helps(first: Decisions, inner: Flags, users: int) -> bool:
    """Return whether unsent decisions help to predict sends: compare log losses on the later part of `first`."""
    if not first.not_sent_arm:
        return False
    early, late = first.rows(inner), first.rows(~inner & first.acted)
    if not len(late) or not early.acted.any():
        return False
    with_unsent, sends_only = (success_rates.fit(early, pooled, users).rates(late) for pooled in (True, False))
    return bool(log_loss(late.success, with_unsent).mean() < log_loss(late.success, sends_only).mean())


def _best_common(first: Decisions, inner: Flags, supported: Flags, pooled: bool, users: int) -> str:
    """Return the name of the common policy that has the higher SNIPS value on the later part of `first`."""
    if len(first.segments) == 1:
        return GLOBAL
    early, late = first.rows(inner), first.rows(~inner & first.acted)
    if not len(late) or not early.acted.any():
        return GLOBAL
    rates = success_rates.fit(early, pooled, users, BY_SEGMENT)
    values = {}
    for name, levels in ((GLOBAL, COMMON), (SEGMENT, BY_SEGMENT)):
        weight = (_best(rates.if_sent(late, levels), supported) == late.slot) / late.pscore
        values[name] = float((weight * late.success).sum() / max(weight.sum(), 1e-9))
    return SEGMENT if values[SEGMENT] > values[GLOBAL] else GLOBAL
