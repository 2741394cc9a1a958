"""Has the world moved since the champion was trained? Inputs by stability index, labels by O/E, prices by ratio (¶17).

An alert is a sentence with its number and its bound. Chance is taken off first: a small log moves by itself.
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
CHANCE = 0.999  # quantile of the index where nothing moved
MIN_SUCCESSES = 20.0  # expected successes below which O/E says nothing
MIN_NIGHTS = 3  # nights before, for a price to be compared
_HALF = 0.5  # rows that an empty bin counts as


@dataclass(frozen=True)
class Alert:
    """One thing out of bounds; kind is inputs, labels, prices, or gate for a challenger that was refused."""

    kind: str
    name: str
    value: float | None
    bound: float | None
    sentence: str


def describe(columns: Mapping[str, Floats], watched: Sequence[str]) -> dict[str, Any]:
    """The reference of `watched` columns, JSON-ready: inner edges near the tenths, counts of the bins, missing last.

    Columns of shape (N,), NaN where missing. Edges lie half way between values: a shrunk rate has lumps, which all move
    a little every night and would cross an edge that stands on one of them.
    """
    found = {}
    for name in watched:
        known = columns[name][~np.isnan(columns[name])]
        edges = _edges(known)
        found[name] = {"edges": edges.tolist(), "counts": _counts(columns[name], edges).tolist()}
    return found


def inputs(
    reference: Mapping[str, Any],
    columns: Mapping[str, Floats],
    settings: Drift,
    rows_per_unit: Mapping[str, float] = MappingProxyType({}),
) -> list[Alert]:
    """An alert for each column whose index against `reference` exceeds the bound, the furthest first.

    `rows_per_unit`: rows of a column that belong to one user and so count once for what chance explains.
    """
    alerts = []
    for name, was in reference.items():
        if name not in columns:
            continue
        now = _counts(columns[name], np.asarray(was["edges"], dtype=np.float64))
        found, chance = stability(np.asarray(was["counts"], dtype=np.float64), now, rows_per_unit.get(name, 1.0))
        bound = settings.max_psi + chance
        if found > bound:
            sentence = (
                f"Input {name} has moved since the champion was trained: stability index {found:.2f}, above "
                f"{bound:.2f} (drift.max_psi and what chance explains)."
            )
            alerts.append(Alert(INPUTS, name, found, bound, sentence))
    return sorted(alerts, key=lambda a: (-(a.value or 0.0), a.name))


def stability(was: Floats, now: Floats, rows_per_unit: float = 1.0) -> tuple[float, float]:
    """(population stability index of two rows of counts, what it stays below by chance alone in 999 of 1,000 cases).

    The index Σ (p − q) ln(p / q) times nm / (n + m) is chi-squared with bins − 1 degrees of freedom where nothing moved
    (Yurdakul and Naranjo 2020, "Statistical properties of the population stability index").
    """
    n, m = was.sum(), now.sum()
    if n == 0 or m == 0:
        return 0.0, 0.0
    there = (was > 0) | (now > 0)
    p, q = (np.maximum(c[there], _HALF) / c.sum() for c in (was, now))
    freedom = max(1, int(there.sum()) - 1)
    return float(((p - q) * np.log(p / q)).sum()), float(chi2.ppf(CHANCE, freedom) * rows_per_unit * (1 / n + 1 / m))


@dataclass(frozen=True)
class Delivered:
    """Delivered mature sends, shape (N,): success in {0, 1}, expected (its p), user, night and channel as codes ≥ 0,
    later nights larger; `channels` names the codes."""

    success: Floats
    expected: Floats
    user: Ints
    night: Ints
    channel: Ints
    channels: tuple[str, ...]


def labels(sends: Delivered, settings: Drift, seed: int = 0) -> list[Alert]:
    """An alert where the whole 95 % interval over users of observed / expected is out of bounds: of all nights or of
    the last one alone, else of single channels likewise.

    A mean over nights is sure but slow: where half of all successes are lost, eight nights fall below 0.8 on the fifth.
    The last night alone is told by the first. Fewer than 20 expected successes say nothing.
    """
    if not len(sends.night):
        return []
    last = sends.night == sends.night.max()
    found = _either(sends, np.ones(len(last), bool), last, "", settings, seed)
    if found is not None:
        return [found]
    each = (
        _either(sends, sends.channel == code, last, name, settings, seed) for code, name in enumerate(sends.channels)
    )
    return [alert for alert in each if alert is not None]


def _either(sends: Delivered, mine: Flags, last: Flags, channel: str, settings: Drift, seed: int) -> Alert | None:
    by = f" by {channel}" if channel else ""
    name = f"observed_over_expected{':' if channel else ''}{channel}"
    return _ratio(sends, mine, name, f"Delivered plans{by}", settings, seed) or _ratio(
        sends, mine & last, name, f"The last delivered plan that is mature{by and ','}{by}", settings, seed
    )


def _ratio(sends: Delivered, mine: Flags, name: str, what: str, settings: Drift, seed: int) -> Alert | None:
    expected = sends.expected[mine]
    if expected.sum() < MIN_SUCCESSES:
        return None
    user = np.unique(sends.user[mine], return_inverse=True)[1]
    sums = resampled(np.stack([sends.success[mine], expected]), user, seed)
    found = interval(sums[0] / sums[1], np.inf)
    assert found.low is not None
    assert found.high is not None
    low, high = settings.min_label_ratio, settings.max_label_ratio
    if found.high >= low and found.low <= high:
        return None
    bound = low if found.high < low else high
    sentence = (
        f"{what} brought {found.value:.2f} of the successes expected (95 % interval {found.low:.2f} to "
        f"{found.high:.2f}), outside {low:g} to {high:g} (drift.min_label_ratio, drift.max_label_ratio)."
    )
    return Alert(LABELS, name, found.value, bound, sentence)


def prices(today: Mapping[str, float], before: Mapping[str, Sequence[float]], settings: Drift) -> list[Alert]:
    """An alert for each limit whose price is further from its median of the nights before than the factor allows.

    Prices below drift.min_price count as that. A limit without three nights before is not compared.
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
    """Inner edges of at most ten bins of about equal size, each half way between two neighbouring values."""
    values = np.unique(known)
    if len(values) < 2:
        return np.empty(0)
    tenths = np.quantile(known, np.arange(1, BINS) / BINS, method="inverted_cdf")
    below = np.minimum(np.searchsorted(values, np.unique(tenths)), len(values) - 2)
    return np.unique((values[below] + values[below + 1]) / 2)


def _counts(values: Floats, edges: Floats) -> Floats:
    missing = np.isnan(values)
    bins = np.searchsorted(edges, values[~missing], side="left")
    return np.append(np.bincount(bins, minlength=len(edges) + 1), missing.sum()).astype(np.float64)
