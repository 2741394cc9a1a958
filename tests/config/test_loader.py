"""Overlays, ownership, all faults at once, and the traps of YAML."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sendopt.config.loader import config_hash, load
from sendopt.config.schema import Settings
from sendopt.errors import ConfigError

Write = Callable[[dict[str, str]], Path]

NEWS = """\
channels: {push: {}}
campaigns:
  news: {channel: push, category: info, audience: {kind: all}}
"""


def _load(write_conf: Write, **texts: str) -> Settings:
    files = {"growth.yaml": NEWS, "env/local.yaml": ""}
    names = {"defaults": "defaults.yaml", "growth": "growth.yaml", "local": "env/local.yaml", "prod": "env/prod.yaml"}
    conf = write_conf({**files, **{names[key]: text for key, text in texts.items()}})
    return load(conf, "prod" if "prod" in texts else "local")


def test_empty_files_give_the_schema_defaults(write_conf: Write) -> None:
    assert _load(write_conf, growth="", local="# nothing\n") == Settings()


def test_later_files_win_and_maps_are_merged(write_conf: Write) -> None:
    settings = _load(
        write_conf,
        defaults="grid: {lead_minutes: 30}\npaths: {data: a, out: a}\ncaps: {daily: {max: 1, window_minutes: 1440}}\n",
        growth=NEWS + "caps: {daily: {max: 2}}\n",
        prod="paths: {out: b}\n",
    )
    assert settings.grid.lead_minutes == 30
    assert settings.grid.slot_minutes == 60
    assert (settings.paths.data, settings.paths.out) == ("a", "b")
    assert (settings.caps["daily"].max, settings.caps["daily"].window_minutes) == (2, 1440)


def test_another_kind_replaces_the_whole_map(write_conf: Write) -> None:
    below = "campaigns: {news: {channel: push, category: info, audience: {kind: share, fraction: 0.5}}}\n"
    settings = _load(write_conf, defaults=below)
    assert settings.campaigns["news"].audience.kind == "all"


def test_nothing_switches_off_what_a_file_below_set(write_conf: Write) -> None:
    below = "fatigue: {max_points: 3.0, points_per_send: {push: 1.0}}\n"
    assert _load(write_conf, defaults=below).fatigue is not None
    assert _load(write_conf, defaults=below, growth=NEWS + "fatigue:\n").fatigue is None


def test_lists_maps_by_slot_and_whole_numbers_reach_their_fields(write_conf: Write) -> None:
    settings = _load(
        write_conf,
        defaults="opt_out: {fatigue_edges: [1, 2.5]}\ngrid: {slot_minutes: 60.0}\n",
        growth=NEWS + "capacity: {push: {0: 5, 23: 7}}\ncost: {max_total: 5}\n",
    )
    assert settings.opt_out.fatigue_edges == (1.0, 2.5)
    assert type(settings.grid.slot_minutes) is int
    assert settings.capacity == {"push": {0: 5, 23: 7}}
    assert settings.cost is not None
    assert settings.cost.max_total == 5.0


def test_no_and_times_and_dates_stay_text(write_conf: Write) -> None:
    text = """\
channels: {NO: {}}
campaigns:
  on:
    channel: NO
    category: yes
    audience: {kind: all}
    window: {start: 09:00, end: 22:00}
    first_date: 2026-05-01
"""
    settings = _load(write_conf, growth=text)
    campaign = settings.campaigns["on"]
    assert (campaign.channel, campaign.category, campaign.first_date) == ("NO", "yes", "2026-05-01")
    assert campaign.window is not None
    assert (campaign.window.start, campaign.window.end) == ("09:00", "22:00")


def test_all_faults_of_all_files_come_at_once(write_conf: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(
            write_conf,
            defaults="grid:\n  slot_minutes: 45\nobjective: {kind: clicks}\n",
            growth="""\
channels: {push: {}}
campaigns:
  news:
    channel: sms
    category: info
    audience: {kind: everyone}
    valu: 2
caps:
  daily: {max: two, scope: "campaign:nws", window_minutes: 1440}
spark: {}
min_gap_minutes: NO
""",
            local="paths:\n  data: a\n  data: b\nsources:\n  demo: {mapping: gone.yaml, input: raw}\n",
        )
    assert str(caught.value).splitlines() == [
        "the configuration in conf (env local) has 11 problems:",
        "conf/defaults.yaml:2: grid.slot_minutes: not one of the choices; got 45; "
        "expected one of 15, 30, 60, 120, 240 (minutes; length of a slot)",
        'conf/defaults.yaml:3: objective.kind: not one of the choices; got "clicks"; expected one of open, incremental '
        "(a success, or what sending adds to its chance)",
        "conf/env/local.yaml:3: paths.data: written twice, first on line 2; keep one",
        'conf/env/local.yaml:5: sources.demo.mapping: no such file; got "gone.yaml"; '
        "expected a path from the working directory, like conf/sources/demo.yaml",
        "conf/growth.yaml:4: campaigns.news.channel: unknown channel sms; expected one of the channels: push",
        'conf/growth.yaml:6: campaigns.news.audience: unknown kind; got "everyone"; '
        "expected kind: active | all | ingested | share",
        "conf/growth.yaml:7: campaigns.news.valu: unknown key, did you mean value?",
        'conf/growth.yaml:9: caps.daily.max: not a whole number; got "two"; '
        "expected a whole number, at least 0 (sends)",
        "conf/growth.yaml:9: caps.daily.scope: unknown campaign nws, did you mean news?",
        "conf/growth.yaml:10: spark: not a section of growth.yaml; move it to env/NAME.yaml",
        'conf/growth.yaml:11: min_gap_minutes: not a whole number; got "NO"; '
        "expected a whole number from 0 to 10080 (minutes between two sends)",
    ]


def test_a_broken_file_does_not_hide_the_faults_of_the_others(write_conf: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(write_conf, growth="caps: [1\n", local="spark: {shuffle_partitions: 0}\n")
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        "conf/env/local.yaml:1",
        "conf/growth.yaml:1",
    ]


def test_a_password_is_never_repeated(write_conf: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(write_conf, local="mlflow: {tracking_uri: 'https://ann:hunter2@mlflow'}\n")
    assert "hunter2" not in str(caught.value)


def test_what_is_not_there_is_said(write_conf: Write) -> None:
    with pytest.raises(ConfigError, match=r"^conf: no such folder; give one that holds growth.yaml and env/NAME.yaml$"):
        load(Path("conf"))
    conf = write_conf({"env/local.yaml": "", "env/staging.yaml": ""})
    with pytest.raises(ConfigError, match=r"^conf/growth.yaml: no such file; a conf folder needs one"):
        load(conf)
    write_conf({"growth.yaml": NEWS})
    with pytest.raises(ConfigError, match=r"^conf/env: no environment stagin, did you mean staging\?$"):
        load(conf, "stagin")
    with pytest.raises(ConfigError, match=r"^conf/env: no environment ../x, expected one of: local, staging$"):
        load(conf, "../x")


def test_files_that_are_not_text_are_said(write_conf: Write) -> None:
    conf = write_conf({"growth.yaml": NEWS, "env/local.yaml": ""})
    (conf / "growth.yaml").write_bytes(b"channels: {}\ncaf\xe9: 1\n")
    with pytest.raises(ConfigError) as caught:
        load(conf)
    assert caught.value.problems == ("conf/growth.yaml:2: not UTF-8 text; save the file as UTF-8",)
    (conf / "growth.yaml").write_text("#" * 1_000_001)
    with pytest.raises(ConfigError) as caught:
        load(conf)
    assert caught.value.problems == ("conf/growth.yaml: too large; got 1000001 bytes; expected at most 1000000",)


def test_the_hash_is_of_what_can_change_a_plan(write_conf: Write) -> None:
    caps = "caps: {daily: {max: 2, window_minutes: 1440}}\n"
    base = config_hash(_load(write_conf, growth=NEWS + caps))
    assert len(base) == 16
    assert int(base, 16) >= 0
    assert config_hash(_load(write_conf, growth=caps + NEWS + "# a comment\n")) == base
    elsewhere = "paths: {data: x, out: y}\nspark: {master: 'local[1]'}\nmlflow: {experiment: z}\n"
    assert config_hash(_load(write_conf, growth=NEWS + caps, local=elsewhere)) == base
    assert config_hash(_load(write_conf, growth=NEWS + caps.replace("2,", "3,"), local="")) != base
    assert config_hash(_load(write_conf, growth=NEWS + caps, defaults="training: {seed: 8}\n")) != base


def test_the_hash_of_the_defaults_does_not_move_between_processes() -> None:
    """Hash seeds, dict order and platforms must not matter; a change of the schema's defaults moves it, rightly."""
    again = Settings.model_validate(Settings().model_dump())
    assert config_hash(again) == config_hash(Settings())


def test_one_fault_is_not_told_twice(write_conf: Write) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(write_conf, growth=NEWS.replace("channel: push, ", ""))
    assert [problem.rpartition(": ")[2][:7] for problem in caught.value.problems] == ["missing"]
    with pytest.raises(ConfigError) as caught:
        _load(write_conf, defaults="capacity: {push: 5}\n", growth="channels: {push: {}\n")
    assert len(caught.value.problems) == 1


def test_the_hash_does_not_see_the_order_of_keys(write_conf: Write) -> None:
    two = ["  a: {max: 2, window_minutes: 1440}\n", "  b: {max: 3, window_minutes: 2880}\n"]
    hashes = {config_hash(_load(write_conf, growth=NEWS + "caps:\n" + "".join(o))) for o in (two, two[::-1])}
    assert len(hashes) == 1
