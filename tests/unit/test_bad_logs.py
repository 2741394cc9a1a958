"""Bad rows, files and mappings of raw logs: each ends in its exact reason or in a sentence, never in an exception.

Read by the pure reader, which is all that an ingest reads by.
"""

from __future__ import annotations

import codecs
import datetime as dt
import decimal
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sendopt.domain.outside_text import unprintable
from sendopt.errors import ConfigError, ContractError, InputNotReady
from sendopt.ingest import SourceMapping, TableMapping, load_mapping
from sendopt.ingest.reader import Reading, read_table

T = "2026-03-01T09:30:00Z"
NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
SOUND = f"u,t\nx,{T}\n"
OK = ["x", None]


def read(tmp_path, data, form="csv", file=None, **mapping):
    """[user_id, reason] of each row of a table of sessions with columns u and t."""
    path = tmp_path / (file or f"s.{form}")
    if isinstance(data, pa.Table):
        pq.write_table(data, path)
    else:
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    table = TableMapping(**{"format": form, "columns": {"user_id": "u", "at_utc": "t"}, **mapping})
    source = SourceMapping(source="s", tables={"sessions": table})
    return read_table(Reading("sessions", source, NOW), path).rows[["user_id", "reason"]].to_numpy(object).tolist()


def line(user, at=T):
    return json.dumps({"u": user, "t": at})


GZIP = gzip.compress((SOUND * 2000).encode())
CORRUPT = bytearray(gzip.compress("".join(f"x{i * 7919 % 1000},{T}\n" for i in range(5000)).encode()))
CORRUPT[60] ^= 0xFF
MALFORMED, BAD_BYTES = [None, "malformed_row"], [None, "bad_bytes:user_id"]
DEEP = '{"a":' * 900 + "1" + "}" * 900

# --- rows: (what is in the file, what the mapping says, the rows as read)

ROWS = {
    "sound": (SOUND, {}, [OK]),
    "latin-1 read as UTF-8": ("u,t\né,".encode("latin-1") + T.encode(), {}, [BAD_BYTES]),
    "latin-1": ("u,t\né,".encode("latin-1") + T.encode(), {"encoding": "latin-1"}, [["é", None]]),
    "cp1252": ("u,t\n€,".encode("cp1252") + T.encode(), {"encoding": "cp1252"}, [["€", None]]),
    "a byte that cp1252 has not": (b"u,t\n\x81," + T.encode(), {"encoding": "cp1252"}, [BAD_BYTES]),
    "UTF-8 with its mark": (codecs.BOM_UTF8 + SOUND.encode(), {}, [OK]),
    "two marks": (codecs.BOM_UTF8 * 2 + SOUND.encode(), {}, [OK]),
    "UTF-8 with its mark, called latin-1": (
        codecs.BOM_UTF8 + "u,t\né,".encode() + T.encode(),
        {"encoding": "latin-1"},
        [["é", None]],
    ),
    "UTF-16 with its mark": (SOUND.encode("utf-16"), {}, [OK]),
    "UTF-16, big end first": (codecs.BOM_UTF16_BE + SOUND.encode("utf-16-be"), {}, [OK]),
    "UTF-16 without a mark": (SOUND.encode("utf-16-le"), {"encoding": "utf-16-le"}, [OK]),
    "UTF-16 with half a character": (SOUND.encode("utf-16") + b"\xd8", {}, [OK, MALFORMED]),
    "UTF-16 with half a pair": ("u,t\n".encode("utf-16") + b"\x00\xd8" + f"a,{T}".encode("utf-16-le"), {}, [BAD_BYTES]),
    "UTF-32 with its mark": (SOUND.encode("utf-32"), {}, [OK]),
    "Shift JIS with half a character": (b"u,t\nx\x81\x20," + T.encode(), {"encoding": "shift_jis"}, [BAD_BYTES]),
    "bad bytes in a column of nobody": (b"u,t,z\nx," + T.encode() + b",\xff\xfe\n", {}, [OK]),
    "bad bytes in the time": (b"u,t\nx,\xff\n", {}, [["x", "bad_time:at_utc"]]),
    "quoted line ends": (f'u,t,z\nx,{T},"a\nb\r\nc"\ny,{T},1\n', {}, [OK, ["y", None]]),
    "quoted line ends in the header": (f'u,"t","a\nb"\nx,{T},1\n', {}, [OK]),
    "quoted delimiter": (f'u,t\n"a,b",{T}\n', {}, [["a,b", None]]),
    "doubled quotes": (f'u,t\n"a""b",{T}\n', {}, [['a"b', None]]),
    "a quote within": (f'u,t\na"b,{T}\n', {}, [['a"b', None]]),
    "a quote that never closes": (f'u,t\n"x,{T}\ny,{T}\n', {}, [MALFORMED, ["y", None]]),
    "a quote that never closes, at the end": (f'u,t\nx,{T}\n"y,{T}', {}, [OK, MALFORMED]),
    "two hundred quoted line ends": (f'u,t,z\nx,{T},"{"a" + chr(10)}' + "b\n" * 200 + '"\n', {}, [MALFORMED] * 202),
    "too few columns": (f"u,t\nx\ny,{T}\n", {}, [MALFORMED, ["y", None]]),
    "too many columns": (f"u,t\nx,{T},1\n", {}, [MALFORMED]),
    "the header again": (f"u,t\nu,t\nx,{T}\n", {}, [MALFORMED, OK]),
    "blank lines": (f"\n\nu,t\n\n  \nx,{T}\n\n", {}, [OK]),
    "CR LF": (f"u,t\r\nx,{T}\r\n", {}, [OK]),
    "CR alone": (f"u,t\rx,{T}\r", {}, [OK]),
    "no line end": (f"u,t\nx,{T}", {}, [OK]),
    "header only": ("u,t\n", {}, []),
    "empty file": ("", {}, []),
    "line ends only": ("\n\n\n", {}, []),
    "empty gzip file": (gzip.compress(b""), {"file": "s.csv.gz"}, []),
    "NUL in a value": (f"u,t\nx\0y,{T}\n", {}, [["x\0y", None]]),
    "NULs for a line": (f"u,t\n\0\0\0\nx,{T}\n", {}, [OK]),
    "a value of eleven megabytes": (f"u,t\n{'x' * 11_000_000},{T}\n", {}, [["x" * 11_000_000, None]]),
    "a quoted value of eleven megabytes": (f'u,t\n"{"x" * 11_000_000}",{T}\n', {}, [MALFORMED]),
    ".CSV": (SOUND, {"file": "S.CSV"}, [OK]),
    ".csv.gz": (gzip.compress(SOUND.encode()), {"file": "s.csv.gz"}, [OK]),
    ".CSV.GZ": (gzip.compress(SOUND.encode()), {"file": "S.CSV.GZ"}, [OK]),
    "gzip under another name": (gzip.compress(SOUND.encode()), {}, [OK]),
    "semicolons": (f"u;t\nx;{T}\n", {"delimiter": ";"}, [OK]),
    "tabs": (f"u\tt\nx\t{T}\n", {"delimiter": "\t"}, [OK]),
    "spaces around names and values": (f" u , t \n x ,  {T} \n", {}, [OK]),
    "an id with a space": (f"u,t\na b,{T}\n", {}, [["a b", None]]),
    "an id with zeros before it": (f"u,t\n007,{T}\n", {}, [["007", None]]),
    "an id with a point": (f"u,t\n7.0,{T}\n", {}, [["7.0", None]]),
    "an id in another case": (f"u,t\nX,{T}\n", {}, [["X", None]]),
    "an id of 5,000 digits": (f"u,t\n{'9' * 5000},{T}\n", {}, [["9" * 5000, None]]),
    "no id": (f"u,t\n,{T}\n", {}, [[None, "missing_value:user_id"]]),
    "NULL for an id": (f"u,t\nNULL,{T}\n", {}, [[None, "missing_value:user_id"]]),
    "an object for an id": (f'u;t\n{{"a": 1}};{T}\n', {"delimiter": ";"}, [[None, "bad_value:user_id"]]),
    "no time": ("u,t\nx,\n", {}, [["x", "missing_value:at_utc"]]),
    "zeros for a time": ("u,t\nx,0000-00-00 00:00:00\n", {}, [["x", "missing_value:at_utc"]]),
    "a time of 5,000 digits": (f"u,t\nx,{'9' * 5000}\n", {}, [["x", "bad_time:at_utc"]]),
    "a date for a time": ("u,t\nx,2026-03-01\n", {}, [["x", "bad_time:at_utc"]]),
    "30 February": ("u,t\nx,2026-02-30T09:00:00Z\n", {}, [["x", "bad_time:at_utc"]]),
    "25 o'clock": ("u,t\nx,2026-03-01T25:00:00Z\n", {}, [["x", "bad_time:at_utc"]]),
    "a leap second": ("u,t\nx,2026-03-01T23:59:60Z\n", {}, [["x", "bad_time:at_utc"]]),
    "an offset of 25 hours": ("u,t\nx,2026-03-01T09:00:00+25:00\n", {}, [["x", "bad_time:at_utc"]]),
    "the last hour of the last year": ("u,t\nx,9999-12-31T23:59:59-05:00\n", {}, [["x", "bad_time:at_utc"]]),
    "the first hour of the first year": ("u,t\nx,0001-01-01T00:00:01+05:00\n", {}, [["x", "bad_time:at_utc"]]),
    "the last day in another zone": (
        "u,t\nx,9999-12-31 23:59:59\n",
        {"times_in": "America/New_York"},
        [["x", "bad_time:at_utc"]],
    ),
    "seconds read as millis": ("u,t\nx,1772357400\n", {"time_format": "epoch_millis"}, [["x", "time_before_2000"]]),
    "seconds read as micros": ("u,t\nx,1772357400\n", {"time_format": "epoch_micros"}, [["x", "time_before_2000"]]),
    "millis read as seconds": ("u,t\nx,1772357400000\n", {"time_format": "epoch_seconds"}, [["x", "bad_time:at_utc"]]),
    "micros read as millis": ("u,t\nx,1772357400000000\n", {"time_format": "epoch_millis"}, [["x", "bad_time:at_utc"]]),
    "negative seconds": ("u,t\nx,-1\n", {"time_format": "epoch_seconds"}, [["x", "bad_time:at_utc"]]),
    "the future": ("u,t\nx,2026-03-10T14:00:00Z\n", {}, [["x", "time_in_future"]]),
    "a clock that is ahead": ("u,t\nx,2026-03-10T12:59:00Z\n", {}, [OK]),
    "before 2000": ("u,t\nx,1999-12-31T23:59:59Z\n", {}, [["x", "time_before_2000"]]),
    "an hour that the clock jumps over": (
        "u,t\nx,2025-03-30T02:30:00\n",
        {"times_in": "Europe/Paris"},
        [["x", "nonexistent_local_time"]],
    ),
    "an hour that is read twice": ("u,t\nx,2025-10-26T02:30:00\n", {"times_in": "Europe/Paris"}, [OK]),
    "a zone of nowhere": ("u,t,z\nx,2026-03-01T09:00,Mars\n", {"times_in": {"column": "z"}}, [["x", "unknown_zone"]]),
    "no zone": ("u,t,z\nx,2026-03-01T09:00,\n", {"times_in": {"column": "z"}}, [["x", "local_time_without_zone"]]),
    "a day and month the other way": (
        "u,t\nx,03/13/2026 09:00\n",
        {"time_format": "%d/%m/%Y %H:%M"},
        [["x", "bad_time:at_utc"]],
    ),
    "digits of another script": ("u,t\nx,٢٠٢٦-٠٣-٠١T09:00:00Z\n", {}, [["x", "bad_time:at_utc"]]),
    "half a composed key": (
        f"u,v,t\nx,,{T}\nx,NULL,{T}\nx,1,{T}\n",
        {"columns": {"user_id": ("u", "v"), "at_utc": "t"}},
        [[None, "missing_value:user_id"]] * 2 + [["x/1", None]],
    ),
    "a folder of rows without a value": (
        f"t\n{T}\n",
        {"file": "u=__HIVE_DEFAULT_PARTITION__/s.csv"},
        [[None, "missing_value:user_id"]],
    ),
    "JSON: sound": (line("x"), {"form": "jsonl"}, [OK]),
    "JSON: an array": (json.dumps([{"u": "x", "t": T}]), {"form": "json"}, [OK]),
    "JSON: an array over lines": (json.dumps([{"u": "x", "t": T}] * 2, indent=1), {"form": "jsonl"}, [OK, OK]),
    "JSON: an array of other things": (f'[1, null, "a", {line("x")}]', {"form": "json"}, [MALFORMED] * 3 + [OK]),
    "JSON: an empty array": ("[]", {"form": "json"}, []),
    "JSON: UTF-16": (line("é").replace("\\u00e9", "é").encode("utf-16"), {"form": "jsonl"}, [["é", None]]),
    "JSON: no object": (f'{line("x")}\n[1]\n5\nnull\n"a"\n', {"form": "jsonl"}, [OK, *[MALFORMED] * 4]),
    "JSON: two objects in a line": (
        f"{line('x')}{line('y')}\n{line('z')}",
        {"form": "jsonl"},
        [MALFORMED, ["z", None]],
    ),
    "JSON: a cut line": (f"{line('x')}\n{line('y')[:-4]}", {"form": "jsonl"}, [OK, MALFORMED]),
    "JSON: a key twice": (
        '{"u":"x","u":"y","t":"' + T + '"}\n' + line("z"),
        {"form": "jsonl"},
        [MALFORMED, ["z", None]],
    ),
    "JSON: a key twice in an array": (
        f'[{{"u":"x","u":"y","t":"{T}"}}, {line("z")}]',
        {"form": "json"},
        [MALFORMED, ["z", None]],
    ),
    "JSON: a key twice in a column of nobody": (f'{{"u":"x","t":"{T}","d":{{"a":1,"a":2}}}}', {"form": "json"}, [OK]),
    "JSON: lines of which the first is a cut array": (f"[cut\n{line('x')}", {"form": "jsonl"}, [MALFORMED, OK]),
    "JSON: NaN": ('{"u":NaN,"t":"' + T + '"}', {"form": "jsonl"}, [[None, "missing_value:user_id"]]),
    "JSON: Infinity": (
        '{"u":"x","t":Infinity}',
        {"form": "jsonl", "time_format": "epoch_seconds"},
        [["x", "bad_time:at_utc"]],
    ),
    "JSON: null": ('{"u":null,"t":"' + T + '"}', {"form": "jsonl"}, [[None, "missing_value:user_id"]]),
    "JSON: an object for an id": ('{"u":{"id":1},"t":"' + T + '"}', {"form": "jsonl"}, [[None, "bad_value:user_id"]]),
    "JSON: a list for an id": ('{"u":["x"],"t":"' + T + '"}', {"form": "jsonl"}, [[None, "bad_value:user_id"]]),
    "JSON: a nested key": (
        '{"d":{"u":"x"},"t":"' + T + '"}',
        {"form": "jsonl", "columns": {"user_id": "d.u", "at_utc": "t"}},
        [OK],
    ),
    "JSON: a nested key of no object": (
        '{"d":5,"t":"' + T + '"}\n{"d":{"u":"x"},"t":"' + T + '"}',
        {"form": "jsonl", "columns": {"user_id": "d.u", "at_utc": "t"}},
        [[None, "missing_value:user_id"], OK],
    ),
    "JSON: nested 900 deep": (f'{{"u":"x","t":"{T}","d":{DEEP}}}', {"form": "jsonl"}, [OK]),
    "JSON: nested too deep": ('{"a":' * 100_000 + "\n" + line("x"), {"form": "jsonl"}, [MALFORMED, OK]),
    "JSON: a number of 5,000 digits": (f'{{"u":{"9" * 5000},"t":"{T}"}}', {"form": "jsonl"}, [["9" * 5000, None]]),
    "JSON: half a pair": ('{"u":"\\ud83d","t":"' + T + '"}', {"form": "jsonl"}, [BAD_BYTES]),
    "JSON: bad bytes": (b'{"u":"\xff","t":"' + T.encode() + b'"}', {"form": "jsonl"}, [BAD_BYTES]),
    "JSON: thousands of other keys": (
        "\n".join(json.dumps({f"a{i * 20 + j}": 1 for j in range(20)} | {"u": "x", "t": T}) for i in range(80)),
        {"form": "jsonl"},
        [OK] * 80,
    ),
    "JSON: flags and numbers": (
        '{"u":true,"t":1772357400}\n{"u":1.50,"t":1772357400}',
        {"form": "jsonl", "time_format": "epoch_seconds"},
        [["true", None], ["1.50", None]],
    ),
}


@pytest.mark.parametrize("name", ROWS)
def test_every_bad_row_has_its_reason_and_no_other_row_is_lost(tmp_path, name):
    data, mapping, expected = ROWS[name]
    if "/" in mapping.get("file", ""):
        (tmp_path / mapping["file"]).parent.mkdir(parents=True)
    assert read(tmp_path, data, **mapping) == expected


AT = pa.array([dt.datetime(2026, 3, 1, 9, 30)])  # noqa: DTZ001  naive: local time
BAD_TEXT = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
COLUMNS = {
    "decimal": (pa.array([decimal.Decimal("1.50")]), ["1.50", None]),
    "date": (pa.array([dt.date(2026, 1, 1)]), ["2026-01-01", None]),
    "time": (pa.array([dt.time(1)]), ["01:00:00.000000", None]),
    "dictionary": (pa.array(["x"]).dictionary_encode(), OK),
    "large text": (pa.array(["x"], pa.large_string()), OK),
    "whole number": (pa.array([7]), ["7", None]),
    "unsigned": (pa.array([2**64 - 1], pa.uint64()), [str(2**64 - 1), None]),
    "floating whole number": (pa.array([1e16]), ["1" + "0" * 16, None]),
    "floating": (pa.array([1.5], pa.float32()), ["1.5", None]),
    "NaN": (pa.array([float("nan")]), [None, "missing_value:user_id"]),
    "list": (pa.array([["x"]]), [None, "bad_value:user_id"]),
    "structure": (pa.array([{"a": 1}]), [None, "bad_value:user_id"]),
    "map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), [None, "bad_value:user_id"]),
    "bytes": (pa.array([b"x"]), OK),
    "bytes that are no text": (pa.array([b"\xff"]), BAD_BYTES),
    "bytes of one length": (pa.array([b"ab"], pa.binary(2)), ["ab", None]),
    "text that is no UTF-8": (BAD_TEXT, BAD_BYTES),
    "nothing": (pa.nulls(1), [None, "missing_value:user_id"]),
    "flag": (pa.array([True]), ["true", None]),
    "duration": (pa.array([dt.timedelta(1)]), ["86400000000", None]),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_parquet_column_of_any_type_costs_its_own_value_only(tmp_path, kind):
    column, expected = COLUMNS[kind]
    assert read(tmp_path, pa.table({"u": column, "t": AT}), "parquet") == [expected]
    assert read(tmp_path, pa.table({"u": ["x"], "t": AT, "other": column}), "parquet") == [OK]


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([1_772_357_400_000_000_001], pa.timestamp("ns")), None),
        (pa.array([1_772_357_400_000], pa.timestamp("ms", "Asia/Tokyo")), None),
        (pa.array([1_772_357_400_000_000], pa.timestamp("us", "Mars/Base")), None),  # an instant all the same
        (pa.array([2**62], pa.timestamp("us")), "bad_time:at_utc"),
        (pa.array([-(2**62)], pa.timestamp("us", "UTC")), "bad_time:at_utc"),
        (pa.array([dt.date(2026, 3, 1)]), "bad_time:at_utc"),
        (pa.array([1_772_357_400]), "bad_time:at_utc"),  # a number is read by time_format only
        (pa.array(["2026-03-01 09:30"]), None),
        (pa.nulls(1), "missing_value:at_utc"),
    ],
)
def test_a_parquet_column_of_times(tmp_path, column, reason):
    assert read(tmp_path, pa.table({"u": ["x"], "t": column, "other": column}), "parquet") == [["x", reason]]


def test_int96_is_a_time(tmp_path):
    pq.write_table(pa.table({"u": ["x"], "t": AT}), tmp_path / "a.parquet", use_deprecated_int96_timestamps=True)
    assert read(tmp_path, (tmp_path / "a.parquet").read_bytes(), "parquet") == [OK]


# --- files: a sentence that names the file and says what to do

LONG = "x" * 1_000_000
FILES = {
    "a semicolon between": (f"u;t\nx;{T}\n", {}, "its columns seem to be separated by a semicolon: say so in `delim"),
    "a tab between": (f"u\tt\nx\t{T}\n", {}, "separated by a tab"),
    "a bar between": (f"u|t\nx|{T}\n", {}, r"separated by \|"),
    "a comma between, mapped as semicolon": (SOUND, {"delimiter": ";"}, "separated by a comma"),
    "another name": (
        f"user,t\nx,{T}\n",
        {"columns": {"user_id": "User", "at_utc": "t"}},
        r"column 'User' \(tables.sessions.columns.user_id\) is not .* did you mean 'user'\?",
    ),
    "a name twice": (f"u,t,t\nx,{T},{T}\n", {}, "column 't' .* is more than once in the file; found: u, t, t"),
    "no header": (f"x,{T}\n", {}, "its first line seems to hold values, not names; correct"),
    "a name of a megabyte": (f"{LONG},t\nx,{T}\n", {}, "found: x{500}; "),
    "a name that colours the terminal": (f"\x1b[31mu,t\nx,{T}\n", {}, r"found: \\x1b\[31mu, t"),
    "a name that turns the line around": (f"\u202eu,t\nx,{T}\n", {}, r"found: \\u202eu, t"),
    "a header of eleven megabytes in quotes": (f'"{"x" * 11_000_000}",t\n', {}, "its first line is no header of CSV"),
    "UTF-16 without a mark": (SOUND.encode("utf-16-le"), {}, "seems to be UTF-16: say so in `encoding`"),
    "UTF-8 read as UTF-16": (SOUND.encode(), {"encoding": "utf-16-le"}, "column 'u' .* is not in the file"),
    "gzip, cut": (GZIP[:-20], {"file": "s.csv.gz"}, "is cut short or no gzip file; write it again"),
    "gzip, cut after its head": (GZIP[:12], {"file": "s.csv.gz"}, "is cut short or no gzip file"),
    "gzip, damaged": (bytes(CORRUPT), {"file": "s.csv.gz"}, "is cut short or no gzip file"),
    "no gzip": (SOUND, {"file": "s.csv.gz"}, "is cut short or no gzip file"),
    "a spreadsheet": (b"PK\x03\x04" + b"\0" * 60, {}, r"is a ZIP archive or a spreadsheet \(\.xlsx\), and no text"),
    "an old spreadsheet": (b"\xd0\xcf\x11\xe0" + b"\0" * 60, {}, "is an old spreadsheet"),
    "Parquet called CSV": (b"PAR1" + b"\0" * 60, {}, "is a Parquet file, and no text: correct `format`"),
    "Parquet called JSON": (b"PAR1" + b"\0" * 60, {"form": "jsonl"}, "is a Parquet file"),
    "Zstandard": (b"\x28\xb5\x2f\xfd" + b"\0" * 60, {}, "is a Zstandard file"),
    "xz": (b"\xfd7zXZ\0" + b"\0" * 60, {}, "is an xz file"),
    "a PDF": (b"%PDF-1.7\n", {}, "is a PDF document"),
    "CSV called Parquet": (SOUND, {"form": "parquet"}, "is no readable Parquet file; write it again"),
    "Parquet, cut": (b"PAR1" + b"\0" * 60, {"form": "parquet"}, "is no readable Parquet file"),
    "Parquet without the column": (
        pa.table({"user": ["x"], "t": AT}),
        {"form": "parquet"},
        "column 'u' .* is not in the file; found: user, t",
    ),
    "Parquet with a name that rings": (pa.table({"a\x07": ["x"]}), {"form": "parquet"}, r"found: a\\x07"),
    "a cut JSON array": (
        json.dumps([{"u": "x", "t": T}] * 3, indent=1)[:-5],
        {"form": "json"},
        r"begins as a JSON array, which is cut short or malformed \(line 12, column 30\); write",
    ),
    "a cut JSON array in one line": (json.dumps([{"u": "x", "t": T}] * 3)[:-5], {"form": "json"}, "cut short"),
    "a JSON array too deep": ("[" * 200_000, {"form": "json"}, "cut short"),
    "JSON without the key": ('{"user": 1, "t": 2}', {"form": "jsonl"}, "no row of 1 files has the key 'u'; found: t"),
    "JSON with a key that rings": ('{"user\\u0007": 1, "t": 2}', {"form": "jsonl"}, r"found: t, user\\x07"),
    "JSON with a key of a megabyte": (json.dumps({LONG: 1, "t": 2}), {"form": "jsonl"}, "found: t, x{497}; "),
    "JSON without the nested key": (
        '{"d": {"v": 1}, "t": 2}',
        {"form": "jsonl", "columns": {"user_id": "d.u", "at_utc": "t"}},
        "the key 'd.u'",
    ),
    "rows for no table": (
        f"u,t,e\nx,{T},sent\n",
        {"where": {"e": "open"}},
        r"where \(e: open\) matches none of 1 rows; found: e=sent; correct the mapping",
    ),
    "rows for no table, of a value that rings": (f"u,t,e\nx,{T},\x07\n", {"where": {"e": "open"}}, r"found: e=\\x07"),
    "CSV without the column of where": (SOUND, {"where": {"e": "open"}}, r"column 'e' \(tables.sessions.where.e\) is"),
    "CSV without the column of zones": (SOUND, {"times_in": {"column": "z"}}, r"sessions.times_in.column\) is not in"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_bad_file_is_a_sentence_about_it(tmp_path, name):
    data, mapping, words = FILES[name]
    with pytest.raises(ContractError, match=words) as error:
        read(tmp_path, data, **mapping)
    assert unprintable(str(error.value)) is None
    assert len(str(error.value)) < 2000


@pytest.mark.parametrize(
    ("source", "files", "error", "words"),
    [
        ("gone", None, InputNotReady, "is not there yet"),
        ("", None, ContractError, "is a folder, but tables.sessions has no `files`"),
        ("s.csv", "*.csv", ContractError, r"is a file, but tables.sessions.files is '\*.csv'"),
        ("", "*.json", InputNotReady, "no file .* yet"),
        ("_s.csv", None, ContractError, "a file whose name starts with _ or . is never read; rename it"),
    ],
)
def test_a_path_that_does_not_fit_its_mapping_is_said(tmp_path, source, files, error, words):
    for name in ("s.csv", "_s.csv"):
        (tmp_path / name).write_text(SOUND)
    table = TableMapping(format="csv", files=files, columns={"user_id": "u", "at_utc": "t"})
    with pytest.raises(error, match=words):
        read_table(Reading("sessions", SourceMapping(source="s", tables={"sessions": table})), tmp_path / source)


def test_a_pattern_takes_files_in_any_case(tmp_path):
    for name in ("a.csv", "B.CSV", "c.Csv", "d.txt"):
        (tmp_path / name).write_text(SOUND.replace("x", name))
    table = TableMapping(format="csv", files="*.csv", columns={"user_id": "u", "at_utc": "t"})
    rows = read_table(Reading("sessions", SourceMapping(source="s", tables={"sessions": table})), tmp_path).rows
    assert sorted(rows["user_id"]) == ["B.CSV", "a.csv", "c.Csv"]


# --- mappings: the line, the key, what is wrong, what is expected

SESSIONS = "    format: csv\n    columns: {user_id: u, at_utc: t}\n"
MAPPINGS = {
    "unknown encoding": ("    encoding: utf-9\n", 'unknown encoding "utf-9"; expected one like utf-8'),
    "an encoding of no text": ("    encoding: base64\n", 'unknown encoding "base64"'),
    "an encoding with NUL": ('    encoding: "a\\0b"\n', "encoding"),
    "two characters between": ("    delimiter: ';;'\n", "delimiter: too long; .*; expected one character"),
    "an absolute pattern": ("    files: /logs/*.csv\n", "files: .*; expected a pattern below the input folder"),
    "a pattern that leaves": ("    files: ../x/*.csv\n", "expected a pattern below the input folder"),
    "a pattern of a point": ("    files: .\n", "expected a pattern below the input folder"),
    "stars within a name": ("    files: a**b.csv\n", "[*][*] stands for folders"),
    "unknown zone": ("    times_in: Europe/Pariss\n", 'unknown zone "Europe/Pariss"; expected an IANA name'),
    "unknown format of times": ("    time_format: iso\n", "must hold the year once"),
    "an unknown directive": ("    time_format: '%Q'\n", "%Q is not supported"),
    "an unknown key": ("    delimeter: ;\n", "unknown key, did you mean delimiter[?]"),
    "a decision of sessions": ("    decision: {slot: s}\n", "only tables.sends has decisions; remove it"),
    "an outcome of sessions": ("    outcome: {column: s}\n", "only tables.sends has an outcome; remove it"),
    "a snapshot of sessions": ("    snapshot: full\n", "only tables.users has it; remove it"),
    "an identity of sessions": ("    identity: [user_id]\n", "only tables.sends has it; remove it"),
    "a match of sessions": ("    match: nearest_send\n", "only tables.interactions has it; remove it"),
    "yes and no at once": ("    booleans: {yes: [x], no: [X]}\n", '"x" is both yes and no; keep one'),
    "values of a column that is none": ("    values: {user: {a: b}}\n", "unknown mapped column, did you mean user_id"),
    "a constant beside its column": ("    constants: {user_id: a}\n", "mapped in columns too; keep one"),
    "a time as a constant": ("    constants: {at_utc: a}\n", "mapped in columns too; keep one"),
}


@pytest.mark.parametrize("name", MAPPINGS)
def test_every_fault_of_a_mapping_is_a_line_and_a_remedy(tmp_path, name):
    more, words = MAPPINGS[name]
    (tmp_path / "m.yaml").write_text(f"source: s\ntables:\n  sessions:\n{SESSIONS}{more}")
    with pytest.raises(ConfigError, match=words) as error:
        load_mapping(tmp_path / "m.yaml")
    assert any("m.yaml:6: tables.sessions." in problem for problem in error.value.problems), error.value.problems


@pytest.mark.parametrize(
    ("users", "words"),
    [
        (
            "columns: {user_id: u, created_at: t, quiet_start: a}\n    constants: {quiet_end: '07:00'}",
            "give both in columns or both in constants",
        ),
        ("columns: {user_id: u, created_at: t, quiet_start: a}", "map both or none"),
        (
            "columns: {user_id: u, created_at: t}\n    constants: {quiet_start: '22', quiet_end: '07:00'}",
            'constants.quiet_start: got "22"; expected a local time like 22:00',
        ),
        (
            "columns: {user_id: u, created_at: t}\n    constants: {quiet_start: '22:00', quiet_end: 'late'}",
            'constants.quiet_end: got "late"; expected a local time like 22:00',
        ),
        ("columns: {user_id: u, created_at: t}\n    constants: {timezone: Mars}", 'unknown zone "Mars"'),
    ],
)
def test_quiet_hours_of_a_mapping_are_a_pair_of_local_times(tmp_path, users, words):
    (tmp_path / "m.yaml").write_text(f"source: s\ntables:\n  users:\n    format: csv\n    {users}\n")
    with pytest.raises(ConfigError, match=words):
        load_mapping(tmp_path / "m.yaml")
