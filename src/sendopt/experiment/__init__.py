"""The running experiment: what the arms of a night get (model ¶15)."""

from sendopt.experiment.plan import ArmsPlan, Cost, plan_arms

__all__ = ["ArmsPlan", "Cost", "plan_arms"]
