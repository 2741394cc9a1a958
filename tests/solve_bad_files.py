"""Files that `sendopt solve` cannot read, and bad files of limits, with the exit code and words of their sentence."""

from __future__ import annotations

import gzip
import json
from typing import NamedTuple

from solve_rows import ANN, BOB, ROWS, bytes_of, csv_of, first, json_lines, objects, of, without


class BadFile(NamedTuple):
    """A file of candidates that cannot be read."""

    name: str
    content: bytes
    words: str
    exit_code: int = 3


CORRUPT = bytearray(
    bytes_of({name: values * 500 for name, values in of(ROWS, message_id=[f"m{i}" for i in range(3)]).items()})
)
for offset in range(4, 400):
    CORRUPT[offset] ^= 0x5A

# Candidates as one file, and in a folder beside a sound file.
FILES: dict[str, BadFile] = {
    "unknown ending": BadFile(name="c.xlsx", content=b"PK\x03\x04", words="files that end in .xlsx are not read"),
    "zip": BadFile(name="c.csv.zip", content=b"PK\x03\x04", words="files that end in .csv.zip are not read"),
    "no ending": BadFile(name="candidates", content=csv_of(ROWS), words="a file without an ending is not read"),
    "Parquet called CSV": BadFile(name="c.csv", content=bytes_of(ROWS), words="holds Parquet; name it .parquet"),
    "CSV called Parquet": BadFile(name="c.parquet", content=csv_of(ROWS), words="cannot be read"),
    "JSON called CSV": BadFile(name="c.csv", content=json_lines(*objects()), words="are missing"),
    "CSV called JSON": BadFile(name="c.jsonl", content=csv_of(ROWS), words="cannot be read"),
    "gzip that is none": BadFile(name="c.csv.gz", content=csv_of(ROWS), words="is not compressed by gzip"),
    "gzip without its ending": BadFile(
        name="c.csv", content=gzip.compress(csv_of(ROWS)), words="is compressed by gzip: name it with .gz"
    ),
    "gzip cut short": BadFile(name="c.csv.gz", content=gzip.compress(csv_of(ROWS))[:-20], words="cannot be read"),
    "empty file": BadFile(name="c.csv", content=b"", words="an empty file"),
    "empty Parquet file": BadFile(name="c.parquet", content=b"", words="an empty file"),
    "Parquet cut short": BadFile(name="c.parquet", content=bytes_of(ROWS)[:-10], words="cannot be read"),
    "Parquet header only": BadFile(name="c.parquet", content=b"PAR1", words="cannot be read"),
    "Parquet with a damaged page": BadFile(name="c.parquet", content=bytes(CORRUPT), words="cannot be read"),
    "UTF-16": BadFile(
        name="c.csv", content=csv_of(ROWS).decode().encode("utf-16"), words="UTF-16 text; save the file as UTF-8"
    ),
    "Latin 1": BadFile(
        name="c.csv",
        content=csv_of(first(ROWS, "campaign_id", "Fr\xfchling")).decode().encode("latin-1"),
        words="cannot be read",
    ),
    "CSV without a header": BadFile(
        name="c.csv", content=csv_of(ROWS, header=False), words="is the first line one of their names?"
    ),
    "CSV with a row too short": BadFile(
        name="c.csv", content=csv_of(ROWS) + f"{BOB},b\n".encode(), words="Expected 7 columns, got 2"
    ),
    "CSV with a row too long": BadFile(
        name="c.csv",
        content=csv_of(ROWS) + f"{BOB},b,c,d,e,1,2,3\n".encode(),
        words="Expected 7 columns, got 8",
    ),
    "CSV with a quote left open": BadFile(
        name="c.csv", content=csv_of(ROWS) + f'"{BOB},b,c,d,e,1,2\n'.encode(), words="cannot be read"
    ),
    "CSV with text among numbers": BadFile(
        name="c.csv",
        content=csv_of(ROWS).replace(b"0.25", b"n/a?"),
        words="column value: string where numbers",
    ),
    "CSV with an empty number": BadFile(
        name="c.csv", content=csv_of(ROWS).replace(b"0.25", b""), words="column value: empty in 1 of 3 rows"
    ),
    "CSV with true among slots": BadFile(
        name="c.csv",
        content=csv_of(ROWS).replace(b",10,", b",true,"),
        words="column slot: string where whole numbers",
    ),
    "CSV with a column twice": BadFile(
        name="c.csv",
        content=csv_of(ROWS).replace(b"value", b"slot"),
        words="column slot is there more than once",
    ),
    "CSV with thousands": BadFile(
        name="c.csv", content=csv_of(ROWS).replace(b"0.25", b'"1,000"'), words="column value: string where numbers"
    ),
    "JSON cut short": BadFile(name="c.json", content=b'{"user_id": ["a"]', words="cannot be read"),
    "JSON of numbers": BadFile(name="c.json", content=b"[1, 2]", words="entry 0 is no object"),
    "JSON nested without end": BadFile(name="c.json", content=b"[" * 100_000, words="cannot be read"),
    "JSON number without end": BadFile(name="c.json", content=b"[{}, " + b"9" * 5000 + b"]", words="cannot be read"),
    "JSON of columns": BadFile(name="c.json", content=json.dumps(ROWS).encode(), words="where"),
    "JSON line that is a number": BadFile(
        name="c.jsonl", content=json_lines(*objects(), 7), words="line 4 is no object"
    ),
    "JSON with a number beyond 64 bits": BadFile(
        name="c.jsonl",
        content=json_lines({**objects()[0], "slot": 2**70}),
        words="column slot holds int where whole numbers",
    ),
    "JSON with values of two types": BadFile(
        name="c.jsonl",
        content=json_lines(*objects(), {**objects()[0], "value": "high"}),
        words="column value holds float, str where numbers",
    ),
    "JSON with a list for a number": BadFile(
        name="c.jsonl",
        content=json_lines(*objects(), {**objects()[0], "value": [1]}),
        words="column value holds float, list",
    ),
    "JSON with an object for an id": BadFile(
        name="c.jsonl",
        content=json_lines(*({**row, "user_id": {"id": ANN}} for row in objects())),
        words="column user_id: struct",
    ),
    "JSON with ids as fractions": BadFile(
        name="c.jsonl",
        content=json_lines(*({**row, "user_id": 12.0} for row in objects())),
        words="column user_id: double where text",
    ),
    "JSON with NaN": BadFile(
        name="c.jsonl", content=json_lines({**objects()[0], "value": float("nan")}), words="column value: not finite"
    ),
    "JSON with a key missing": BadFile(
        name="c.jsonl",
        content=json_lines(*objects(), without(objects()[0], "value")),
        words="column value: empty in 1 of 4",
    ),
    "JSON with a key twice": BadFile(
        name="c.jsonl", content=b'{"slot": 1, "slot": 2}\n', words="an object has a key twice"
    ),
    "JSON that is no UTF-8": BadFile(name="c.jsonl", content=json_lines(*objects()) + b"\xff", words="is not UTF-8"),
}

# Limits: name -> (text, exit code, words)
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
