"""Opens that arrive days after their send, twice, earlier than known or instead of an imputed one, count once (¶16)."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from sendopt.config.schema import Grid, Label, Settings
from sendopt.domain.keys import keyed_hash
from sendopt.domain.tables import TABLES
from sendopt.ingest import DerivedUsers, Outcome, SourceMapping, TableMapping
from sendopt.spark.engine.lake import schema_of
from sendopt.spark.features import build_features
from sendopt.spark.features.feature_counts import exposures_of, rules_of_night
from sendopt.spark.ingest.ingest import ingest
from sendopt.spark.measurement import measure
from sendopt.spark.night import Night

pytestmark = pytest.mark.slow
SENT = datetime(2026, 3, 1, 9, 0, 0, 500_000, tzinfo=UTC)
DAY = SENT.date()
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SETTINGS = Settings(label=Label(window_hours=24.0), grid=Grid(lead_minutes=60))
MAPPING = SourceMapping(
    source="shop",
    tables={
        "sends": TableMapping(
            files="sends.jsonl",
            format="jsonl",
            outcome=Outcome(column="opened", kind="open"),
            columns={"user_id": "user", "notification_id": "id", "sent_at_utc": "at", "timezone": "tz"},
            constants={"channel": "push", "category": "news", "campaign_id": "c", "available": True, "sent": True},
        ),
        "interactions": TableMapping(
            files="opens*.jsonl",
            format="jsonl",
            columns={"notification_id": "id", "at_utc": "at"},
            constants={"kind": "open"},
        ),
    },
    derived_users=DerivedUsers(derive_from="sends", channels=("push",)),
)

# by send: minutes after it of the open in the first delivery ("imputed": only told that there was one), of that in the
# second, and what must stand in the end
DAYTIME, NIGHT = 11 * 60.0, 23 * 60.0  # before and after the older night's as_of, both within the window
CASES: dict[str, tuple[float | str | None, float | None, float | None]] = {
    "late": (None, DAYTIME, DAYTIME),
    "after_as_of": (None, NIGHT, NIGHT),
    "at_the_end": (None, 1440.0, 1440.0),
    "just_after_the_end": (None, 1440.0 + 0.3 / 60, 1440.0 + 0.3 / 60),
    "after_the_window": (None, 2880.0, 2880.0),
    "earlier": (60.0, 30.0, 30.0),
    "true": ("imputed", 45.0, 45.0),
    "later": (60.0, 90.0, 60.0),
    "again": (60.0, 60.0, 60.0),
    "machine": (0.5 / 60, 0.5 / 60, 0.5 / 60),  # no person opens within half a second
    "never": (None, None, None),
}
IN_WINDOW = {name for name, (*_, end) in CASES.items() if end is not None and end <= 1440} - {"machine"}
AT_FIRST = {name for name, (first, *_) in CASES.items() if first is not None} - {"machine"}


def write(folder: Path, file: str, rows: list[dict[str, object]]) -> None:
    (folder / file).write_text("".join(json.dumps(row) + "\n" for row in rows))


def opens(which: int) -> list[dict[str, object]]:
    told = {name: case[which] for name, case in CASES.items()}
    return [
        {"id": name, "at": (SENT + timedelta(minutes=minute)).isoformat()}
        for name, minute in told.items()
        if isinstance(minute, float)
    ]


def night(lake, plan_date: date) -> Night:
    return Night(lake, SETTINGS, plan_date, Path("conf"))


def labels(lake) -> set[str]:
    """Users whose send is a success to a training of the last night."""
    last, first = night(lake, NOW.date()), DAY - timedelta(days=20)
    rules = rules_of_night(last)
    sends = build_features.mature_sends(exposures_of(last, first, rules), last, first, rules)
    rows = sends.where("local_hour IS NOT NULL AND NOT suspected").select("user_id", "label").collect()
    assert len(rows) == len(CASES) - 1
    return {row["user_id"] for row in rows if row["label"]}


def measured(lake) -> tuple[int, int]:
    facts = measure.run(night(lake, DAY + timedelta(days=3))).facts
    assert facts["measured"] == str(DAY)
    (row,) = lake.read("outcomes", DAY).collect()
    assert row["suspected"] == 1
    assert row["expected_successes"] == (len(CASES) - 1) * 0.5
    return row["sent"], row["successes"]


def plan_the_sends(lake) -> None:
    sends = lake.read("sends").toPandas()
    plan = sends.assign(
        plan_date=DAY,
        send_at_utc=sends["sent_at_utc"],
        slot_end_utc=sends["sent_at_utc"],
        send_at_local="x",
        arm="treatment",
        pscore=1.0,
        p_open=0.5,
        p_opt_out=0.0,
        value=0.5,
        plan_version="v",
        config_hash="h",
        model_version="m",
    )
    table = TABLES["send_plan"]
    lake.replace("send_plan", lake.spark.createDataFrame(plan[list(table.names)], schema_of(table)), DAY)


def contents(lake) -> dict[str, list[tuple[str, ...]]]:
    return {n: sorted(tuple(map(str, r)) for r in lake.read(n).collect()) for n in ("sends", "interactions", "users")}


def test_late_opens_change_labels_features_and_outcomes_exactly_once(lake, tmp_path, monkeypatch):
    monkeypatch.setattr(measure.drift, "look", lambda *_: [])  # drift needs a model and is told elsewhere
    raw = tmp_path / "raw"
    raw.mkdir()
    sends = [
        {"user": name, "id": name, "at": SENT.isoformat(), "tz": "Europe/Paris", "opened": int(first == "imputed")}
        for name, (first, *_) in CASES.items()
    ]
    write(raw, "sends.jsonl", sends)
    write(raw, "opens.jsonl", opens(0))
    ingest(lake, MAPPING, raw, SETTINGS, NOW)
    assert labels(lake) == AT_FIRST
    plan_the_sends(lake)
    assert measured(lake) == (len(CASES), len(AT_FIRST))

    # days later, in a folder of its own: opens whose sends are known only to the lake; one file came twice
    late = tmp_path / "late"
    late.mkdir()
    (late / "sends.jsonl").touch()
    for file in ("opens-1.jsonl", "opens-2.jsonl"):
        write(late, file, opens(1))
    done = ingest(lake, MAPPING, late, SETTINGS, NOW)
    told = len(opens(1))
    assert done.dropped == {"duplicate_interaction": told + 1}  # each second one, and what is later than known
    assert done.rows_in == done.rows_out + told + 1
    keys = {keyed_hash("send", "shop", name, name): name for name in CASES}
    happened = {keys[r["send_key"]]: r for r in lake.read("interactions").toPandas().to_dict("records")}
    expected = {name: SENT + timedelta(minutes=end) for name, (*_, end) in CASES.items() if end is not None}
    assert {name: pd.Timestamp(r["at_utc"], tz="UTC") for name, r in happened.items()} == expected
    assert not any(r["at_imputed"] for r in happened.values())
    assert labels(lake) == IN_WINDOW
    assert measured(lake) == (len(CASES), len(IN_WINDOW))

    # both deliveries once more, the first with its imputed open: nothing changes, not even a commit
    before, version = contents(lake), lake.version("interactions")
    for file in ("sends.jsonl", "opens.jsonl"):
        shutil.copy(raw / file, late / file)
    ingest(lake, MAPPING, late, SETTINGS, NOW)
    assert contents(lake) == before
    assert lake.version("interactions") == version

    # a night whose as_of is an hour before midnight knows the open of the day, not that of the next morning
    older = night(lake, DAY + timedelta(days=1))
    build_features.run(older)
    rows = lake.read("user_features", older.plan_date).toPandas().set_index("user_id")
    seen = {
        name for name, (*_, end) in CASES.items() if end is not None and SENT + timedelta(minutes=end) < older.as_of
    } - {"machine"}
    assert set(rows.index[rows["days_since_open"].notna()]) == seen
    assert {"late", "earlier"} < seen
    assert "after_as_of" not in seen
    assert (rows["successes_7d"] == 0).all(), "no window is over yet"
