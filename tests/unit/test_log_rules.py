"""Rules of raw logs, each by its name: the reader, and `sendopt evaluate` which reads by it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sendopt.cli import app
from sendopt.config.schema import Ingest, Label, LocalWindow, QuietHours, Settings
from sendopt.domain.success import BURST, judge, rule_of
from sendopt.errors import ContractError
from sendopt.ingest import SourceMapping, TableMapping
from sendopt.ingest.counts import OUTCOMES, Counts, require_readable
from sendopt.ingest.reader import Reading, date_in_name, read_table
from sendopt.ingest.typed import Known, known_of
from sendopt.timing.log import read_log
from sendopt.timing.matching import with_send

SENT = "2026-03-01T10:00:00Z"
START = datetime(2026, 3, 1, 10, tzinfo=UTC)
SENDS = {"user_id": "u", "notification_id": "id", "sent_at_utc": "at"}
CONSTANTS = {
    "channel": "push",
    "category": "news",
    "campaign_id": "c",
    "available": True,
    "sent": True,
    "decision_kind": "slot",
    "timezone": "UTC",
}
ALL = Ingest(max_refused_fraction=1.0, max_unread_outcomes=1.0, max_unmatched_interactions=1.0)
KNOWN = Known(channels=("email", "push"), categories=("deals", "news"), quiet=("20:00", "10:00"))


def typed(tmp_path, table, rows, known=KNOWN, received=None, **mapping):
    """Return the typed rows of a CSV file with these rows (dicts)."""
    file = tmp_path / f"{table}.csv"
    pd.DataFrame(rows).to_csv(file, index=False)
    source = SourceMapping(source="s", tables={table: TableMapping(**{"format": "csv", **mapping})})
    return read_table(Reading(table, source, received, known), file).rows


def outcomes(tmp_path, texts, times=None, received=None, **outcome):
    """Return, for each text in the outcome's column, its success, or the reason why it is unknown."""
    rows = [
        {"u": f"u{i}", "id": i, "at": SENT, "o": text, "when": when}
        for i, (text, when) in enumerate(zip(texts, times or [""] * len(texts), strict=True))
    ]
    given = {"column": "o", "kind": "open", **outcome}
    frame = typed(tmp_path, "sends", rows, received=received, columns=SENDS, constants=CONSTANTS, outcome=given)
    assert frame["reason"].isna().all()
    return [p or o for o, p in zip(frame["outcome"], frame["outcome_problem"], strict=True)]


# --- an unread outcome is not a failure


BAD = "bad_boolean:outcome"


@pytest.mark.parametrize(
    ("texts", "mapping", "expected"),
    [
        (["ja", "nein", "JA", ""], {}, [True, False, True, False]),
        (["0", "1", "2", "3", "1.5", "-1"], {}, [False, True, True, True, True, BAD]),
        (["0", "1", "2", "3"], {"threshold": 2}, [False, False, True, True]),
        (["-5", "0", "0.1"], {"threshold": -1}, [False, True, True]),
        (["opened", "bounced", "perhaps"], {"yes": ("opened",), "no": ("Bounced",)}, [True, False, BAD]),
        (["1", "0"], {"yes": ("0",), "no": ("1",)}, [False, True]),  # the mapping comes before words of every log
        (["nan", "inf", "1e999", "9" * 5000], {}, [BAD, BAD, True, BAD]),
        (["1,810", "50%", "1 open"], {}, [BAD, BAD, BAD]),
        (["Sí", "да", "はい", "非"], {}, [True, True, True, BAD]),
    ],
)
def test_an_outcome_is_a_yes_a_no_or_unknown(tmp_path, texts, mapping, expected):
    assert outcomes(tmp_path, texts, **mapping) == expected


@pytest.mark.parametrize(
    "no_time",
    [
        "",
        "NULL",
        "0000-00-00 00:00:00",
        "0001-01-01",
        "1970-01-01T00:00:00Z",
        "1970-01-01 01:00",
        "1900-01-01 00:00:00",
        "9999-12-31 23:59:59",
    ],
)
def test_a_time_that_is_none_is_no_success(tmp_path, no_time):
    received = START + timedelta(days=9)
    assert outcomes(tmp_path, ["x"], [no_time], column=None, at="when", received=received) == [False]
    assert outcomes(tmp_path, ["x"], [no_time], column=None, at="when") == [False]


@pytest.mark.parametrize(
    ("time", "reason"),
    [
        ("soon", "bad_time:outcome_at"),
        ("1970-01-21T12:19:17Z", "time_before_2000"),
        ("1970-01-01T00:29:32Z", "time_before_2000"),
        ("2027-01-01T00:00:00Z", "time_in_future"),
    ],
)
def test_a_time_that_cannot_be_is_no_failure(tmp_path, time, reason):
    """Seconds that were read as millis lie in January 1970: nobody knows of them."""
    received = START + timedelta(days=9)
    assert outcomes(tmp_path, ["x"], [time], column=None, at="when", received=received) == [reason]


def test_a_flag_decides_and_its_bad_time_is_lost_alone(tmp_path):
    times = ["", "soon", "0000-00-00", "2026-03-01T11:00:00Z", "2026-03-01T11:00:00Z", ""]
    read = outcomes(tmp_path, ["1", "1", "1", "0", "", ""], times, at="when")
    # nobody knows what a time without its flag says
    assert read == [True, True, True, False, "missing_value:outcome", False]


def log_of(tmp_path, sends, reactions=None, limits=ALL, label="open", window=24.0, outcome=None, **interactions):
    """Return the `Log` of sends and, where given, interactions with a mapping from keywords."""
    pd.DataFrame(sends).to_csv(tmp_path / "sends.csv", index=False)
    table = {"files": "sends.csv", "format": "csv", "columns": {**SENDS, "pscore": "p"}, "constants": CONSTANTS}
    tables = {"sends": TableMapping(**table, **({"outcome": outcome} if outcome else {}))}
    if reactions is not None:
        pd.DataFrame(reactions).to_csv(tmp_path / "reactions.csv", index=False)
        columns = {"notification_id": "id", "kind": "kind", "at_utc": "at"}
        tables["interactions"] = TableMapping(
            **{"files": "reactions.csv", "format": "csv", "columns": columns, **interactions}
        )
    return read_log(tmp_path, SourceMapping(source="s", tables=tables), label, window, limits)


def sends(number, **columns):
    at = [(START + timedelta(hours=i % 5)).isoformat() for i in range(number)]
    return {"u": [f"u{i}" for i in range(number)], "id": list(range(number)), "at": at, "p": 0.2, **columns}


def test_unread_outcomes_above_their_share_stop_the_evaluation_and_below_it_they_are_left_out(tmp_path):
    rows = sends(100, o=["vielleicht"] * 3 + ["ja", "nein"] * 48 + [""])
    with pytest.raises(ContractError) as error:
        log_of(tmp_path, rows, outcome={"column": "o", "kind": "open"}, limits=Ingest())
    message = str(error.value)
    assert "3 cannot be read" in message
    assert "bad_boolean:outcome (such as 'vielleicht')" in message
    assert "at most 2.0%, --max-unread-outcomes" in message
    assert "quarantine" not in message
    log = log_of(tmp_path, rows, outcome={"column": "o", "kind": "open"}, limits=Ingest(max_unread_outcomes=0.03))
    assert log.dropped == {BAD: 3}
    assert log.outcomes.not_used == {BAD: 3}
    assert log.decisions.success.sum() == 48


def test_interactions_of_a_kind_that_nobody_mapped_stop_the_evaluation(tmp_path):
    reactions = {"id": range(20), "kind": "opened", "at": "2026-03-01T15:00:00Z"}
    with pytest.raises(ContractError, match=r"20 unknown_kind \(such as 'opened'\)"):
        log_of(tmp_path, sends(20), reactions, limits=Ingest())


def test_interactions_that_find_no_send_stop_the_evaluation(tmp_path):
    reactions = {"id": range(100, 120), "kind": "open", "at": "2026-03-01T15:00:00Z"}
    with pytest.raises(ContractError, match=r"20 find no send of 20 rows .*--max-unmatched-interactions"):
        log_of(tmp_path, sends(20), reactions, limits=Ingest())


@pytest.mark.parametrize("by", ["ingest", "evaluate"])
def test_total_refusal_is_no_success(by):
    of = Counts(rows_in=15, rows_out=0, quarantined={"malformed_row": 15})
    shown = "--max-refused-fraction" if by == "evaluate" else "ingest.max_refused_fraction"
    with pytest.raises(ContractError, match=rf"15 are refused of 15 rows \(100.0%; at most 10.0%, {shown}\)"):
        require_readable("s", {"users": of}, Ingest(), options=by == "evaluate")


@pytest.mark.parametrize(
    ("counts", "stops"),
    [
        ({"sends": Counts(100, 90, {"bad_time:sent_at_utc": 10})}, False),
        ({"sends": Counts(100, 89, {"bad_time:sent_at_utc": 11})}, True),
        ({"sends": Counts(100, 10, {"duplicate_send": 90})}, False),
        ({"sends": Counts(0, 0, {})}, False),
        ({"sends": Counts(100, 100, {}), OUTCOMES: Counts(3, 1, {BAD: 2})}, False),  # of all sends, not of the opened
        ({"sends": Counts(100, 100, {}), OUTCOMES: Counts(3, 0, {BAD: 3})}, True),
        ({"sends": Counts(100, 100, {}), OUTCOMES: Counts(50, 48, {"interaction_before_send": 2})}, True),
        ({"interactions": Counts(100, 50, {"interaction_without_send": 50})}, False),
        ({"interactions": Counts(100, 49, {"interaction_without_send": 51})}, True),
        ({"interactions": Counts(100, 97, {"unknown_kind": 3})}, True),
        ({"interactions": Counts(100, 10, {"duplicate_interaction": 90})}, False),
        ({"messages": Counts(1, 0, {"bad_time:expiry_utc": 1})}, True),
    ],
)
def test_a_share_of_refused_rows_above_its_setting_stops_and_duplicates_do_not_count(counts, stops):
    if stops:
        with pytest.raises(ContractError, match="too much cannot be used"):
            require_readable("s", counts, Ingest())
    else:
        require_readable("s", counts, Ingest())


def test_what_people_say_about_consent_needs_no_send(tmp_path):
    """As in ingest: opt-outs of sends that the log does not hold are statements, and no loss."""
    reactions = {
        "id": [9, 7, *["gone"] * 6],
        "kind": ["open", "opt_out", *["unsubscribe"] * 4, "opt_in", "opt_out"],
        "at": "2026-03-09T15:00:00Z",
        "who": ["u9", "u7", "a", "b", "c", "d", "e", ""],
    }
    columns = {"notification_id": "id", "kind": "kind", "at_utc": "at", "user_id": "who"}
    log = log_of(tmp_path, sends(10), reactions, limits=Ingest(), columns=columns)
    assert log.outcomes.not_used == {"interaction_without_send": 1}


# --- machines, stronger events, clocks


@pytest.mark.parametrize(
    ("seconds", "kind", "dropped", "successes"),
    [
        (0.3, "open", 5, 0),
        (0.3, "click", 5, 0),
        (1.0, "open", 5, 0),
        (1.5, "open", 0, 5),
        (3600, "click", 0, 5),
        (-59, "open", 0, 5),
        (-61, "open", 0, 0),
        (25 * 3600, "open", 0, 0),
    ],
)
def test_a_machine_s_open_or_click_is_no_success_and_no_failure(tmp_path, seconds, kind, dropped, successes):
    rows = sends(10)
    at = [(datetime.fromisoformat(t) + timedelta(seconds=seconds)).isoformat() for t in rows["at"][:5]]
    reactions = {"id": [*range(5), 9], "kind": [kind] * 5 + ["dismiss"], "at": [*at, "2026-03-09T00:00:00Z"]}
    log = log_of(tmp_path, rows, reactions)
    assert log.dropped.get("suspected_machine", 0) == dropped
    assert log.decisions.success.sum() == successes


def test_a_column_that_flags_machines_is_believed(tmp_path):
    reactions = {"id": range(4), "kind": "open", "at": "2026-03-01T18:00:00Z", "bot": ["yes", "no", "", "maybe"]}
    columns = {"notification_id": "id", "kind": "kind", "at_utc": "at", "machine": "bot"}
    late = {"id": [9], "kind": ["dismiss"], "at": ["2026-03-09T00:00:00Z"], "bot": [""]}
    rows = pd.concat([pd.DataFrame(reactions), pd.DataFrame(late)])
    log = log_of(tmp_path, sends(10), rows, columns=columns)
    assert log.dropped == {"suspected_machine": 1}
    assert log.decisions.success.sum() == 3


def test_a_click_shows_an_open_and_an_open_shows_no_click(tmp_path):
    reactions = {
        "id": [0, 1, 1, 9],
        "kind": ["click", "open", "click", "dismiss"],
        "at": ["2026-03-01T18:00:00Z"] * 3 + ["2026-03-09T00:00:00Z"],
    }
    assert log_of(tmp_path, sends(10), reactions).decisions.success.sum() == 2
    only = {**reactions, "kind": ["open", "open", "click", "dismiss"]}
    assert log_of(tmp_path, sends(10), only, label="click").decisions.success.sum() == 1


def test_many_at_once_are_a_machine_s(tmp_path):
    rows = {**sends(10), "u": ["same"] * 10}
    at = ["2026-03-01T18:00:00.1Z"] * BURST + ["2026-03-01T18:00:01Z"] * (BURST - 1) + ["2026-03-09T00:00:00Z"]
    kinds = ["open"] * (2 * BURST - 1) + ["dismiss"]
    log = log_of(tmp_path, rows, {"id": [*range(2 * BURST - 1), 9], "kind": kinds, "at": at})
    assert log.dropped == {"suspected_machine": BURST}
    assert log.decisions.success.sum() == BURST - 1


# --- identity of a send


@pytest.mark.parametrize(
    ("identity", "rows", "kept"),
    [
        (None, [("a", "77"), ("b", "77"), ("c", "77")], 3),  # one broadcast
        (None, [("a", "77"), ("a", "77")], 1),
        (("notification_id",), [("a", "77"), ("b", "77")], 1),
        (("user_id", "sent_at_utc"), [("a", "1"), ("a", "2")], 1),
        (("user_id", "notification_id"), [("a", "1"), ("A", "1"), ("a", "01")], 3),  # case and zeros are ids' own
    ],
)
def test_a_send_is_one_of_its_user_unless_the_mapping_says_otherwise(tmp_path, identity, rows, kept):
    table = [{"u": u, "id": i, "at": SENT} for u, i in rows]
    more = {"identity": identity} if identity else {}
    frame = typed(tmp_path, "sends", table, columns=SENDS, constants=CONSTANTS, **more)
    assert frame["send_key"].nunique() == kept


def test_of_rows_of_one_send_evaluate_keeps_the_one_that_ingest_keeps(tmp_path):
    """The earliest; of two at once a yes, then one that nobody can read, then a no."""
    rows = pd.DataFrame(
        [
            ("a", 1, SENT, "no"),
            ("a", 1, SENT, "yes"),
            ("b", 1, SENT, "no"),
            ("b", 1, "2026-03-01T09:00:00Z", "yes"),
            ("c", 1, SENT, "no"),
            ("c", 1, SENT, "?"),
            ("d", 1, SENT, "no"),
        ],
        columns=["u", "id", "at", "o"],
    ).assign(p=0.5)
    for order in (rows, rows.iloc[::-1]):
        log = log_of(tmp_path, order, outcome={"column": "o", "kind": "open"})
        assert log.dropped == {"duplicate_send": 3, BAD: 1}
        assert log.decisions.success.sum() == 2


def test_reactions_are_judged_by_the_row_of_their_send_that_is_kept(tmp_path):
    rows = pd.DataFrame([("a", 1, SENT), ("a", 1, "2026-03-03T10:00:00Z"), ("b", 2, SENT)], columns=["u", "id", "at"])
    reactions = {"id": [1, 2], "kind": ["open", "dismiss"], "at": ["2026-03-01T12:00:00Z", "2026-03-09T00:00:00Z"]}
    for order in (rows, rows.iloc[::-1]):
        log = log_of(tmp_path, order.assign(p=0.5), reactions)
        assert log.dropped == {"duplicate_send": 1}
        assert log.decisions.success.sum() == 1


# --- consent, and optional values


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ("", (), None),
        ("none", (), None),
        ("deals", ("deals",), None),
        ("deals,news", ("deals", "news"), None),
        ("Deals", ("deals",), None),
        ("all", ("*",), None),
        ("ALL", ("*",), None),
        ("*", ("*",), None),
        ('["deals"]', ("deals",), None),
        ("[deals]", ("*",), "bad_list"),
        ('{"deals": true}', ("*",), "unknown_name"),
        ("deals; news", ("deals", "news"), None),
        ("deal", ("*",), "unknown_name"),
        ("1", ("*",), "unknown_name"),
        ("deals|", ("deals",), None),
        ("deals|deal", ("deals", "*"), "unknown_name"),
        ("false", ("*",), "unknown_name"),
        ("[" * 3000, ("*",), "bad_list"),
    ],
)
def test_a_category_that_is_not_understood_forbids_every_one(tmp_path, text, expected, reason):
    columns = {"user_id": "u", "opted_out_categories": "out", "created_at": "at"}
    row = typed(
        tmp_path, "users", [{"u": "x", "out": text, "at": SENT}], columns=columns, constants={"channels": ("push",)}
    ).iloc[0]
    assert row["reason"] is None
    assert row["opted_out_categories"] == expected
    assert row["lost"] == (reason and f"{reason}:opted_out_categories")


@pytest.mark.parametrize(
    ("text", "expected", "reason"),
    [
        ("push", ("push",), None),
        ("PUSH", ("push",), None),
        ("e-mail", (), "unknown_name"),
        ("all", (), "unknown_name"),
        ("push|sms", ("push",), "unknown_name"),
        ("[1", (), "bad_list"),
        ("", (), None),
        ("push email", ("push", "email"), None),
    ],
)
def test_a_channel_that_is_not_understood_is_none(tmp_path, text, expected, reason):
    columns = {"user_id": "u", "channels": "ch", "created_at": "at"}
    constants = {"opted_out_categories": ()}
    row = typed(tmp_path, "users", [{"u": "x", "ch": text, "at": SENT}], columns=columns, constants=constants).iloc[0]
    assert (row["channels"], row["lost"]) == (expected, reason and f"{reason}:channels")


class ReadUser(NamedTuple):
    """Texts of a user's row, and what is read from them."""

    start: str
    end: str
    zone: str
    quiet: tuple[str | None, str | None]  # the quiet hours that are read
    in_zone: str | None  # the time zone that is read
    lost: str | None = None


@pytest.mark.parametrize(
    "user",
    [
        ReadUser(start="9:00", end="24:00", zone="europe/berlin", quiet=("09:00", "00:00"), in_zone="Europe/Berlin"),
        ReadUser(
            start="22",
            end="10:00 PM",
            zone="+02:00",
            quiet=("20:00", "10:00"),
            in_zone="Etc/GMT-2",
            lost="bad_value:quiet_end",  # 22:00 to 22:00
        ),
        ReadUser(
            start="00:00", end="00:00", zone="UTC", quiet=("20:00", "10:00"), in_zone="UTC", lost="bad_value:quiet_end"
        ),
        ReadUser(
            start="late",
            end="07:00",
            zone="Etc/Unknown",
            quiet=("20:00", "10:00"),
            in_zone=None,
            lost="unknown_zone,bad_local_time:quiet_start",
        ),
        ReadUser(start="", end="", zone="NULL", quiet=(None, None), in_zone=None),
        ReadUser(
            start="22:00",
            end="",
            zone="Factory",
            quiet=("20:00", "10:00"),
            in_zone=None,
            lost="unknown_zone,missing_value:quiet_end",
        ),
        ReadUser(
            start="22:00",
            end="07:00",
            zone="W. Europe Standard Time",
            quiet=("22:00", "07:00"),
            in_zone="Europe/Berlin",
        ),
    ],
)
def test_one_bad_optional_value_costs_that_value_and_not_the_row(tmp_path, user):
    columns = {"user_id": "u", "timezone": "tz", "created_at": "at", "quiet_start": "a", "quiet_end": "b"}
    constants = {"channels": ("push",), "opted_out_categories": ()}
    row = {"u": "x", "tz": user.zone, "at": SENT, "a": user.start, "b": user.end}
    read = typed(tmp_path, "users", [row], columns=columns, constants=constants).iloc[0]
    assert (read["reason"], read["timezone"], read["lost"]) == (None, user.in_zone, user.lost)
    assert (read["quiet_start"], read["quiet_end"]) == user.quiet


def test_lost_quiet_hours_become_the_longest_that_are_configured():
    hours = QuietHours(
        everyone=LocalWindow(start="22:00", end="07:00"), channels={"sms": LocalWindow(start="18:00", end="10:00")}
    )
    assert known_of(Settings(quiet_hours=hours)).quiet == ("18:00", "10:00")
    assert known_of(Settings(quiet_hours=QuietHours(everyone=None))).quiet == ("20:00", "10:00")


def test_a_name_of_an_interaction_that_no_setting_knows_is_said(tmp_path):
    columns = {"user_id": "u", "kind": "k", "at_utc": "at", "channel": "ch", "category": "cat"}
    rows = [
        {"u": "x", "k": "opt_out", "at": SENT, "ch": "E-Mail", "cat": "dealz"},
        {"u": "y", "k": "opt_out", "at": SENT, "ch": "PUSH", "cat": ""},
    ]
    frame = typed(tmp_path, "interactions", rows, columns=columns, match="nearest_send")
    assert frame["lost"].tolist() == ["unknown_name:channel,unknown_name:category", None]
    assert frame["channel"].tolist() == ["E-Mail", "push"]


@pytest.mark.parametrize("column", ["earliest_utc", "expiry_utc"])
def test_a_message_whose_limits_cannot_be_read_is_refused(tmp_path, column):
    columns = {"plan_date": "day", "user_id": "u", "notification_id": "id", "campaign_id": "c", column: "x"}
    rows = [
        {"day": "2026-05-04", "u": "x", "id": i, "c": "sale", "x": text}
        for i, text in enumerate(("soon", "", "2026-05-04T10:00:00Z", "0000-00-00"))
    ]
    frame = typed(tmp_path, "messages", rows, columns=columns)
    assert frame["reason"].tolist() == [f"bad_time:{column}", None, None, None]


@pytest.mark.parametrize(
    ("path", "day"),
    [
        ("users_2026-03-02.csv", 2),
        ("20260302-users.csv", 2),
        ("2026_03_02/part-0.csv", 2),
        ("day=2026-03-02/u.csv", 2),
        ("users.csv", None),
        ("a_2026-03-02_to_2026-03-05.csv", None),
        ("users_2026-02-30.csv", None),
        ("2026-03-01/users_2026-03-02.csv", 2),
        ("id-12026030212.csv", None),
    ],
)
def test_a_file_s_name_or_its_folder_s_dates_what_it_states(tmp_path, path, day):
    assert date_in_name(tmp_path / path) == (day and datetime(2026, 3, day, tzinfo=UTC))


# --- which send an interaction belongs to


def matched(tmp_path, reactions, sent, **mapping):
    """Return the id of the send that each reaction is matched to, or None."""
    columns = {"user_id": "u", "kind": "k", "at_utc": "at", **mapping.pop("columns", {})}
    table = TableMapping(format="csv", columns=columns, **mapping)
    frame = typed(
        tmp_path,
        "sends",
        sent,
        columns={**SENDS, "campaign_id": "c"},
        constants={k: v for k, v in CONSTANTS.items() if k != "campaign_id"},
    )
    rows = typed(tmp_path, "interactions", reactions, columns=columns, **mapping)
    joined = with_send(rows, frame, table, pd.Timedelta(seconds=60))
    ids = dict(zip(frame["send_key"], frame["notification_id"], strict=True))
    return [ids.get(key) for key in joined["found_key"]]


SENT_TWICE = [
    {"u": "x", "id": "1", "at": "2026-03-01T10:00:00Z", "c": "a"},
    {"u": "x", "id": "2", "at": "2026-03-01T12:00:00Z", "c": "b"},
    {"u": "y", "id": "1", "at": "2026-03-01T13:00:00Z", "c": "a"},
]


@pytest.mark.parametrize(
    ("reaction", "send_id"),
    [
        ({"at": "2026-03-01T14:00:00Z"}, "2"),
        ({"at": "2026-03-01T11:59:30Z"}, "2"),  # within the tolerance
        ({"at": "2026-03-01T11:58:00Z"}, "1"),
        ({"at": "2026-03-01T09:00:00Z"}, None),
        ({"at": "2026-03-01T14:00:00Z", "c": "a"}, "1"),
        ({"at": "2026-03-09T14:00:00Z"}, None),
        ({"at": "2026-03-01T14:00:00Z", "c": "z"}, None),
        ({"at": "2026-03-01T14:00:00Z", "u": "z"}, None),
        ({"at": "2026-03-09T14:00:00Z", "id": "1"}, "1"),  # an id needs no time
        ({"at": "2026-03-01T14:00:00Z", "id": "9"}, None),  # an id of no send is not the nearest one
        ({"at": "", "id": ""}, None),
        ({"at": "2026-03-01T14:00:00Z", "u": ""}, None),
    ],
)
def test_an_interaction_without_an_id_belongs_to_the_latest_send_before_it(tmp_path, reaction, send_id):
    row = {"u": "x", "k": "open", "id": "", "c": "", **reaction}
    columns = {"notification_id": "id", "campaign_id": "c"}
    assert matched(tmp_path, [row], SENT_TWICE, columns=columns, match="nearest_send", within_hours=72) == [send_id]


def test_an_id_is_of_the_user_that_the_log_names(tmp_path):
    rows = [{"u": u, "k": "open", "at": SENT, "id": "1"} for u in ("x", "y", "z")]
    assert matched(tmp_path, rows, SENT_TWICE, columns={"notification_id": "id"}) == ["1", "1", None]


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 40)), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.integers(-3, 60)), max_size=12),
    st.integers(1, 30),
)
def test_the_nearest_send_is_that_of_a_search_through_all(sent, asked, within):
    hour = timedelta(hours=1)
    frame = pd.DataFrame(
        [
            {
                "send_key": f"k{i}",
                "user_id": user,
                "sent_at_utc": START + h * hour,
                "campaign_id": "c",
                "channel": "push",
                "notification_id": str(i),
            }
            for i, (user, h) in enumerate(sent)
        ],
        dtype=object,
    )
    columns = ["user_id", "at_utc", "send_key", "notification_id", "campaign_id", "channel"]
    rows = pd.DataFrame(
        [{**dict.fromkeys(columns), "user_id": user, "at_utc": START + h * hour} for user, h in asked],
        columns=columns,
        dtype=object,
    )
    table = TableMapping(
        format="csv", match="nearest_send", within_hours=within, columns={"user_id": "u", "kind": "k", "at_utc": "t"}
    )
    matched_keys = with_send(rows, frame, table, pd.Timedelta(0))["found_key"].tolist()
    expected = []
    for user, h in asked:
        fits = [(g, f"k{i}") for i, (u, g) in enumerate(sent) if u == user and h - within <= g <= h]
        expected.append(max(fits)[1] if fits else None)
    assert matched_keys == expected


def test_success_is_one_function_of_times():
    label = Label()
    rule = rule_of("open", 24.0, label.implies, label.clock_tolerance_seconds, label.machine_open_seconds)
    second = 1_000_000
    sent = pd.DataFrame({"send_key": [0, 1, 2, 3], "user_id": "u", "at": [0] * 4})
    reactions = pd.DataFrame(
        [
            (0, "open", second // 2, False),
            (0, "click", 60 * second, False),
            (1, "open", 60 * second, True),
            (2, "open", -30 * second, False),
            (3, "open", 90_000 * second, False),
        ],
        columns=["send_key", "kind", "at", "machine"],
    )
    judged = judge(sent, reactions, rule)
    assert judged["success"].tolist() == [True, True, True, False]
    assert judged["suspected"].tolist() == [False, True, False, False]  # of 0, the click is a person's


def test_the_outcomes_have_a_line_of_their_own_in_terminal_json_and_page(tmp_path):
    rng = np.random.default_rng(0)
    number = 400
    words = np.where(rng.random(number) < 0.3, "ja", "nein").astype(object)
    words[:4] = "vielleicht"
    pd.DataFrame(sends(number, o=words)).assign(u=[f"person-{i % 40}" for i in range(number)]).to_csv(
        tmp_path / "log.csv", index=False
    )
    (tmp_path / "s.yaml").write_text(
        "source: s\ntables:\n  sends:\n    format: csv\n    columns: {user_id: u, notification_id: id, sent_at_utc: at,"
        " pscore: p}\n    constants: {channel: push, category: c, campaign_id: c, decision_kind: slot, available: true,"
        " sent: true, timezone: UTC}\n    outcome: {column: o, kind: open}\n"
    )
    words_ = ["evaluate", str(tmp_path / "log.csv"), "--source", str(tmp_path / "s.yaml"), "--out"]
    done = CliRunner().invoke(app, [*words_, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    line = "; 4 not used: 4 bad_boolean:outcome (such as 'vielleicht')"
    assert "of 396 sends are a success (" in done.output
    assert line in done.output
    data = json.loads((tmp_path / "out/evaluation.json").read_text())["data"]["outcomes"]
    assert (data["read"], data["not_used"], data["examples"]) == (396, {BAD: 4}, {BAD: ["vielleicht"]})
    assert "4 not used" in (tmp_path / "out/evaluation.html").read_text()
    strict = CliRunner().invoke(app, [*words_, str(tmp_path / "no"), "--max-unread-outcomes", "0.001"])
    assert strict.exit_code == 3
    assert "at most 0.1%, --max-unread-outcomes" in strict.output
    assert not (tmp_path / "no").exists()
    wrong = CliRunner().invoke(app, [*words_, str(tmp_path / "no"), "--max-unread-outcomes", "2"])
    assert (wrong.exit_code, "expected a share from 0 to 1" in wrong.output) == (2, True)
