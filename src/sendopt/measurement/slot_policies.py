"""Off-policy values of models: what each message in the slot of its highest prediction would have earned (¶18).

The sends have a slot drawn with a known probability, and are later than all data that the models learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sendopt.measurement.off_policy import ESTIMATORS, Basis, Estimate, Weighted, interval
from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.bootstrap import RESAMPLES, resampled

CHALLENGER, CHAMPION, UNIFORM = "challenger", "champion", "uniform"
MIN_SUPPORT = 20  # drawn sends of a channel that a local hour needs before a policy may choose it


@dataclass(frozen=True)
class DrawnSends:
    """N later sends with drawn slots, and the K slots of each send's night.

    user (N,): numbers users. success (N,): 0 or 1. pscore (N,): probability of the drawn slot, in (0, 1). drawn (N,):
    its column. offered (N, K): slots that a policy may choose.
    """

    user: Ints
    success: Floats
    pscore: Floats
    drawn: Ints
    offered: Flags


@dataclass(frozen=True)
class PolicyValues:
    """Success rates by policy and estimator (ips, snips, dr).

    `minus_champion` and `minus_uniform`: paired differences. `agrees`: how often a policy takes the challenger's slot.
    """

    sends: int
    users: int
    by: dict[str, dict[str, Estimate]]
    minus_champion: dict[str, dict[str, Estimate]]
    minus_uniform: dict[str, dict[str, Estimate]]
    agrees: dict[str, float | None]

    def gain(self, estimator: str) -> Estimate | None:
        """Return challenger minus champion, None where there is no champion."""
        return self.minus_champion.get(CHALLENGER, {}).get(estimator)

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each policy and estimator, JSON-ready."""
        rows = []
        for name, estimates in self.by.items():
            for estimator, e in estimates.items():
                row = {"policy": name, "estimator": estimator, **vars(e), "same_slot_as_challenger": self.agrees[name]}
                for reference, table in (("champion", self.minus_champion), ("uniform", self.minus_uniform)):
                    difference = table.get(name, {}).get(estimator)
                    row |= {
                        f"minus_{reference}": difference and difference.value,
                        f"minus_{reference}_low": difference and difference.low,
                        f"minus_{reference}_high": difference and difference.high,
                    }
                rows.append({**row, "sends": self.sends, "users": self.users})
        return rows


def offered_slots(local_hour: Ints, drawn: Ints, channel: Ints) -> Flags:
    """Return the slots that a policy may choose, shape (N, K).

    These are the drawn slot and those whose local hour has at least 20 drawn sends of the channel. local_hour (N, K):
    −1 where the slot has no scores. drawn (N,): columns. channel (N,): codes.
    """
    used = local_hour[np.arange(len(drawn)), drawn]
    counts = np.zeros((int(channel.max(initial=0)) + 1, 25), np.int64)
    np.add.at(counts, (channel, used), 1)
    counts[:, -1] = 0
    offered = counts[channel[:, None], local_hour] >= MIN_SUPPORT
    offered[np.arange(len(drawn)), drawn] = True
    return np.asarray(offered, dtype=np.bool_)


def value(
    sends: DrawnSends, predictions: Mapping[str, Floats], seed: int = 0, samples: int = RESAMPLES
) -> PolicyValues:
    """Return the values of the policies of `predictions` and of uniform times, with their differences paired by user.

    `predictions`: by name, success rates if sent in each slot, shape (N, K). The outcome model of DR is the mean of
    challenger and champion, so that it favours neither. They did not learn from these sends.
    """
    chosen = {name: np.where(sends.offered, p, -1.0).argmax(axis=1) for name, p in predictions.items()}
    contenders = [predictions[name] for name in (CHALLENGER, CHAMPION) if name in predictions]
    weighted = _weighted(sends, chosen, np.mean(contenders, axis=0))
    columns = np.concatenate([w.columns(sends.success) for w in weighted.values()])
    sums = resampled(columns, sends.user, seed, samples).reshape(len(weighted), 5, samples + 1)
    sums_of = dict(zip(weighted, sums, strict=True))
    basis = {name: w.basis(sends.success, sends.user) for name, w in weighted.items()}
    agrees = {name: None if name == UNIFORM else _share_equal(chosen[name], chosen[CHALLENGER]) for name in weighted}
    return PolicyValues(
        sends=len(sends.user),
        users=len(np.unique(sends.user)),
        by={n: {key: interval(f(sums_of[n]), basis[n]) for key, f in ESTIMATORS.items()} for n in weighted},
        minus_champion=_differences(sums_of, basis, CHAMPION),
        minus_uniform=_differences(sums_of, basis, UNIFORM),
        agrees=agrees,
    )


def _weighted(sends: DrawnSends, chosen: Mapping[str, Ints], modelled: Floats) -> dict[str, Weighted]:
    """Return the weights of each policy that takes `chosen[name]` (N,), and of uniform times over the offered slots.

    `modelled` (N, K): the outcome model's success rate in each slot.
    """
    row = np.arange(len(sends.user))
    ones = np.ones(len(row))
    residual = sends.success - modelled[row, sends.drawn]
    weighted = {
        name: Weighted(np.where(slot == sends.drawn, 1.0 / sends.pscore, 0.0), ones, modelled[row, slot], residual)
        for name, slot in chosen.items()
    }
    number = sends.offered.sum(axis=1)
    mean = np.where(sends.offered, modelled, 0.0).sum(axis=1) / number
    weighted[UNIFORM] = Weighted(1.0 / (number * sends.pscore), ones, mean, residual)
    return weighted


def _differences(
    sums: Mapping[str, Floats], basis: Mapping[str, Basis], reference: str
) -> dict[str, dict[str, Estimate]]:
    """Return every other policy's value minus that of `reference`, by estimator; empty without the reference."""
    if reference not in sums:
        return {}
    return {
        name: {
            key: interval(f(of_policy) - f(sums[reference]), basis[name].beside(basis[reference]))
            for key, f in ESTIMATORS.items()
        }
        for name, of_policy in sums.items()
        if name != reference
    }


def _share_equal(slot: Ints, reference: Ints) -> float | None:
    return float((slot == reference).mean()) if len(slot) else None
