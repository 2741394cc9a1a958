"""Logistic regression, and the conversion between probabilities and log-odds."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sendopt.stats.arrays import Floats

LEAST_P = 1e-6


def fit_logistic(x: Floats, y: Floats, near: ArrayLike, weight: ArrayLike = 1.0) -> tuple[float, ...]:
    """Return (intercept, slopes…) of a logistic regression, by Newton's method; x of shape (N, K), y 0/1.

    A normal prior with mean `near` (K + 1 values) keeps the answer finite where an outcome or a feature's variation is
    missing. `weight` is its precision, one value or K + 1. A precision of 1 is worth about one observation of a feature
    of unit variance.
    """
    design = np.column_stack([np.ones(len(y)), x])
    beta = centre = np.asarray(near, dtype=np.float64)
    precision = np.broadcast_to(np.asarray(weight, np.float64), beta.shape)
    for _ in range(100):
        p = expit(design @ beta)
        gradient = design.T @ (y - p) - precision * (beta - centre)
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(precision)
        step = np.linalg.solve(hessian, gradient)
        beta = beta + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < 1e-12:
            break
    return tuple(float(b) for b in beta)


def expit(x: Floats) -> Floats:
    """Return the probabilities of log-odds `x`.

    `scipy.special.expit` differs in the last bit of about a fifth of the values; published scores rest on this form.

    >>> expit(np.array([0.0, -800.0, 800.0])).tolist()
    [0.5, 0.0, 1.0]
    """
    positive = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1.0, positive) / (1.0 + positive), dtype=np.float64)


def logit(p: Floats | np.float64) -> Floats:
    """Return the log-odds of probabilities, kept a millionth off 0 and 1.

    >>> logit(np.array([0.5, 0.0])).round(4).tolist()
    [0.0, -13.8155]
    """
    q = np.clip(p, LEAST_P, 1 - LEAST_P)
    return np.asarray(np.log(q) - np.log1p(-q), dtype=np.float64)


def clip(p: Floats) -> Floats:
    """Return probabilities kept a millionth off 0 and 1, so that their logarithm is finite."""
    return np.clip(p, LEAST_P, 1 - LEAST_P)
