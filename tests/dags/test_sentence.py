"""What a job said is what Airflow's page shows: the task's exception starts with the job's own sentence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from airflow.sdk import DAG

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("bag"), pytest.mark.timeout(300, method="thread")]
_days = count()

SAYS = "table users: 3 of 9 rows break its contract (not null); run ingest again"
JOB = """
import sys
sys.stdout.write('{{"stage": "measure"}}\\n')
sys.stderr.write("noise before\\n" + {said!r} + "\\n" + '{{"exit_code": {code}}}' + "\\nnoise after\\n")
sys.exit({code})
"""


def exception_of(fake_job: Callable[..., DAG], said: str, code: int) -> str:
    seen: list[str] = []
    dag = fake_job(
        JOB.format(said=said, code=code), retries=0, on_failure_callback=[lambda c: seen.append(str(c["exception"]))]
    )
    dag.test(logical_date=datetime(2028, 1, 1, 4, tzinfo=UTC) + timedelta(days=next(_days)))
    (text,) = seen
    return text


@pytest.mark.parametrize("code", [2, 75])
def test_the_exception_starts_with_the_jobs_sentence(fake_job: Callable[..., DAG], code: int) -> None:
    text = exception_of(fake_job, f"sendopt: {SAYS}", code)
    assert text.startswith(f"{SAYS}. measure ended with {code}: ")
    assert "noise" not in text
    assert ("not tried again" in text) is (code == 2)


def collected(*lines: str) -> str:
    from _jobs import Sentence

    sentence = Sentence()
    for line in lines:
        sentence.add(line + "\n")
    return sentence.text


def test_all_lines_of_a_sentence_are_kept_and_only_of_the_last() -> None:
    several = ("sendopt: first", '{"exit_code": 2}', "sendopt: 2 problems in conf:", "base.yaml:3: a", "base.yaml:9: b")
    assert (
        collected(*several, '{"exit_code": 2}', "java noise") == "2 problems in conf: | base.yaml:3: a | base.yaml:9: b"
    )


@pytest.mark.parametrize("lines", [(), ("noise",), ('{"exit_code": 1}',)])
def test_a_job_that_says_nothing_gives_no_sentence(lines: tuple[str, ...]) -> None:
    from _jobs import failure_of

    assert collected(*lines) == ""
    assert str(failure_of("allocate", 4)).startswith("allocate ended with 4: limits contradict each other")
    assert "see the job's last line" in str(failure_of("allocate", 4))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("a\x00b\x07", r"a\x00b\x07"),
        ("a\u202eb", r"a\u202eb"),
        ("naïve „Ü“ 日本", "naïve „Ü“ 日本"),
    ],
)
def test_control_characters_are_shown_and_not_obeyed(said: str, shown: str) -> None:
    assert collected(f"sendopt: {said}") == shown


@pytest.mark.parametrize("lines", [["x" * 1_000_000], ["y" * 100] * 10_000], ids=["one long line", "many lines"])
def test_a_long_sentence_is_cut(lines: list[str]) -> None:
    text = collected("sendopt: start " + lines[0], *lines[1:])
    assert text.startswith("start ")
    assert text.endswith("…")
    assert len(text) == 1500


@pytest.mark.parametrize("code", [-9, -2, 129, 130, 137, 143])
def test_a_job_that_a_signal_ended_is_tried_again(code: int) -> None:
    from airflow.sdk.exceptions import AirflowFailException

    from _jobs import failure_of

    error = failure_of("allocate", code, "stopped by SIGTERM; finished stages are kept")
    assert not isinstance(error, AirflowFailException)
    assert str(error).startswith("stopped by SIGTERM; finished stages are kept. allocate was killed by SIG")
