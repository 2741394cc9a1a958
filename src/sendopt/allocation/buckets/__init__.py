"""Allocate any number of users, a bucket at a time: prices from a sample, then one map over files (model ¶11, ¶14).

The number of buckets is config, and a user's bucket follows from the id: one process and a cluster give the same plan.
"""

from sendopt.allocation.buckets.folder import solve_folder
from sendopt.allocation.buckets.plan import Part
from sendopt.allocation.buckets.solve import Planned, solve_buckets, told_of
from sendopt.allocation.buckets.split import split
from sendopt.allocation.buckets.store import bucket_of, write_bucket

__all__ = ["Part", "Planned", "bucket_of", "solve_buckets", "solve_folder", "split", "told_of", "write_bucket"]
