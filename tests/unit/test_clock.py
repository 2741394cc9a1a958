"""The clock is an argument: who states it, in which order, and what a plan of the past is told."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from sendopt.config.loader import load
from sendopt.config.schema import ClockSettings, Settings
from sendopt.demo import at_its_own_time
from sendopt.domain.clock import Clock, StatedBy, in_words, parse_time, require_ahead
from sendopt.errors import ConfigError
from sendopt.night import runtime

REPO = Path(__file__).resolve().parents[2]
DAY = date(2026, 3, 29)
AS_OF = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
GIVEN, STARTED = datetime(2026, 3, 28, 23, 10, tzinfo=UTC), datetime(2026, 3, 28, 23, 20, tzinfo=UTC)


def settings(now: str = "machine") -> Settings:
    return Settings(clock=ClockSettings(now=now))


class Stated(NamedTuple):
    """A time as an argument and in the settings, and the clock that follows from them."""

    settings: str
    now: datetime
    by: StatedBy
    argument: datetime | None = None


@pytest.mark.parametrize(
    "stated",
    [
        Stated(argument=GIVEN, settings="as_of", now=GIVEN, by=StatedBy.ARGUMENT),
        Stated(settings="as_of", now=AS_OF, by=StatedBy.SETTINGS),
        Stated(settings="2026-03-28T22:00:00Z", now=datetime(2026, 3, 28, 22, tzinfo=UTC), by=StatedBy.SETTINGS),
        Stated(settings="machine", now=STARTED, by=StatedBy.MACHINE),
    ],
)
def test_an_argument_goes_before_the_settings_and_these_before_the_machines_time(stated):
    clock = runtime.Times(stated.argument, STARTED).clock(settings(stated.settings), DAY)
    assert (clock.now, clock.by) == (stated.now, stated.by)


def test_by_default_it_is_the_real_time_read_at_that_moment():
    before = datetime.now(UTC)
    clock = runtime.Times().clock(settings(), DAY)
    assert before <= clock.now <= datetime.now(UTC)
    assert clock.by is StatedBy.MACHINE
    assert runtime.Times().clock(settings(), DAY).now > clock.now, "each stage reads it anew"


def test_rows_from_after_a_worlds_own_time_are_its_future_and_otherwise_too_late():
    later = AS_OF + timedelta(days=200)
    assert Clock(AS_OF, StatedBy.SETTINGS, later).received_utc == later
    assert Clock(AS_OF, StatedBy.SETTINGS, AS_OF - timedelta(days=1)).received_utc == AS_OF
    assert Clock(AS_OF, StatedBy.ARGUMENT, later).received_utc == AS_OF
    assert Clock(later, StatedBy.MACHINE, later).received_utc == later


@pytest.mark.parametrize("text", ["2026-03-28T23:10:00Z", "2026-03-28T23:10Z", "2026-03-29T01:10:00+02:00"])
def test_a_time_may_be_written_in_these_ways(text):
    assert parse_time(text) == GIVEN


@pytest.mark.parametrize(
    "text", ["2026-03-28", "2026-03-28T23:10:00", "23:10", "now", "", "2026-02-30T00:00:00Z", "0001-01-01T00:00+23:00"]
)
def test_a_time_without_its_zone_or_no_time_is_one_sentence(text):
    with pytest.raises(ConfigError, match=rf"--now: got '{re.escape(text)}', expected a time in UTC as 2026-03-28T23"):
        parse_time(text)


@pytest.mark.parametrize(
    ("now", "over"),
    [
        (datetime(2026, 3, 29, 23, 59, 59, tzinfo=UTC), False),
        (datetime(2026, 3, 30, tzinfo=UTC), True),
        (datetime(2026, 11, 28, tzinfo=UTC), True),
    ],
)
def test_a_plan_date_is_over_when_its_last_slot_has_ended(now, over):
    if not over:
        require_ahead(DAY, timedelta(hours=24), Clock(now))
        return
    with pytest.raises(ConfigError) as refused:
        require_ahead(DAY, timedelta(hours=24), Clock(now, StatedBy.MACHINE))
    message = str(refused.value)
    assert message.startswith("--plan-date 2026-03-29 is over: it ended at 2026-03-30 00:00 UTC and now is ")
    assert "this machine's clock" in message
    assert "clock: {now: as_of}" in message
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("stages", [runtime.NAMES, ("score_slots",), ("allocate",), ("ingest", "publish_schedule")])
def test_a_past_date_is_refused_before_any_stage_and_before_an_engine_starts(stages):
    with pytest.raises(ConfigError, match="2025-08-01 is over"):
        list(runtime.run(date(2025, 8, 1), settings(), Path("conf"), stages))


def test_a_stated_clock_is_said_as_such():
    assert in_words(Clock(AS_OF, StatedBy.MACHINE).facts) == "2026-03-28 23:00 UTC, this machine's clock"
    for by in (StatedBy.ARGUMENT, StatedBy.SETTINGS):
        assert "not this machine's clock" in str(Clock(AS_OF, by))


def test_simulated_and_historic_worlds_say_their_own_time_and_production_none():
    assert load(REPO / "conf" / "heartsteps").clock.now == "as_of"
    assert load(REPO / "conf", "local").clock.now == "as_of"
    assert load(REPO / "conf", "staging").clock.now == "machine"
    assert load(REPO / "conf", "prod").clock.now == "machine"
    assert at_its_own_time(settings()).clock.now == "as_of"


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        ("yesterday", 'clock.now: malformed; got "yesterday"; expected machine, as_of or a time in UTC like'),
        ("2026-02-30T10:00:00Z", 'clock.now: no such time in the calendar; got "2026-02-30T10:00:00Z"'),
    ],
)
def test_a_clock_that_is_none_is_one_sentence_with_its_line(tmp_path, now, sentence):
    (tmp_path / "env").mkdir()
    (tmp_path / "growth.yaml").write_text("{}\n")
    (tmp_path / "env" / "local.yaml").write_text(f"clock: {{now: {now}}}\n")
    with pytest.raises(ConfigError) as refused:
        load(tmp_path)
    assert f"local.yaml:1: {sentence}" in str(refused.value)


def test_a_stated_clock_is_no_part_of_what_a_plan_is_made_from_and_check_says_it():
    from sendopt.config.forecast import stated_clock
    from sendopt.config.loader import config_hash

    assert config_hash(settings()) == config_hash(settings("as_of"))
    (line,) = stated_clock("trial", settings("as_of"))
    assert line.startswith("Clock of env trial: a night takes its own as_of for now. For historic and simulated")
    assert stated_clock("prod", settings()) == []
