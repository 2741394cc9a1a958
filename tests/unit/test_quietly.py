"""`make` says one line a phase; what a phase prints is in a log, and shown where it fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def quietly(home: Path, script: str) -> subprocess.CompletedProcess[str]:
    argv = [str(REPO / "tools/quietly"), "Fetching", "bash", "-c", script]
    return subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False)


def test_a_phase_that_succeeds_is_one_line(tmp_path):
    done = quietly(tmp_path, "seq 300; seq 300 >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Fetching\n", "")
    log = tmp_path / "out/logs/install.log"
    assert len(log.read_text().splitlines()) == 601
    assert (log.stat().st_mode & 0o777, log.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_phase_that_fails_shows_its_last_lines_and_where_the_rest_is(tmp_path):
    quietly(tmp_path, "echo of an earlier phase")
    done = quietly(tmp_path, "seq 300; echo 'ERROR: no such package'; echo '   at java.lang.Thread' >&2; exit 7")
    assert done.returncode == 7
    lines = done.stderr.splitlines()
    assert lines[:2] == ["failed (7): Fetching", "all of its output is in out/logs/install.log; it ends with:"]
    assert lines[-1] == "  ERROR: no such package"
    assert len(lines) <= 10
    assert "earlier" not in done.stderr


def test_what_a_phase_installs_keeps_the_umask_of_the_caller(tmp_path):
    before = subprocess.run(["bash", "-c", "umask"], capture_output=True, text=True, check=True).stdout
    quietly(tmp_path, "umask")
    assert (tmp_path / "out/logs/install.log").read_text().endswith(before)
