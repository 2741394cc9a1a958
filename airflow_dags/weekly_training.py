"""The DAG that trains a challenger once a week."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, chain

from _jobs import DEFAULT_ARGS, MODEL, JobOperator, job_params

with DAG(
    dag_id="weekly_training",
    doc_md="""
    ### A new challenger, promoted only through the gate

    Runs on Mondays at 12:00 UTC with Monday's `plan_date`. The night of that date has run, so the lake holds all data
    up to `as_of` (Sunday evening). Building its features again changes no row. A training whose data, config and code
    are registered already is reused, so a second run costs little.
    """,
    schedule=CronTriggerTimetable("0 12 * * MON", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=10),
    default_args=DEFAULT_ARGS,
    params=job_params(),
    tags=["sendopt", "training"],
):
    chain(
        JobOperator(task_id="build_features", stage="build_features"),
        JobOperator(task_id="train_propensity", stage="train_propensity", flags=["--train"], outlets=[MODEL]),
    )
