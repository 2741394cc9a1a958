"""The catalogue of stages is the one place that names them, their order, and who writes a table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sendopt.domain.stages import CATALOGUE, NAMES, STAGES, writers
from sendopt.domain.tables import TABLES
from sendopt.report.kit.words import TABLE_STAGES

REPO = Path(__file__).resolve().parents[2]


def test_every_table_is_written_by_some_stage_and_every_name_is_a_table():
    assert {name for name in TABLES if not writers(name)} == set()
    named = {t for s in CATALOGUE for t in (*s.reads, *s.writes, *s.may_read, *s.may_write)}
    assert named <= set(TABLES)
    assert len(STAGES) == len(CATALOGUE)


def test_the_report_names_the_stage_that_writes_a_table():
    assert set(TABLE_STAGES) == set(TABLES)
    assert TABLE_STAGES["suppressed"] == "the stage allocate"
    assert TABLE_STAGES["send_plan"] == "the stage publish_schedule"
    assert TABLE_STAGES["outcomes"] == "the stage measure"


@pytest.mark.parametrize("stage", CATALOGUE, ids=NAMES)
def test_the_docs_say_what_each_stage_reads_and_writes(stage):
    page = (REPO / "docs" / "architecture.md").read_text()
    (line,) = re.findall(rf"^\| {stage.name} \|.*$", page, re.M)
    _, _, reads, writes, _ = line.split("|")

    def words(fixed, depends):
        return ", ".join([*fixed, *(f"{name} ?" for name in depends)])

    assert reads.strip() == words(stage.reads, stage.may_read)
    assert writes.strip() == words(stage.writes, stage.may_write)


def test_the_stages_of_a_plan_are_those_whose_tables_carry_its_version():
    versioned = {name for name, table in TABLES.items() if {"plan_version", "config_hash"} <= set(table.names)}
    for stage in CATALOGUE:
        assert stage.plans == bool(versioned & set(stage.writes)), stage.name
