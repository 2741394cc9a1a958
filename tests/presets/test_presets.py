"""Each preset reads its product's documented shape: every typed row, every reason and every count of a small log."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from sendopt.config.loader import load
from sendopt.config.presets import preset_names
from sendopt.errors import ConfigError
from sendopt.ingest import load_mapping
from sendopt.ingest.reader import Reading, read_table

HOME = Path(__file__).parent
NAMES = sorted(p.name for p in HOME.iterdir() if (p / "expected.json").is_file())


def read(name: str) -> dict[str, object]:
    """What the pure reader makes of a preset's log: rows without what is empty, files, rows of other tables."""
    mapping = load_mapping(f"preset:{name}")
    tables = {}
    for table, of in mapping.tables.items():
        if of.files is None:  # the log of a preset may be one file or many
            mapping.tables[table] = of.model_copy(update={"files": "*"})
        raw = read_table(Reading(table, mapping), HOME / name / "raw")
        rows = raw.rows.drop(columns=["raw", "outcome", "outcome_at", "outcome_problem", "send_key"], errors="ignore")
        tables[table] = {
            "files": raw.files,
            "elsewhere": raw.tally.elsewhere,
            "rows": [
                {
                    k: str(v) if isinstance(v, pd.Timestamp) or hasattr(v, "isoformat") else v
                    for k, v in row.items()
                    if v is not None and v is not pd.NaT and v == v
                }
                for row in rows.to_dict("records")
            ],
        }
    derived = mapping.derived_users
    return {**tables, "users": {"derive_from": "sends", "channels": list(derived.channels)} if derived else None}


def test_seven_products_have_a_preset_and_a_golden_log():
    assert (
        NAMES
        == list(preset_names())
        == [
            "braze",
            "customerio",
            "firebase",
            "iterable",
            "onesignal",
            "segment",
            "sendgrid",
        ]
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_reads_its_product_s_log_as_expected(name):
    assert read(name) == json.loads((HOME / name / "expected.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_tells_delivered_from_failed_and_reads_an_opt_out(name):
    tables = read(name)
    sends = [r for r in tables["sends"]["rows"] if "reason" not in r]
    kinds = {r.get("kind") for r in tables["interactions"]["rows"]}
    assert {r["sent"] for r in sends} == ({True} if name == "firebase" else {True, False})
    assert all(r["available"] == r["sent"] for r in sends)
    assert {"open", "opt_out"} <= kinds
    known = {(r["user_id"], r["notification_id"]) for r in sends}
    assert all(
        (r["user_id"], r["notification_id"]) in known
        for r in tables["interactions"]["rows"]
        if r.get("kind") in ("open", "click")
    )


@pytest.mark.parametrize("name", ["sendgrid", "braze"])
def test_a_machine_s_open_is_flagged_where_the_product_says_so(name):
    opens = [r for r in read(name)["interactions"]["rows"] if r.get("kind") == "open"]
    assert sorted(bool(r.get("machine")) for r in opens) == [False] * (len(opens) - 1) + [True]


def test_an_unknown_preset_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="did you mean sendgrid"):
        load_mapping("preset:sendgird")


@pytest.mark.parametrize(("name", "fault"), [("sendgrid", None), ("sendgird", "unknown preset; got")])
def test_settings_may_name_a_preset_as_a_source_s_mapping(tmp_path, name, fault):
    (tmp_path / "env").mkdir()
    (tmp_path / "growth.yaml").write_text("channels: {email: {}}\n")
    (tmp_path / "env/local.yaml").write_text(f'sources: {{mail: {{mapping: "preset:{name}", input: logs}}}}\n')
    if fault is None:
        assert load(tmp_path).sources["mail"].mapping == "preset:sendgrid"
        return
    with pytest.raises(ConfigError, match=fault):
        load(tmp_path)
