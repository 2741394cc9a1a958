"""The real trial's night of 2015-12-20: all 37 people decided, within caps, gap, quiet hours and support."""

from __future__ import annotations

from datetime import date

import pandas as pd
import pytest

from sendopt.config.loader import load
from sendopt.lake.tables import read_table
from sendopt.night import runtime

pytestmark = pytest.mark.slow
PLAN_DATE = date(2015, 12, 20)


@pytest.fixture(scope="module")
def trial(spark, heartsteps, tmp_path_factory):
    home = tmp_path_factory.mktemp("heartsteps")
    settings = load(_conf(home, heartsteps))
    reports = {r.stage: r for r in runtime.run_in(spark, PLAN_DATE, settings, home / "conf")}
    return settings, reports


def _conf(home, log):
    import shutil

    from worlds import REPO

    shutil.copytree(REPO / "conf" / "heartsteps", home / "conf")
    (home / "conf" / "env" / "local.yaml").write_text(
        f"paths: {{data: {home}/data, out: {home}/out}}\n"
        f'mlflow: {{tracking_uri: "sqlite:///{home}/mlflow.db"}}\n'
        f"sources:\n  heartsteps: {{mapping: {REPO}/conf/sources/heartsteps.yaml, input: {log}}}\n"
    )
    return home / "conf"


def test_the_log_comes_in_whole(trial):
    settings, reports = trial
    assert reports["ingest"].rows_in == reports["ingest"].rows_out + sum(reports["ingest"].dropped.values())
    sends = read_table(settings.paths.data, "sends")
    assert len(sends) == 7540
    assert (~sends["available"]).sum() == 1479
    assert sends["user_id"].nunique() == 37
    assert sends[sends["available"]]["pscore"].eq(0.6).all()
    assert set(sends["decision_kind"]) == {"send"}


def test_every_person_is_decided_exactly_once_a_message(trial):
    settings, _ = trial
    message = ["user_id", "notification_id"]
    planned = read_table(settings.paths.data, "send_plan", PLAN_DATE)
    held = read_table(settings.paths.data, "suppressed", PLAN_DATE)
    decided = pd.concat([planned[message], held[message]])
    offered = settings.campaigns["walking_suggestion"].messages_per_user
    assert not decided.duplicated().any()
    assert decided.groupby("user_id").size().to_dict() == dict.fromkeys(decided["user_id"], offered)
    assert decided["user_id"].nunique() == 37
    assert len(planned) > 0


def test_the_plan_keeps_the_trials_limits(trial):
    settings, _ = trial
    planned = read_table(settings.paths.data, "send_plan", PLAN_DATE)
    at = planned["send_at_local"].str[11:16]
    quiet = settings.quiet_hours.everyone
    assert ((at >= quiet.end) & (at < quiet.start)).all()
    support = read_table(settings.paths.data, "slot_features", PLAN_DATE).groupby("local_hour")["hour_sends"].sum()
    hours = planned["send_at_local"].str[11:13].astype(int)
    assert (support.loc[hours.unique()] >= settings.support.min_sends).all()
    assert support.loc[[0, 1, 2, 3]].sum() == 0, "nobody was ever sent to at night"
    assert planned.groupby("user_id").size().max() <= settings.caps["daily"].max
    for _, mine in planned.groupby("user_id"):
        gaps = mine["send_at_utc"].sort_values().diff().dropna()
        assert (gaps >= pd.Timedelta(minutes=settings.min_gap_minutes)).all()


def test_the_report_says_that_the_pattern_is_habit_unless_sending_shows_more(trial):
    from sendopt.report import render
    from sendopt.report.data import load as load_report
    from sendopt.tracking.mlflow import champion_evaluation

    settings, _ = trial
    evaluation = champion_evaluation(settings.mlflow)
    assert evaluation is not None
    assert evaluation["placebo"]["rows"]
    page = render(load_report(settings.paths.data, PLAN_DATE, evaluation))
    assert "sent minus not sent" in page
