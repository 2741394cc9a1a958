"""The nightly DAG as a whole: order and event with stand-in jobs, then the real jobs down to a plan in Delta."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from sendopt.config.loader import load
from sendopt.domain.stages import NAMES

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import BundleDagBag

REPO = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600, method="thread")]  # Airflow's own timeouts use SIGALRM

STAGES = (*NAMES[: NAMES.index("publish_schedule") + 1], "report")
STARTED = re.compile(r" --started \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(?= |$)")
STAND_IN = """
import pathlib, sys
stage = pathlib.Path(sys.argv[0]).stem
with open("calls", "a") as calls:
    print(stage, *sys.argv[1:], file=calls)
sys.exit({"allocate": 4}.get(stage, 0) if pathlib.Path("contradiction").exists() else 0)
"""


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "jobs").mkdir()
    for stage in STAGES:
        (tmp_path / "jobs" / f"{stage}.py").write_text(STAND_IN)
    monkeypatch.setenv("SENDOPT_HOME", str(tmp_path))
    return tmp_path


def test_an_evening_runs_every_job_once_in_order_and_announces_the_plan(bag: BundleDagBag, stand_ins: Path) -> None:
    run = bag.dags["nightly_schedule"].test(logical_date=datetime(2027, 2, 28, 23, 10, tzinfo=UTC))
    assert calls(stand_ins) == [f"{stage} --plan-date 2027-03-01 --conf conf --env local" for stage in STAGES]
    assert run.state == "success"
    assert announced_plan_dates("sendopt_send_plan").count("2027-03-01") == 1


def test_after_a_contradiction_nothing_is_published_or_announced(bag: BundleDagBag, stand_ins: Path) -> None:
    (stand_ins / "contradiction").touch()
    run = bag.dags["nightly_schedule"].test(logical_date=datetime(2027, 3, 10, 23, 10, tzinfo=UTC))
    assert (stand_ins / "calls").read_text().splitlines()[-1].startswith("allocate ")
    assert run.state == "failed"
    assert run.get_task_instance("publish_schedule").state == "upstream_failed"
    assert "2027-03-11" not in announced_plan_dates("sendopt_send_plan")


def test_a_week_trains_on_its_own_day_and_announces_the_model(bag: BundleDagBag, stand_ins: Path) -> None:
    bag.dags["weekly_training"].test(logical_date=datetime(2027, 3, 1, 12, tzinfo=UTC))
    given = "--plan-date 2027-03-01 --conf conf --env local"
    assert calls(stand_ins) == [f"build_features {given}", f"train_propensity {given} --train"]
    assert announced_plan_dates("sendopt_model") == ["2027-03-01"]


def test_every_job_is_told_when_its_task_started_and_a_stated_time_goes_before_it(
    bag: BundleDagBag, stand_ins: Path
) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    dag, evening = bag.dags["nightly_schedule"], datetime(2027, 4, 1, 23, 10, tzinfo=UTC)
    dag.test(logical_date=evening)
    lines = (stand_ins / "calls").read_text().splitlines()
    started = [datetime.fromisoformat(line.split(" --started ")[1].split()[0]) for line in lines]
    assert len(started) == len(STAGES)
    assert started == sorted(started)
    assert before <= started[0]
    assert started[-1] <= datetime.now(UTC)
    (stand_ins / "calls").unlink()
    try:
        dag.test(logical_date=evening + timedelta(days=1), run_conf={"now": "2027-04-03T10:00:00Z"})
    finally:  # in one process Airflow keeps a test run's parameters
        for holder in (dag, *dag.tasks):
            if "now" in holder.params:
                holder.params["now"] = None
    assert all(line.endswith(" --now 2027-04-03T10:00:00Z") for line in (stand_ins / "calls").read_text().splitlines())
    (stand_ins / "calls").unlink()
    dag.test(logical_date=evening + timedelta(days=2))
    assert len(calls(stand_ins)) == len(STAGES), "a stated time is that of its own run"


def calls(home: Path) -> list[str]:
    """What the stand-in jobs were called with, less the time at which their tasks started."""
    lines = (home / "calls").read_text().splitlines()
    assert all(STARTED.search(line) for line in lines)
    return [STARTED.sub("", line) for line in lines]


def test_nightly_on_real_jobs(bag: BundleDagBag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import deltalake
    from worlds import make_world

    plan_date = make_world(tmp_path, users=80, days=14)
    conf_dir = tmp_path / "conf"
    monkeypatch.setenv("SENDOPT_HOME", str(REPO))
    monkeypatch.setenv("SENDOPT_PYTHON", sys.executable)
    dag = bag.dags["nightly_schedule"]
    for task in dag.tasks:
        monkeypatch.setattr(task, "retries", 0)  # a failing job shall fail the test, not be waited for

    # No plan_date here: the run of the evening before finds it by its logical date, as a scheduled run does.
    evening = datetime(plan_date.year, plan_date.month, plan_date.day, tzinfo=UTC) - timedelta(minutes=50)
    run = dag.test(logical_date=evening, run_conf={"conf": str(conf_dir)})

    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    assert states == dict.fromkeys(states, "success")
    data = REPO / load(conf_dir).paths.data  # the jobs run in SENDOPT_HOME
    plan = deltalake.DeltaTable(str(data / "send_plan")).to_pyarrow_table().to_pylist()
    assert {row["plan_date"] for row in plan} == {plan_date}
    assert plan
    assert len({(row["user_id"], row["notification_id"]) for row in plan}) == len(plan)
    assert plan_date.isoformat() in announced_plan_dates("sendopt_send_plan")
    reports = REPO / load(conf_dir).paths.out / "reports"
    page, index = ((reports / name).read_text() for name in (f"{plan_date}.html", "index.html"))
    assert f"Send plan for {plan_date}" in page
    assert f'href="{plan_date}.html"' in index


def announced_plan_dates(asset: str) -> list[str]:
    """What the events of an asset carry; daily_measurement starts on those of the send plan."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        query = select(AssetEvent).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        events = session.scalars(query.where(AssetModel.name == asset)).all()
        return [event.extra["plan_date"] for event in events]
