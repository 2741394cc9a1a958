"""Boosted trees for users × slots, equal to `Booster.predict` in every bit and many times faster."""

from sendopt.propensity.forest.forest import Forest, Kind

__all__ = ["Forest", "Kind"]
