"""Allocation: which message goes to whom and when (model ¶9 to ¶14)."""

from sendopt.allocation.audit.check import Audit, audit, audit_plan, check
from sendopt.allocation.price_check import PriceCheck, check_prices
from sendopt.allocation.problem import Cells, History, Messages, Problem, empty_history
from sendopt.allocation.reasons.one_message import unplanned_reasons
from sendopt.allocation.solution import Price, Solution, Tier
from sendopt.allocation.solve import allocate

__all__ = [
    "Audit",
    "Cells",
    "History",
    "Messages",
    "Price",
    "PriceCheck",
    "Problem",
    "Solution",
    "Tier",
    "allocate",
    "audit",
    "audit_plan",
    "check",
    "check_prices",
    "empty_history",
    "unplanned_reasons",
]
