"""p_opt_out: the chance that a send makes a user turn its channel off, by channel and fatigue (model ¶7).

A shrunk empirical rate that never falls as fatigue grows. Opt-outs are too rare for a model of more features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sendopt.config.schema import OptOut
from sendopt.stats.arrays import Floats
from sendopt.stats.beta_binomial import shrunk_rate


@dataclass(frozen=True)
class OptOutRates:
    """Rates by channel, one for each fatigue bin from low to high; `overall` serves channels never sent in."""

    edges: tuple[float, ...]
    overall: float
    by_channel: dict[str, tuple[float, ...]]

    def predict(self, channel: pd.Series[str], fatigue_points: Floats) -> Floats:
        """Return p_opt_out of each row, float64 in [0, 1], shape (N,)."""
        bins = np.digitize(fatigue_points, self.edges)
        result = np.full(len(bins), self.overall)
        for name, rates in self.by_channel.items():
            rows = (channel == name).to_numpy()
            result[rows] = np.asarray(rates)[bins[rows]]
        return result


def fit(counts: pd.DataFrame, settings: OptOut) -> OptOutRates:
    """Return rates from counts (channel, fatigue_bin, sends, opt_outs); a bin without sends has its channel's rate.

    bin rate = (opt_outs + k * channel rate) / (sends + k) with k = prior_sends, the channel's rate shrunk to the
    overall one by the same k, then pooled where it would fall as fatigue grows, and scaled so that the channel expects
    its own rate over all its sends: shrunk bins of few sends would otherwise change the channel's total.
    """
    k = settings.prior_sends
    sends = float(counts["sends"].sum())
    overall = float(counts["opt_outs"].sum()) / sends if sends else 0.0
    by_channel = {}
    for channel, bins in counts.groupby("channel", sort=True):
        channel_rate = shrunk_rate(bins["opt_outs"].sum(), bins["sends"].sum(), overall, k)
        n, x = np.zeros(len(settings.fatigue_edges) + 1), np.zeros(len(settings.fatigue_edges) + 1)
        np.add.at(n, bins["fatigue_bin"], bins["sends"])
        np.add.at(x, bins["fatigue_bin"], bins["opt_outs"])
        rates = non_decreasing(shrunk_rate(x, n, channel_rate, k), n + k)
        rates = np.minimum(rates * (n.sum() * channel_rate / max((n * rates).sum(), 1e-300)), 1.0)
        by_channel[str(channel)] = tuple(float(r) for r in rates)
    return OptOutRates(tuple(settings.fatigue_edges), overall, by_channel)


def non_decreasing(values: Floats, weights: Floats) -> Floats:
    """Return the non-decreasing sequence nearest to `values` in weighted squares (pool adjacent violators), shape (N,).

    >>> non_decreasing(np.array([1.0, 3.0, 2.0, 4.0]), np.ones(4)).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values, weights, strict=True):
        blocks.append((float(value), float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (m1, w1, n1), (m2, w2, n2) = blocks[-2], blocks[-1]
            blocks[-2:] = [((m1 * w1 + m2 * w2) / (w1 + w2), w1 + w2, n1 + n2)]
    return np.repeat([m for m, _, _ in blocks], [n for _, _, n in blocks])
