"""A source mapping says everything that is wrong with it at once; its time formats mean what strptime means."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sendopt.domain.slots import zone_or_none
from sendopt.errors import ConfigError
from sendopt.ingest import load_mapping
from sendopt.ingest.times import time_pattern
from sendopt.ingest.vocabulary import known_zones

CONF = Path(__file__).resolve().parents[2] / "conf" / "sources"
SOUND = """\
source: shop
tables:
  sends:
    format: csv
    columns: {user_id: user, notification_id: id, sent_at_utc: at, pscore: p}
    constants: {campaign_id: c, channel: push, category: k, decision_kind: slot, available: true, sent: true}
"""


def faults(tmp_path, text):
    path = tmp_path / "shop.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_mapping(path)
    assert error.value.exit_code == 2
    return [problem.removeprefix(f"{path}:") for problem in error.value.problems]


@pytest.mark.parametrize("name", ["demo", "heartsteps"])
def test_the_project_s_own_mappings_are_sound(name):
    assert load_mapping(CONF / f"{name}.yaml").source == name


def test_a_mapping_is_read_with_its_defaults(tmp_path):
    (tmp_path / "m.yaml").write_text(SOUND + "  users: {derive_from: sends, channels: [push]}\n")
    mapping = load_mapping(tmp_path / "m.yaml")
    assert mapping.derived_users.channels == ("push",)
    assert mapping.tables["sends"].times_in == "UTC"
    assert mapping.tables["sends"].raw_columns == {
        "user": "columns.user_id",
        "id": "columns.notification_id",
        "at": "columns.sent_at_utc",
        "p": "columns.pscore",
    }


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("user_id: user", "user: user", "5: tables.sends.columns.user: unknown column, did you mean user_id?"),
        (
            "format: csv",
            "format: xml",
            '4: tables.sends.format: not one of the choices; got "xml"; expected one of csv, jsonl, json, parquet',
        ),
        ("    format: csv\n", "", "3: tables.sends.format: missing; expected one of csv, jsonl, json, parquet"),
        (
            "format: csv",
            "format: csv\n    tiem_format: x",
            "5: tables.sends.tiem_format: unknown key, did you mean time_format?",
        ),
        (
            "format: csv",
            "format: csv\n    times_in: Europe/Pariss",
            '5: tables.sends.times_in: unknown zone "Europe/Pariss"; expected an IANA name like Europe/Paris, or '
            "{column: RAW COLUMN}",
        ),
        (
            "format: csv",
            "format: csv\n    times_in: {columns: tz}",
            "5: tables.sends.times_in: not text; got a map; expected an IANA name like Europe/Paris, or "
            "{column: RAW COLUMN}",
        ),
        (
            "format: csv",
            "format: csv\n    time_format: '%Y-%m'",
            '5: tables.sends.time_format: got "%Y-%m"; must hold the day once: one of %d; or iso8601, epoch_seconds, '
            "epoch_millis, epoch_micros, epoch_nanos, rfc2822",
        ),
        ("sent: true}", "sent: 1}", "6: tables.sends.constants.sent: got 1.0; expected boolean"),
        (
            "decision_kind: slot, ",
            "",
            "5: tables.sends.columns: decision_kind is missing; say in constants what pscore is the probability of: "
            "send or slot",
        ),
        (
            "decision_kind: slot",
            "decision_kind: day",
            '6: tables.sends.constants.decision_kind: got "day"; expected one of send, slot',
        ),
        (
            "campaign_id: c, ",
            "",
            "5: tables.sends.columns: campaign_id is missing; name its raw column here or give its value in constants",
        ),
        (
            "campaign_id: c",
            "campaign_id: c, user_id: u",
            "6: tables.sends.constants.user_id: mapped in columns too; keep one",
        ),
        (
            "format: csv",
            "format: csv\n    outcome: {kind: goal}",
            "5: tables.sends.outcome: column or at is missing; name the raw column of the outcome or of its time",
        ),
        (
            "format: csv",
            "format: csv\n    outcome: {colum: x}",
            "5: tables.sends.outcome.colum: unknown key, did you mean column?",
        ),
        (
            "source: shop",
            "source: a b",
            '1: source: missing or malformed; got "a b"; expected a name of letters, '
            "digits, _ . or -, at most 80 characters",
        ),
        ("  sends:", "  send:", "3: tables.send: unknown table, did you mean sends?"),
        (
            "  sends:",
            "  users: {derive_from: sends}\n  sends:",
            "3: tables.users.channels: missing; expected a list of channels",
        ),
        (
            "  sends:",
            "  interactions: {format: csv, columns: {kind: k, at_utc: t}}\n  sends:",
            "3: tables.interactions.columns: send_key or notification_id is missing; without one no interaction finds "
            "its send. Name it, or say match: nearest_send",
        ),
    ],
)
def test_each_fault_has_its_line_and_its_remedy(tmp_path, old, new, problem):
    assert old in SOUND
    assert faults(tmp_path, SOUND.replace(old, new, 1)) == [problem]


def test_all_faults_are_told_at_once(tmp_path):
    text = SOUND.replace("user_id: user", "user: user").replace("format: csv", "format: xml")
    found = faults(tmp_path, text.replace("source: shop", "source: shop\nextra: 1"))
    assert [line.split(":")[1].strip() for line in found] == [
        "extra",
        "tables.sends.format",
        "tables.sends.columns.user",
    ]


def test_a_file_that_is_not_there_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read"):
        load_mapping(tmp_path / "none.yaml")


@given(
    st.datetimes(datetime(1999, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001  wall clock
    st.sampled_from(
        [
            "%Y-%m-%d %H:%M:%S",
            "%d/%m/%y %I:%M %p",
            "%B %d, %Y %H:%M",
            "%Y%m%dT%H%M%S.%f",
            "%d-%b-%Y %H:%M:%S",
            "%m.%d.%Y",
        ]
    ),
)
def test_a_pattern_matches_what_strftime_writes_and_strptime_reads(at, pattern):
    text = at.strftime(pattern)
    match = re.match(time_pattern(pattern).regex, text)
    assert match is not None
    parts = dict(zip(time_pattern(pattern).fields, match.groups(), strict=True))
    assert int(parts["d"]) == datetime.strptime(text, pattern).day  # noqa: DTZ007  wall clock


def test_every_listed_zone_is_one_that_slots_knows():
    assert len(known_zones()) > 500
    assert [name for name in known_zones() if zone_or_none(name) is None] == []
