"""`sendopt evaluate` on bad input, through the command: the exit code, a sentence, no stack trace, nothing written."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sendopt.cli import app
from sendopt.domain.outside_text import unprintable

COLUMNS = {"user_id": "u", "notification_id": "id", "sent_at_utc": "at", "pscore": "p"}
CONSTANTS = {
    "channel": "push",
    "category": "c",
    "campaign_id": "c",
    "decision_kind": "slot",
    "available": True,
    "sent": True,
    "timezone": "UTC",
}
START = datetime(2026, 3, 1, 8, tzinfo=UTC)
NAMES = ("u", "id", "at", "p", "o")
SOUND = [
    {
        "u": f"person-{i % 20}",
        "id": f"n{i}",
        "at": (START + timedelta(hours=i % 5, days=i // 20)).isoformat(),
        "p": "0.2",
        "o": str(i % 3 % 2),
    }
    for i in range(60)
]


def csv(rows, names=NAMES, between=","):
    return "\n".join([between.join(names), *(between.join(str(row.get(n, "")) for n in names) for row in rows)]) + "\n"


def changed(number=60, **values):
    """The sound log with these values in its first rows."""
    return csv([{**row, **values} if i < number else row for i, row in enumerate(SOUND)])


def mapping(sends=None, text=None, **tables):
    """A mapping as YAML (JSON is YAML)."""
    if text is not None:
        return text
    table = {"format": "csv", "columns": COLUMNS, "constants": CONSTANTS, "outcome": {"column": "o", "kind": "open"}}
    table |= sends or {}
    kept = {key: value for key, value in table.items() if value is not None}
    return json.dumps({"source": "shop", "tables": {"sends": kept, **tables}})


def run(tmp_path, data, source, *options, file="log.csv"):
    path = tmp_path / file
    if isinstance(data, pa.Table):
        pq.write_table(data, path)
    elif isinstance(data, dict):
        path.mkdir()
        for name, text in data.items():
            (path / name).write_text(text)
    elif data is not None:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    (tmp_path / "shop.yaml").write_text(source)
    words = ["evaluate", str(path), "--source", str(tmp_path / "shop.yaml"), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(app, words)
    assert "Traceback" not in done.output
    assert "person-" not in done.output
    assert unprintable(done.output, keep="\n") is None
    return done


CLICKS = {"files": "clicks.csv", "format": "csv", "columns": {"notification_id": "id", "kind": "k", "at_utc": "at"}}
BY_CLICKS = mapping({"files": "sends.csv", "outcome": None}, interactions=CLICKS)


def folder(*reactions, names=("id", "k", "at")):
    return {"sends.csv": csv(SOUND), "clicks.csv": csv([dict(zip(names, r, strict=True)) for r in reactions], names)}


LATER = (START + timedelta(hours=9)).isoformat()
LONG = "x" * 100_000
REFUSED = {  # name: (data, mapping, options, exit code, words)
    "no file": (None, mapping(), (), 75, "is not there yet"),
    "a folder for a file": ({}, mapping(), (), 3, "is a folder, but tables.sends has no `files`"),
    "a file for a folder": (csv(SOUND), mapping({"files": "*.csv"}), (), 3, "is a file, but tables.sends.files is"),
    "a folder without its files": ({"a.txt": ""}, mapping({"files": "*.csv"}), (), 75, "no file "),
    "another delimiter": (csv(SOUND, between=";"), mapping(), (), 3, "separated by a semicolon: say so in `delimiter`"),
    "tabs": (csv(SOUND, between="\t"), mapping(), (), 3, "separated by a tab"),
    "no such column": (csv(SOUND), mapping({"columns": {**COLUMNS, "user_id": "U"}}), (), 3, "did you mean 'u'?"),
    "no column of the outcome": (csv(SOUND), mapping({"outcome": {"column": "opened"}}), (), 3, "sends.outcome.column"),
    "no column of the slot": (csv(SOUND), mapping({"decision": {"slot": "part"}}), (), 3, "sends.decision.slot"),
    "a column twice": (csv(SOUND, (*NAMES, "p")), mapping(), (), 3, "column 'p' (tables.sends.columns.pscore) is more"),
    "UTF-16 without a mark": (csv(SOUND).encode("utf-16-le"), mapping(), (), 3, "seems to be UTF-16"),
    "a cut gzip file": (gzip.compress(csv(SOUND).encode())[:-9], mapping(), (), 3, "cut short or no gzip file"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(50), mapping(), (), 3, "a ZIP archive or a spreadsheet"),
    "CSV called Parquet": (csv(SOUND), mapping({"format": "parquet"}), (), 3, "no readable Parquet file"),
    "CSV called JSON": (csv(SOUND), mapping({"format": "jsonl"}), (), 3, "61 are refused of 61 rows"),
    "JSON called CSV": ("\n".join(map(json.dumps, SOUND)), mapping(), (), 3, "its first line is JSON"),
    "no header": (csv(SOUND).partition("\n")[2], mapping(), (), 3, "seems to hold values, not names"),
    "JSON without a key": ('{"u": 1}\n', mapping({"format": "jsonl"}), (), 3, "no row of 1 files has the key 'id'"),
    "a cut JSON array": (json.dumps(SOUND, indent=0)[:-5], mapping({"format": "json"}), (), 3, "a JSON array, which"),
    "names that colour": (f"\x1b[31mu{csv(SOUND)[1:]}", mapping(), (), 3, "found: \\x1b[31mu"),
    "a name that turns the line": (f"\u202e{csv(SOUND)}", mapping(), (), 3, "\\u202eu"),
    "a long name": (f"{LONG}{csv(SOUND)}", mapping(), (), 3, "column 'u' (tables.sends.columns.user_id) is not in"),
    "all ids empty": (changed(u=""), mapping(), (), 3, "60 are refused of 60 rows (100.0%; at most 10.0%, --max-ref"),
    "a fifth of the times bad": (changed(12, at="soon"), mapping(), (), 3, "12 bad_time:sent_at_utc (such as 'soon')"),
    "times in another format": (csv(SOUND), mapping({"time_format": "%d/%m/%Y"}), (), 3, "60 bad_time:sent_at_utc"),
    "seconds as millis": (changed(at="1772357400"), mapping({"time_format": "epoch_millis"}), (), 3, "before_2000"),
    "millis as seconds": (
        changed(at="1772357400000"),
        mapping({"time_format": "epoch_seconds"}),
        (),
        3,
        "60 bad_time:sent_at_utc (such as '1772357400000')",
    ),
    "times of no zone": (changed(at="2026-03-01 09:00"), mapping({"times_in": {"column": "o"}}), (), 3, "unknown_zone"),
    "times that ring": (changed(at="\x07"), mapping(), (), 3, "such as '\\x07'"),
    "a long time": (changed(at="9" * 5000), mapping(), (), 3, "bad_time:sent_at_utc"),
    "bad bytes for ids": (csv(SOUND).replace("person", "p\xe9").encode("latin-1"), mapping(), (), 3, "bad_bytes:u"),
    "an outcome of unknown words": (
        changed(9, o="vielleicht"),
        mapping(),
        (),
        3,
        "9 bad_boolean:outcome (such as 'vielleicht')",
    ),
    "an outcome that rings": (changed(9, o="\x07"), mapping(), (), 3, "such as '\\x07'"),
    "an outcome of negative counts": (changed(2, o="-1"), mapping(), (), 3, "at most 2.0%, --max-unread-outcomes"),
    "an outcome of NaN": (changed(9, o="nan"), mapping(), (), 3, "9 bad_boolean:outcome"),
    "an outcome of an unreadable time": (changed(9, o="soon"), mapping({"outcome": {"at": "o"}}), (), 3, "outcome_at"),
    "an outcome of seconds read as millis": (
        changed(9, at="2026-03-01T08:00:00Z", o="1772357400"),
        mapping({"outcome": {"at": "o"}, "time_format": ["iso8601", "epoch_millis"]}),
        (),
        3,
        "time_before_2000",
    ),
    "outcomes before their sends": (
        changed(9, o="2025-12-01T08:00:00Z"),
        mapping({"outcome": {"at": "o"}}),
        (),
        3,
        "interaction_before_send",
    ),
    "flags of unknown words": (
        changed(9, p="0.2"),
        mapping(
            {"columns": {**COLUMNS, "sent": "id"}, "constants": {k: v for k, v in CONSTANTS.items() if k != "sent"}}
        ),
        (),
        3,
        "bad_boolean:sent",
    ),
    "no row of `where`": (csv(SOUND), mapping({"where": {"o": "sent"}}), (), 3, "matches none of 60 rows; found: o="),
    "interactions of unknown kinds": (
        folder(*[(f"n{i}", "opened", LATER) for i in range(9)]),
        BY_CLICKS,
        (),
        3,
        "9 unknown_kind (such as 'opened')",
    ),
    "interactions of no send": (folder(*[(f"m{i}", "open", LATER) for i in range(9)]), BY_CLICKS, (), 3, "find no"),
    "interactions without a time": (
        folder(*[(f"n{i}", "open", "") for i in range(9)]),
        BY_CLICKS,
        (),
        3,
        "9 missing_value:at_utc",
    ),
    "interactions before their sends": (
        folder(*[(f"n{i}", "open", "2026-01-01T00:00Z") for i in range(9)]),
        BY_CLICKS,
        (),
        3,
        "9 interaction_before_send",
    ),
    "interactions that are malformed": (
        folder(*[(f'"n{i}', "open", LATER) for i in range(9)]),
        BY_CLICKS,
        (),
        3,
        "malformed_row",
    ),
    "no file of interactions": ({"sends.csv": csv(SOUND)}, BY_CLICKS, (), 75, "no file "),
    "interactions without their column": (
        {"sends.csv": csv(SOUND), "clicks.csv": "id,k\n"},
        BY_CLICKS,
        (),
        3,
        "column 'at' (tables.interactions.columns.at_utc)",
    ),
    "no mapping": (csv(SOUND), "", (), 2, "shop.yaml"),
    "a mapping that is no YAML": (csv(SOUND), "source: [", (), 2, "shop.yaml"),
    "a mapping that is a list": (csv(SOUND), "[1]", (), 2, "shop.yaml"),
    "a mapping of another thing": (csv(SOUND), "campaigns: {}", (), 2, "unknown key"),
    "no sends": (
        csv(SOUND),
        mapping(
            text='{"source": "s", "tables": {"sessions": {"format": "csv", "columns": '
            '{"user_id": "u", "at_utc": "at"}}}}'
        ),
        (),
        2,
        "no tables.sends",
    ),
    "no outcome": (csv(SOUND), mapping({"outcome": None}), (), 2, "names no outcome"),
    "an outcome of nothing": (csv(SOUND), mapping({"outcome": {"kind": "open"}}), (), 2, "column or at is missing"),
    "an outcome of an unknown kind": (
        csv(SOUND),
        mapping({"outcome": {"column": "o", "kind": "opened"}}),
        (),
        2,
        "tables.sends.outcome",
    ),
    "a threshold of text": (csv(SOUND), mapping({"outcome": {"column": "o", "threshold": "two"}}), (), 2, "threshold"),
    "a slot and hours": (csv(SOUND), mapping({"decision": {"slot": "o", "slot_hours": 3}}), (), 2, "keep one"),
    "hours that divide no day": (csv(SOUND), mapping({"decision": {"slot_hours": 5}}), (), 2, "slot_hours"),
    "a kind of decision": (csv(SOUND), mapping({"constants": {**CONSTANTS, "decision_kind": "hour"}}), (), 2, "send"),
    "a probability of none": (
        csv(SOUND),
        mapping(
            {"columns": {k: v for k, v in COLUMNS.items() if k != "pscore"}, "constants": {**CONSTANTS, "pscore": 0.0}}
        ),
        (),
        2,
        "a probability above 0, at most 1",
    ),
    "no id": (
        csv(SOUND),
        mapping({"columns": {"user_id": "u", "sent_at_utc": "at", "pscore": "p"}}),
        (),
        2,
        "notification_id is missing",
    ),
    "an unknown encoding": (csv(SOUND), mapping({"encoding": "utf-9"}), (), 2, "unknown encoding"),
    "an unknown label": (csv(SOUND), mapping(), ("--label", "smile"), 2, "expected open, click or goal"),
    "a window of no hours": (csv(SOUND), mapping(), ("--window-hours", "0"), 2, "expected more than 0"),
    "a window of NaN": (csv(SOUND), mapping(), ("--window-hours", "nan"), 2, "expected more than 0"),
    "a share above one": (csv(SOUND), mapping(), ("--max-unread-outcomes", "1.5"), 2, "expected a share from 0 to 1"),
    "a share of NaN": (csv(SOUND), mapping(), ("--max-refused-fraction", "nan"), 2, "expected a share from 0 to 1"),
    "a share below none": (csv(SOUND), mapping(), ("--max-unmatched-interactions", "-1"), 2, "expected a share from 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_ends_in_a_sentence_and_writes_nothing(tmp_path, name):
    data, source, options, code, words = REFUSED[name]
    file = {"a cut gzip file": "log.csv.gz"}.get(name, "log.csv")
    done = run(tmp_path, data, source, *options, file=file)
    assert (done.exit_code, words in " ".join(done.output.split())) == (code, True), done.output
    assert not (tmp_path / "out").exists()
    assert len(done.output) < 3000


ANSWERED = {  # odd, and yet a log: the answer counts what it left out
    "header only": (",".join(NAMES), mapping(), {}),
    "an empty file": ("", mapping(), {}),
    "one row": (csv(SOUND[:1]), mapping(), {}),
    "all unavailable": (csv(SOUND), mapping({"constants": {**CONSTANTS, "available": False}}), {"not_available": 60}),
    "no probability that can be read": (changed(p="x"), mapping(), {"bad_number:pscore": 60}),
    "probabilities above one": (changed(3, p="1.5"), mapping(), {"pscore_out_of_range": 3}),
    "probabilities of NaN": (changed(3, p="nan"), mapping(), {"not_a_number:pscore": 3}),
    "zones of nowhere": (
        csv([{**row, "z": "Mars"} for row in SOUND], (*NAMES, "z")),
        mapping(
            {
                "columns": {**COLUMNS, "timezone": "z"},
                "constants": {k: v for k, v in CONSTANTS.items() if k != "timezone"},
            }
        ),
        {"zone_unknown": 60},
    ),
    "the same row sixty times": (csv(SOUND[:1] * 60), mapping(), {"duplicate_send": 59}),
    "a few malformed rows": (csv(SOUND) + "a,b\n", mapping(), {"malformed_row": 1}),
    "counts as outcomes": (changed(30, o="3"), mapping(), {}),
    "zeros for times": (changed(o="0000-00-00 00:00:00"), mapping({"outcome": {"at": "o"}}), {}),
    "machines": (
        csv([{**row, "o": (datetime.fromisoformat(row["at"]) + timedelta(seconds=0.3)).isoformat()} for row in SOUND]),
        mapping({"outcome": {"at": "o", "kind": "open"}}),
        {"suspected_machine": 60},
    ),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_an_odd_log_is_answered_and_what_it_loses_is_counted(tmp_path, name):
    data, source, dropped = ANSWERED[name]
    done = run(tmp_path, data, source)
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out/evaluation.json").read_text())
    left_out = {k: n for k, n in found["data"]["dropped"].items() if k != "no_overlap"}
    assert left_out == dropped
    assert found["verdict"]["kind"] in ("refused", "not_shown")
    assert "outcomes: " in done.output
