"""Arms of users, by keyed hash: nested and stable as their fractions grow (model ¶15)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.config.schema import Arms

BASELINE = "baseline"  # model version of scores without a trained model
HOLDOUT, UNIFORM_TIME, TREATMENT, FALLBACK = "holdout", "uniform_time", "treatment", "fallback"


def arms_at(positions: NDArray[np.float64], arms: Arms, treated: str = TREATMENT) -> NDArray[np.object_]:
    """Return the arm at each of `positions` in [0, 1), shape (N,).

    Holdout begins at 0 and uniform_time ends at 1, so that either may grow alone. Between them is `treated`: treatment,
    or fallback where no trained model scored the night.

    >>> arms = Arms(holdout_fraction=0.1, uniform_time_fraction=0.2)
    >>> arms_at(np.array([0.05, 0.1, 0.5, 0.8]), arms).tolist()
    ['holdout', 'treatment', 'treatment', 'uniform_time']
    """
    arm = np.full(len(positions), treated, object)
    arm[positions >= 1.0 - arms.uniform_time_fraction] = UNIFORM_TIME
    arm[positions < arms.holdout_fraction] = HOLDOUT
    return arm
