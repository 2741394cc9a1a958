"""Raw logs end in their tables or in the quarantine with one reason: nothing vanishes, whatever the order."""

from __future__ import annotations

import csv
import gzip
import json
import random
from datetime import UTC, datetime

import pandas as pd
import pytest

from sendopt.config.schema import Ingest, Label, Settings
from sendopt.domain.keys import keyed_hash
from sendopt.errors import ContractError, InputNotReady
from sendopt.ingest import Outcome, SourceMapping, TableMapping, load_mapping
from sendopt.ingest.reader import Reading
from sendopt.spark.ingest.ingest import ingest
from sendopt.spark.ingest.raw_logs import read_raw

pytestmark = pytest.mark.slow
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SETTINGS = Settings(
    label=Label(window_hours=24.0),
    ingest=Ingest(max_refused_fraction=1.0, max_unread_outcomes=1.0, max_unmatched_interactions=1.0),
)
SENDS = {
    "user_id": "user",
    "notification_id": "id",
    "campaign_id": "campaign",
    "sent_at_utc": "at",
    "timezone": "tz",
    "pscore": "p",
    "available": "ok",
    "sent": "sent",
    "send_key": "key",
}
CONSTANTS = {"channel": "push", "category": "news", "decision_kind": "slot"}
COLUMNS = ("user", "id", "campaign", "at", "tz", "p", "ok", "sent", "key", "opened", "opened_at")

# One row a case: what differs from a sound row, and the reason it is refused for (None: accepted).
CASES = [
    ({"id": "1", "opened": "1", "opened_at": "2026-03-01T09:30:00Z"}, None),
    ({"id": "2", "tz": "", "opened": "TRUE"}, None),
    ({"id": "3", "ok": "FALSE", "p": "0", "opened": "1"}, None),
    ({"id": "4", "ok": "no", "p": "NaN", "sent": "0"}, None),
    ({"id": "5", "campaign": 'a "quoted", name'}, None),
    ({"id": "6", "at": "2026-03-01T10:00:00+01:00"}, None),  # the user and time of 1: no duplicate
    ({"id": "7", "key": "k7"}, None),
    ({"id": "8", "opened": "1", "opened_at": "2026-03-01T08:00:00Z"}, None),  # outcome before its send
    ({"id": "9", "opened": "perhaps"}, None),  # outcome unreadable
    ({"id": "1", "at": "2026-03-01T11:00:00Z"}, "duplicate_send"),
    ({"id": "71", "key": "k7", "at": "2026-03-02T11:00:00Z"}, "duplicate_send"),
    ({"id": "2", "tz": "", "opened": "TRUE"}, "duplicate_send"),  # the row again
    ({"id": ""}, "missing_value:notification_id"),
    ({"id": "20", "user": " "}, "missing_value:user_id"),
    ({"id": "21", "at": "2026-02-30T09:00:00Z"}, "bad_time:sent_at_utc"),
    ({"id": "22", "at": "yesterday"}, "bad_time:sent_at_utc"),
    ({"id": "23", "at": "2026-03-10T13:00:01Z"}, "time_in_future"),
    ({"id": "24", "at": "1999-12-31T23:59:59Z"}, "time_before_2000"),
    ({"id": "25", "tz": "Europe/Pariss"}, None),  # the zone is lost, not the send: caps must count it
    ({"id": "26", "p": "NaN"}, "not_a_number:pscore"),
    ({"id": "27", "p": "-Infinity"}, "not_a_number:pscore"),
    ({"id": "28", "p": "0,5"}, "bad_number:pscore"),
    ({"id": "29", "p": "0"}, "pscore_out_of_range"),
    ({"id": "30", "p": "1.01"}, "pscore_out_of_range"),
    ({"id": "31", "p": ""}, "missing_value:pscore"),
    ({"id": "32", "sent": "2"}, "bad_boolean:sent"),
]
INTERACTIONS = [
    ({"id": "1", "key": "", "kind": "open", "t": "2026-03-01T09:10:00Z"}, None),
    ({"id": "", "key": "k7", "kind": "open", "t": "2026-03-02T09:10:00Z"}, None),
    ({"id": "1", "key": "", "kind": "open", "t": "2026-03-01T09:20:00Z"}, "duplicate_interaction"),
    ({"id": "1", "key": "", "kind": "opened", "t": "2026-03-01T09:20:00Z"}, "unknown_kind"),
    ({"id": "99", "key": "", "kind": "open", "t": "2026-03-01T09:20:00Z"}, "interaction_without_send"),
    ({"id": "1", "key": "", "kind": "click", "t": "2026-03-01T08:58:59Z"}, "interaction_before_send"),
    ({"id": "1", "key": "", "kind": "click", "t": ""}, "missing_value:at_utc"),
]
USERS = [
    (
        {
            "user": "u",
            "tz": "Europe/Paris",
            "ch": "push|sms",
            "from": "22:00",
            "to": "07:00",
            "t": "2026-01-02T00:00:00Z",
        },
        None,
    ),
    ({"user": "u", "tz": "", "ch": "push", "from": "", "to": "", "t": "2026-01-01T00:00:00Z"}, "duplicate_user"),
    ({"user": "v", "tz": "", "ch": "", "from": "", "to": "", "t": "2026-01-01T00:00:00Z"}, None),
    # a bad optional value costs that value, and what it would forbid is forbidden
    ({"user": "w", "tz": "Mars", "ch": "", "from": "", "to": "", "t": "2026-01-01T00:00:00Z"}, None),
    ({"user": "x", "tz": "", "ch": "[1", "from": "", "to": "", "t": "2026-01-01T00:00:00Z"}, None),
    ({"user": "y", "tz": "", "ch": "", "from": "22", "to": "07:00", "t": "2026-01-01T00:00:00Z"}, None),
    ({"user": "z", "tz": "", "ch": "", "from": "22:00", "to": "", "t": "2026-01-01T00:00:00Z"}, None),
    ({"user": "", "tz": "", "ch": "", "from": "", "to": "", "t": "2026-01-01T00:00:00Z"}, "missing_value:user_id"),
]
USER_COLUMNS = {
    "user_id": "user",
    "timezone": "tz",
    "channels": "ch",
    "quiet_start": "from",
    "quiet_end": "to",
    "created_at": "t",
}


def send(changes):
    sound = dict(
        zip(COLUMNS, ("u", "", "c", "2026-03-01T09:00:00Z", "Europe/Paris", "0.5", "1", "1", "", "0", ""), strict=True)
    )
    return {**sound, **changes}


def mapping(format_):
    return SourceMapping(
        source="shop",
        tables={
            "sends": TableMapping(
                files=f"sends*.{format_}*",
                format=format_,
                columns=SENDS,
                constants=CONSTANTS,
                outcome=Outcome(column="opened", kind="goal", at="opened_at"),
            ),
            "interactions": TableMapping(
                files=f"inter*.{format_}",
                format=format_,
                columns={"notification_id": "id", "send_key": "key", "kind": "kind", "at_utc": "t"},
            ),
            "users": TableMapping(
                files=f"users.{format_}", format=format_, columns=USER_COLUMNS, constants={"opted_out_categories": ()}
            ),
        },
    )


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # a BOM and CRLF, as spreadsheets write
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\r\n")
        writer.writeheader()
        writer.writerows(rows)


def expected(cases):
    reasons = [reason for _, reason in cases if reason]
    return {reason: reasons.count(reason) for reason in sorted(set(reasons))}


def rows_of(lake, name):
    return sorted(tuple(map(str, row)) for row in lake.read(name).collect())


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A messy log as CSV, and the same rows shuffled over four files of JSON lines."""
    folder = tmp_path_factory.mktemp("raw")
    sends = [send(changes) for changes, _ in CASES]
    interactions, users = [dict(c) for c, _ in INTERACTIONS], [dict(c) for c, _ in USERS]
    write_csv(folder / "sends-1.csv", sends[:12])
    (folder / "sends-2.csv.gz").write_bytes(gzip.compress(to_csv(sends[12:]).encode()))
    (folder / "sends-3.csv").write_text("")
    (folder / "sends-4.csv").write_text(",".join(COLUMNS) + "\n\n")
    broken = ["u,1", '"open quote,1,1,1,1,1,1,1,1,1,1', ",".join(COLUMNS), "," * 30_000]
    (folder / "sends-5.csv").write_bytes(
        "\n".join([",".join(COLUMNS), *broken]).encode() + b"\nu,\xff,c,c,c,c,c,c,c,c,c"
    )
    write_csv(folder / "inter.csv", interactions)
    write_csv(folder / "users.csv", users)
    shuffled = random.Random(1)
    for name, rows in (("sends", sends), ("inter", interactions), ("users", users)):
        shuffled.shuffle(rows)
        lines = [json.dumps(row) for row in rows]
        parts = 1 if name == "users" else 4
        for part in range(parts):
            path = folder / (f"{name}-{part}.jsonl" if parts > 1 else f"{name}.jsonl")
            path.write_text("\n".join(lines[part::parts]) + "\n")
    return folder


def to_csv(rows):
    return "\n".join([",".join(COLUMNS), *(",".join(f'"{row[c]}"' for c in COLUMNS) for row in rows)])


def test_every_row_of_a_messy_csv_is_accepted_or_quarantined_and_twice_is_once(spark, lake, raw):
    done = ingest(lake, mapping("csv"), raw, SETTINGS, NOW)
    tables = done.facts["tables"]
    sends = tables["sends"]
    assert (sends["rows_in"], sends["rows_out"], sends["files"], sends["empty_files"]) == (len(CASES) + 5, 10, 5, 1)
    assert sends["quarantined"] == {**expected(CASES), "bad_bytes:notification_id": 1, "malformed_row": 4}
    assert sends["lost"] == {"unknown_zone": 1}
    assert tables["interactions"]["quarantined"] == expected(INTERACTIONS)
    assert tables["outcomes"]["quarantined"] == {"bad_boolean:outcome": 1, "interaction_before_send": 1}
    assert tables["users"]["quarantined"] == expected(USERS)
    assert tables["users"]["lost"] == {"bad_list:channels": 1, "missing_value:quiet_end": 1, "unknown_zone": 1}
    assert done.rows_in == done.rows_out + sum(done.dropped.values())

    people = {r.user_id: r for r in lake.read("users").collect()}
    assert people["u"].channels == ["push", "sms"]
    assert [(people[u].quiet_start, people[u].quiet_end) for u in "uyz"] == [
        ("22:00", "07:00"),
        ("22:00", "07:00"),
        ("20:00", "10:00"),
    ]
    assert (people["w"].timezone, people["x"].channels) == (None, [])
    found = {r.notification_id: r for r in lake.read("sends").collect()}
    assert set(found) == {*"123456789", "25"}
    assert (found["3"].available, found["3"].pscore, found["4"].sent, found["2"].timezone) == (False, None, False, None)
    assert (found["25"].timezone, found["9"].outcome_known, found["8"].outcome_known) == (None, False, None)
    assert found["5"].campaign_id == 'a "quoted", name'
    assert found["1"].sent_at_utc == found["6"].sent_at_utc == datetime(2026, 3, 1, 9)  # noqa: DTZ001  UTC session
    assert (found["7"].send_key, found["1"].send_key) == ("k7", keyed_hash("send", "shop", "u", "1"))
    happened = {(r.send_key, r.kind): (str(r.at_utc), r.at_imputed) for r in lake.read("interactions").collect()}
    key = {n: row.send_key for n, row in found.items()}
    assert happened == {
        (key["1"], "goal"): ("2026-03-01 09:30:00", False),
        (key["2"], "goal"): ("2026-03-02 09:00:00", True),
        (key["3"], "goal"): ("2026-03-02 09:00:00", True),
        (key["1"], "open"): ("2026-03-01 09:10:00", False),
        ("k7", "open"): ("2026-03-02 09:10:00", False),
    }
    refused = lake.read("quarantine").collect()
    assert sum(r.occurrences for r in refused) == sum(sum(t["quarantined"].values()) for t in tables.values())
    row = next(r for r in refused if r.reason == "bad_boolean:outcome")
    assert "perhaps" in row.raw
    assert row.row_hash == keyed_hash("raw", row.raw)

    names = ("sends", "interactions", "users", "quarantine")
    before = {name: rows_of(lake, name) for name in names}
    assert ingest(lake, mapping("csv"), raw, SETTINGS, NOW) == done
    assert {name: rows_of(lake, name) for name in names} == before

    # the same rows as JSON lines, shuffled over four files, leave the same tables
    again = ingest(lake, mapping("jsonl"), raw, SETTINGS, NOW).facts["tables"]
    assert {name: rows_of(lake, name) for name in names[:3]} == {name: before[name] for name in names[:3]}
    assert again["sends"]["quarantined"] == expected(CASES)
    assert again["interactions"] == {**tables["interactions"], "files": 4}


def sends_only(format_, **settings):
    columns = {"user_id": "u", "notification_id": "id", "sent_at_utc": "at"}
    constants = {**CONSTANTS, "campaign_id": "c", "available": True, "sent": True}
    table = TableMapping(format=format_, columns=columns, constants=constants, **settings)
    return SourceMapping(source="s", tables={"sends": table})


def typed(spark, source, path, table="sends"):
    return read_raw(spark, Reading(table, source, NOW), path).rows


def times(spark, tmp_path, values, zones=None, **settings):
    """What becomes of times: UTC text, or the reason."""
    path = tmp_path / "log.csv"
    lines = [f"u,{i},{at},{(zones or {}).get(i, '')}" for i, at in enumerate(values)]
    path.write_text("\n".join(["u,id,at,tz", *lines]))
    rows = typed(spark, sends_only("csv", **settings), path).collect()
    by_id = {int(r.notification_id): r.reason or f"{r.sent_at_utc:%Y-%m-%d %H:%M:%S.%f}"[:23] for r in rows}
    return [by_id[i].removesuffix(".000") for i in range(len(values))]


def test_local_times_of_a_fixed_zone_in_gap_and_fold(spark, tmp_path):
    values = [
        "2025-07-01T12:00",
        "2025-12-01 12:00:00.25",
        "2025-03-30T02:30",
        "2025-10-26T02:30",
        "2025-10-26T03:00",
        "2025-03-30T02:30Z",
        "1990-01-01T00:00",
        "2026-03-10T14:30",
    ]
    assert times(spark, tmp_path, values, times_in="Europe/Paris") == [
        "2025-07-01 10:00:00",
        "2025-12-01 11:00:00.250",
        "nonexistent_local_time",
        "2025-10-26 00:30:00",
        "2025-10-26 02:00:00",
        "2025-03-30 02:30:00",
        "time_before_2000",
        "time_in_future",
    ]


def test_local_times_of_a_zone_column_by_a_pattern(spark, tmp_path):
    values = ["7/1/25 1:05 PM"] * 4 + ["2025-07-01", "2/30/25 1:05 AM"]
    zones = {0: "Asia/Kathmandu", 1: "America/New_York", 2: "Nowhere", 4: "UTC", 5: "UTC"}
    settings = {"times_in": {"column": "tz"}, "time_format": "%m/%d/%y %I:%M %p"}
    assert times(spark, tmp_path, values, zones, **settings) == [
        "2025-07-01 07:20:00",
        "2025-07-01 17:05:00",
        "unknown_zone",
        "local_time_without_zone",
        "bad_time:sent_at_utc",
        "bad_time:sent_at_utc",
    ]


def test_numbers_as_times_and_patterns_with_offsets(spark, tmp_path):
    bad = "bad_time:sent_at_utc"
    values = ["1767225600", "1767225600.5", "1.7672256e9", "1767225600000", "NaN", "-1", "1e999", "1767225600d"]
    at = "2026-01-01 00:00:00"
    assert times(spark, tmp_path, values, time_format="epoch_seconds") == [at, f"{at}.500", at, *[bad] * 5]
    assert times(spark, tmp_path, ["1767225600250", "0"], time_format="epoch_millis", times_in="Asia/Tokyo") == [
        f"{at}.250",
        "time_before_2000",
    ]
    values = ["01-Jan-2026 02:00:00.5 +0200", "31-dec-2025 19:00:00.000001 -05:00", "31-Dec-2025 19:00:00 -05:00"]
    assert times(spark, tmp_path, values, time_format="%d-%b-%Y %H:%M:%S.%f %z") == [f"{at}.500", at, bad]


def test_parquet_keeps_its_types(spark, tmp_path):
    frame = pd.DataFrame(
        {"u": [1, 2], "id": ["a", None], "at": pd.to_datetime(["2026-01-01 09:00"] * 2), "x": [0.5, None]}
    )
    for name, column in (("local", frame["at"]), ("instant", frame["at"].dt.tz_localize("Asia/Tokyo"))):
        for unit in ("ns", "us"):
            path = tmp_path / f"{name}-{unit}.parquet"
            frame.assign(at=column.dt.as_unit(unit)).to_parquet(path)
            rows = typed(
                spark, sends_only("parquet", times_in="Asia/Tokyo", time_format="epoch_millis"), path
            ).collect()
            found = {r.user_id: (r.reason, str(r.sent_at_utc)) for r in rows}
            assert found == {
                "1": (None, "2026-01-01 00:00:00"),
                "2": ("missing_value:notification_id", "2026-01-01 00:00:00"),
            }
            assert json.loads(rows[0].raw)["x"] == 0.5


def test_json_lines_that_are_no_single_object_are_malformed(spark, tmp_path):
    sound = [
        '{"u":1,"id":"a","at":"2026-01-01T00:00:00Z","n":{"x":["}{"]}}',
        '{"at":"2026-01-01T00:00:00Z","u":"\\"}{","id":1.0}',
    ]
    bad = [
        '{"u":1',
        "[1]",
        "5",
        "null",
        '{"u":1}{"u":2}',
        '{"u":1} x',
        '{"u":1}}',
        "{'u':1}",
        '[{"u":1}]',
        "\x00",
        "{}}{",
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join([*sound, "", *bad]))
    rows = typed(spark, sends_only("jsonl"), path).collect()
    assert sorted(r.raw for r in rows if r.reason is None) == sorted(sound)
    assert sorted(r.raw for r in rows if r.reason == "malformed_row") == sorted(bad)


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
def test_garbage_never_raises_and_never_vanishes(spark, tmp_path, format_):
    draw = random.Random(format_)
    alphabet = b'{}[]",:\\\x00\xff\xc3\xa9 aute1d-TZ.+\x0b\xef\xbb\xbf'
    lines = [bytes(draw.choices(alphabet, k=draw.randint(1, 60))) for _ in range(3000)]
    lines += [
        b'{"u":1,"id":2,"at":3}',
        b'{"a":' * 5000,
        b'"' * 4001,
        b"\\" * 9999,
        b"," * 25_000,
        b'{"at":"' + b"9" * 50_000 + b'"}',
    ]
    path = tmp_path / "log"
    path.write_bytes(b"\n".join([b"u,id,at", *lines]) + b"\n")
    settings = {"times_in": "Europe/Paris", "time_format": "%Y-%m-%d"} if format_ == "csv" else {}
    rows = typed(spark, sends_only(format_, **settings), path)
    blank = " \0\ufeff" if format_ == "csv" else " "
    kept = [line for line in lines if line.decode("utf-8", "replace").strip(blank)] + [b"u,id,at"] * (
        format_ == "jsonl"
    )
    raw = rows.select("raw").toPandas()["raw"]
    assert sum(text.count("\n") + 1 for text in raw) == len(kept)  # a quoted value may span lines
    assert rows.select("raw").toPandas()["raw"].str.len().min() > 0


def test_what_is_not_there_is_said_by_name(spark, lake, tmp_path):
    source = sends_only("csv")
    with pytest.raises(InputNotReady, match=r"gone\.csv is not there yet"):
        ingest(lake, source, tmp_path / "gone.csv", SETTINGS, NOW)
    with pytest.raises(InputNotReady, match=r"no file .*sends\*\.csv\* yet"):
        ingest(lake, mapping("csv"), tmp_path, SETTINGS, NOW)
    with pytest.raises(ContractError, match=r"is a folder, but tables\.sends has no `files`"):
        ingest(lake, source, tmp_path, SETTINGS, NOW)
    (tmp_path / "a.csv").write_text("u,id,when\n")
    with pytest.raises(
        ContractError, match=r"a\.csv: column 'at' .*sent_at_utc\) is not in the file; found: u, id, when"
    ):
        ingest(lake, source, tmp_path / "a.csv", SETTINGS, NOW)
    (tmp_path / "a.csv").write_text("u,id,at,at\n")
    with pytest.raises(ContractError, match="is more than once in the file"):
        ingest(lake, source, tmp_path / "a.csv", SETTINGS, NOW)
    (tmp_path / "a.jsonl").write_text('{"u": 1, "id": 2, "when": 3}\n')
    with pytest.raises(ContractError, match=r"no row of 1 files has the key 'at'; found: id, u, when"):
        ingest(lake, sends_only("jsonl"), tmp_path / "a.jsonl", SETTINGS, NOW)
    (tmp_path / "a.parquet").write_text("no parquet")
    with pytest.raises(ContractError, match="is no readable Parquet file"):
        ingest(lake, sends_only("parquet"), tmp_path / "a.parquet", SETTINGS, NOW)
    assert not lake.exists("sends")


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_an_empty_file_has_no_rows(spark, tmp_path, format_):
    (tmp_path / "empty").touch()
    log = read_raw(spark, Reading("sends", sends_only(format_), NOW), tmp_path / "empty")
    assert (log.files, log.empty_files, log.rows.count()) == (1, 1, 0)


def test_heartsteps_comes_in_whole(spark, lake, heartsteps):
    done = ingest(lake, load_mapping("conf/sources/heartsteps.yaml"), heartsteps, SETTINGS, NOW)
    assert (done.rows_in, done.rows_out, done.dropped) == (7540, 7540, {})
    log = pd.read_csv(heartsteps)
    sends, happened = lake.read("sends").toPandas(), lake.read("interactions").toPandas()
    assert (~sends.available).sum() == sends.pscore.isna().sum() == 1479
    assert set(sends.pscore.dropna()) == {0.6}
    assert set(happened.send_key) == {
        keyed_hash("send", "heartsteps", u, n)
        for u, n in log.loc[log.outcome == 1, ["user_id", "notification_id"]].itertuples(index=False)
    }
    assert happened.at_imputed.all()
    users = lake.read("users").toPandas().set_index("user_id")
    first = pd.to_datetime(log.groupby("user_id").sent_at_utc.min()).dt.tz_localize(None)
    assert len(users) == 37
    assert (users.created_at == first.reindex(users.index)).all()
