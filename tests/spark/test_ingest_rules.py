"""What an ingest leaves in the lake, by rule: outcomes, identity, shares that stop it, and messages up to a plan."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tiny_nights import EVENING, PLAN_DATE, night_of, person, scored, settings

from sendopt.config.schema import AudienceIngested, Campaign, Ingest
from sendopt.errors import ContractError
from sendopt.ingest import SourceMapping, TableMapping
from sendopt.spark.allocation import allocate
from sendopt.spark.candidates import build_candidates
from sendopt.spark.ingest.ingest import ingest

pytestmark = pytest.mark.slow
ANY_SHARE = Ingest(max_refused_fraction=1.0, max_unread_outcomes=1.0, max_unmatched_interactions=1.0)
CONSTANTS = {"channel": "push", "category": "deals", "campaign_id": "sale", "available": True, "sent": True}
SENT = "2026-03-01T10:00:00.900Z"
NOW = datetime(2026, 3, 9, tzinfo=UTC)


def csv(path, columns, rows):
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


def log_of(**sends):
    table = {
        "files": "sends.csv",
        "format": "csv",
        "constants": CONSTANTS,
        "columns": {"user_id": "u", "notification_id": "id", "sent_at_utc": "at"},
        "outcome": {"column": "o", "kind": "open", "at": "oat"},
        **sends,
    }
    clicks = TableMapping(
        files="clicks.csv", format="csv", constants={"kind": "click"}, columns={"notification_id": "id", "at_utc": "at"}
    )
    return SourceMapping(source="shop", tables={"sends": TableMapping(**table), "interactions": clicks})


def sent_row(user, *, outcome, outcome_at="", notification_id=77, sent_at=SENT):
    """Return a row of sends.csv."""
    return (user, notification_id, sent_at, outcome, outcome_at)


def test_outcomes_identity_and_shares_of_one_log(lake, tmp_path):
    rows = [
        sent_row("a", outcome="ja", outcome_at="2026-03-01T10:00:00Z"),  # 0.9 s before its send: clocks differ
        sent_row("b", outcome="nein"),  # one broadcast: the same id, another user
        sent_row("c", outcome="2"),  # a count
        sent_row("d", outcome="vielleicht"),
        sent_row("e", outcome="ja", outcome_at="2026-03-01T09:58:00Z"),
        sent_row("f", outcome="ja", outcome_at="0000-00-00 00:00:00"),
        sent_row("g", notification_id=78, outcome="0"),
        # the same send: nobody knows what it brought
        sent_row("g", notification_id=78, sent_at="2026-03-01T10:00:00.900+00:00", outcome="?"),
    ]
    csv(tmp_path / "sends.csv", ["u", "id", "at", "o", "oat"], rows)
    csv(tmp_path / "clicks.csv", ["id", "at"], [(78, "2026-03-01T10:00:30Z"), (77, "2026-03-01T10:00:30Z")])
    strict = settings()
    with pytest.raises(ContractError) as error:
        ingest(lake, log_of(), tmp_path, strict, NOW)
    message = str(error.value)
    assert "no table but the quarantine was written" in message
    assert (
        "2 cannot be read or are before their send of 7 rows (28.6%; at most 2.0%, ingest.max_unread_outcomes): "
        in message
    )
    assert "bad_boolean:outcome (such as '?', 'vielleicht')" in message
    assert not lake.exists("sends")
    assert lake.exists("quarantine")

    done = ingest(lake, log_of(), tmp_path, settings(ingest=ANY_SHARE), NOW)
    sends = {r["user_id"]: r for r in lake.read("sends").collect()}
    assert {u: r["outcome_known"] for u, r in sends.items()} == {
        **dict.fromkeys("abcef", None),
        "d": False,
        "g": False,
    }
    assert len({r["send_key"] for r in sends.values()}) == 7
    of = {r["send_key"]: u for u, r in sends.items()}
    happened = {(of[r["send_key"]], r["kind"], r["at_imputed"]) for r in lake.read("interactions").collect()}
    assert happened == {("a", "open", False), ("c", "open", True), ("f", "open", True), ("g", "click", False)}
    tables = done.facts["tables"]
    assert tables["sends"]["quarantined"] == {"duplicate_send": 1}
    assert tables["outcomes"]["quarantined"] == {"bad_boolean:outcome": 2, "interaction_before_send": 1}
    assert tables["outcomes"]["tolerated"] == 1
    # an id of several users finds no send where the row names no user
    assert tables["interactions"]["quarantined"] == {"interaction_without_send": 1}


def test_an_ingested_audience_is_planned_in_whole_slots_between_earliest_and_expiry(lake, tmp_path):
    sale = Campaign(channel="push", category="deals", audience=AudienceIngested(kind="ingested"))
    conf = settings(campaigns={"sale": sale}, ingest=ANY_SHARE)
    columns = {
        "plan_date": "day",
        "user_id": "user",
        "notification_id": "id",
        "campaign_id": "what",
        "earliest_utc": "from",
        "expiry_utc": "until",
    }
    limits = {  # message: earliest, expiry, the slots it may have (an hour each; quiet from 20:00Z to 06:00Z)
        "free": ("", "", [*range(6, 20)]),
        "late": ("2026-05-04T17:00:00Z", "", [17, 18, 19]),
        "late by a second": ("2026-05-04T17:00:01Z", "", [18, 19]),
        "soon": ("", "2026-05-04T08:00:00Z", [6, 7]),
        "soon by a second": ("", "2026-05-04T07:59:59Z", [6]),
        "one hour": ("2026-05-04T12:00:00Z", "2026-05-04T13:00:00Z", [12]),
        "no hour": ("2026-05-04T12:00:00Z", "2026-05-04T12:59:00Z", []),
        "over": ("", "2026-05-03T12:00:00Z", []),
        "later": ("2026-05-05T12:00:00Z", "", []),
    }
    rows = [
        {"day": str(PLAN_DATE), "user": f"u-{name}", "id": name, "what": "sale", "from": start, "until": end}
        for name, (start, end, _) in limits.items()
    ]
    rows += [{**rows[0], "id": "bad", "until": "soon"}, rows[1], {**rows[0], "id": "x", "what": "sales"}]
    rows += [{**rows[0], "id": "y", "user": "nobody"}, {**rows[0], "id": "z", "day": "2026-05-05"}]
    (tmp_path / "messages.jsonl").write_text("\n".join(map(json.dumps, rows)))
    table = TableMapping(format="jsonl", columns=columns)
    mapping = SourceMapping(source="crm", tables={"messages": table})
    done = ingest(lake, mapping, tmp_path / "messages.jsonl", conf, EVENING)
    assert done.dropped == {"bad_time:expiry_utc": 1, "duplicate_message": 1}
    assert {r["origin"] for r in lake.read("messages").collect()} == {None}

    night = night_of(lake, conf)
    scored(night, [person(f"u-{name}") for name in limits])
    build_candidates.run(night)
    cells = lake.read("candidates", PLAN_DATE).collect()
    open_slots = {
        name: sorted(c["slot"] for c in cells if c["notification_id"] == name and c["eligible"]) for name in limits
    }
    assert open_slots == {name: slots for name, (_, _, slots) in limits.items()}
    reasons = {name: {c["reason"] for c in cells if c["notification_id"] == name} for name in ("x", "y", "z")}
    assert reasons == {"x": {"unknown_campaign"}, "y": {"unknown_user"}, "z": set()}
    refused = {c["slot"]: c["reason"] for c in cells if c["notification_id"] == "no hour"}
    assert (refused[11], refused[12], refused[13], refused[3]) == ("earliest", "expiry", "expiry", "quiet_hours")

    allocate.run(night)
    planned = {r["notification_id"]: r["slot"] for r in lake.read("allocation", PLAN_DATE).collect()}
    assert set(planned) == {name for name, (_, _, slots) in limits.items() if slots}
    assert all(planned[name] in limits[name][2] for name in planned)
