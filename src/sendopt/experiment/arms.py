"""Arms by keyed hash of the user, nested and stable as their fractions grow (model ¶15)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sendopt.config.schema import Arms

BASELINE = "baseline"  # model version of scores that no trained model made
HOLDOUT, UNIFORM_TIME, TREATMENT, FALLBACK = "holdout", "uniform_time", "treatment", "fallback"


def arms_at(positions: NDArray[np.float64], arms: Arms, treated: str = TREATMENT) -> NDArray[np.object_]:
    """The arm at each position in [0, 1): holdout from below, uniform_time from above, so that either may grow alone.

    The others are `treated`: treatment, or fallback where no trained model scored the night.
    """
    found = np.full(len(positions), treated, object)
    found[positions >= 1.0 - arms.uniform_time_fraction] = UNIFORM_TIME
    found[positions < arms.holdout_fraction] = HOLDOUT
    return found
