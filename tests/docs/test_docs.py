"""What the docs tell people to type exists; links lead somewhere; the README stays short."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REPO = Path(__file__).resolve().parents[2]
PAGES = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").rglob("*.md"))]


def commands(page: Path):
    for line in page.read_text().splitlines():
        if line.startswith("    "):
            words = line.split("#")[0].split()
            if words:
                yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPO)))
def test_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(REPO)))
def test_commands_exist_with_their_options(page):
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.M))
    for words in commands(page):
        if words[0] == "make":
            assert set(words[1:]) <= targets, words
        elif words[0].endswith("sendopt"):
            options = {w.split("=")[0] for w in words if w.startswith("--")}
            shown = _help(str(Path(sys.executable).with_name("sendopt")), words[1], "--help")
            assert all(o in shown for o in options), (words, shown)
        elif words[0] in ("python", "spark-submit") and words[1].startswith("jobs/"):
            shown = _help(sys.executable, words[1], "--help")
            assert all(w in shown for w in words if w.startswith("--"))


@cache
def _help(*argv):
    done = subprocess.run(
        argv, cwd=REPO, capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"}
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_the_readme_is_short_and_shows_both_commands():
    text = (REPO / "README.md").read_text()
    assert len(text.splitlines()) <= 60
    assert "make demo" in text
    assert "make test" in text


def test_the_commands_of_solve_run_with_the_limits_that_its_page_shows(tmp_path):
    page = (REPO / "docs/how-to/solve.md").read_text()
    (tmp_path / "limits.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.S).group(1))
    rows = {
        "user_id": ["ann", "ann", "bob"],
        "message_id": ["m1", "m2", "m1"],
        "campaign_id": ["spring_sale"] * 3,
        "channel": ["push"] * 3,
        "category": ["shop"] * 3,
        "slot": [9, 14, 9],
        "value": [0.2, 0.1, 0.3],
        "local_day": [20541] * 3,
        "p_opt_out": [0.001] * 3,
        "cost": [0.0, 0.0, 0.0],
    }
    past = {
        "user_id": ["bob"],
        "channel": ["push"],
        "category": ["shop"],
        "campaign_id": ["x"],
        "minutes_before": [90.0],
    }
    pd.DataFrame(rows).to_parquet(tmp_path / "candidates.parquet")
    pd.DataFrame(rows).to_csv(tmp_path / "candidates.csv", index=False)
    pd.DataFrame({**past, "local_day": [20540]}).to_parquet(tmp_path / "history.parquet")
    ran = 0
    for words in commands(REPO / "docs/how-to/solve.md"):
        if words[:2] == ["sendopt", "solve"]:
            argv = [str(Path(sys.executable).with_name("sendopt")), *words[1:]]
            subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
            assert len(pd.read_parquet(tmp_path / "plan/plan.parquet")) == 3
            ran += 1
    assert ran == 4


def test_the_commands_of_evaluate_run_with_the_mapping_that_its_page_shows(tmp_path):
    rng = np.random.default_rng(0)
    page = (REPO / "docs/how-to/evaluate.md").read_text()
    (tmp_path / "shop.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, re.S).group(1))
    people, days = 20, 30
    hour = rng.integers(6, 21, people * days)
    day = pd.Timestamp("2026-01-05") + pd.to_timedelta(np.tile(np.arange(days), people), unit="D")
    sent = day + pd.to_timedelta(hour, unit="h")
    log = {
        "customer": np.repeat([f"c{i}" for i in range(people)], days),
        "push_id": np.arange(people * days),
        "campaign": "sale",
        "sent": sent.strftime("%Y-%m-%d %H:%M"),
        "tz": "UTC",
        "probability": 1 / 15,
        "opened": (rng.random(people * days) < 0.3).astype(int),
    }
    pd.DataFrame(log).to_csv(tmp_path / "log.csv", index=False)
    ran = 0
    for words in commands(REPO / "docs/how-to/evaluate.md"):
        if words[:2] == ["sendopt", "evaluate"]:
            argv = [str(Path(sys.executable).with_name("sendopt")), *words[1:]]
            done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=True)
            found = json.loads((tmp_path / "timing/evaluation.json").read_text())
            assert found["verdict"]["sentence"] in done.stdout
            assert (tmp_path / "timing/evaluation.html").is_file()
            ran += 1
    assert ran == 2


def test_every_file_of_the_walk_is_there():
    named = re.findall(r"`([\w/.]+(?:\.py|\.yaml|\.md|/))`", (REPO / "docs/walk.md").read_text())
    assert len(named) > 20
    assert [name for name in named if not ((REPO / name).exists() or (REPO / "src/sendopt" / name).exists())] == []
