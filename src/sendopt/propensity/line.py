"""The calibrated line: log-odds from the trees' raw score and from simple terms of the features (model ¶5).

Trees are step functions: exact where a log is dense, coarse where it is sparse, constant outside the training range.
Simple effects, such as the level of a channel or the effect of a person's own rate, take one weight in the log-odds.
The line is fitted on scores of trees that had not seen the rows, so it weighs trees against terms by what each predicts
(stacking: Wolpert 1992). The more rows there are, the more weight the trees get.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sendopt.stats.arrays import Floats
from sendopt.stats.logistic import expit, fit_logistic, logit

Vocabulary = Mapping[str, Sequence[str]]
SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "log_odds": logit,
    "log": lambda x: np.log(np.maximum(x, 1e-6)),
    "log1p": lambda x: np.log1p(np.maximum(x, 0.0)),
    "value": lambda x: x,
    "missing": lambda x: np.isnan(x).astype(np.float64),
}
# Features with terms, their shapes, and the feature that such a term is multiplied by; each word of a vocabulary has a
# term too. A user's rate has two shapes: as a log grows rates spread, so that the mean of their log-odds falls while
# their own mean stays, and with one shape alone expectations drift. At weekends the whole week's activity says less of
# a person: without a term of its own for that, what a plan chose on weekends brought 4 % less of what it promised.
NUMBERS: tuple[tuple[str, str, str | None], ...] = (
    *((name, "log_odds", None) for name in ("rate_90d", "hour_rate", "user_hour_rate")),
    ("rate_90d", "value", None),
    *((name, "log", None) for name in ("user_hour_activity", "user_weekpart_activity")),
    ("user_hour_activity", "log", "weekend"),
    *((name, shape, None) for name in ("days_since_open", "days_since_session") for shape in ("log1p", "missing")),
    ("weekend", "value", None),
    ("fatigue_points", "value", None),
)
# Precision of the prior around 0 of a term's weight, per standard deviation of the term. On six simulated worlds of
# 35,000 sends 1, 30 and 100 differ by less than 2 % of what terms save.
PRIOR = 30.0


@dataclass(frozen=True)
class Term:
    """A term of the line: `weight` times (the feature in its shape − `centre`)."""

    feature: str
    shape: str  # of SHAPES; of a feature with a vocabulary the word that it is 1 for
    times: str | None  # a feature that multiplies it
    centre: float
    weight: float

    def of(self, columns: Mapping[str, Floats], vocabulary: Vocabulary) -> Floats:
        """Return what the term adds to the log-odds: 0 where a value is missing. `columns` broadcast, words are codes.

        >>> term = Term("rate_90d", "value", None, centre=0.25, weight=2.0)
        >>> term.of({"rate_90d": np.array([0.25, 0.75, np.nan])}, {}).tolist()
        [0.0, 1.0, 0.0]
        """
        value = _value(self.feature, self.shape, self.times, columns, vocabulary)
        return np.asarray(self.weight * _known(value - self.centre))


@dataclass(frozen=True)
class Line:
    """log-odds = intercept + slope · raw + the terms in their order, those of words last."""

    intercept: float = 0.0
    slope: float = 1.0
    terms: tuple[Term, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Line:
        """Return the line from the JSON of `asdict`."""
        return cls(float(raw["intercept"]), float(raw["slope"]), tuple(Term(**term) for term in raw["terms"]))

    def require(self, features: Sequence[str], vocabulary: Vocabulary) -> None:
        """Raise ValueError where a term's feature is not one of these, or its shape or word is unknown."""
        for term in self.terms:
            known = {term.feature, term.times or term.feature} <= {*features}
            if not known or term.shape not in vocabulary.get(term.feature, SHAPES):
                raise ValueError(f"its line has a term of {term.feature} as {term.shape}, which is unknown")

    def add(self, total: Floats | float, columns: Mapping[str, Floats], vocabulary: Vocabulary) -> Floats | float:
        """Return `total` plus the terms of the features in `columns`, which broadcast, in the line's order."""
        for term in self.terms:
            if term.feature in columns:
                total = total + term.of(columns, vocabulary)
        return total

    def chance(self, raw: Floats, added: Floats | float) -> Floats:
        """Return the chance of each raw score, where the terms add `added` to the log-odds.

        >>> Line(intercept=0.5, slope=2.0).chance(np.array([-0.25, 1.0]), 0.0).round(4).tolist()
        [0.5, 0.9241]
        """
        return expit(self.intercept + self.slope * raw + added)


def fit(
    raw: Floats,
    target: Floats,
    matrix: Floats,
    features: Sequence[str],
    vocabulary: Vocabulary,
    beside: Floats | None = None,
) -> tuple[Line, float]:
    """Return (the line, how much a unit of `beside` adds to it), fitted by logistic regression.

    `raw`, `target` (0/1), `beside`: shape (N,); `matrix`: the features as the trees see them, words as codes, (N, F).
    The slope of the raw score is never negative: where the fit gives a negative slope, the raw score is left out.
    """
    words = ((name, word, None) for name in vocabulary for word in vocabulary[name])
    names = [*(number for number in NUMBERS if {number[0], number[2] or number[0]} <= {*features}), *words]
    columns = dict(zip(features, matrix.T, strict=True))
    design = np.empty((len(raw), len(names)))
    for k, name in enumerate(names):
        design[:, k] = _value(*name, columns, vocabulary)
    centre, scale = _spread(design)
    varies = scale > 1e-9
    design = _known((design[:, varies] - centre[varies]) / scale[varies])
    level = np.zeros((len(raw), 0)) if beside is None else beside[:, None]
    near = np.zeros(2 + level.shape[1] + design.shape[1])
    near[1] = 1.0
    prior = np.r_[np.ones(2 + level.shape[1]), np.full(design.shape[1], PRIOR)]
    coefficients = np.asarray(fit_logistic(np.column_stack([raw, level, design]), target, near, prior), np.float64)
    if coefficients[1] < 0:
        rest = np.arange(len(near)) != 1
        coefficients[rest] = fit_logistic(np.column_stack([level, design]), target, near[rest], prior[rest])
        coefficients[1] = 0.0
    weights = coefficients[2 + level.shape[1] :] / scale[varies]
    kept = [name for name, is_used in zip(names, varies, strict=True) if is_used]
    terms = (Term(*name, float(c), float(w)) for name, c, w in zip(kept, centre[varies], weights, strict=True))
    return Line(float(coefficients[0]), float(coefficients[1]), tuple(terms)), float(
        coefficients[2]
    ) if beside is not None else 0.0


def _value(
    feature: str, shape: str, times: str | None, columns: Mapping[str, Floats], vocabulary: Vocabulary
) -> Floats:
    value, words = np.asarray(columns[feature]), vocabulary.get(feature)
    if words is not None:
        return np.asarray(value == words.index(shape), dtype=np.float64)
    shaped = SHAPES[shape](value)
    return shaped if times is None else shaped * columns[times]


def _known(x: Floats) -> Floats:
    return np.where(np.isnan(x), 0.0, x)


def _spread(design: Floats) -> tuple[Floats, Floats]:
    """Return (mean, standard deviation) of each column's known values, shapes (K,); 0 where there are none."""
    seen = ~np.isnan(design)
    count = np.maximum(seen.sum(axis=0), 1)
    centre = np.where(seen, design, 0.0).sum(axis=0) / count
    return centre, np.sqrt(np.where(seen, (design - centre) ** 2, 0.0).sum(axis=0) / count)
