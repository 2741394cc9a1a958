"""What a night takes from the log of sends: what was not made frees its place, and one definition of an opt-out."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import pytest
from tiny_nights import EVENING, PLAN_DATE, night_of, put, send

from sendopt.spark import history
from sendopt.spark.engine.lake import Lake
from sendopt.spark.measurement import measure
from sendopt.spark.propensity import score_slots

pytestmark = pytest.mark.slow
BEFORE, TWO_BEFORE = PLAN_DATE - timedelta(days=1), PLAN_DATE - timedelta(days=2)


def planned(key: str, at: datetime, day: date, **changes: Any) -> dict[str, Any]:
    """A row of send_plan."""
    return {
        "send_key": key,
        "plan_date": day,
        "user_id": f"of-{key}",
        "notification_id": key,
        "channel": "push",
        "arm": "treatment",
        "pscore": 1.0,
        "p_open": 0.5,
        "p_opt_out": 0.25,
        "send_at_utc": at.replace(tzinfo=None),
        **changes,
    }


def interaction(key: str, kind: str, at: datetime) -> dict[str, Any]:
    return {"send_key": key, "kind": kind, "at_utc": at.replace(tzinfo=None), "at_imputed": False}


def test_a_planned_send_that_was_not_made_frees_its_place_and_may_be_planned_again(lake: Lake) -> None:
    noon, day_before = EVENING - timedelta(hours=11), EVENING - timedelta(hours=35)
    put(lake, "send_plan", [planned("twice", day_before, TWO_BEFORE), planned("unknown", day_before, TWO_BEFORE)])
    again = [planned(key, noon, BEFORE) for key in ("made", "unsent", "twice", "told_later")]
    put(lake, "send_plan", again)
    put(lake, "send_plan", [planned("tonight", EVENING + timedelta(hours=9), PLAN_DATE)])
    put(
        lake,
        "sends",
        [
            send("of-made", "made", noon + timedelta(minutes=3)),
            send("of-unsent", "unsent", noon, sent=False),
            send("of-told_later", "told_later", EVENING + timedelta(minutes=5), sent=False),
            send("of-point", "decision_point", noon, sent=False),
            send("of-other", "of_another_system", noon),
        ],
    )
    night = night_of(lake)
    past = {r["send_key"]: r["sent_at_utc"] for r in history.sends(night, night.as_of).collect()}
    at_noon = noon.replace(tzinfo=None)
    assert past == {
        "made": at_noon + timedelta(minutes=3),
        "unknown": day_before.replace(tzinfo=None),
        "twice": at_noon,
        "told_later": at_noon,
        "of_another_system": at_noon,
    }
    assert history.sends(night, night.as_of).count() == len(past), "one row a send"
    known = {r[0] for r in history.known_send_keys(night, EVENING + timedelta(minutes=10)).collect()}
    assert known == set(past) - {"told_later"}


def test_rates_plans_and_outcomes_count_the_same_opt_outs(lake: Lake) -> None:
    """Within the window after the send: later ones are consent (and hold), not what the send did."""
    sent = EVENING - timedelta(days=3)
    after = {
        "at_once": timedelta(0),
        "inside": timedelta(hours=20),
        "on_the_edge": timedelta(hours=24),
        "late": timedelta(hours=24, seconds=1),
        "much_later": timedelta(days=2),
    }
    day = sent.date()
    keys = [*after, "none"]
    put(lake, "send_plan", [planned(key, sent, day) for key in keys])
    put(lake, "sends", [send(f"of-{key}", key, sent) for key in keys])
    put(lake, "interactions", [interaction(key, "opt_out", sent + gap) for key, gap in after.items()])
    night = night_of(lake)
    (outcome,) = measure._outcomes(measure._delivered(night, day), day).collect()
    (counts,) = score_slots.opt_out_counts(night).collect()
    assert (outcome["sent"], outcome["opt_outs"]) == (len(keys), 3)
    assert (counts["sends"], counts["opt_outs"]) == (len(keys), 3)
    assert outcome["expected_opt_outs"] == len(keys) * 0.25


def test_what_a_send_planned_again_brought_belongs_to_the_later_night(lake: Lake) -> None:
    first, second = EVENING - timedelta(days=5), EVENING - timedelta(days=4)
    put(lake, "send_plan", [planned("again", first, first.date()), planned("once", first, first.date())])
    put(lake, "send_plan", [planned("again", second, second.date())])
    put(lake, "sends", [send("of-again", "again", second), send("of-once", "once", first)])
    put(lake, "interactions", [interaction("again", "open", second + timedelta(hours=1))])
    night = night_of(lake)
    brought = {
        at.date(): [tuple(r) for r in measure._delivered(night, at.date()).select("sent", "success").collect()]
        for at in (first, second)
    }
    assert sorted(brought[first.date()]) == [(0, 0), (1, 0)]
    assert brought[second.date()] == [(1, 1)]
