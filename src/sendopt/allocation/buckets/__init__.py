"""Allocation of any number of users, a bucket at a time: prices from a hash sample, one map over files (model ¶11, ¶14).

Which bucket a user is in, and how many there are, is config; so the plan is the same from one process or from a cluster.
"""

from sendopt.allocation.buckets.plan import Part, Task, plan_bucket
from sendopt.allocation.buckets.solve import Planned, is_bucketed, solve_buckets
from sendopt.allocation.buckets.store import bucket_of, write_bucket

__all__ = ["Part", "Planned", "Task", "bucket_of", "is_bucketed", "plan_bucket", "solve_buckets", "write_bucket"]
