"""`sendopt evaluate`: the command on files of every format, what it leaves out and says, what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from benchmarks.decision_worlds import world
from typer.testing import CliRunner

from sendopt.cli import app
from sendopt.ingest import load_mapping
from sendopt.timing.log import read_log

MAPPING = """\
source: shop
tables:
  sends:
    format: csv
    columns: {user_id: who, notification_id: id, sent_at_utc: at, timezone: tz, pscore: p, campaign_id: what}
    constants: {channel: push, category: news, decision_kind: slot, available: true, sent: true}
    outcome: {column: opened, kind: open}
    decision: {slot: part, segment: plan}
"""
START = datetime(2026, 1, 5, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Return a log of 40 people with personal timing; `at` is the send's time, in a slot of three hours."""
    log = world(1, users=40, days=60, personal_sd=0.8).log
    day = pd.Series(log.user).groupby(log.user).cumcount()
    at = [START + timedelta(days=int(d), hours=3 * int(s), minutes=7) for d, s in zip(day, log.slot, strict=True)]
    return pd.DataFrame(
        {
            "who": [f"person-{u}" for u in log.user],
            "id": [f"n{i}" for i in range(len(log))],
            "what": ["sale", "tips", "news"] * (len(log) // 3) + ["sale"] * (len(log) % 3),
            "at": [t.strftime("%Y-%m-%dT%H:%M:%SZ") for t in at],
            "tz": "Europe/Paris",
            "p": log.pscore,
            "opened": log.success.astype(int),
            "part": [f"part {s}" for s in log.slot],
            "plan": ["free", "paid"] * (len(log) // 2) + ["free"] * (len(log) % 2),
        }
    )


def evaluate(home, frame, mapping=MAPPING, *more, file="log.csv"):
    if isinstance(frame, pd.DataFrame):
        {
            "log.csv": lambda: frame.to_csv(home / file, index=False),
            "log.csv.gz": lambda: frame.to_csv(home / file, index=False),
            "log.jsonl": lambda: (home / file).write_text("\n".join(map(json.dumps, frame.to_dict("records")))),
            "log.parquet": lambda: frame.to_parquet(home / file, index=False),
        }[file]()
    (home / "shop.yaml").write_text(mapping)
    return CliRunner().invoke(
        app, ["evaluate", str(home / file), "--source", str(home / "shop.yaml"), "--out", str(home / "out/e"), *more]
    )


def result(home):
    return json.loads((home / "out/e/evaluation.json").read_text())


def test_a_log_gives_a_verdict_a_file_for_machines_and_one_for_people(tmp_path, rows):
    done = evaluate(tmp_path, rows)
    assert done.exit_code == 0, done.output
    evaluation = result(tmp_path)
    assert done.output.startswith(evaluation["verdict"]["sentence"])
    assert evaluation["verdict"]["sentence"].startswith("Personal timing is ")
    assert evaluation["verdict"]["kind"] in ("shown", "not_shown")
    names = [p["policy"] for p in evaluation["policies"]]
    assert names == ["uniform", "global_best", "segment_best", "user_raw_best", "personal", "model"]
    assert evaluation["data"]["rows_in"] == evaluation["data"]["used"] == len(rows)
    assert evaluation["data"]["slots"] == [f"part {i}" for i in range(6)]
    assert evaluation["data"]["people"] == 40
    page = (tmp_path / "out/e/evaluation.html").read_text()
    for text in (page, json.dumps(evaluation), done.output):
        assert "person-" not in text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["e"]


@pytest.mark.parametrize("file", ["log.csv.gz", "log.jsonl", "log.parquet"])
def test_the_format_of_the_log_does_not_matter(tmp_path, rows, file):
    few = rows[rows["who"].isin([f"person-{u}" for u in range(15)])]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert evaluate(tmp_path / "a", few).exit_code == 0
    form = file.split(".")[1]
    frame = few.assign(at=pd.to_datetime(few["at"])) if form == "parquet" else few
    done = evaluate(tmp_path / "b", frame, MAPPING.replace("format: csv", f"format: {form}"), file=file)
    assert done.exit_code == 0, done.output
    assert result(tmp_path / "a") == result(tmp_path / "b")


def test_json_goes_to_standard_output_alone(tmp_path, rows):
    done = evaluate(tmp_path, rows[rows["who"] < "person-2"], MAPPING, "--json")
    assert json.loads(done.output) == result(tmp_path)


def test_every_row_is_used_or_left_out_for_a_reason(tmp_path, rows):
    few = rows.head(900).astype(object)
    for i, (column, value) in enumerate(
        [
            ("who", ""),
            ("at", "soon"),
            ("at", "1999-01-01T00:00:00Z"),
            ("p", "1.5"),
            ("p", "x"),
            ("p", ""),
            ("p", "nan"),
            ("opened", "perhaps"),
            ("part", ""),
            ("tz", "Mars/Base"),
            ("id", "n0"),
            ("p", "1"),
        ]
    ):
        few.loc[10 + i, column] = value
    few.to_csv(tmp_path / "log.csv", index=False)
    with (tmp_path / "log.csv").open("a") as file:
        file.write('too,few\n"open quote,n,a,b,c,d,e,f,g\n')
    done = evaluate(tmp_path, None)
    assert done.exit_code == 0, done.output
    data = result(tmp_path)["data"]
    assert data["dropped"] == {
        "bad_boolean:outcome": 1,
        "bad_number:pscore": 1,
        "bad_time:sent_at_utc": 1,
        "duplicate_send": 1,
        "malformed_row": 2,
        "missing_value:pscore": 1,
        "missing_value:slot": 1,
        "missing_value:user_id": 1,
        "not_a_number:pscore": 1,
        "probability_1": 1,
        "pscore_out_of_range": 1,
        "time_before_2000": 1,
    }
    assert data["rows_in"] == 902
    assert data["used"] == 902 - sum(data["dropped"].values())


def test_without_a_slot_column_the_local_hour_is_the_slot(tmp_path, rows):
    mapping = MAPPING.replace("decision: {slot: part, segment: plan}", "decision: {slot_hours: 3}")
    assert evaluate(tmp_path, rows, mapping).exit_code == 0
    data = result(tmp_path)["data"]
    # 06:07Z is 07:07 in Paris in winter; clocks change on 29 March, after the log
    assert data["slots"] == ["06:00", "09:00", "12:00", "15:00", "18:00", "21:00"]
    assert data["slot_from"] == "the local hour, 3 hours a slot"


def test_outcomes_may_come_from_interactions_within_their_window(tmp_path, rows):
    few = rows[rows["who"] < "person-3"]
    (tmp_path / "log").mkdir()
    few.drop(columns="opened").to_csv(tmp_path / "log/sends.csv", index=False)
    opened = few[few["opened"] == 1]
    at = pd.to_datetime(opened["at"]) + pd.to_timedelta(np.where(np.arange(len(opened)) % 10 == 0, 30, 2), unit="h")
    reactions = pd.DataFrame({"id": opened["id"], "kind": "open", "at": at.dt.strftime("%Y-%m-%dT%H:%M:%SZ")})
    clicks = reactions.assign(kind="click", at="2026-06-01T00:00:00Z").head(1)
    pd.concat([reactions, clicks]).to_csv(tmp_path / "log/reactions.csv", index=False)
    mapping = MAPPING.replace("    format: csv\n", "    files: sends.csv\n    format: csv\n").replace(
        "    outcome: {column: opened, kind: open}\n", ""
    ) + (
        "  interactions:\n    files: reactions.csv\n    format: csv\n"
        "    columns: {notification_id: id, kind: kind, at_utc: at}\n"
    )
    done = evaluate(tmp_path, None, mapping, file="log")
    assert done.exit_code == 0, done.output
    evaluation = result(tmp_path)
    assert evaluation["data"]["outcome"] == "open within 24 hours"
    assert evaluation["data"]["dropped"] == {}
    within = (len(opened) - len(opened[::10])) / len(few)
    log = read_log(tmp_path / "log", load_mapping(tmp_path / "shop.yaml"), "open", 24.0)
    assert log.decisions.success.mean() == pytest.approx(within)
    pd.DataFrame(reactions).to_csv(tmp_path / "log/reactions.csv", index=False)  # the last day is not over now
    assert evaluate(tmp_path, None, mapping, file="log").exit_code == 0
    assert result(tmp_path)["data"]["dropped"]["immature"] > 0


def test_a_drawn_slot_that_was_not_sent_counts_as_no_success(tmp_path, rows):
    few = rows[rows["who"] < "person-3"].assign(went=lambda d: (np.arange(len(d)) % 7 > 0).astype(int))
    mapping = MAPPING.replace("sent: true}", "}").replace(", available: true, }", ", available: true}")
    mapping = mapping.replace("campaign_id: what}", "campaign_id: what, sent: went}")
    done = evaluate(tmp_path, few, mapping)
    assert done.exit_code == 0, done.output
    evaluation = result(tmp_path)
    log = read_log(tmp_path / "log.csv", load_mapping(tmp_path / "shop.yaml"), "open", 24.0)
    assert log.decisions.success.sum() == (few["opened"] * few["went"]).sum() < few["opened"].sum()
    assert log.decisions.acted.all()
    assert evaluation["data"]["used"] == len(few)
    assert any("drawn slots were not sent after all" in text for text in evaluation["assumptions"])


@pytest.mark.parametrize(
    ("change", "mapping", "reason"),
    [
        ({"p": 1.0}, MAPPING, "have probability 1: no other time was possible"),
        ({}, MAPPING.replace(" pscore: p,", ""), "the mapping names no pscore"),
        ({"part": "noon"}, MAPPING, "all sends went out in one slot"),
        ({"p": ""}, MAPPING, "no decision is left after the faulty rows"),
    ],
)
def test_a_log_that_carries_no_claim_is_refused_with_the_reason_and_exit_code_0(
    tmp_path, rows, change, mapping, reason
):
    done = evaluate(tmp_path, rows.assign(**change), mapping)
    assert done.exit_code == 0, done.output
    evaluation = result(tmp_path)
    assert evaluation["verdict"]["kind"] == "refused"
    assert reason in done.output
    assert evaluation["verdict"]["sentence"].startswith("No claim about personal timing can be made: ")
    assert reason.split(":")[0] in (tmp_path / "out/e/evaluation.html").read_text()


SOUND_LOG, NO_LOG = "sound", "none"


class BadInput(NamedTuple):
    """A call of `sendopt evaluate` that is refused, with its exit code and part of its sentence."""

    exit_code: int
    sentence: str
    log: str = SOUND_LOG  # SOUND_LOG: fifty rows; NO_LOG: no file; else the file's text
    mapping: str = MAPPING
    options: tuple[str, ...] = ()


@pytest.mark.parametrize(
    "bad",
    [
        BadInput(log=NO_LOG, exit_code=75, sentence="is not there yet"),
        BadInput(mapping="source: shop\n", exit_code=2, sentence="tables: missing or empty"),
        BadInput(
            mapping=MAPPING.replace("    outcome: {column: opened, kind: open}\n", ""),
            exit_code=2,
            sentence="names no outcome",
        ),
        BadInput(
            mapping=MAPPING.replace("slot: part", "slit: part"), exit_code=2, sentence="unknown key, did you mean slot?"
        ),
        BadInput(
            mapping=MAPPING.replace("slot: part", "slot: part, slot_hours: 3"),
            exit_code=2,
            sentence="slot names the slots already",
        ),
        BadInput(
            mapping=MAPPING.replace("slot: part", "slot: teil"),
            exit_code=3,
            sentence="column 'teil' (tables.sends.decision.slot) is not in",
        ),
        BadInput(options=("--label", "smile"), exit_code=2, sentence="expected open, click or goal"),
        BadInput(options=("--window-hours", "0"), exit_code=2, sentence="expected more than 0"),
        BadInput(
            log='{"who": 1}\nx\n',
            mapping=MAPPING.replace("format: csv", "format: jsonl"),
            exit_code=3,
            sentence="has the key 'id'; found: who;",
        ),
        BadInput(
            mapping=MAPPING.replace("format: csv", "format: parquet"), exit_code=3, sentence="no readable Parquet file"
        ),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(tmp_path, rows, bad):
    if bad.log not in (SOUND_LOG, NO_LOG):
        (tmp_path / "log.csv").write_text(bad.log)
    done = evaluate(tmp_path, rows.head(50) if bad.log == SOUND_LOG else None, bad.mapping, *bad.options)
    assert done.exit_code == bad.exit_code, done.output
    assert bad.sentence in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_an_empty_log_is_refused_and_not_an_error(tmp_path, rows):
    done = evaluate(tmp_path, rows.head(0))
    assert done.exit_code == 0, done.output
    assert "no decision is left" in done.output


def test_a_failed_page_leaves_the_files_of_before(tmp_path, rows, monkeypatch):
    few = rows[rows["who"] < "person-2"]
    assert evaluate(tmp_path, few).exit_code == 0
    before = (tmp_path / "out/e/evaluation.json").read_text()

    def broken(_result):
        raise ValueError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sendopt.report.timing.page.render", broken)
    assert evaluate(tmp_path, few.head(500)).exit_code == 1
    assert (tmp_path / "out/e/evaluation.json").read_text() == before
