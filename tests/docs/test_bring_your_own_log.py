"""The page about a log of one's own: its commands run on a log that it could be about, its mappings are sound."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sendopt.cli import app
from sendopt.config.loader import load
from sendopt.config.presets import preset_names
from sendopt.ingest import load_mapping
from sendopt.ingest.schema import TableMapping

PAGE = (Path(__file__).resolve().parents[2] / "docs/how-to/bring-your-own-log.md").read_text()
START = datetime(2026, 1, 12, 8, 7, tzinfo=UTC)
LAST = date(2026, 2, 21)  # the day before the plan date of the page


def test_the_commands_up_to_the_night_run_and_the_night_is_the_one_they_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    days = (LAST - START.date()).days + 1
    rows = [
        f"u{i % 9},{START + timedelta(days=i % days, hours=i % 12):%Y-%m-%d %H:%M},{i % 3 == 0}" for i in range(400)
    ]
    (tmp_path / "export.csv").write_text("user,sent_at,opened\n" + "\n".join(rows))
    start = [line.split() for line in PAGE.splitlines() if line.startswith("    sendopt ")][:3]
    assert [words[1] for words in start] == ["init", "check", "night"]
    shown = CliRunner().invoke(app, start[0][1:])
    assert shown.exit_code == 0, shown.stderr
    assert [line.strip() for line in shown.stdout.splitlines()[-2:]] == [" ".join(words) for words in start[1:]]
    assert CliRunner().invoke(app, start[1][1:]).exit_code == 0
    assert load(tmp_path / start[2][-1]).sources["export"].input == "export.csv"


@pytest.mark.parametrize("text", re.findall(r"```yaml\n(source: .*?)```", PAGE, re.S))
def test_every_mapping_of_the_page_is_sound(tmp_path, text):
    (tmp_path / "m.yaml").write_text(text)
    assert load_mapping(tmp_path / "m.yaml").derived_users is not None


def test_the_page_names_every_key_and_every_preset():
    rows = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    assert [key for key in TableMapping.model_fields if f"`{key}`" not in rows] == []
    assert [name for name in preset_names() if f"| `{name}` |" not in rows] == []
