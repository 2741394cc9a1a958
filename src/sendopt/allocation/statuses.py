"""The words that say how a plan was made, how its search ended and what a limit is of: the one home of each.

They are texts with the values that `solution.json` and the tables hold.
"""

from __future__ import annotations

from enum import StrEnum


class _Word(StrEnum):
    """A text out of a fixed set, shown as that text. The members stand in order."""

    @property
    def rank(self) -> int:
        """The place among the members, from 0."""
        return list(type(self)).index(self)

    def __repr__(self) -> str:
        return repr(self.value)


class Method(_Word):
    """How a plan is made. A plan of several tiers states the last of their methods in this order."""

    AUTO = "auto"  # by the number of users; asked for, never stated of a plan
    EXACT = "exact"  # one integer program
    PRICES = "prices"  # prices on the limits across users, then repair


class Termination(_Word):
    """How the search for a plan ended, the best end first. A plan of several tiers states the worst of theirs."""

    OPTIMAL = "optimal"
    GAP_REACHED = "gap_reached"
    PASSES_DONE = "passes_done"
    WORK_LIMIT = "work_limit"
    CANCELLED = "cancelled"


class Proof(_Word):
    """What proves a bound. A plan of several tiers states the last of their proofs in this order."""

    PRICES = "prices"  # the audit repeats it
    PROGRAM = "program"  # the search of the integer program, which the audit cannot repeat


class ProgramStatus(_Word):
    """How the solver left an integer program or its relaxation."""

    OPTIMAL = "optimal"
    GAP_REACHED = "gap_reached"
    WORK_LIMIT = "work_limit"  # stopped with an answer
    NO_PLAN = "no_plan"  # stopped without an answer: only the bound means something
    TOO_LARGE = "too_large"  # not tried


class RowKind(_Word):
    """What a row across users limits (model ¶9e to ¶9h)."""

    CAPACITY = "capacity"  # sends of a channel in a slot
    CAMPAIGN_MAX = "campaign_max"
    CAMPAIGN_MIN = "campaign_min"
    OPT_OUTS = "opt_outs"  # expected opt-outs
    COST = "cost"  # money
