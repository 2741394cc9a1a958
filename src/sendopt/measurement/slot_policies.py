"""What "each message in the slot where the model predicts most" would have earned, for one model and another (¶18).

Valued on sends whose slot was drawn with a known probability, after everything that the models learned from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sendopt.measurement.off_policy import ESTIMATORS, Estimate, Weighted, interval
from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.bootstrap import RESAMPLES, resampled

CHALLENGER, CHAMPION, UNIFORM = "challenger", "champion", "uniform"
MIN_SUPPORT = 20  # drawn sends of a channel that a local hour needs before a policy may choose it


@dataclass(frozen=True)
class DrawnSends:
    """N later sends with drawn slots, and the K slots of each one's night.

    user (N,) numbers users; success (N,) in {0, 1}; pscore (N,) in (0, 1): that of the drawn slot; drawn (N,): its
    column; offered (N, K): slots that a policy may choose.
    """

    user: Ints
    success: Floats
    pscore: Floats
    drawn: Ints
    offered: Flags


@dataclass(frozen=True)
class PolicyValues:
    """Success rates by policy and estimator (ips, snips, dr), the paired differences to the champion, else to uniform
    times, and how often each policy takes the slot that the challenger takes."""

    sends: int
    users: int
    by: dict[str, dict[str, Estimate]]
    minus_champion: dict[str, dict[str, Estimate]]
    minus_uniform: dict[str, dict[str, Estimate]]
    agrees: dict[str, float | None]

    def gain(self, estimator: str) -> Estimate | None:
        """Challenger minus champion, None where there is no champion."""
        return self.minus_champion.get(CHALLENGER, {}).get(estimator)

    def rows(self) -> list[dict[str, Any]]:
        """One row a policy and estimator, JSON-ready."""
        found = []
        for name, estimates in self.by.items():
            for how, e in estimates.items():
                row = {"policy": name, "estimator": how, **vars(e), "same_slot_as_challenger": self.agrees[name]}
                for against, table in (("champion", self.minus_champion), ("uniform", self.minus_uniform)):
                    d = table.get(name, {}).get(how)
                    row |= {
                        f"minus_{against}": d and d.value,
                        f"minus_{against}_low": d and d.low,
                        f"minus_{against}_high": d and d.high,
                    }
                found.append({**row, "sends": self.sends, "users": self.users})
        return found


def offered_slots(local_hour: Ints, drawn: Ints, channel: Ints) -> Flags:
    """Slots whose local hour at least 20 of the drawn sends of the channel used, and the drawn one; shape (N, K).

    local_hour (N, K), −1 where the slot has no scores; drawn (N,) columns; channel (N,) codes.
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
    """Every policy of `predictions` (name to success rates if sent in each slot, shape (N, K)), and uniform times.

    The outcome model of DR is the mean of challenger and champion, so that it leans to neither; they never saw these
    sends. All differences are paired by user.
    """
    at = np.arange(len(sends.user))
    contenders = [predictions[name] for name in (CHALLENGER, CHAMPION) if name in predictions]
    modelled = np.mean(contenders, axis=0)
    residual = sends.success - modelled[at, sends.drawn]
    ones = np.ones(len(at))
    chosen = {name: np.where(sends.offered, p, -1.0).argmax(axis=1) for name, p in predictions.items()}
    seen = {
        name: Weighted(np.where(slot == sends.drawn, 1.0 / sends.pscore, 0.0), ones, modelled[at, slot], residual)
        for name, slot in chosen.items()
    }
    number = sends.offered.sum(axis=1)
    everywhere = np.where(sends.offered, modelled, 0.0).sum(axis=1) / number
    seen[UNIFORM] = Weighted(1.0 / (number * sends.pscore), ones, everywhere, residual)
    columns = np.concatenate([w.columns(sends.success) for w in seen.values()])
    sums = resampled(columns, sends.user, seed, samples).reshape(len(seen), 5, samples + 1)
    of = dict(zip(seen, sums, strict=True))
    basis = {name: w.basis(sends.success, sends.user) for name, w in seen.items()}

    def against(other: str) -> dict[str, dict[str, Estimate]]:
        if other not in of:
            return {}
        return {
            name: {
                how: interval(f(of[name]) - f(of[other]), basis[name].beside(basis[other]))
                for how, f in ESTIMATORS.items()
            }
            for name in seen
            if name != other
        }

    mine = chosen[CHALLENGER]
    return PolicyValues(
        sends=len(at),
        users=len(np.unique(sends.user)),
        by={n: {how: interval(f(of[n]), basis[n]) for how, f in ESTIMATORS.items()} for n in seen},
        minus_champion=against(CHAMPION),
        minus_uniform=against(UNIFORM),
        agrees={name: float((chosen[name] == mine).mean()) if name in chosen and len(at) else None for name in seen},
    )
