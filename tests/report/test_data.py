"""The report reads exactly its night out of the Delta tables, and says which tables are not there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import invented
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from sendopt.errors import ContractError
from sendopt.lake.tables import read_table
from sendopt.report import data
from sendopt.report.data import ReportData


def test_the_night_is_read_whole(night: ReportData) -> None:
    assert len(night.plan) > 1500
    assert night.candidates == len(night.plan) + len(night.suppressed)
    assert night.slot_minutes == 60
    assert night.versions == invented.VERSIONS
    assert night.missing == frozenset()


def test_measured_is_the_latest_night_not_after_the_plan(night: ReportData, night_root: Path) -> None:
    assert night.measured_date == invented.MEASURED
    assert set(night.outcomes["plan_date"]) == {invented.MEASURED}
    before = data.load(night_root, invented.MEASURED - timedelta(days=1), None)
    assert before.measured_date == invented.MEASURED - timedelta(days=1)
    assert before.lift.empty


def test_another_night_is_not_mixed_in(night_root: Path) -> None:
    other = data.load(night_root, invented.PLAN_DATE + timedelta(days=1), None)
    assert other.candidates == 0
    assert other.prices.empty
    assert other.versions == {}
    assert other.missing == frozenset()


def test_tables_that_are_not_there_are_named(tmp_path: Path) -> None:
    found = data.load(tmp_path / "nothing", invented.PLAN_DATE, None)
    assert {"send_plan", "certificate", "outcomes", "quarantine"} <= found.missing
    assert found.candidates == 0
    assert found.measured_date is None


def test_a_table_without_a_needed_column_is_refused(tmp_path: Path) -> None:
    write_deltalake(str(tmp_path / "certificate"), pa.table({"plan_date": [invented.PLAN_DATE], "value": [1.0]}))
    with pytest.raises(ContractError, match=r"table certificate lacks the column\(s\) penalty, objective"):
        data.load(tmp_path, invented.PLAN_DATE, None)


def test_one_table_of_one_user_and_night(night: ReportData, night_root: Path) -> None:
    user = night.plan["user_id"].iloc[0]
    rows = read_table(night_root, "send_plan", invented.PLAN_DATE, user=user)
    assert len(rows) == (night.plan["user_id"] == user).sum()
    assert {"send_key", "plan_date"} <= set(rows.columns)
    assert read_table(night_root, "send_plan", invented.MEASURED).empty
    assert "user_id" in read_table(night_root, "candidates").columns
