"""Columns of the wrong kind, of candidates and of history, with the exit code and words of their sentence.

`test_solve_bad_input` tries them. Files and limits are in `solve_bad_files`, options and paths in `solve_bad_calls`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
from solve_rows import ANN, BOB, PAST, ROWS, Change, first, of, table, typed, without

# Columns of candidates, as one file and as a folder: name -> (exit code, words, columns)
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

# Columns of the history: name -> (exit code, words, columns)
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

# Ids of the two files, written in two ways: name -> (ids of candidates, ids of the history, words)
FORMS: dict[str, tuple[list[Any], list[Any], str]] = {
    "decimal point in the history": (["700", "700", "800"], ["700.0", "800.0"], "the same but for a decimal point"),
    "decimal point in the candidates": (["700.0", "700.0", "800.0"], [700, 800], "the same but for a decimal point"),
    "leading zeros": (["007", "007", "008"], [7, 8], "the same but for leading zeros"),
    "exponent": ([123456789012, 123456789012, 8], ["1.23456789012e+11", "8e+00"], "the same but for an exponent"),
}
