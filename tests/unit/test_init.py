"""`sendopt init`: what it proposes for logs of many shapes, with the evidence; what it says of a log that is none."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sendopt.cli import app
from sendopt.config.loader import load
from sendopt.config.presets import preset_names
from sendopt.config.schema import ENV_SECTIONS
from sendopt.domain.slots import zone_or_none
from sendopt.ingest import load_mapping
from sendopt.ingest.proposal import presets
from sendopt.ingest.proposal.sample import read_sample

GOLDEN = Path(__file__).resolve().parents[1] / "presets"
START = datetime(2026, 1, 13, 8, 7, tzinfo=UTC)  # a 13th shows which of the first two numbers is the day


def sends(number=240):
    """(person, campaign, time, opened): every third is opened, hours 8 to 19, twelve people, two campaigns."""
    for i in range(number):
        at = START + timedelta(days=i // 6, hours=(i * 5) % 12, minutes=i % 50)
        yield f"K{i % 12}", ("Frühling", "News")[i % 2], at, i % 3 == 0


def german(path):
    rows = ["Kundennr;Kampagne;Kanal;versendet am;geöffnet"]
    rows += [f"{u};{c};E-Mail;{t:%d.%m.%Y %H:%M};{'ja' if o else 'nein'}" for u, c, t, o in sends()]
    path.write_bytes("\r\n".join(rows).encode("cp1252"))


def stream(path):
    events = []
    for i, (u, c, t, o) in enumerate(sends()):
        one = {"userId": u, "messageId": f"m{i}", "campaign": c, "ts": int(t.timestamp() * 1000)}
        events.append({**one, "event": "push_bounced" if i % 40 == 39 else "push_sent"})
        events += [{**one, "event": "push_opened", "ts": one["ts"] + 90_000}] * o
        events += [{**one, "event": "unsubscribed", "ts": one["ts"] + 99_000}] * (i == 100)
    path.write_text(json.dumps(events))


def parquet(path):
    rows = [
        {
            "customer_id": int(u[1:]),
            "campaign_id": 7,
            "push_id": i,
            "sent_at": t,
            "tz": "Europe/Madrid",
            "open_count": 2 * o,
            "topic": "deals",
            "propensity": 0.125,
        }
        for i, (u, c, t, o) in enumerate(sends())
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def newsletter(path):
    rows = ["Email Address,Subject,Send Time,Status,Opened At,Clicks,Unsubscribed At"]
    for i, (u, c, t, o) in enumerate(sends()):
        later = (t + timedelta(minutes=40)).strftime("%m/%d/%Y %I:%M %p")
        state = "bounced" if i % 40 == 39 else "delivered"
        left = later if i == 100 else ""
        rows.append(
            f"{u}@example.org,{c},{t:%m/%d/%Y %I:%M %p},{state},{later if o and state[0] == 'd' else ''},0,{left}"
        )
    path.write_text("\n".join(rows))


def tiny(path):
    path.write_text("user,time,opened\n" + "\n".join(f"{u},{t:%Y-%m-%d %H:%M:%S},{int(o)}" for u, _, t, o in sends()))


def two_columns_of_time(path):
    states = ("geöffnet", "zugestellt", "unzustellbar")
    rows = ["Empfänger\tBetreff\tDatum\tUhrzeit\tStatus"]
    rows += [
        f"{u}@example.de\t{c}\t{t:%d.%m.%Y}\t{t:%H:%M}\t{states[0 if o else 1 + (i % 40 == 20)]}"
        for i, (u, c, t, o) in enumerate(sends())
    ]
    path.write_bytes(gzip.compress("\n".join(rows).encode()))


SHAPES = {
    "german.csv": (
        german,
        {
            "encoding": "cp1252",
            "delimiter": ";",
            "time_format": "%d.%m.%Y %H:%M",
            "times_in": "Europe/Berlin",
            "user_id": "Kundennr",
            "notification_id": ("Kampagne", "versendet am"),
            "channel": "Kanal",
            "outcome": {"column": "geöffnet", "kind": "open"},
            "values": {"Frühling": "Fruhling"},
            "evidence": "open: 80 of 240 are 'ja'",
        },
    ),
    "stream.json": (
        stream,
        {
            "format": "json",
            "where": {"event": ("push_sent", "push_bounced")},
            "time_format": "epoch_millis",
            "notification_id": "messageId",
            "sent": "event",
            "times_in": "UTC",
            "evidence": "234 push_sent, 6 push_bounced",
        },
    ),
    "pushes.parquet": (
        parquet,
        {
            "format": "parquet",
            "timezone": "tz",
            "pscore": "propensity",
            "category": "topic",
            "outcome": {"column": "open_count", "kind": "open"},
            "evidence": "open: 80 of 240 hold a number above 0",
        },
    ),
    "report.csv": (
        newsletter,
        {
            "time_format": "%m/%d/%Y %I:%M %p",
            "user_id": "Email Address",
            "channel": "email",
            "sent": "Status",
            "outcome": {"kind": "open", "at": "Opened At"},
            "evidence": "6 of 240 were not delivered",
        },
    ),
    "tiny.csv": (
        tiny,
        {
            "user_id": "user",
            "notification_id": "time",
            "campaign_id": "all",
            "time_format": "iso8601",
            "outcome": {"column": "opened", "kind": "open"},
            "evidence": "open: 80 of 240 are '1'",
        },
    ),
    "mailing.tsv.gz": (
        two_columns_of_time,
        {
            "delimiter": "\t",
            "sent_at_utc": ("Datum", "Uhrzeit"),
            "time_format": "%d.%m.%Y/%H:%M",
            "sent": "Status",
            "outcome": {"column": "Status", "kind": "open", "yes": ("geöffnet",), "no": ("zugestellt", "unzustellbar")},
            "evidence": "open: 80 of 240 are 'geöffnet'",
        },
    ),
}


def run(*argv):
    done = CliRunner().invoke(app, ["init", *map(str, argv)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", SHAPES)
def test_a_log_of_any_shape_gets_settings_that_are_valid_and_say_why(home, name):
    make, wanted = SHAPES[name]
    make(home / name)
    code, shown, error = run("--from", name)
    folder = name.split(".")[0]
    assert code == 0, error
    assert shown.rstrip().splitlines()[-2:] == [
        f"  sendopt check {folder}",
        f"  sendopt night --plan-date 2026-02-22 --conf {folder}",
    ]
    text = (home / folder / "mapping.yaml").read_text()
    mapping = load_mapping(f"{folder}/mapping.yaml")
    table = mapping.tables["sends"]
    said = {**table.model_dump(), **table.constants, **table.columns}
    for key, value in wanted.items():
        if key == "evidence":
            assert value in text
        elif key == "values":
            assert table.values["campaign_id"] == value
        elif isinstance(value, dict):
            assert {k: v for k, v in said[key].items() if v} == value
        else:
            assert said[key] == value, key
    settings = load(Path(folder))
    assert settings.sources[folder].input == name
    assert set(settings.channels) == set(mapping.derived_users.channels)
    assert {c.channel for c in settings.campaigns.values()} <= set(settings.channels)
    assert settings.caps["weekly"].max >= settings.caps["daily"].max >= 1
    assert settings.quiet_hours.everyone is not None


def test_an_opt_out_in_the_row_of_a_send_is_never_left_out(home):
    newsletter(home / "report.csv")
    code, shown, _ = run("--from", "report.csv")
    interactions = load_mapping("report/mapping.yaml").tables["interactions"]
    assert (code, interactions.where, interactions.constants) == (0, {"Unsubscribed At": "*"}, {"kind": "opt_out"})
    assert "1 opt-outs" in shown
    assert "interactions (outcomes): 1 of 1 rows kept" in shown


def test_of_several_columns_of_opt_outs_those_that_cannot_be_read_are_said(home):
    newsletter(home / "report.csv")
    lines = (home / "report.csv").read_text().splitlines()
    more = [
        lines[0] + ",Spam Complaint",
        *(f"{line},{'yes' if i in (7, 9) else 'no'}" for i, line in enumerate(lines[1:])),
    ]
    (home / "report.csv").write_text("\n".join(more))
    _, shown, _ = run("--from", "report.csv")
    assert load_mapping("report/mapping.yaml").tables["interactions"].where == {"Spam Complaint": "yes"}
    assert "OPT-OUTS: 1 rows of 'Unsubscribed At' say that a person opted out; only 'Spam Complaint' is read" in shown


def test_an_opt_out_among_the_states_of_a_send_is_one(home):
    rows = ["user,campaign,sent_at,status"]
    states = ("delivered", "opened", "delivered", "bounced", "delivered", "unsubscribed")
    rows += [f"{u},{c},{t:%Y-%m-%d %H:%M},{states[i % 6]}" for i, (u, c, t, _) in enumerate(sends())]
    (home / "log.csv").write_text("\n".join(rows))
    code, shown, error = run("--from", "log.csv")
    assert code == 0, error
    tables = load_mapping("log/mapping.yaml").tables
    assert tables["sends"].values["sent"] == {"bounced": False, "*": True}
    assert tables["interactions"].where == {"status": "unsubscribed"}
    assert "40 opt-outs" in shown


def test_events_without_the_id_of_their_send_find_the_latest_one(home):
    rows = ["user,event,at"]
    for u, _, t, o in sends():
        rows += [f"{u},sent,{t:%Y-%m-%dT%H:%M:%SZ}"]
        rows += [f"{u},opened,{t + timedelta(minutes=9):%Y-%m-%dT%H:%M:%SZ}"] * o
    (home / "log.csv").write_text("\n".join(rows))
    assert run("--from", "log.csv")[0] == 0
    assert load_mapping("log/mapping.yaml").tables["interactions"].match == "nearest_send"


def test_what_cannot_be_seen_is_said_on_the_terminal_and_in_the_file(home):
    tiny(home / "tiny.csv")
    _, shown, _ = run("--from", "tiny.csv")
    text = (home / "tiny" / "mapping.yaml").read_text()
    for sentence in ("campaign: every send counts as 'all'", "everybody lives in UTC: no column holds a zone"):
        assert sentence in shown
        assert sentence in text


def test_a_trial_of_sending_is_read_as_one(home):
    rows = ["user_id,decision_at,available,sent,propensity,opened"]
    for i, (u, _, t, o) in enumerate(sends()):
        here, sent = i % 9 != 0, i % 9 != 0 and i % 2 == 0
        rows.append(f"{u},{t:%Y-%m-%dT%H:%M:%SZ},{here:d},{sent:d},{0.5 * here},{o:d}")
    (home / "trial.csv").write_text("\n".join(rows))
    code, shown, error = run("--from", "trial.csv", "--column", "sent_at_utc=decision_at")
    assert code == 0, error
    table = load_mapping("trial/mapping.yaml").tables["sends"]
    assert {k: table.columns[k] for k in ("sent", "available", "pscore")} == {
        "sent": "sent",
        "available": "available",
        "pscore": "propensity",
    }
    assert table.constants["decision_kind"] == "send"
    assert "106 sends to 6 people" in shown  # of 240 decisions


def test_a_zone_that_is_given_is_the_zone_of_times_and_people(home):
    tiny(home / "tiny.csv")
    assert run("--from", "tiny.csv", "--zone", "Asia/Tokyo")[0] == 0
    table = load_mapping("tiny/mapping.yaml").tables["sends"]
    assert (table.times_in, table.constants["timezone"]) == ("Asia/Tokyo", "Asia/Tokyo")
    assert zone_or_none("Asia/Tokyo") is not None
    assert run("--from", "tiny.csv", "--zone", "Tokio", "--out", "b")[0] == 2


def test_a_column_that_no_name_tells_can_be_named(home):
    tiny(home / "tiny.csv")
    text = (home / "tiny.csv").read_text().replace("user,time,opened", "q7,moment,app_open_after", 1)
    (home / "odd.csv").write_text(text)
    code, _, error = run("--from", "odd.csv")
    assert (code, "Name it by --column user_id=NAME" in error) == (3, True)
    named = ("--column", "user_id=q7", "--column", "open=app_open_after")
    code, shown, error = run("--from", "odd.csv", *named)
    assert code == 0, error
    table = load_mapping("odd/mapping.yaml").tables["sends"]
    assert (table.columns["user_id"], table.outcome.column) == ("q7", "app_open_after")
    assert "moment is the time of the send: the first column that holds times" in shown
    for wrong in ("user_id=q8", "person=q7", "q7"):
        assert run("--from", "odd.csv", "--column", wrong, "--out", "b")[0] == 2


def test_an_offset_that_all_times_carry_is_where_people_live(home):
    rows = [f"{u},{t:%Y-%m-%dT%H:%M:%S}+05:30,{int(o)}" for u, _, t, o in sends()]
    (home / "log.csv").write_text("user,time,opened\n" + "\n".join(rows))
    assert run("--from", "log.csv")[0] == 0
    assert load_mapping("log/mapping.yaml").tables["sends"].constants["timezone"] == "Asia/Kolkata"


def test_day_and_month_that_could_be_either_are_assumed_aloud(home):
    rows = [f"u{i % 3},0{1 + i % 5}/0{1 + i // 25}/2026 1{i % 9}:15,{i % 2}" for i in range(100)]
    (home / "log.csv").write_text("user,sent,opened\n" + "\n".join(rows))
    _, shown, _ = run("--from", "log.csv")
    assert "no day after the 12th shows whether day or month comes first" in shown


def test_the_json_form_holds_the_files_as_written(home):
    tiny(home / "tiny.csv")
    code, shown, _ = run("--from", "tiny.csv", "--json", "--out", "conf/new")
    proposal = json.loads(shown)
    assert code == 0
    assert proposal["folder"] == "conf/new"
    assert proposal["commands"][0] == "sendopt check conf/new"
    for name, text in proposal["files"].items():
        assert (home / "conf/new" / name).read_text() == text


def test_nothing_is_overwritten(home):
    tiny(home / "tiny.csv")
    assert run("--from", "tiny.csv")[0] == 0
    (home / "tiny" / "growth.yaml").write_text("mine")
    code, _, error = run("--from", "tiny.csv")
    assert code == 2
    assert "tiny is there already, and nothing is overwritten; give another folder by --out" in error
    assert (home / "tiny" / "growth.yaml").read_text() == "mine"


def test_few_sends_lower_the_support_that_an_hour_needs(home):
    tiny(home / "tiny.csv")
    run("--from", "tiny.csv")
    settings = load(Path("tiny"))
    assert 1 <= settings.support.min_sends <= 20  # 240 sends over 12 hours are 20 an hour
    assert settings.arms.holdout_fraction == 0.0


def test_a_historic_log_says_its_own_time(home):
    tiny(home / "tiny.csv")
    run("--from", "tiny.csv")
    assert load(Path("tiny")).clock.now == "as_of"
    assert ("clock" in (home / "tiny/env/local.yaml").read_text()) == ("clock" in ENV_SECTIONS)


@pytest.mark.parametrize("name", preset_names())
def test_a_product_is_known_by_its_columns_and_its_preset_cut_to_the_log(home, name):
    sample = read_sample(GOLDEN / name / "raw")
    assert presets.product_of(sample)[0] == name
    text, _, assumed = presets.mapping_of_preset(name, sample, "mine", None)
    (home / "m.yaml").write_text(text)
    mapping = load_mapping("m.yaml")
    assert mapping.source == "mine"
    assert {"sends", "interactions"} <= set(mapping.tables)
    zoned = "timezone" in mapping.tables["sends"].columns
    assert zoned == (name in ("braze", "segment", "firebase"))
    assert bool(assumed) == (not zoned)


def test_a_preset_without_its_columns_is_refused_by_name(home):
    tiny(home / "tiny.csv")
    code, _, error = run("--from", "tiny.csv", "--preset", "sendgrid")
    assert code == 3
    assert "is email, which the log does not have; it has: user, time, opened" in error
    code, _, error = run("--from", "tiny.csv", "--preset", "sendgird")
    assert (code, "did you mean sendgrid?" in error) == (2, True)


ROWS = "a,2026-01-13 09:00,1\nb,2026-01-13 10:00,0\n"
BAD = {
    "no.csv": (None, 2, "no such file or folder"),
    "empty.csv": (b"", 3, "is empty"),
    "blank.csv": (b"\n \n", 3, "holds no rows"),
    "header.csv": (b"user,time,opened\n", 3, "holds a header and no rows"),
    "no_time.csv": (b"user,colour,opened\na,red,1\nb,blue,0\n", 3, "no time column was seen"),
    "no_user.csv": (b"shade,time,opened\n" + ROWS.encode(), 3, "no user column was seen"),
    "no_outcome.csv": (b"user,time,colour\n" + ROWS.encode(), 3, "no outcome column was seen"),
    "days.csv": (b"user,date,opened\na,2026-01-13,1\nb,2026-01-14,0\n", 3, "date holds days, without the hour"),
    "headless.csv": (ROWS.encode(), 3, "give the file a header line"),
    "words.csv": (b"hello\nworld\n", 3, "no columns were seen"),
    "zip.csv": (b"PK\x03\x04" + bytes(40), 3, "a zip or Excel file"),
    "binary.csv": (bytes(range(256)) * 4, 3, "is binary"),
    "cut.csv.gz": (gzip.compress(b"user,time,opened\n" * 99)[:40], 3, "cut short"),
    "plain.csv": (gzip.compress(ROWS.encode()), 3, "rename it to plain.csv.gz"),
    "bad.parquet": (b"PAR1 nothing", 3, "no readable Parquet"),
    "wrapped.json": (b'{"events": [{"user": "a"}]}', 3, "write that array to a file of its own (jq .events"),
    "pretty.json": (b'{"user": "a",\n "time": 1\n}\n{"user": "b",\n "time": 2\n}\n', 3, "are no JSON"),
    "numbers.json": (b"[1, 2, 3]", 3, "holds no JSON object"),
    "excel.csv": (b"sep=;\nuser;time;opened\n", 3, "a note for Excel and no header; delete it"),
    "same.csv": (b"user,time,opened\na,2026-01-13 09:00,maybe\nb,2026-01-13 10:00,perhaps\n", 3, "no outcome column"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_log_that_is_none_is_named_in_one_sentence(home, name):
    content, wanted, words = BAD[name]
    if content is not None:
        (home / name).write_bytes(content)
    code, shown, error = run("--from", name)
    assert (code, shown) == (wanted, ""), error
    assert words in error
    assert "Traceback" not in error
    assert not [p for p in home.iterdir() if p.is_dir()]


def test_what_was_looked_for_and_the_columns_there_are_named(home):
    (home / "log.csv").write_text("shade,time,opened\n" + ROWS)
    _, _, error = run("--from", "log.csv")
    assert "user_id" in error
    assert "the log has: shade, time, opened" in error


def test_no_person_is_named_in_the_files_but_by_their_column(home):
    newsletter(home / "report.csv")
    run("--from", "report.csv")
    assert not [p for p in (home / "report").rglob("*.yaml") if "@example" in p.read_text()]


def test_a_folder_of_files_is_one_log(home):
    (home / "logs").mkdir()
    german(home / "logs" / "2026-01.csv")
    german(home / "logs" / "2026-02.csv")
    assert run("--from", "logs", "--out", "conf")[0] == 0
    assert load_mapping("conf/mapping.yaml").tables["sends"].files == "**/*.csv"
    assert pd.read_csv(home / "logs/2026-01.csv", sep=";", encoding="cp1252").shape == (240, 5)
