"""The DAG that plans tomorrow's sends, every evening."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, chain

from _jobs import DEFAULT_ARGS, MODEL, SEND_PLAN, JobOperator, job_params

with DAG(
    dag_id="nightly_schedule",
    doc_md="""
    ### One night: from raw logs to an audited send plan

    Runs at 23:10 UTC, after `as_of` (23:00 with the default lead of an hour), and plans the next UTC day. Trigger it
    with a `plan_date` to plan or re-plan any day: tables replace their own `plan_date`, so a second run adds no row.

    `report` writes the night's page, `out/reports/DATE.html`, and the index of all nights beside it.

    One process at a time writes the lake. A task that finds it locked ends with 75, names the holder, and is tried
    again.

    `train_propensity` trains only where no champion exists; `weekly_training` makes the challengers. The event of
    `sendopt_send_plan` carries the plan date and starts `daily_measurement`.
    """,
    # A timetable, not a cron string: a setting of the installation decides which logical date a string gives.
    schedule=CronTriggerTimetable("10 23 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=10),
    default_args=DEFAULT_ARGS,
    params=job_params(),
    tags=["sendopt", "nightly"],
):
    chain(
        JobOperator(task_id="ingest", stage="ingest", days_ahead=1),
        JobOperator(task_id="build_features", stage="build_features", days_ahead=1),
        JobOperator(task_id="train_propensity", stage="train_propensity", days_ahead=1),
        JobOperator(task_id="score_slots", stage="score_slots", days_ahead=1, inlets=[MODEL]),
        JobOperator(task_id="build_candidates", stage="build_candidates", days_ahead=1),
        JobOperator(task_id="allocate", stage="allocate", days_ahead=1),
        JobOperator(task_id="publish_schedule", stage="publish_schedule", days_ahead=1, outlets=[SEND_PLAN]),
        JobOperator(task_id="report", stage="report", days_ahead=1),
    )
