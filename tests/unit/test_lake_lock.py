"""One process at a time writes a lake in a folder; the lock ends with its holder, however that ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sendopt.errors import ConfigError, LakeBusy
from sendopt.lake.lock import FILE, only_writer
from sendopt.night import runtime

NOW = datetime(2026, 3, 29, 23, 10, 5, tzinfo=UTC)
HOLD = """
import sys
from datetime import datetime
from sendopt.lake.lock import only_writer
with only_writer(sys.argv[1], "sendopt night --plan-date 2026-03-29", datetime.fromisoformat(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(root: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lake until its input ends."""
    argv = [sys.executable, "-c", HOLD, str(root), NOW.isoformat()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def enter(root: Path | str) -> None:
    with only_writer(str(root), "jobs/ingest.py", NOW):
        pass


def test_who_comes_second_is_told_who_holds_the_lake_since_when(tmp_path: Path) -> None:
    with holder(tmp_path / "data") as other:
        with pytest.raises(LakeBusy) as caught:
            enter(tmp_path / "data")
        assert caught.value.exit_code == 75
        assert f"process {other.pid} on " in caught.value.message
        assert "`sendopt night --plan-date 2026-03-29`" in caught.value.message
        assert "since 2026-03-29 23:10:05 UTC" in caught.value.message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_holds_nothing(tmp_path: Path, number: signal.Signals) -> None:
    with holder(tmp_path) as other:
        other.send_signal(number)
        other.wait()
        enter(tmp_path)


def test_a_lake_is_one_by_whatever_path_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to("data")
    with holder(tmp_path / "data"), pytest.raises(LakeBusy):
        enter(tmp_path / "link" / ".." / "link")


def test_the_stages_of_a_night_are_no_others_to_their_night(tmp_path: Path) -> None:
    with only_writer(str(tmp_path), "sendopt night", NOW):
        enter(tmp_path)
        with pytest.raises(subprocess.CalledProcessError):
            subprocess.run(
                [sys.executable, "-c", HOLD, str(tmp_path), NOW.isoformat()],
                stdin=subprocess.DEVNULL,
                check=True,
                capture_output=True,
            )
    with holder(tmp_path):
        pass


def test_another_lake_is_free(tmp_path: Path) -> None:
    with holder(tmp_path / "a"):
        enter(tmp_path / "b")


@pytest.mark.parametrize("content", [b"", b"{", b'{"holder": 3}', b"\xff\xfe", b"[]"])
def test_a_holder_that_cannot_be_read_is_another_process(tmp_path: Path, content: bytes) -> None:
    with holder(tmp_path):
        (tmp_path / FILE).write_bytes(content)
        with pytest.raises(LakeBusy, match="is in use by another process"):
            enter(tmp_path)


def test_what_the_file_says_is_shown_and_not_obeyed(tmp_path: Path) -> None:
    with holder(tmp_path):
        told = {"holder": "night\x1b[2J", "pid": 1, "host": "a\nb", "since": NOW.isoformat()}
        (tmp_path / FILE).write_text(json.dumps(told))
        with pytest.raises(LakeBusy, match=r"`night\?\[2J` \(process 1 on a\?b\) since 2026-03-29"):
            enter(tmp_path)


def test_a_lake_behind_a_url_is_not_locked() -> None:
    enter("s3://bucket/lake")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(ConfigError, match=r"paths\.data: .*data cannot be written"):
        enter(tmp_path / "data")


def test_the_file_says_nothing_when_nobody_holds_it_and_is_for_its_owner(tmp_path: Path) -> None:
    enter(tmp_path)
    assert (tmp_path / FILE).read_text() == ""
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    import shutil

    shutil.copytree(CONF, tmp_path / "conf", ignore=shutil.ignore_patterns("heartsteps", "env"))
    (tmp_path / "conf/env").mkdir()
    local = (CONF / "env/local.yaml").read_text()
    kept = [line for line in local.splitlines() if not line.startswith("paths:")]
    paths = f"paths: {{data: {tmp_path}/data, out: {tmp_path}/out}}"
    (tmp_path / "conf/env/local.yaml").write_text("\n".join([*kept, paths]))
    return tmp_path / "conf"


def _job(stage: str) -> Callable[[Path], list[str]]:
    job = str(CONF.parent / "jobs" / f"{stage}.py")
    return lambda conf: [sys.executable, job, "--plan-date", "2026-03-29", "--conf", str(conf)]


def _command(*words: str) -> Callable[[Path], list[str]]:
    return lambda conf: [str(Path(sys.executable).with_name("sendopt")), *words, "--conf", str(conf)]


WRITERS = {
    "night": _command("night", "--plan-date", "2026-03-29"),
    "demo": _command("demo", "--users", "50"),
    **{stage: _job(stage) for stage in ("ingest", "publish_schedule", "measure")},
}
READERS = {
    "report": _command("report"),
    "jobs/report": _job(runtime.REPORT),
    "explain": _command("explain", "--user", "u"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITERS)
def test_every_command_that_writes_the_lake_is_refused_before_it_starts_spark(
    conf: Path, tmp_path: Path, name: str
) -> None:
    with holder(tmp_path / "data"):
        done = subprocess.run(WRITERS[name](conf), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 75, done.stderr
    assert "is in use by `sendopt night --plan-date 2026-03-29`" in done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["exit_code"] == 75
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_commands_that_read_pass(conf: Path, tmp_path: Path, name: str) -> None:
    with holder(tmp_path / "data"):
        done = subprocess.run(READERS[name](conf), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "in use" not in done.stderr
    assert done.returncode in (2, 75), done.stderr  # nothing is planned there
