"""Losses of predicted probabilities."""

from __future__ import annotations

import numpy as np

from sendopt.stats.arrays import Floats
from sendopt.stats.logistic import clip


def log_loss(y: Floats, p: Floats) -> Floats:
    """Return the loss of each row, in nats, shape (N,); y in {0, 1}, p in [0, 1], kept a millionth off 0 and 1.

    >>> log_loss(np.array([1.0, 0.0]), np.array([0.5, 0.0])).round(6).tolist()
    [0.693147, 1e-06]
    """
    q = clip(p)
    return np.asarray(-(y * np.log(q) + (1 - y) * np.log1p(-q)), dtype=np.float64)
