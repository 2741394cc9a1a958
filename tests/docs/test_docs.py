"""What the docs tell people to type exists; links lead somewhere; the README stays short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

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
            shown = _help([str(Path(sys.executable).with_name("sendopt")), words[1], "--help"])
            assert all(o in shown for o in options), (words, shown)
        elif words[0] in ("python", "spark-submit") and words[1].startswith("jobs/"):
            shown = _help([sys.executable, words[1], "--help"])
            assert all(w in shown for w in words if w.startswith("--"))


def _help(argv):
    done = subprocess.run(
        argv, cwd=REPO, capture_output=True, text=True, check=True, env={"COLUMNS": "200", "PATH": "/usr/bin:/bin"}
    )
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_the_readme_is_short_and_shows_both_commands():
    text = (REPO / "README.md").read_text()
    assert len(text.splitlines()) <= 60
    assert "make demo" in text
    assert "make test" in text
