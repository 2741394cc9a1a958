"""The running experiment: the plan of all arms of a night (model ¶15)."""

from sendopt.experiment.plan import ArmsPlan, Cost, plan_arms

__all__ = ["ArmsPlan", "Cost", "plan_arms"]
