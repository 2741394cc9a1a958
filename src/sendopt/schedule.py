"""What is published: one row a planned send, with everything a sender needs and nothing it must guess."""

from __future__ import annotations

from datetime import datetime, timedelta


def slot_times(plan_start: datetime, slot: int, slot_minutes: int) -> tuple[datetime, datetime]:
    """(send_at_utc, slot_end_utc) of a slot: hand-off is at the slot's start (model ¶1)."""
    start = plan_start + timedelta(minutes=slot * slot_minutes)
    return start, start + timedelta(minutes=slot_minutes)
