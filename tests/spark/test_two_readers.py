"""Spark's matching and success against the pure ones, on many random small logs at once: one rule, written twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from plain_features import Reference, judge_opens

from sendopt.config.schema import FeatureSettings, Grid, Label
from sendopt.domain.success import judge, rule_of
from sendopt.features import rules_of
from sendopt.ingest import SourceMapping, TableMapping
from sendopt.spark import reactions as reactions_on_spark
from sendopt.spark.ingest import matching
from sendopt.timing.matching import with_send

pytestmark = pytest.mark.slow
START = datetime(2026, 3, 1, tzinfo=UTC)
LOGS = 150
TOLERANCE = 60
LABEL = Label()
RULE = rule_of("open", 24.0, LABEL.implies, TOLERANCE, LABEL.machine_open_seconds)
SENDS = [
    "send_key",
    "source",
    "user_id",
    "notification_id",
    "campaign_id",
    "channel",
    "category",
    "sent_at_utc",
    "available",
    "sent",
    "outcome_known",
    "timezone",
]
REACTIONS = ["place", "user_id", "send_key", "notification_id", "kind", "at_utc", "machine", "campaign_id", "channel"]
STRINGS = "user_id string, send_key string, notification_id string"
# seconds after a send: exactly on the edges of the tolerance, the machine's second and the window, and between
DELAYS = [-3600, -61, -60.000001, -60, -1, 0, 0.3, 1, 1.000001, 2, 2.4, 2.9, 60, 3600, 86399, 86400, 86400.000001, 9e4]


def pick(draw, values):
    return values[int(draw.integers(len(values)))]


def small_log(number):
    """Sends and reactions of a few people who are in no other log."""
    draw = np.random.default_rng(number)
    people = [f"{number}-{u}" for u in range(1 + int(draw.integers(3)))]
    sends = []
    for i in range(1 + int(draw.integers(7))):
        at = START + timedelta(minutes=int(draw.integers(0, 4000)), seconds=pick(draw, [0, 0, 0.9]))
        identity = f"{number}-{pick(draw, [i, i, 0])}"
        place = pick(draw, ["sale", "tips"]), pick(draw, ["push", "email"])
        sends.append(
            (
                f"k{number}-{i}",
                "s",
                pick(draw, people),
                identity,
                *place,
                "c",
                at,
                bool(draw.random() < 0.9),
                bool(draw.random() < 0.9),
                pick(draw, [None, None, False]),
                pick(draw, ["Europe/Paris", None]),
            )
        )
    reactions = []
    for i in range(int(draw.integers(14))):
        send = pick(draw, sends)
        at = pick(draw, [send, sends[0]])[7] + timedelta(seconds=pick(draw, DELAYS))
        how = draw.random()
        key = send[0] if how < 0.3 else f"k{number}-gone" if how < 0.35 else None
        identity = send[3] if 0.35 <= how < 0.65 else f"{number}-gone" if 0.65 <= how < 0.7 else None
        reactions.append(
            (
                number * 100 + i,
                pick(draw, [send[2], send[2], send[2], people[0], None]),
                key,
                identity,
                pick(draw, ["open", "open", "click", "goal", "opt_out"]),
                pick(draw, [at, at, at, at, None]),
                pick(draw, [None, None, None, True, False]),
                pick(draw, [None, None, send[4]]),
                pick(draw, [None, None, send[5]]),
            )
        )
    if draw.random() < 0.4:  # all sends of a person are opened at one time, or nearly
        own = [s for s in sends if s[2] == people[0]]
        at = max((s[7] for s in own), default=START).replace(microsecond=0) + timedelta(seconds=100)
        for i, send in enumerate(own):
            opened = at + timedelta(seconds=pick(draw, [0, 0, 0.4, 20]))
            reactions.append((number * 100 + 50 + i, people[0], send[0], None, "open", opened, None, None, None))
    return sends, reactions


@pytest.fixture(scope="module")
def logs():
    parts = [small_log(number) for number in range(LOGS)]
    sends = pd.DataFrame([row for sends, _ in parts for row in sends], columns=SENDS, dtype=object)
    reactions = pd.DataFrame([row for _, rows in parts for row in rows], columns=REACTIONS, dtype=object)
    return sends, reactions.where(reactions.notna(), None)


def of_spark(spark, sends, reactions):
    """The same rows as Spark's."""
    of_sends = (
        "send_key string, source string, user_id string, notification_id string, campaign_id string, channel string, "
        "category string, sent_at_utc timestamp, available boolean, sent boolean, outcome_known boolean, "
        "timezone string"
    )
    of_reactions = (
        f"place double, {STRINGS}, kind string, at_utc timestamp, machine boolean, campaign_id string, channel string"
    )
    columns = ["place", "user_id", "send_key", "notification_id", *REACTIONS[4:]]
    rows = [(float(r[0]), *r[1:]) for r in reactions[columns].itertuples(index=False, name=None)]
    return (
        spark.createDataFrame(list(sends[SENDS].itertuples(index=False, name=None)), of_sends),
        spark.createDataFrame(rows, of_reactions),
    )


@pytest.mark.parametrize(
    ("by_user", "match", "within"), [(True, "nearest_send", 24.0), (True, "id", 72.0), (False, "id", 72.0)]
)
def test_an_interaction_finds_the_same_send_with_and_without_an_engine(spark, logs, by_user, match, within):
    sends, reactions = logs
    columns = {"kind": "kind", "at_utc": "at", "send_key": "key", "notification_id": "id"}
    table = TableMapping(
        format="csv", match=match, within_hours=within, columns={**columns, **({"user_id": "u"} if by_user else {})}
    )
    pure = with_send(reactions, sends, table, pd.Timedelta(seconds=TOLERANCE))
    mapping = SourceMapping(source="s", tables={"interactions": table})
    rows = matching.with_send(
        mapping, of_spark(spark, sends, reactions)[1], of_spark(spark, sends, reactions)[0], TOLERANCE * 1_000_000
    )
    found = {int(r["place"]): r["found_key"] for r in rows.select("place", "found_key").collect()}
    expected = dict(zip(pure["place"], pure["found_key"], strict=True))
    assert found == expected
    matched = sum(key is not None for key in expected.values())
    assert len(expected) * 0.2 < matched < len(expected)  # of both kinds there are many


def test_a_success_is_the_same_in_nights_in_the_reference_and_in_evaluate(spark, logs):
    sends, reactions = logs
    table = TableMapping(
        format="csv", columns={"kind": "k", "at_utc": "at", "user_id": "u"}, match="nearest_send", within_hours=24.0
    )
    rows = with_send(reactions, sends, table, pd.Timedelta(seconds=TOLERANCE))
    rows = rows[rows["found_key"].notna() & rows["at_utc"].notna()]
    early = [at < sent - timedelta(seconds=TOLERANCE) for at, sent in zip(rows["at_utc"], rows["sent_at"], strict=True)]
    used = rows[~np.array(early)].assign(send_key=lambda d: d["found_key"])
    # as the table keeps them: the earliest of a send and kind
    kept = used.sort_values("at_utc", kind="stable").drop_duplicates(["send_key", "kind"])
    exposed = sends[sends["sent"].astype(bool) & sends["available"].astype(bool)]

    def micros(times):
        return (pd.to_datetime(times, utc=True) - START) // pd.Timedelta(microseconds=1)

    asked = pd.DataFrame(
        {"send_key": exposed["send_key"], "user_id": exposed["user_id"], "at": micros(exposed["sent_at_utc"])}
    )
    events = pd.DataFrame(
        {
            "send_key": used["send_key"],
            "kind": used["kind"],
            "at": micros(used["at_utc"]),
            "machine": used["machine"].eq(True).to_numpy(bool),
        }
    )
    judged = judge(asked, events, RULE)
    of_judge = {
        k: (int(s), bool(m)) for k, s, m in zip(asked["send_key"], judged.success, judged.suspected, strict=True)
    }

    spark_sends, _ = of_spark(spark, exposed, kept)
    interactions = of_spark(spark, exposed, kept)[1].select("send_key", "kind", "at_utc", "machine")
    night = SimpleNamespace(lake=SimpleNamespace(read=lambda _: interactions), as_of=START + timedelta(days=90))
    timed = spark_sends.selectExpr("*", "unix_micros(sent_at_utc) AS sent_at")
    by_spark = {r["send_key"]: r for r in reactions_on_spark.judged(night, timed, RULE).collect()}
    of_nights = {
        key: (int(by_spark[key]["label"] or 0), bool(by_spark[key]["suspected"])) if key in by_spark else (0, False)
        for key in of_judge
    }
    assert of_nights == of_judge
    base = START.timestamp() * 1_000_000
    opened = {k: int(r["open_at"] - base) for k, r in by_spark.items() if r["open_at"] is not None}
    assert opened == judge_opens(asked, events, RULE)

    naive = {"sent_at_utc": [t.replace(tzinfo=None) for t in sends["sent_at_utc"]]}
    seen = kept.assign(at_utc=[t.replace(tzinfo=None) for t in kept["at_utc"]])
    nobody = pd.DataFrame(columns=["user_id", "timezone", "created_at", "at_utc"])
    reference = Reference(
        sends.assign(**naive), seen, nobody, nobody, rules_of(Grid(), LABEL, FeatureSettings(), None)
    ).sends
    of_reference = {
        key: (int(label), bool(suspected))
        for key, label, suspected, known in zip(
            reference.send_key, reference.label, reference.suspected, reference.outcome_known, strict=True
        )
        if known
    }
    assert of_reference == {key: of_judge[key] for key in of_reference}
    assert {(0, False), (1, False), (1, True)} <= set(of_judge.values())
    assert len(of_reference) > 100
