"""Drift since the champion was trained: inputs by stability index, labels by O/E, prices by ratio (model ¶17).

An alert is a sentence with its number and its bound. Bounds allow for chance: a small log varies by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.stats import chi2

from sendopt.config.schema import Drift
from sendopt.measurement.off_policy import interval
from sendopt.stats.arrays import Flags, Floats, Ints
from sendopt.stats.bootstrap import resampled

INPUTS, LABELS, PRICES = KINDS = "inputs", "labels", "prices"
GATE = "gate"
BINS = 10
CHANCE = 0.999  # quantile of the index without drift
MIN_SUCCESSES = 20.0  # expected successes below which O/E says nothing
MIN_NIGHTS = 3  # nights before, for a price to be compared
_HALF = 0.5  # rows that an empty bin counts as


@dataclass(frozen=True)
class Alert:
    """A value out of bounds; kind is inputs, labels, prices, or gate for a challenger that was refused."""

    kind: str
    name: str
    value: float | None
    bound: float | None
    sentence: str


def describe(columns: Mapping[str, Floats], watched: Sequence[str]) -> dict[str, Any]:
    """Return the reference of `watched` columns, JSON-ready: inner edges near the deciles, counts of the bins.

    Columns have shape (N,), NaN where missing; the last bin counts missing values. Edges lie half way between values.
    Many users share one shrunk rate, which changes a little every night and would cross an edge on that value.
    """
    reference = {}
    for name in watched:
        known = columns[name][~np.isnan(columns[name])]
        edges = _edges(known)
        reference[name] = {"edges": edges.tolist(), "counts": _counts(columns[name], edges).tolist()}
    return reference


def inputs(
    reference: Mapping[str, Any],
    columns: Mapping[str, Floats],
    settings: Drift,
    rows_per_unit: Mapping[str, float] = MappingProxyType({}),
) -> list[Alert]:
    """Return an alert for each column whose index against `reference` exceeds the bound, the largest first.

    `rows_per_unit`: rows of a column that belong to one user. They count as one row for the allowance of chance.
    """
    alerts = []
    for name, was in reference.items():
        if name not in columns:
            continue
        now = _counts(columns[name], np.asarray(was["edges"], dtype=np.float64))
        index, chance = stability(np.asarray(was["counts"], dtype=np.float64), now, rows_per_unit.get(name, 1.0))
        bound = settings.max_psi + chance
        if index > bound:
            sentence = (
                f"Input {name} has moved since the champion was trained: stability index {index:.2f}, above "
                f"{bound:.2f} (drift.max_psi and what chance explains)."
            )
            alerts.append(Alert(INPUTS, name, index, bound, sentence))
    return sorted(alerts, key=lambda a: (-(a.value or 0.0), a.name))


def stability(was: Floats, now: Floats, rows_per_unit: float = 1.0) -> tuple[float, float]:
    """Return (population stability index of two rows of counts, its 99.9 % quantile without drift).

    >>> index, chance = stability(np.array([500.0, 500.0]), np.array([700.0, 300.0]))
    >>> round(index, 3), round(chance, 3)
    (0.169, 0.022)

    The index Σ (p − q) ln(p / q) times nm / (n + m) is chi-squared with bins − 1 degrees of freedom without drift
    (Yurdakul and Naranjo 2020, "Statistical properties of the population stability index").
    """
    n, m = was.sum(), now.sum()
    if n == 0 or m == 0:
        return 0.0, 0.0
    used = (was > 0) | (now > 0)
    p, q = (np.maximum(counts[used], _HALF) / counts.sum() for counts in (was, now))
    freedom = max(1, int(used.sum()) - 1)
    return float(((p - q) * np.log(p / q)).sum()), float(chi2.ppf(CHANCE, freedom) * rows_per_unit * (1 / n + 1 / m))


@dataclass(frozen=True)
class Delivered:
    """Delivered mature sends: arrays of shape (N,).

    success: 0 or 1. expected: its predicted probability. user, night, channel: codes from 0, later nights larger.
    `channels` names the codes.
    """

    success: Floats
    expected: Floats
    user: Ints
    night: Ints
    channel: Ints
    channels: tuple[str, ...]


def labels(sends: Delivered, settings: Drift, seed: int = 0) -> list[Alert]:
    """Return alerts where the whole 95 % interval over users of observed / expected is out of bounds.

    All nights are tested, then the last one alone; without an alert of all sends, each channel likewise. The mean of
    nights is precise but slow: where half of all successes are lost, that of eight nights falls below 0.8 on the fifth.
    The last night alone shows it on the first. Fewer than 20 expected successes give no alert.
    """
    if not len(sends.night):
        return []
    last = sends.night == sends.night.max()
    of_all = _nights_or_last(sends, np.ones(len(last), bool), last, "", settings, seed)
    if of_all is not None:
        return [of_all]
    of_channels = (
        _nights_or_last(sends, sends.channel == code, last, name, settings, seed)
        for code, name in enumerate(sends.channels)
    )
    return [alert for alert in of_channels if alert is not None]


def _nights_or_last(
    sends: Delivered, rows: Flags, last: Flags, channel: str, settings: Drift, seed: int
) -> Alert | None:
    """Return the alert of the `rows` (N,) of all nights, else of those of the last night, else None."""
    by = f" by {channel}" if channel else ""
    name = f"observed_over_expected{':' if channel else ''}{channel}"
    return _ratio(sends, rows, name, f"Delivered plans{by}", settings, seed) or _ratio(
        sends, rows & last, name, f"The last delivered plan that is mature{by and ','}{by}", settings, seed
    )


def _ratio(sends: Delivered, rows: Flags, name: str, what: str, settings: Drift, seed: int) -> Alert | None:
    expected = sends.expected[rows]
    if expected.sum() < MIN_SUCCESSES:
        return None
    user = np.unique(sends.user[rows], return_inverse=True)[1]
    sums = resampled(np.stack([sends.success[rows], expected]), user, seed)
    ratio = interval(sums[0] / sums[1], np.inf)
    assert ratio.low is not None
    assert ratio.high is not None
    low, high = settings.min_label_ratio, settings.max_label_ratio
    if ratio.high >= low and ratio.low <= high:
        return None
    bound = low if ratio.high < low else high
    sentence = (
        f"{what} brought {ratio.value:.2f} of the successes expected (95 % interval {ratio.low:.2f} to "
        f"{ratio.high:.2f}), outside {low:g} to {high:g} (drift.min_label_ratio, drift.max_label_ratio)."
    )
    return Alert(LABELS, name, ratio.value, bound, sentence)


def prices(today: Mapping[str, float], before: Mapping[str, Sequence[float]], settings: Drift) -> list[Alert]:
    """Return an alert for each limit whose price differs from the median of earlier nights by more than the factor.

    Prices below drift.min_price count as drift.min_price. A limit with fewer than three earlier nights is not compared.
    """
    alerts = []
    for name in sorted(today):
        nights = before.get(name, ())
        if len(nights) < MIN_NIGHTS:
            continue
        usual = float(np.median(nights))
        ratio = max(today[name], settings.min_price) / max(usual, settings.min_price)
        if max(ratio, 1 / ratio) > settings.max_price_factor:
            sentence = (
                f"The price of {name} is {today[name]:.3f}; the median of the {len(nights)} nights before is "
                f"{usual:.3f} (drift.max_price_factor {settings.max_price_factor:g})."
            )
            alerts.append(Alert(PRICES, name, today[name], usual, sentence))
    return alerts


def _edges(known: Floats) -> Floats:
    """Return inner edges of at most ten bins of about equal size, each half way between two neighbouring values."""
    values = np.unique(known)
    if len(values) < 2:
        return np.empty(0)
    deciles = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")
    below = np.minimum(np.searchsorted(values, np.unique(deciles)), len(values) - 2)
    return np.unique((values[below] + values[below + 1]) / 2)


def _counts(values: Floats, edges: Floats) -> Floats:
    """Return the number of values in each bin, then that of missing ones; shape (edges + 2,)."""
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    return np.append(np.bincount(bins, minlength=len(edges) + 1), missing.sum()).astype(np.float64)
