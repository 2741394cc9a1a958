"""`sendopt evaluate` on the logs of products as they are: one send each, one slot a campaign, all sent, no outcome."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from sendopt.cli import app

MAPPING = """\
source: shop
tables:
  sends:
    format: csv
    columns: {{user_id: who, notification_id: id, sent_at_utc: at, pscore: p, campaign_id: what, sent: went}}
    constants: {{channel: email, category: news, decision_kind: {kind}, available: true, timezone: UTC}}
    outcome: {{column: opened, kind: open}}
"""


def evaluate(home: Path, user, hour, opened, pscore, campaign=0, sent=1, kind="slot"):
    """What the terminal shows and evaluation.json, of a log with one decision of each person a day."""
    day = pd.Series(user).groupby(np.asarray(user)).cumcount()
    at = pd.Timestamp("2026-01-05") + pd.to_timedelta(day.to_numpy(), unit="D") + pd.to_timedelta(hour, unit="h")
    frame = {
        "who": [f"person-{u}" for u in user],
        "id": np.arange(len(user)),
        "at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "p": pscore,
        "what": campaign,
        "went": sent,
        "opened": np.asarray(opened).astype(int),
    }
    pd.DataFrame(frame).to_csv(home / "log.csv", index=False)
    (home / "shop.yaml").write_text(MAPPING.format(kind=kind))
    words = ["evaluate", str(home / "log.csv"), "--source", str(home / "shop.yaml"), "--out", str(home / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "person-" not in done.output + (home / "out/evaluation.html").read_text()
    found = json.loads((home / "out/evaluation.json").read_text())
    assert found["schema"] == 2
    assert found["data"]["rows_in"] == found["data"]["used"] + sum(found["data"]["dropped"].values())
    return done.output, found


def test_three_decisions_each_give_a_verdict(tmp_path):
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(300), 3)
    output, found = evaluate(tmp_path, user, rng.integers(8, 12, 900), rng.random(900) < 0.3, 0.25)
    assert found["verdict"]["kind"] == "not_shown"
    assert found["data"]["people_evaluated"] == 300
    assert "The best common slot, " in output


def test_one_send_each_says_what_the_best_hour_brings(tmp_path):
    rng = np.random.default_rng(1)
    hour = rng.integers(8, 14, 6000)
    output, found = evaluate(tmp_path, np.arange(6000), hour, rng.random(6000) < np.where(hour == 10, 0.4, 0.2), 1 / 6)
    assert found["verdict"]["kind"] == "refused"
    assert found["verdict"]["reason"] == "no_past_of_their_own"
    assert "What can be said: the best common slot, 10:00, brings " in output
    assert found["verdict"]["common"]["minus_uniform"]["low"] > 0
    assert "policy-values" in (tmp_path / "out/evaluation.html").read_text()


@pytest.mark.parametrize("kind", ["slot", "send"])
def test_one_hour_a_campaign_is_refused_even_where_one_mail_was_moved(tmp_path, kind):
    rng = np.random.default_rng(2)
    campaign, user = np.repeat(np.arange(30), 100), np.tile(np.arange(100), 30)
    hour, rate = rng.integers(8, 14, 30)[campaign], rng.uniform(0.1, 0.4, 30)[campaign]
    hour[5] += 1
    sent = rng.random(3000) < 0.5 if kind == "send" else np.ones(3000, bool)
    pscore = 0.5 if kind == "send" else 1 / 6
    output, found = evaluate(tmp_path, user, hour, rng.random(3000) < rate, pscore, campaign, sent.astype(int), kind)
    assert (found["verdict"]["kind"], found["verdict"]["reason"]) == ("refused", "no_overlap")
    assert "a better time cannot be told from a better message" in output
    assert "best common slot" not in output


def test_everything_sent_has_its_own_sentence(tmp_path):
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(40), 50)
    output, found = evaluate(tmp_path, user, rng.integers(8, 13, 2000), rng.random(2000) < 0.3, 1.0, kind="send")
    assert found["verdict"]["reason"] == "everything_sent"
    assert "all 2,000 decisions were sent, in 5 slots, with probability 1: what happens without a send is not" in output
    assert "no other time was possible" not in output + (tmp_path / "out/evaluation.html").read_text()


@pytest.mark.parametrize(("opened", "every"), [(0, "failures"), (1, "successes")])
def test_a_constant_outcome_is_refused_with_the_number_of_outcomes_read(tmp_path, opened, every):
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(40), 50)
    output, found = evaluate(tmp_path, user, rng.integers(8, 13, 2000), np.full(2000, opened), 0.2)
    assert found["verdict"]["reason"] == "constant_outcome"
    assert f"all 2,000 outcomes of sends that were read are {every}" in output
    assert "ruled out" not in output
    read = found["data"]["outcomes"]
    assert (read["read"], read["successes"], read["not_used"]) == (2000, 2000 * opened, {})
    assert f"outcomes: {2000 * opened:,} of 2,000 sends are a success" in output
