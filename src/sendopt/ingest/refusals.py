"""Codes of the reasons that a reader of raw logs gives: why a row is refused, or why a value of it is lost.

What each code means for people stands in `sendopt.domain.reasons`, the registry of all reasons; a test compares both.
Reasons that need several rows or tables (duplicates) are given by `sendopt.spark.ingest` and `sendopt.timing`.
"""

from __future__ import annotations

from enum import StrEnum


class Refusal(StrEnum):
    """A reason of one row. Those of a column are written `CODE:COLUMN`, see `of`."""

    MALFORMED_ROW = "malformed_row"
    MISSING_VALUE = "missing_value"
    BAD_VALUE = "bad_value"
    BAD_NUMBER = "bad_number"
    NOT_A_NUMBER = "not_a_number"
    BAD_BOOLEAN = "bad_boolean"
    BAD_TIME = "bad_time"
    BAD_LOCAL_TIME = "bad_local_time"
    BAD_DATE = "bad_date"
    BAD_LIST = "bad_list"
    BAD_BYTES = "bad_bytes"
    UNKNOWN_NAME = "unknown_name"
    UNKNOWN_KIND = "unknown_kind"
    UNKNOWN_ZONE = "unknown_zone"
    TIME_BEFORE_2000 = "time_before_2000"
    TIME_IN_FUTURE = "time_in_future"
    LOCAL_TIME_WITHOUT_ZONE = "local_time_without_zone"
    NONEXISTENT_LOCAL_TIME = "nonexistent_local_time"
    PSCORE_OUT_OF_RANGE = "pscore_out_of_range"
    INTERACTION_BEFORE_SEND = "interaction_before_send"
    INTERACTION_WITHOUT_SEND = "interaction_without_send"

    def of(self, column: str) -> str:
        """Return the code with the column concerned.

        >>> Refusal.BAD_TIME.of("sent_at_utc")
        'bad_time:sent_at_utc'
        """
        return f"{self.value}:{column}"


_COLUMN_OF: dict[str, str] = {Refusal.UNKNOWN_KIND: "kind", Refusal.UNKNOWN_ZONE: "timezone"}


def column_of(reason: str) -> str:
    """Return the column that a reason concerns; empty where it concerns none.

    >>> [column_of(r) for r in ("bad_time:sent_at_utc", "unknown_zone", "malformed_row")]
    ['sent_at_utc', 'timezone', '']
    """
    return _COLUMN_OF.get(reason, reason.partition(":")[2])


def is_duplicate(reason: str) -> bool:
    """Return True for the reason of a row whose content was used once already; such a row is no loss."""
    return reason.startswith("duplicate_")
