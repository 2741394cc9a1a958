"""The plan date comes from the parameter, else the logical date, else the asset event, else nowhere; never a clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import BundleDagBag

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bag")]  # bag puts airflow_dags on the import path

EVENING = datetime(2026, 3, 1, 23, 10, tzinfo=UTC)


def context(
    plan_date: object = None, logical_date: datetime | None = None, extras: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A context as Airflow's task runner makes it: without a logical date the key is not there at all."""
    from airflow.sdk.api.datamodels._generated import AssetEventDagRunReference
    from airflow.sdk.execution_time.comms import AssetEventDagRunReferenceResult
    from airflow.sdk.execution_time.context import TriggeringAssetEventsAccessor

    events = [
        AssetEventDagRunReference.model_validate(
            {
                "asset": {"name": "sendopt_send_plan", "uri": "sendopt_send_plan", "extra": {}},
                "extra": extra,
                "source_task_id": "publish_schedule",
                "source_dag_id": "nightly_schedule",
                "source_run_id": "scheduled",
                "source_map_index": -1,
                "source_aliases": [],
                "timestamp": EVENING,
            }
        )
        for extra in extras or []
    ]
    made: dict[str, Any] = {
        "params": {"plan_date": plan_date, "conf": "conf", "env": "local"},
        "triggering_asset_events": TriggeringAssetEventsAccessor.build(
            AssetEventDagRunReferenceResult.from_asset_event_dag_run_reference(event) for event in events
        ),
    }
    return made if logical_date is None else {**made, "logical_date": logical_date}


def resolve(days_ahead: int = 0, **given: Any) -> date:
    from _jobs import plan_date_of

    return plan_date_of(context(**given), days_ahead)


def test_the_parameter_comes_first() -> None:
    given: dict[str, Any] = {"logical_date": EVENING, "extras": [{"plan_date": "2026-07-07"}]}
    assert resolve(1, plan_date="2026-05-04", **given) == date(2026, 5, 4)


def test_the_evening_run_plans_the_next_day_and_the_others_their_own() -> None:
    assert resolve(1, logical_date=EVENING) == date(2026, 3, 2)
    assert resolve(0, logical_date=EVENING, extras=[{"plan_date": "2026-07-07"}]) == date(2026, 3, 1)


def test_the_logical_date_counts_in_utc() -> None:
    late = datetime(2026, 3, 1, 23, 10, tzinfo=timezone(timedelta(hours=-5)))
    assert resolve(1, logical_date=late) == date(2026, 3, 3)


def test_without_a_logical_date_the_asset_event_says_it() -> None:
    assert resolve(extras=[{"plan_date": "2026-07-07"}]) == date(2026, 7, 7)


def test_of_events_that_waited_the_newest_plan_counts() -> None:
    assert resolve(extras=[{"plan_date": "2026-07-08"}, {"plan_date": "2026-07-07"}]) == date(2026, 7, 8)


def test_without_any_the_task_fails_and_is_not_tried_again() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="no plan date: the run has no parameter plan_date"):
        resolve()


BAD = ["2026-01-01; rm -rf /", "20260101", "2026-W01-4", "2026-02-30", "", "2026-01-01\n", "٢٠٢٦-٠١-٠١", 20260101]


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_day_is_refused_wherever_it_comes_from(bad: object) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match=r"the parameter plan_date is .* expected a day as YYYY-MM-DD"):
        resolve(plan_date=bad)
    with pytest.raises(AirflowFailException, match=r"the event of sendopt_send_plan is .* expected a day"):
        resolve(extras=[{"plan_date": bad}])


def test_an_event_that_names_no_day_is_refused() -> None:
    from airflow.sdk.exceptions import AirflowFailException

    with pytest.raises(AirflowFailException, match="the event of sendopt_send_plan is None"):
        resolve(extras=[{}])


def test_each_timetable_makes_the_dates_that_the_offsets_expect(bag: BundleDagBag) -> None:
    """The nightly run is after as_of of the next day; the weekly one after as_of of its own day."""
    nightly, weekly = bag.dags["nightly_schedule"], bag.dags["weekly_training"]
    assert {task.days_ahead for task in nightly.tasks} == {1}
    assert {task.days_ahead for task in weekly.tasks} == {0}
    assert nightly.timetable.expression == "10 23 * * *"
    assert weekly.timetable.expression == "0 12 * * MON"


@pytest.mark.parametrize("code", [5, 75, 137, 143, -9, -15, -64])
def test_a_retry_is_no_fail_exception(code: int) -> None:
    from airflow.sdk.exceptions import AirflowException, AirflowFailException

    from _jobs import failure_of

    failure = failure_of("allocate", code)
    assert isinstance(failure, AirflowException)
    assert not isinstance(failure, AirflowFailException)


def test_a_failure_says_stage_code_and_meaning() -> None:
    from _jobs import failure_of

    assert str(failure_of("allocate", 4)) == (
        "allocate ended with 4: limits contradict each other; see the job's last line. "
        "It is not tried again: the same would happen."
    )
    assert str(failure_of("ingest", 75)) == (
        "ingest ended with 75: an input has not arrived yet, the lake is in use or a disk is full; "
        "it is tried again while tries are left."
    )
    assert str(failure_of("ingest", 137)) == "ingest was killed by SIGKILL; it is tried again while tries are left."
    assert "a code that sendopt does not use" in str(failure_of("ingest", 99))


def test_every_exit_code_of_sendopt_has_a_meaning_and_the_same_view_on_retries() -> None:
    """_jobs.py may not import sendopt, so that its table is a copy; this keeps the copy true."""
    from _jobs import MEANINGS, RETRYABLE
    from sendopt.errors import SendoptError

    errors = [SendoptError, *SendoptError.__subclasses__()]
    assert {error.exit_code for error in errors} == set(MEANINGS)
    assert {error.exit_code for error in errors if error.retryable} == RETRYABLE


@pytest.mark.parametrize("command", ["python", "[]", '["spark-submit", 3]', '{"a": 1}', '[""]'])
def test_a_job_command_that_is_no_list_of_words_is_refused(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    import _jobs

    monkeypatch.setenv("SENDOPT_JOB_COMMAND", command)
    with pytest.raises(AirflowFailException, match="expected a JSON list of strings"):
        _jobs._command()
