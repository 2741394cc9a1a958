"""Rates of groups that are shrunk towards a prior rate: the beta-binomial law.

A group's rate is drawn from Beta(kappa * prior, kappa * (1 - prior)), its successes from a binomial law of that rate
(Skellam 1948; Griffiths 1973, Biometrics 29). `kappa` is the number of trials that the prior is worth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import betaln

from sendopt.stats.arrays import Floats

LEAST_RATE = 1e-4  # a prior rate is kept this far off 0 and 1
_LOG_KAPPA = (-2.0, 10.0)
_GROUPS_FOR_KAPPA = 200_000  # more groups do not change kappa


def shrunk_rate(successes: ArrayLike, trials: ArrayLike, prior: ArrayLike, kappa: float) -> Floats:
    """Return the posterior mean of each group's rate; the arguments broadcast.

    >>> shrunk_rate([0.0, 30.0], [0.0, 60.0], prior=0.2, kappa=20.0).tolist()
    [0.2, 0.425]
    """
    x, n, mean = (np.asarray(values, dtype=np.float64) for values in (successes, trials, prior))
    return np.asarray((x + kappa * mean) / (n + kappa), dtype=np.float64)


def concentration(successes: Floats, trials: Floats, prior: Floats) -> float:
    """Return the kappa of greatest likelihood over groups, in [0.14, 22026]; arrays of shape (G,).

    It is large where groups differ by no more than chance.

    >>> trials, prior = np.full(4, 50.0), np.full(4, 0.5)
    >>> concentration(np.array([5.0, 45.0, 10.0, 40.0]), trials, prior) < 5
    True
    >>> concentration(np.array([25.0, 24.0, 25.0, 26.0]), trials, prior) > 1000
    True
    """
    step = max(1, len(trials) // _GROUPS_FOR_KAPPA)
    x, n, mean = successes[::step], trials[::step], np.clip(prior[::step], LEAST_RATE, 1 - LEAST_RATE)

    def loss(log_kappa: float) -> float:
        a, b = np.exp(log_kappa) * mean, np.exp(log_kappa) * (1 - mean)
        return float((betaln(a, b) - betaln(x + a, n - x + b)).sum())

    optimum = minimize_scalar(loss, bounds=_LOG_KAPPA, method="bounded", options={"xatol": 1e-3})
    return float(np.exp(optimum.x))
