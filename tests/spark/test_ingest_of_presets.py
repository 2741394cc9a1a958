"""A product's log through a whole ingest: failures are no sends, opens find theirs, unsubscribing forbids."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from sendopt.config.schema import Ingest, Settings
from sendopt.ingest import load_mapping
from sendopt.spark.ingest.ingest import ingest

pytestmark = pytest.mark.slow
GOLDEN = Path(__file__).resolve().parents[1] / "presets"
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def test_of_the_rows_of_one_send_the_one_that_says_not_sent_is_kept(lake):
    settings = Settings(ingest=Ingest(max_unmatched_interactions=1.0))
    result = ingest(lake, load_mapping("preset:braze"), GOLDEN / "braze" / "raw", settings, NOW)
    sends = {(r["user_id"], r["notification_id"]): r["sent"] for r in lake.read("sends").collect()}
    assert sends == {
        ("b1", "d1"): True,
        ("b2", "d1"): False,
        ("b3", "d2"): True,
        ("b1", "d3"): True,
        ("b3", "d3"): True,
    }
    assert result.dropped == {"duplicate_send": 1}
    kinds = sorted((r["kind"], r["machine"]) for r in lake.read("interactions").fillna(False).collect())
    assert kinds == [
        ("click", False),
        ("open", False),
        ("open", False),
        ("open", True),
        ("opt_out", False),
        ("opt_out", False),
    ]
    said = {(r["user_id"], r["scope"], r["name"], r["allowed"]) for r in lake.read("consents").collect()}
    assert said == {("b1", "channel", "email", False), ("b3", "channel", "email", False)}
    assert sorted(r["user_id"] for r in lake.read("users").collect()) == ["b1", "b2", "b3"]
