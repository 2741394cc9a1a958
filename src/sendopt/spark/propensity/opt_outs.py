"""Opt-outs that follow a send: the one definition for rates, plans and outcomes (model ¶7, ¶9d).

These are the opt-outs attributed to a send. `sendopt.spark.people` decides whom a night may send to, by all opt-outs.
"""

from __future__ import annotations

from pyspark.sql import DataFrame

from sendopt.spark.night import Night
from sendopt.spark.reactions import with_reaction


def with_opt_out(night: Night, sends: DataFrame) -> DataFrame:
    """Return the rows with `opted_out`: whether an opt-out followed within label.window_hours and before as_of.

    `sends` has send_key and sent_at_utc. A row that was not sent has no sent_at_utc, and its `opted_out` is false.
    """
    return with_reaction(night, sends, "opt_out", "opted_out")
