"""The backfill that the docs show plans the nights that the docs say, by Airflow's own reading of the dates."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.dag_processing.dagbag import BundleDagBag

pytestmark = pytest.mark.slow
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "airflow.md"


def test_the_backfill_of_the_docs_plans_the_nights_that_it_says(bag: BundleDagBag) -> None:
    import pendulum
    from airflow.serialization.serialized_objects import DagSerialization

    text = PAGE.read_text()
    ((first, last),) = re.findall(r"--from-date (\S+) --to-date (\S+)", text)
    (said,) = re.findall(r"plans (\d+) to (\d+) May", text)
    dag = DagSerialization.from_dict(DagSerialization.to_dict(bag.dags["nightly_schedule"]))
    infos = dag.iter_dagrun_infos_between(pendulum.parse(first, tz="UTC"), pendulum.parse(last, tz="UTC"))
    planned = [(info.logical_date.astimezone(UTC) + timedelta(days=1)).day for info in infos]
    assert planned == list(range(int(said[0]), int(said[1]) + 1))
    assert datetime(2026, 5, planned[0], tzinfo=UTC) > datetime.fromisoformat(first).replace(tzinfo=UTC)
