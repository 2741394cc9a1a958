"""Every kind of bad input to `sendopt solve` that tests try, by name, with the exit code and words of its sentence."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ANN, BOB = "secret-ann", "secret-bob"
ROWS = {
    "user_id": [ANN, ANN, BOB],
    "message_id": ["m1", "m2", "m3"],
    "campaign_id": ["sale", "news", "sale"],
    "channel": ["push", "email", "push"],
    "category": ["deals", "info", "deals"],
    "slot": [9, 10, 11],
    "value": [0.5, 0.25, 1.0],
}
PAST = {
    "user_id": [ANN, BOB],
    "channel": ["push", "push"],
    "category": ["deals", "deals"],
    "campaign_id": ["sale", "sale"],
    "minutes_before": [90.0, 180.0],
}
LIMITS = "capacity: {push: 1}\n"
Columns = dict[str, Any]
Change = Callable[[], Columns | pa.Table]


def of(base: Columns, **columns: Any) -> Columns:
    return {**base, **columns}


def first(base: Columns, column: str, value: Any) -> Columns:
    return {**base, column: [value, *base[column][1:]]}


def without(base: Columns, *columns: str) -> Columns:
    return {name: values for name, values in base.items() if name not in columns}


def table(base: Columns) -> pa.Table:
    return pa.table(
        {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in base.items()}
    )


def bytes_of(content: Columns | pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(content if isinstance(content, pa.Table) else table(content), sink)
    return sink.getvalue().to_pybytes()


def csv_of(base: Columns, **options: Any) -> bytes:
    return pd.DataFrame(base).to_csv(index=False, **options).encode()


def json_lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def objects(base: Columns = ROWS) -> list[dict[str, Any]]:
    return pd.DataFrame(base).to_dict("records")


def typed(column: str, values: list[Any], kind: pa.DataType, base: Columns = ROWS) -> Columns:
    return of(base, **{column: pa.array(values, kind)})


# --- Columns of candidates, as one file and as a folder: name -> (exit code, words, columns) -------------------------

CANDIDATES: dict[str, tuple[int, str, Change]] = {
    "no row": (3, "no row; nothing can be planned", lambda: table(ROWS).slice(0, 0)),
    "column missing": (3, "columns slot are missing; found: user_id", lambda: without(ROWS, "slot")),
    "columns missing": (3, "columns channel, category are missing", lambda: without(ROWS, "channel", "category")),
    "all columns missing": (3, "2 other columns are there", lambda: {"a": [ANN], "b": [1]}),
    "column misspelt": (
        3,
        "column values is not read, did you mean value?",
        lambda: of(without(ROWS, "value"), values=[1.0, 1, 1]),
    ),
    "optional column misspelt": (3, "did you mean p_opt_out?", lambda: of(ROWS, p_optout=[0.1, 0.1, 0.1])),
    "optional column misspelt by a letter": (
        3,
        "did you mean exclusive_group?",
        lambda: of(ROWS, exclusive_grup=["", "", ""]),
    ),
    "column twice by capitals": (3, "column slot is there more than once", lambda: of(ROWS, SLOT=[1, 2, 3])),
    "column twice by white space": (
        3,
        "column slot is there more than once",
        lambda: of(ROWS, **{" slot ": [1, 2, 3]}),
    ),
    "user null": (3, "column user_id: empty in 1 of 3 rows", lambda: first(ROWS, "user_id", None)),
    "user all null": (3, "column user_id: empty in 3 of 3 rows", lambda: of(ROWS, user_id=pa.nulls(3))),
    "user empty": (3, "column user_id: empty in 1 of 3 rows", lambda: first(ROWS, "user_id", "")),
    "user of white space": (3, "column user_id: empty in 1 of 3 rows", lambda: first(ROWS, "user_id", " \t")),
    "user nan as text": (3, "column user_id: a word for no value", lambda: first(ROWS, "user_id", "nan")),
    "user None as text": (3, "column user_id: a word for no value", lambda: first(ROWS, "user_id", "None")),
    "user float": (
        3,
        "column user_id: double where text or whole numbers",
        lambda: of(ROWS, user_id=[123456789012.0, 1.0, 2.0]),
    ),
    "user float category": (
        3,
        "where text or whole numbers are expected; as text 12 would be 12.0",
        lambda: of(ROWS, user_id=pa.array([12.0, 13.0, 14.0]).dictionary_encode()),
    ),
    "user float32": (3, "column user_id: float where text", lambda: typed("user_id", [1.0, 2.0, 3.0], pa.float32())),
    "user decimal with a fraction": (
        3,
        "column user_id: decimal128(10, 2) where text",
        lambda: typed("user_id", [Decimal("1.00"), Decimal(2), Decimal(3)], pa.decimal128(10, 2)),
    ),
    "user boolean": (3, "column user_id: bool where text", lambda: of(ROWS, user_id=[True, False, True])),
    "user timestamp": (
        3,
        "column user_id: timestamp[us] where text",
        lambda: typed("user_id", [1, 2, 3], pa.timestamp("us")),
    ),
    "user list": (3, "where text or whole numbers are expected", lambda: of(ROWS, user_id=[[ANN], [ANN], [BOB]])),
    "user struct": (3, "where text or whole numbers are expected", lambda: of(ROWS, user_id=[{"id": ANN}] * 3)),
    "user bytes that are no text": (
        3,
        "column user_id: text that is not UTF-8",
        lambda: typed("user_id", [b"\xff\xfe", b"a", b"b"], pa.binary()),
    ),
    "message empty": (3, "column message_id: empty in 1 of 3 rows", lambda: first(ROWS, "message_id", "")),
    "message null": (3, "column message_id: empty in 1 of 3 rows", lambda: first(ROWS, "message_id", None)),
    "message float": (3, "column message_id: double where text", lambda: of(ROWS, message_id=[1.0, 2.0, 3.0])),
    "campaign null": (3, "column campaign_id: empty in 1 of 3 rows", lambda: first(ROWS, "campaign_id", None)),
    "campaign float": (3, "column campaign_id: double where text", lambda: of(ROWS, campaign_id=[1.5, 2.5, 1.5])),
    "channel null": (3, "column channel: empty in 1 of 3 rows", lambda: first(ROWS, "channel", None)),
    "channel boolean": (3, "column channel: bool where text", lambda: of(ROWS, channel=[True, True, False])),
    "category null": (3, "column category: empty in 1 of 3 rows", lambda: first(ROWS, "category", None)),
    "category date": (3, "column category: date32[day] where text", lambda: typed("category", [1, 2, 3], pa.date32())),
    "group struct": (3, "column exclusive_group: struct", lambda: of(ROWS, exclusive_group=[{"a": 1}, None, None])),
    "group list": (3, "column exclusive_group: list", lambda: of(ROWS, exclusive_group=[["a"], None, None])),
    "slot null": (3, "column slot: empty in 1 of 3 rows", lambda: first(ROWS, "slot", None)),
    "slot negative": (3, "column slot: negative in 1 of 3 rows (first rows [0])", lambda: first(ROWS, "slot", -1)),
    "slot fraction": (3, "column slot: double where whole numbers", lambda: of(ROWS, slot=[9.5, 10.0, 11.0])),
    "slot NaN": (
        3,
        "column slot: double where whole numbers",
        lambda: of(ROWS, slot=pa.array([float("nan"), 10.0, 11.0])),
    ),
    "slot infinite": (3, "column slot: double where whole numbers", lambda: of(ROWS, slot=[float("inf"), 10.0, 11.0])),
    "slot boolean": (3, "column slot: bool where whole numbers", lambda: of(ROWS, slot=[True, False, True])),
    "slot text": (3, "column slot: string where whole numbers", lambda: of(ROWS, slot=["nine", "ten", "eleven"])),
    "slot clock time as text": (
        3,
        "column slot: string where whole numbers",
        lambda: of(ROWS, slot=["09:00", "10:00", "11:00"]),
    ),
    "slot timestamp": (
        3,
        "column slot: timestamp[us] where whole numbers",
        lambda: typed("slot", [1, 2, 3], pa.timestamp("us")),
    ),
    "slot time of day": (
        3,
        "column slot: time64[us] where whole numbers",
        lambda: typed("slot", [1, 2, 3], pa.time64("us")),
    ),
    "slot duration": (
        3,
        "column slot: duration[s] where whole numbers",
        lambda: typed("slot", [1, 2, 3], pa.duration("s")),
    ),
    "slot epoch seconds": (
        3,
        "beyond the longest plan of 32,767 slots",
        lambda: of(ROWS, slot=[1785000000, 1785003600, 1785007200]),
    ),
    "slot one in a million": (3, "slot 1,000,000 is beyond the longest plan", lambda: first(ROWS, "slot", 1_000_000)),
    "slot just beyond 16 bits": (
        3,
        "slot 65,538 is beyond the longest plan",
        lambda: of(ROWS, slot=[65536, 65537, 65538]),
    ),
    "slot the first beyond": (3, "slot 32,767 is beyond the longest plan", lambda: first(ROWS, "slot", 32767)),
    "slot beyond 32 bits": (3, "slot 4,294,967,305 is beyond", lambda: first(ROWS, "slot", 2**32 + 9)),
    "slot uint64 beyond int64": (
        3,
        "column slot: numbers too large",
        lambda: typed("slot", [2**63 + 9, 1, 2], pa.uint64()),
    ),
    "slot list": (3, "column slot: list", lambda: of(ROWS, slot=[[9], [10], [11]])),
    "value null": (3, "column value: empty in 1 of 3 rows", lambda: first(ROWS, "value", None)),
    "value all null": (3, "column value: empty in 3 of 3 rows", lambda: of(ROWS, value=pa.nulls(3))),
    "value NaN": (
        3,
        "column value: not finite in 1 of 3 rows",
        lambda: of(ROWS, value=pa.array([float("nan"), 1.0, 1.0])),
    ),
    "value infinite": (3, "column value: not finite in 1 of 3 rows", lambda: first(ROWS, "value", float("inf"))),
    "value minus infinite": (3, "column value: not finite in 1 of 3 rows", lambda: first(ROWS, "value", float("-inf"))),
    "value boolean": (3, "column value: bool where numbers", lambda: of(ROWS, value=[True, False, True])),
    "value text": (3, "column value: string where numbers", lambda: of(ROWS, value=["high", "low", "low"])),
    "value with a decimal comma": (
        3,
        "column value: string where numbers",
        lambda: of(ROWS, value=["0,5", "0,2", "1,0"]),
    ),
    "value with a percent sign": (
        3,
        "column value: string where numbers",
        lambda: of(ROWS, value=["50%", "20%", "9%"]),
    ),
    "value huge": (3, "column value: above 1e15 in 1 of 3 rows", lambda: first(ROWS, "value", 1e300)),
    "value hugely negative": (3, "column value: below -1e15", lambda: first(ROWS, "value", -1e300)),
    "value date": (3, "column value: date32[day] where numbers", lambda: typed("value", [1, 2, 3], pa.date32())),
    "value struct": (3, "column value: struct", lambda: of(ROWS, value=[{"p": 0.5}] * 3)),
    "p_opt_out negative": (
        3,
        "column p_opt_out: outside [0, 1] in 1 of 3",
        lambda: of(ROWS, p_opt_out=[-0.1, 0.0, 0.0]),
    ),
    "p_opt_out in percent": (
        3,
        "column p_opt_out: outside [0, 1] in 3 of 3",
        lambda: of(ROWS, p_opt_out=[5.0, 2.0, 3.0]),
    ),
    "p_opt_out NaN": (
        3,
        "column p_opt_out: not finite",
        lambda: of(ROWS, p_opt_out=pa.array([float("nan"), 0.0, 0.0])),
    ),
    "p_opt_out null": (3, "column p_opt_out: empty in 1 of 3 rows", lambda: of(ROWS, p_opt_out=[None, 0.0, 0.0])),
    "cost negative": (3, "column cost: negative in 1 of 3 rows", lambda: of(ROWS, cost=[-1.0, 0.0, 0.0])),
    "cost infinite": (3, "column cost: not finite", lambda: of(ROWS, cost=[float("inf"), 0.0, 0.0])),
    "cost with a currency": (
        3,
        "column cost: string where numbers",
        lambda: of(ROWS, cost=["1 EUR", "2 EUR", "0 EUR"]),
    ),
    "tier zero": (3, "column tier: below 1 in 1 of 3 rows", lambda: of(ROWS, tier=[0, 1, 1])),
    "tier null": (3, "column tier: empty in 1 of 3 rows", lambda: of(ROWS, tier=[None, 1, 1])),
    "tier beyond 32 bits": (3, "column tier: above 1,000 in 1 of 3 rows", lambda: of(ROWS, tier=[2**32 + 1, 1, 1])),
    "tier fraction": (3, "column tier: double where whole numbers", lambda: of(ROWS, tier=[1.5, 1.0, 1.0])),
    "tier text": (3, "column tier: string where whole numbers", lambda: of(ROWS, tier=["gold", "gold", "tin"])),
    "local_day timestamp": (
        3,
        "column local_day: timestamp[ns] where whole",
        lambda: typed("local_day", [1, 2, 3], pa.timestamp("ns")),
    ),
    "local_day date": (
        3,
        "column local_day: date32[day] where whole numbers",
        lambda: typed("local_day", [1, 2, 3], pa.date32()),
    ),
    "local_day date as text": (
        3,
        "column local_day: string where whole",
        lambda: of(ROWS, local_day=["2026-03-28"] * 3),
    ),
    "local_day epoch seconds": (
        3,
        "column local_day: no number of days since 1970-01-01",
        lambda: of(ROWS, local_day=[1785000000] * 3),
    ),
    "local_day like 20260328": (
        3,
        "column local_day: no number of days since 1970-01-01",
        lambda: of(ROWS, local_day=[20260328] * 3),
    ),
    "local_day null": (3, "column local_day: empty in 1 of 3 rows", lambda: of(ROWS, local_day=[None, 1, 1])),
    "row twice": (3, "(user_id, message_id, slot)", lambda: {k: [*v, v[0]] for k, v in ROWS.items()}),
    "row twice apart with another value": (
        3,
        "(user_id, message_id, slot)",
        lambda: {k: [*v, v[0]] if k != "value" else [*v, 9.0] for k, v in ROWS.items()},
    ),
    "message of two campaigns": (
        3,
        "column campaign_id: different from the message's first row",
        lambda: of(ROWS, message_id=["m1", "m1", "m3"]),
    ),
    "message of two channels": (
        3,
        "column channel: different from the message's first row",
        lambda: of(ROWS, message_id=["m1", "m1", "m3"], campaign_id=["sale"] * 3),
    ),
    "message of two categories": (
        3,
        "column category: different from the message's first row",
        lambda: of(ROWS, message_id=["m1", "m1", "m3"], campaign_id=["sale"] * 3, channel=["push"] * 3),
    ),
    "message of two tiers": (
        3,
        "column tier: different from the message's first row",
        lambda: of(
            ROWS,
            message_id=["m1", "m1", "m3"],
            campaign_id=["sale"] * 3,
            channel=["push"] * 3,
            category=["k"] * 3,
            tier=[1, 2, 1],
        ),
    ),
    "message of two groups": (
        3,
        "column exclusive_group: different from the message's first row",
        lambda: of(
            ROWS,
            message_id=["m1", "m1", "m3"],
            campaign_id=["sale"] * 3,
            channel=["push"] * 3,
            category=["k"] * 3,
            exclusive_group=["a", "b", "a"],
        ),
    ),
}

# --- Files of candidates that cannot be read, as one file and in a folder beside a sound one -------------------------

CORRUPT = bytearray(
    bytes_of({name: values * 500 for name, values in of(ROWS, message_id=[f"m{i}" for i in range(3)]).items()})
)
for at in range(4, 400):
    CORRUPT[at] ^= 0x5A

FILES: dict[str, tuple[str, bytes, int, str]] = {
    "unknown ending": ("c.xlsx", b"PK\x03\x04", 3, "files that end in .xlsx are not read"),
    "zip": ("c.csv.zip", b"PK\x03\x04", 3, "files that end in .csv.zip are not read"),
    "no ending": ("candidates", csv_of(ROWS), 3, "a file without an ending is not read"),
    "Parquet called CSV": ("c.csv", bytes_of(ROWS), 3, "holds Parquet; name it .parquet"),
    "CSV called Parquet": ("c.parquet", csv_of(ROWS), 3, "cannot be read"),
    "JSON called CSV": ("c.csv", json_lines(*objects()), 3, "are missing"),
    "CSV called JSON": ("c.jsonl", csv_of(ROWS), 3, "cannot be read"),
    "gzip that is none": ("c.csv.gz", csv_of(ROWS), 3, "is not compressed by gzip"),
    "gzip without its ending": ("c.csv", gzip.compress(csv_of(ROWS)), 3, "is compressed by gzip: name it with .gz"),
    "gzip cut short": ("c.csv.gz", gzip.compress(csv_of(ROWS))[:-20], 3, "cannot be read"),
    "empty file": ("c.csv", b"", 3, "an empty file"),
    "empty Parquet file": ("c.parquet", b"", 3, "an empty file"),
    "Parquet cut short": ("c.parquet", bytes_of(ROWS)[:-10], 3, "cannot be read"),
    "Parquet header only": ("c.parquet", b"PAR1", 3, "cannot be read"),
    "Parquet with a damaged page": ("c.parquet", bytes(CORRUPT), 3, "cannot be read"),
    "UTF-16": ("c.csv", csv_of(ROWS).decode().encode("utf-16"), 3, "UTF-16 text; save the file as UTF-8"),
    "Latin 1": (
        "c.csv",
        csv_of(first(ROWS, "campaign_id", "Fr\xfchling")).decode().encode("latin-1"),
        3,
        "cannot be read",
    ),
    "CSV without a header": ("c.csv", csv_of(ROWS, header=False), 3, "is the first line one of their names?"),
    "CSV with a row too short": ("c.csv", csv_of(ROWS) + f"{BOB},b\n".encode(), 3, "Expected 7 columns, got 2"),
    "CSV with a row too long": (
        "c.csv",
        csv_of(ROWS) + f"{BOB},b,c,d,e,1,2,3\n".encode(),
        3,
        "Expected 7 columns, got 8",
    ),
    "CSV with a quote left open": ("c.csv", csv_of(ROWS) + f'"{BOB},b,c,d,e,1,2\n'.encode(), 3, "cannot be read"),
    "CSV with text among numbers": (
        "c.csv",
        csv_of(ROWS).replace(b"0.25", b"n/a?"),
        3,
        "column value: string where numbers",
    ),
    "CSV with an empty number": ("c.csv", csv_of(ROWS).replace(b"0.25", b""), 3, "column value: empty in 1 of 3 rows"),
    "CSV with true among slots": (
        "c.csv",
        csv_of(ROWS).replace(b",10,", b",true,"),
        3,
        "column slot: string where whole numbers",
    ),
    "CSV with a column twice": (
        "c.csv",
        csv_of(ROWS).replace(b"value", b"slot"),
        3,
        "column slot is there more than once",
    ),
    "CSV with thousands": ("c.csv", csv_of(ROWS).replace(b"0.25", b'"1,000"'), 3, "column value: string where numbers"),
    "JSON cut short": ("c.json", b'{"user_id": ["a"]', 3, "cannot be read"),
    "JSON of numbers": ("c.json", b"[1, 2]", 3, "entry 0 is no object"),
    "JSON nested without end": ("c.json", b"[" * 100_000, 3, "cannot be read"),
    "JSON number without end": ("c.json", b"[{}, " + b"9" * 5000 + b"]", 3, "cannot be read"),
    "JSON of columns": ("c.json", json.dumps(ROWS).encode(), 3, "where"),
    "JSON line that is a number": ("c.jsonl", json_lines(*objects(), 7), 3, "line 4 is no object"),
    "JSON with a number beyond 64 bits": (
        "c.jsonl",
        json_lines({**objects()[0], "slot": 2**70}),
        3,
        "column slot holds int where whole numbers",
    ),
    "JSON with values of two types": (
        "c.jsonl",
        json_lines(*objects(), {**objects()[0], "value": "high"}),
        3,
        "column value holds float, str where numbers",
    ),
    "JSON with a list for a number": (
        "c.jsonl",
        json_lines(*objects(), {**objects()[0], "value": [1]}),
        3,
        "column value holds float, list",
    ),
    "JSON with an object for an id": (
        "c.jsonl",
        json_lines(*({**row, "user_id": {"id": ANN}} for row in objects())),
        3,
        "column user_id: struct",
    ),
    "JSON with ids as fractions": (
        "c.jsonl",
        json_lines(*({**row, "user_id": 12.0} for row in objects())),
        3,
        "column user_id: double where text",
    ),
    "JSON with NaN": ("c.jsonl", json_lines({**objects()[0], "value": float("nan")}), 3, "column value: not finite"),
    "JSON with a key missing": (
        "c.jsonl",
        json_lines(*objects(), without(objects()[0], "value")),
        3,
        "column value: empty in 1 of 4",
    ),
    "JSON with a key twice": ("c.jsonl", b'{"slot": 1, "slot": 2}\n', 3, "an object has a key twice"),
    "JSON that is no UTF-8": ("c.jsonl", json_lines(*objects()) + b"\xff", 3, "is not UTF-8"),
}

# --- History: name -> (exit code, words, columns) --------------------------------------------------------------------

HISTORY: dict[str, tuple[int, str, Change]] = {
    "column missing": (3, "columns minutes_before are missing", lambda: without(PAST, "minutes_before")),
    "column misspelt": (
        3,
        "column minutes_befor is not read, did you mean minutes_before?",
        lambda: of(without(PAST, "minutes_before"), minutes_befor=[1.0, 2.0]),
    ),
    "optional column misspelt": (3, "did you mean local_day?", lambda: of(PAST, localday=[1, 2])),
    "user null": (3, "column user_id: empty in 1 of 2 rows", lambda: first(PAST, "user_id", None)),
    "user empty": (3, "column user_id: empty in 1 of 2 rows", lambda: first(PAST, "user_id", "")),
    "user float": (3, "column user_id: double where text or whole numbers", lambda: of(PAST, user_id=[1.0, 2.0])),
    "minutes null": (3, "column minutes_before: empty in 1 of 2 rows", lambda: first(PAST, "minutes_before", None)),
    "minutes NaN": (
        3,
        "column minutes_before: not finite",
        lambda: of(PAST, minutes_before=pa.array([float("nan"), 1.0])),
    ),
    "minutes infinite": (3, "column minutes_before: not finite", lambda: first(PAST, "minutes_before", float("inf"))),
    "minutes timestamp": (
        3,
        "column minutes_before: timestamp[us] where numbers",
        lambda: typed("minutes_before", [1, 2], pa.timestamp("us"), PAST),
    ),
    "minutes epoch seconds": (
        3,
        "column minutes_before: more than 20 years before the plan",
        lambda: of(PAST, minutes_before=[1785000000.0, 1.0]),
    ),
    "minutes of a send after every plan": (
        3,
        "column minutes_before: slot 16,666,666 is beyond",
        lambda: first(PAST, "minutes_before", -1e9),
    ),
    "minutes text": (
        3,
        "column minutes_before: string where numbers",
        lambda: of(PAST, minutes_before=["yesterday", "today"]),
    ),
    "minutes boolean": (3, "column minutes_before: bool where numbers", lambda: of(PAST, minutes_before=[True, False])),
    "channel null": (3, "column channel: empty in 1 of 2 rows", lambda: first(PAST, "channel", None)),
    "channel spelt otherwise": (
        3,
        "the channel PUSH is push in the candidates",
        lambda: of(PAST, channel=["PUSH", "push"]),
    ),
    "campaign spelt otherwise": (
        3,
        "the campaign sale  is sale in the candidates",
        lambda: of(PAST, campaign_id=["sale ", "sale"]),
    ),
    "category spelt otherwise": (
        3,
        "the category Deals is deals in the candidates",
        lambda: of(PAST, category=["Deals", "deals"]),
    ),
    "local_day timestamp": (
        3,
        "column local_day: timestamp[us] where whole",
        lambda: typed("local_day", [1, 2], pa.timestamp("us"), PAST),
    ),
    "local_day epoch seconds": (3, "column local_day: no number of days", lambda: of(PAST, local_day=[1785000000, 1])),
    "p_opt_out in percent": (3, "column p_opt_out: outside [0, 1]", lambda: of(PAST, p_opt_out=[5.0, 5.0])),
    "cost negative": (3, "column cost: negative in 1 of 2 rows", lambda: of(PAST, cost=[-1.0, 5.0])),
    "ids with capitals": (3, "the same but for capitals", lambda: of(PAST, user_id=[ANN.upper(), BOB.upper()])),
    "ids with white space": (
        3,
        "the same but for white space around",
        lambda: of(PAST, user_id=[f" {ANN}", f"{BOB} "]),
    ),
    "ids of some users with capitals": (
        3,
        "for 1 of 2 users with a history",
        lambda: of(PAST, user_id=[ANN.upper(), BOB]),
    ),
}

# --- Ids of the two files, written in two ways: name -> (ids of candidates, ids of the history, words) ---------------

FORMS: dict[str, tuple[list[Any], list[Any], str]] = {
    "decimal point in the history": (["700", "700", "800"], ["700.0", "800.0"], "the same but for a decimal point"),
    "decimal point in the candidates": (["700.0", "700.0", "800.0"], [700, 800], "the same but for a decimal point"),
    "leading zeros": (["007", "007", "008"], [7, 8], "the same but for leading zeros"),
    "exponent": ([123456789012, 123456789012, 8], ["1.23456789012e+11", "8e+00"], "the same but for an exponent"),
}

# --- Limits: name -> (text, exit code, words) ------------------------------------------------------------------------

LIMIT_FILES: dict[str, tuple[str, int, str]] = {
    "unknown section": ("min_gap_minuts: 60", 2, "min_gap_minuts: unknown key, did you mean min_gap_minutes?"),
    "unknown key in a section": (
        "caps: {d: {windw_minutes: 60, max: 1}}",
        2,
        "unknown key, did you mean window_minutes?",
    ),
    "section in the wrong place": (
        "caps: {d: {capacity: {push: 1}, window_minutes: 60, max: 1}}",
        2,
        "caps.d.capacity: unknown key",
    ),
    "number as text": ("min_gap_minutes: '60'", 2, "not a whole number"),
    "fraction for a whole number": ("min_gap_minutes: 60.5", 2, "not a whole number"),
    "boolean for a number": ("min_gap_minutes: true", 2, "not a whole number"),
    "list for a map": ("caps: [1, 2]", 2, "not a map"),
    "map for a number": ("min_gap_minutes: {push: 1}", 2, "not a whole number"),
    "text for a map": ("capacity: all", 2, "not a map"),
    "section empty": ("caps:\n", 2, "empty; write its entries below it"),
    "NaN": ("cost: {max_total: .nan}", 2, "cost.max_total: not a finite number"),
    "infinite": ("opt_outs: {max_expected: .inf}", 2, "opt_outs.max_expected: not a finite number"),
    "huge": ("cost: {max_total: 1e300}", 2, "a number too large or too small"),
    "without end": (f"capacity: {{push: {'9' * 500}}}", 2, "a number too large or too small"),
    "capacity negative": ("capacity: {push: -4}", 2, "capacity.push: out of range; got -4"),
    "capacity fraction": ("capacity: {push: 1.5}", 2, "not a whole number"),
    "capacity of a slot negative": ("capacity: {push: {9: -1}}", 2, "capacity.push.9: out of range; got -1"),
    "capacity of a negative slot": (
        "capacity: {push: {-1: 5}}",
        2,
        "capacity: no such slot; got -1 of push; slots count from 0",
    ),
    "capacity of a slot in words": ("capacity: {push: {nine: 5}}", 2, "not a valid key"),
    "capacity of a slot beyond": (
        "capacity: {push: {40000: 5}}",
        3,
        "capacity.push: slot 40,000 is beyond the longest plan",
    ),
    "capacity of no slot": ("capacity: {push: {}}", 2, "capacity.push: an empty map, so it limits nothing"),
    "capacity of slots after the last": ("capacity: {push: {12: 1}}", 2, "capacity.push: all slots are after 11"),
    "capacity of slots without a candidate": (
        "capacity: {push: {10: 1}}",
        2,
        "capacity.push: no candidate of the channel is in one of its slots",
    ),
    "capacity of no channel": ("capacity: {psuh: 1}", 2, "no candidate has the channel psuh, did you mean push?"),
    "capacity by capitals": ("capacity: {Push: 1}", 2, "no candidate has the channel Push, did you mean push?"),
    "cap of no channel": (
        "caps: {a: {scope: 'channel:sms', window_minutes: 60, max: 1}}",
        2,
        "caps.a.scope: no candidate has the channel sms",
    ),
    "cap of no category": ("caps: {a: {scope: 'category:deal', window_minutes: 60, max: 1}}", 2, "did you mean deals?"),
    "cap of no campaign": ("caps: {a: {scope: 'campaign:sales', window_minutes: 60, max: 1}}", 2, "did you mean sale?"),
    "cap of an unknown scope": (
        "caps: {a: {scope: 'team:x', window_minutes: 60, max: 1}}",
        2,
        "unknown scope 'team:x'",
    ),
    "cap without a window": ("caps: {a: {max: 1}}", 2, "give exactly one of window_minutes and calendar"),
    "cap of two windows": ("caps: {a: {max: 1, window_minutes: 60, calendar: day}}", 2, "give exactly one of"),
    "cap without a maximum": ("caps: {a: {window_minutes: 60}}", 2, "caps.a.max: missing"),
    "cap of no time": ("caps: {a: {window_minutes: 0, max: 1}}", 2, "caps.a.window_minutes: out of range"),
    "cap of an unknown calendar": (
        "caps: {a: {calendar: month, max: 1}}",
        2,
        "caps.a.calendar: not one of the choices",
    ),
    "calendar without local days": (
        "caps: {a: {calendar: day, max: 1}}",
        3,
        "column local_day is missing; caps.a counts by local day",
    ),
    "two maxima of one cap": (
        "caps: {a: {window_minutes: 60, max: 1}, b: {window_minutes: 60, max: 2}}",
        4,
        "for the same scope and window",
    ),
    "minimum above the maximum": (
        "campaigns: {sale: {min_sends: 3, max_sends: 2}}",
        4,
        "campaigns.sale: min_sends 3 > max_sends 2",
    ),
    "campaign of no candidate": (
        "campaigns: {slae: {max_sends: 1}}",
        2,
        "no candidate has the campaign slae, did you mean sale?",
    ),
    "campaign without a limit": ("campaigns: {sale: {}}", 2, "neither max_sends nor min_sends"),
    "campaign with only a price": ("campaigns: {sale: {shortfall_price: 2.0}}", 2, "neither max_sends nor min_sends"),
    "shortfall price negative": ("campaigns: {sale: {min_sends: 1, shortfall_price: -1.0}}", 2, "out of range"),
    "slot of 45 minutes": ("slot_minutes: 45", 2, "slot_minutes: not one of the choices; got 45"),
    "gap negative": ("min_gap_minutes: -60", 2, "out of range; got -60"),
    "gap of a year": ("min_gap_minutes: 525600", 2, "out of range"),
    "fatigue of no channel": (
        "fatigue: {max_points: 1.0, points_per_send: {sms: 1.0}}",
        2,
        "no candidate has the channel sms",
    ),
    "fatigue without points": ("fatigue: {max_points: 1.0, points_per_send: {}}", 2, "no channel has points above 0"),
    "fatigue of points 0": (
        "fatigue: {max_points: 1.0, points_per_send: {push: 0.0}}",
        2,
        "no channel has points above 0",
    ),
    "fatigue without a maximum": ("fatigue: {points_per_send: {push: 1.0}}", 2, "fatigue.max_points: missing"),
    "fatigue of half an hour": (
        "fatigue: {half_life_hours: 0.5, max_points: 1.0, points_per_send: {push: 1.0}}",
        2,
        "out of range",
    ),
    "opt-outs without their column": (
        "opt_outs: {max_expected: 0.0}",
        2,
        "has no column p_opt_out, so the budget counts nothing",
    ),
    "cost without its column": ("cost: {max_total: 5.0}", 2, "has no column cost, so the budget counts nothing"),
    "key twice": ("capacity: {push: 1}\ncapacity: {push: 2}", 2, "written twice, first on line 1"),
    "tab": ("capacity:\n\tpush: 1", 2, "not valid YAML"),
    "bracket left open": ("capacity: {push: 1", 2, "not valid YAML"),
    "alias": ("capacity: &a {push: 1}\ncampaigns: *a", 2, "aliases are not allowed"),
    "tag": ("capacity: !!python/object:os.system {push: 1}", 2, "tags are not allowed"),
    "two documents": ("capacity: {push: 1}\n---\ncapacity: {push: 2}", 2, "one file holds one document"),
    "no map": ("- 1\n- 2\n", 2, "not a map of sections"),
    "only text": ("sixty", 2, "not a map of sections"),
    "control character": ("capacity: {push: 1}\x07", 2, "a control character"),
}

# --- Options and paths: name -> (what lies there, arguments by option, exit code, words) -----------------------------


@dataclass(frozen=True)
class Call:
    """A call whose files are sound, but for what `before` does to the working directory."""

    code: int
    words: str
    argv: tuple[str, ...] = ()  # after the usual ones, whose last value counts
    candidates: str = "c.parquet"
    before: Callable[[], object] = lambda: None
    keeps: tuple[str, ...] = ()  # paths below `out` that lie there before and must lie there after


def _folder(*names: str) -> None:
    for name in names:
        Path(name).mkdir(parents=True)


def _file(name: str, content: str = "x") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(content)


def _candidates(name: str, base: Columns = ROWS) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(bytes_of(base))


def _parts(name: str = "parts") -> None:
    _candidates(f"{name}/a.parquet")
    _candidates(f"{name}/b.parquet", of(ROWS, user_id=["x", "y", "z"]))


CALLS: dict[str, Call] = {
    "candidates gone": Call(75, "gone.parquet: no such file", candidates="gone.parquet"),
    "candidates a link to nothing": Call(
        75,
        "link.parquet: no such file",
        candidates="link.parquet",
        before=lambda: Path("link.parquet").symlink_to("gone"),
    ),
    "candidates a device": Call(75, "/dev/null: no such file", candidates="/dev/null"),
    "candidates the limits": Call(3, "files that end in .yaml are not read", candidates="limits.yaml"),
    "folder empty": Call(75, "no Parquet file, CSV or JSON there", candidates="parts", before=lambda: _folder("parts")),
    "folder of other files": Call(75, "it holds a.xlsx", candidates="parts", before=lambda: _file("parts/a.xlsx")),
    "folder with a link to nothing": Call(
        75,
        "b.parquet: a link that leads nowhere",
        candidates="parts",
        before=lambda: (_parts(), Path("parts/b.parquet").unlink(), Path("parts/b.parquet").symlink_to("gone")),
    ),
    "folder of empty tables": Call(
        3,
        "parts: no row; nothing can be planned",
        candidates="parts",
        before=lambda: _candidates("parts/a.parquet", table(ROWS).slice(0, 0)),
    ),
    "folder with a column in one file only": Call(
        2,
        "b.parquet has no column cost, so the budget counts nothing for its sends",
        ("--limits", "cost.yaml"),
        "parts",
        lambda: (
            _candidates("parts/a.parquet", of(ROWS, cost=[1.0, 1, 1])),
            _candidates("parts/b.parquet", of(ROWS, user_id=["x", "y", "z"])),
            _file("cost.yaml", "cost: {max_total: 5.0}"),
        ),
    ),
    "folder with local_day in one file only": Call(
        3,
        "column local_day is missing; caps.a counts",
        ("--limits", "day.yaml"),
        "parts",
        lambda: (
            _candidates("parts/a.parquet", of(ROWS, local_day=[1, 1, 1])),
            _candidates("parts/b.parquet", of(ROWS, user_id=["x", "y", "z"])),
            _file("day.yaml", "caps: {a: {calendar: day, max: 1}}"),
        ),
    ),
    "folder with a row in two files": Call(
        3,
        "repeated in 3 of 6 rows",
        candidates="parts",
        before=lambda: (_candidates("parts/a.parquet"), _candidates("parts/b.parquet")),
    ),
    "folder with a damaged bucket": Call(
        3,
        "bucket-00000.parquet cannot be read",
        candidates="parts",
        before=lambda: _file("parts/bucket-00000.parquet", "PAR1"),
    ),
    "history gone": Call(75, "gone.parquet: no such file", ("--history", "gone.parquet")),
    "history a folder for one file": Call(
        3, "a folder where one file is expected", ("--history", "parts"), before=_parts
    ),
    "history the candidates": Call(3, "columns minutes_before are missing", ("--history", "c.parquet")),
    "history an empty file": Call(3, "an empty file", ("--history", "h.csv"), before=lambda: _file("h.csv", "")),
    "history of sends without the budget's column": Call(
        2,
        "h.parquet has no column p_opt_out, so the budget counts nothing for its committed sends",
        ("--history", "h.parquet", "--limits", "o.yaml"),
        "p.parquet",
        lambda: (
            _candidates("p.parquet", of(ROWS, p_opt_out=[0.1, 0.1, 0.1])),
            _candidates("h.parquet", first(PAST, "minutes_before", -60.0)),
            _file("o.yaml", "opt_outs: {max_expected: 1.0}"),
        ),
    ),
    "limits gone": Call(2, "gone.yaml: no such file", ("--limits", "gone.yaml")),
    "limits a folder": Call(2, "limits: a folder", ("--limits", "limits"), before=lambda: _folder("limits")),
    "limits a table": Call(2, "c.parquet:1: not text", ("--limits", "c.parquet")),
    "limits UTF-16": Call(
        2,
        "UTF-16 text",
        ("--limits", "u.yaml"),
        before=lambda: Path("u.yaml").write_bytes("capacity: {push: 1}".encode("utf-16")),
    ),
    "limits that are no UTF-8": Call(
        2, "not UTF-8 text", ("--limits", "u.yaml"), before=lambda: Path("u.yaml").write_bytes(b"capacity: {\xff: 1}")
    ),
    "limits too long": Call(2, "too large", ("--limits", "u.yaml"), before=lambda: _file("u.yaml", "#" * 1_100_000)),
    "out a file": Call(2, "out is a file where a folder is expected", before=lambda: _file("out"), keeps=("",)),
    "out below a file": Call(
        2, "out is a file where a folder is expected", ("--out", "out/plan"), before=lambda: _file("out"), keeps=("",)
    ),
    "out the candidates": Call(2, "c.parquet is a file where a folder is expected", ("--out", "c.parquet")),
    "out a link to nothing": Call(2, "out is a link to nothing", before=lambda: Path("out").symlink_to("gone")),
    "out below a link to nothing": Call(
        2, "away is a link to nothing", ("--out", "away/plan"), before=lambda: Path("away").symlink_to("gone")
    ),
    "out a link in a circle": Call(
        2, "--out", ("--out", "one/plan"), before=lambda: (Path("one").symlink_to("two"), Path("two").symlink_to("one"))
    ),
    "out in /proc": Call(2, "no folder can be written there", ("--out", "/proc/plan")),
    "out below a device": Call(2, "/dev/null is a file where a folder is expected", ("--out", "/dev/null/plan")),
    "out with a name too long": Call(2, "--out", ("--out", "n" * 300)),
    "out with a zero byte": Call(2, "--out", ("--out", "a\0b")),
    "out that holds the candidates": Call(2, "it holds c.parquet, which is read", ("--out", ".")),
    "out that holds the history": Call(
        2,
        "it holds past/h.parquet, which is read",
        ("--out", "past", "--history", "past/h.parquet"),
        before=lambda: _candidates("past/h.parquet", PAST),
    ),
    "out in the folder of candidates": Call(
        2, "it lies in parts, whose files are read", ("--out", "parts/plan"), "parts", _parts
    ),
    "out the folder of candidates": Call(2, "it holds parts, which is read", ("--out", "parts"), "parts", _parts),
    "out in the folder of candidates by a link": Call(
        2,
        "it lies in parts, whose files are read",
        ("--out", "by/plan"),
        "parts",
        lambda: (_parts(), Path("by").symlink_to("parts")),
    ),
    "out with the plan of a folder": Call(
        2,
        "plan.parquet in it is a folder",
        before=lambda: _candidates("out/plan.parquet/00000.parquet"),
        keeps=("plan.parquet/00000.parquet",),
    ),
    "out with a folder that is no plan": Call(
        2,
        "plan.parquet in it is a folder that is no plan",
        (),
        "parts",
        lambda: (_parts(), _file("out/plan.parquet/mine.txt")),
        keeps=("plan.parquet/mine.txt",),
    ),
    "out with a folder for the manifest": Call(
        2, "solution.json in it is a folder", before=lambda: _folder("out/solution.json"), keeps=("solution.json",)
    ),
    "method unknown": Call(2, "--method: got 'best'", ("--method", "best")),
    "method exact for a folder": Call(2, "--method: got 'exact' for a folder", ("--method", "exact"), "parts", _parts),
    "buckets for a file": Call(2, "--buckets and --spark are for a folder", ("--buckets", "2")),
    "buckets none": Call(2, "--buckets: got 0, expected 1 to 1000", ("--buckets", "0"), "parts", _parts),
    "buckets negative": Call(2, "--buckets: got -1", ("--buckets", "-1"), "parts", _parts),
    "buckets too many": Call(2, "--buckets: got 1001", ("--buckets", "1001"), "parts", _parts),
    "buckets in words": Call(2, "--buckets", ("--buckets", "many"), "parts", _parts),
    "check-prices negative": Call(2, "--check-prices", ("--check-prices", "-1")),
    "check-prices for a folder": Call(2, "--check-prices is for one file", ("--check-prices", "1"), "parts", _parts),
    "share above 1": Call(2, "--min-history-match", ("--min-history-match", "1.5")),
    "share negative": Call(2, "--min-history-match", ("--min-history-match", "-0.5")),
    "share NaN": Call(2, "--min-history-match", ("--min-history-match", "nan")),
    "share in words": Call(2, "--min-history-match", ("--min-history-match", "half")),
    "history of fewer users than asked": Call(
        3,
        "0 of 2 rows are of a user with a candidate",
        ("--history", "h.parquet", "--min-history-match", "0.5"),
        before=lambda: _candidates("h.parquet", of(PAST, user_id=["x", "y"])),
    ),
    "option unknown": Call(2, "No such option", ("--limit", "limits.yaml")),
}
