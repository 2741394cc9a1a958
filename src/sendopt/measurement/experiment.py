"""Arms by keyed hash of the user, nested and stable as their fractions grow (model ¶15)."""

from __future__ import annotations

from sendopt.config.schema import Arms

HOLDOUT, UNIFORM_TIME, TREATMENT, FALLBACK = "holdout", "uniform_time", "treatment", "fallback"


def arm_at(position: float, arms: Arms, treated: str = TREATMENT) -> str:
    """The arm at `position` in [0, 1): holdout from below, uniform_time from above, so that either may grow alone."""
    if position < arms.holdout_fraction:
        return HOLDOUT
    if position >= 1.0 - arms.uniform_time_fraction:
        return UNIFORM_TIME
    return treated
