"""The DAG that measures the effect of earlier plans."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from _jobs import DEFAULT_ARGS, SEND_PLAN, JobOperator, job_params

with DAG(
    dag_id="daily_measurement",
    doc_md="""
    ### What the plans gained

    Starts when a plan is published and takes its `plan_date` from that event. It measures the last plan date whose
    label windows are over. If there is none yet, it says so and succeeds.
    """,
    schedule=[SEND_PLAN],
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=10),
    default_args=DEFAULT_ARGS,
    params=job_params(),
    tags=["sendopt", "measurement"],
):
    JobOperator(task_id="measure", stage="measure")
