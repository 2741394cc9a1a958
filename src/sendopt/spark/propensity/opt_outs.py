"""Which sends were followed by an opt-out: one definition for rates, plans and outcomes (model ¶7, ¶9d).

It is about what a send does. Whom a night may send to is `sendopt.spark.people`: there every opt-out counts.
"""

from __future__ import annotations

from pyspark.sql import DataFrame

from sendopt.spark.night import Night
from sendopt.spark.reactions import with_reaction


def with_opt_out(night: Night, sends: DataFrame) -> DataFrame:
    """Return the rows plus `opted_out`: did an opt-out follow the send within label.window_hours, and before as_of?

    `sends` has send_key and sent_at_utc; a row that was not sent has no time and no opt-out.
    """
    return with_reaction(night, sends, "opt_out", "opted_out")
