"""Every bad file says exactly what is wrong, where, and what to do; nothing of the validator shows through."""

# ruff: noqa: E501 - a message is compared as the one line that people see

from collections.abc import Callable
from pathlib import Path

import pytest

from sendopt.config.loader import load
from sendopt.errors import ConfigError

NEWS = """\
channels: {push: {}}
campaigns:
  news: {channel: push, category: info, audience: {kind: all}}
"""

BAD = [
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  daily:\n    max: 2\n    windw_minutes: 1440\n"),
        [
            "conf/growth.yaml:7: caps.daily.windw_minutes: unknown key, did you mean window_minutes?",
        ],
        id="unknown_key",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cap: {}\n",
        [
            "conf/growth.yaml:4: cap: unknown key, did you mean caps?",
        ],
        id="unknown_section",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: {max_total: 1.0, xyz: 1}\n",
        [
            "conf/growth.yaml:4: cost.xyz: unknown key; expected one of max_total",
        ],
        id="unknown_key_nothing_close",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  daily: {max: 2, window_minutes: 1440}\n  daily: {max: 9, window_minutes: 1440}\n"),
        [
            "conf/growth.yaml:6: caps.daily: written twice, first on line 5; keep one",
        ],
        id="duplicate",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n\tdaily: {}\n"),
        [
            "conf/growth.yaml:5: not valid YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs",
        ],
        id="tab",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  daily: {scope: 'all, max: 2}\n"),
        [
            "conf/growth.yaml:5: not valid YAML: found unexpected end of stream; close the quote",
        ],
        id="unclosed_quote",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  daily: {max: 2\n"),
        [
            "conf/growth.yaml:5: not valid YAML: expected ',' or '}', but got '<stream end>'; close the bracket",
        ],
        id="unclosed_bracket",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "cost:\n  max_total: 1\n   x: 2\n"),
        [
            "conf/growth.yaml:6: not valid YAML: mapping values are not allowed here; check the indentation here and above, and quote text that holds a colon and a space",
        ],
        id="bad_indent",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: max: 2\n",
        [
            "conf/growth.yaml:4: not valid YAML: mapping values are not allowed here; check the indentation here and above, and quote text that holds a colon and a space",
        ],
        id="colon_in_text",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "---\ncost: {max_total: 2}\n"),
        [
            "conf/growth.yaml:4: not valid YAML: found another document; one file holds one document: remove the `---`",
        ],
        id="two_docs",
    ),
    pytest.param(
        "growth.yaml",
        "%YAML 1.1\n---\n" + NEWS,
        [
            "conf/growth.yaml:1: directives like %YAML are not allowed; remove the line",
        ],
        id="yaml11",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: &a {max_total: 2}\n",
        [
            "conf/growth.yaml:4: anchors are not allowed; got &a; remove it",
        ],
        id="anchor",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "cost: &a {max_total: 2}\nopt_outs: *a\n"),
        [
            "conf/growth.yaml:4: anchors are not allowed; got &a; remove it",
            "conf/growth.yaml:5: aliases are not allowed; got *a; write the value again",
        ],
        id="alias",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "cost:\n  <<: {max_total: 2}\n  max_total: 1\n"),
        [
            "conf/growth.yaml:5: cost: merge keys (<<) are not allowed; write the values again",
        ],
        id="merge",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: !!python/object:os.system {max_total: 2}\n",
        [
            "conf/growth.yaml:4: tags are not allowed; got tag:yaml.org,2002:python/object:os.system; write the plain value",
        ],
        id="tag",
    ),
    pytest.param(
        "growth.yaml",
        "- caps\n",
        [
            "conf/growth.yaml:1: not a map of sections; expected lines like `caps:` or `grid:`",
        ],
        id="list_at_top",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: {max_total: \u0007}\n",
        [
            "conf/growth.yaml:4: not valid YAML: a control character; remove it",
        ],
        id="control_character",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n",
        [
            "conf/growth.yaml:4: maps or lists nested deeper than 20; flatten them",
        ],
        id="deep",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "caps: {daily: {max: two, window_minutes: 1440}}\n",
        [
            'conf/growth.yaml:4: caps.daily.max: not a whole number; got "two"; expected a whole number, at least 0 (sends)',
        ],
        id="word_for_number",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "min_gap_minutes: '240'\n",
        [
            'conf/growth.yaml:4: min_gap_minutes: not a whole number; got "240"; expected a whole number from 0 to 10080 (minutes between two sends)',
        ],
        id="quoted",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "min_gap_minutes: 240.5\n",
        [
            "conf/growth.yaml:4: min_gap_minutes: not a whole number; got 240.5; expected a whole number from 0 to 10080 (minutes between two sends)",
        ],
        id="float_for_int",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "min_gap_minutes: true\n",
        [
            "conf/growth.yaml:4: min_gap_minutes: not a whole number; got true; expected a whole number from 0 to 10080 (minutes between two sends)",
        ],
        id="bool_for_int",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "min_gap_minutes: NO\n",
        [
            'conf/growth.yaml:4: min_gap_minutes: not a whole number; got "NO"; expected a whole number from 0 to 10080 (minutes between two sends)',
        ],
        id="NO_for_number",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "min_gap_minutes: 4:00\n",
        [
            'conf/growth.yaml:4: min_gap_minutes: not a whole number; got "4:00"; expected a whole number from 0 to 10080 (minutes between two sends)',
        ],
        id="time_for_number",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "min_gap_minutes: 10081\n",
        [
            "conf/growth.yaml:4: min_gap_minutes: out of range; got 10081; expected a whole number from 0 to 10080 (minutes between two sends)",
        ],
        id="out_of_range",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "caps: {daily: {max: -1, window_minutes: 1440}}\n",
        [
            "conf/growth.yaml:4: caps.daily.max: out of range; got -1; expected a whole number, at least 0 (sends)",
        ],
        id="negative",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "fatigue: {points_per_send: {push: 1}, max_points: 0}\n",
        [
            "conf/growth.yaml:4: fatigue.max_points: out of range; got 0; expected a number above 0 (points)",
        ],
        id="zero",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "cost: {max_total: .nan}\n",
        [
            "conf/growth.yaml:4: cost.max_total: not a finite number; got .nan; expected a number, at least 0 (money per plan)",
        ],
        id="nan",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "opt_outs:\n  max_expected: .inf\n"),
        [
            "conf/growth.yaml:5: opt_outs.max_expected: not a finite number; got .inf; expected a number, at least 0 (expected opt-outs per plan)",
        ],
        id="inf",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "quiet_hours:\n  everyone: {start: 1320, end: 08:00}\n"),
        [
            "conf/growth.yaml:5: quiet_hours.everyone.start: not text; got 1320; expected a local time like 22:00 (first minute inside)",
        ],
        id="minutes_for_a_time",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "quiet_hours:\n  everyone: {start: 22:00, end: 8:00}\n"),
        [
            'conf/growth.yaml:5: quiet_hours.everyone.end: malformed; got "8:00"; expected a local time like 22:00 (first minute outside)',
        ],
        id="time_without_zero",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "quiet_hours:\n  everyone: {start: 22:00, end: 24:00}\n"),
        [
            'conf/growth.yaml:5: quiet_hours.everyone.end: malformed; got "24:00"; expected a local time like 22:00 (first minute outside)',
        ],
        id="time_24",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "quiet_hours:\n  everyone: {start: 22:00, end: 22:00}\n"),
        [
            "conf/growth.yaml:5: quiet_hours.everyone: start and end are equal; leave the window out to allow the whole day",
        ],
        id="equal",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "caps:\n",
        [
            "conf/growth.yaml:4: caps: empty; write its entries below it, or remove the key",
        ],
        id="empty",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  daily: {max: 2}\n"),
        [
            "conf/growth.yaml:5: caps.daily: give exactly one of window_minutes and calendar",
        ],
        id="cap_no_window",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  daily: {max: 2, scope: everything, window_minutes: 1440}\n"),
        [
            "conf/growth.yaml:5: caps.daily.scope: unknown scope 'everything'; use all, channel:NAME, category:NAME or campaign:NAME",
        ],
        id="cap_scope",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "capacity: {push: many}\n",
        [
            'conf/growth.yaml:4: capacity.push: not a whole number; got "many"; expected a whole number, at least 0, or a map (sends per slot by channel, or a map slot index -> sends)',
        ],
        id="capacity",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "capacity: {push: -5}\n",
        [
            "conf/growth.yaml:4: capacity.push: out of range; got -5; expected a whole number, at least 0, or a map (sends per slot by channel, or a map slot index -> sends)",
        ],
        id="capacity_neg",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "capacity:\n  push:\n    8: -5\n"),
        [
            "conf/growth.yaml:6: capacity.push.8: out of range; got -5; expected a whole number, at least 0",
        ],
        id="capacity_map",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "capacity:\n  push:\n    8am: 5\n"),
        [
            'conf/growth.yaml:6: capacity.push.8am: not a valid key; got "8am"; expected a whole number',
        ],
        id="capacity_key",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: shares, fraction: 0.3}\n"
        ),
        [
            'conf/growth.yaml:6: campaigns.news.audience: unknown kind; got "shares"; expected kind: active | all | ingested | share',
        ],
        id="unknown_kind",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {fraction: 0.3}\n"
        ),
        [
            "conf/growth.yaml:6: campaigns.news.audience: `kind` is missing; expected kind: active | all | ingested | share",
        ],
        id="no_kind",
    ),
    pytest.param(
        "growth.yaml",
        ("channels: {push: {}}\ncampaigns:\n  news:\n    channel: push\n    category: info\n    audience: all\n"),
        [
            'conf/growth.yaml:6: campaigns.news.audience: not a map; got "all"; expected a map with kind: active | all | ingested | share',
        ],
        id="audience_word",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: share, percent: 30}\n"
        ),
        [
            "conf/growth.yaml:6: campaigns.news.audience.fraction: missing; expected a number from 0 to 1 (share of users, drawn anew each night by keyed hash)",
            "conf/growth.yaml:6: campaigns.news.audience.percent: unknown key; expected one of fraction, kind",
        ],
        id="audience_fields",
    ),
    pytest.param(
        "growth.yaml",
        ("channels: {push: {}}\ncampaigns:\n  news:\n    channel: push\n    audience: {kind: all}\n"),
        [
            "conf/growth.yaml:3: campaigns.news.category: missing; expected a name of letters, digits, _ . or -, at most 80 characters (what it is about; users opt out by category)",
        ],
        id="missing",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: 2024\n"
            "    audience: {kind: all}\n"
        ),
        [
            'conf/growth.yaml:5: campaigns.news.category: not text; got 2024; expected a name of letters, digits, _ . or -, at most 80 characters (what it is about; users opt out by category); put it in quotes: "2024"',
        ],
        id="int_category",
    ),
    pytest.param(
        "growth.yaml",
        ("channels: {push: {}}\ncampaigns:\n  spring sale: {channel: push, category: info, audience: {kind: all}}\n"),
        [
            'conf/growth.yaml:3: campaigns.spring sale: not a valid key; got "spring sale"; expected a name of letters, digits, _ . or -, at most 80 characters',
        ],
        id="space_name",
    ),
    pytest.param(
        "growth.yaml",
        ("channels: {push: {}}\ncampaigns:\n  2024: {channel: push, category: info, audience: {kind: all}}\n"),
        [
            'conf/growth.yaml:3: campaigns.2024: a key must be text; got 2024; put it in quotes: "2024"',
        ],
        id="int_name",
    ),
    pytest.param(
        "growth.yaml",
        ("channels: {push: {}}\ncampaigns:\n  true: {channel: push, category: info, audience: {kind: all}}\n"),
        [
            "conf/growth.yaml:3: campaigns: a key must be text; got true; put it in quotes",
        ],
        id="bool_name",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: puhs\n"
            "    category: info\n"
            "    audience: {kind: all}\n"
        ),
        [
            "conf/growth.yaml:4: campaigns.news.channel: unknown channel puhs, did you mean push?",
        ],
        id="unknown_channel",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "fatigue: {points_per_send: {fax: 1.0}, max_points: 3}\n",
        [
            "conf/growth.yaml:4: fatigue.points_per_send.fax: unknown channel fax; expected one of the channels: push",
        ],
        id="fatigue_channel",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "capacity:\n  pusj: 5\n"),
        [
            "conf/growth.yaml:5: capacity.pusj: unknown channel pusj, did you mean push?",
        ],
        id="cap_channel",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "quiet_hours:\n  channels:\n    sms: {start: 20:00, end: 10:00}\n"),
        [
            "conf/growth.yaml:6: quiet_hours.channels.sms: unknown channel sms; expected one of the channels: push",
        ],
        id="quiet_channel",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + 'caps:\n  deals: {scope: "category:deals", window_minutes: 1440, max: 1}\n'),
        [
            "conf/growth.yaml:5: caps.deals.scope: unknown category deals; expected one of the categories: info",
        ],
        id="scope_category",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + 'caps:\n  deals: {scope: "campaign:new", window_minutes: 1440, max: 1}\n'),
        [
            "conf/growth.yaml:5: caps.deals.scope: unknown campaign new, did you mean news?",
        ],
        id="scope_campaign",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "capacity:\n  push: {7: 5, 24: 5}\n"),
        [
            "conf/growth.yaml:5: capacity.push.24: no such slot; got 24; expected 0 to 23 (60-minute slots)",
        ],
        id="slot_beyond",
    ),
    pytest.param(
        "growth.yaml",
        (NEWS + "caps:\n  hourly: {window_minutes: 30, max: 1}\n"),
        [
            "conf/growth.yaml:5: caps.hourly.window_minutes: shorter than a slot; got 30; expected at least 60 minutes",
        ],
        id="window_short",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: all}\n"
            "    window: {start: 09:00, end: 09:30}\n"
        ),
        [
            "conf/growth.yaml:7: campaigns.news.window: shorter than a slot, nothing could be sent; got 30 minutes; expected at least 60",
        ],
        id="campaign_window_short",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: all}\n"
            "    first_date: 2026-02-30\n"
        ),
        [
            'conf/growth.yaml:7: campaigns.news.first_date: no such day in the calendar; got "2026-02-30"',
        ],
        id="no_such_day",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: all}\n"
            "    first_date: 2026-05-02\n"
            "    last_date: 2026-05-01\n"
        ),
        [
            'conf/growth.yaml:8: campaigns.news.last_date: before first_date; got "2026-05-01"; expected 2026-05-02 or later',
        ],
        id="last_before_first",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: all}\n"
            "    first_date: 1.5.2026\n"
        ),
        [
            'conf/growth.yaml:7: campaigns.news.first_date: malformed; got "1.5.2026"; expected a date like 2026-05-01 (first plan_date, YYYY-MM-DD)',
        ],
        id="date_form",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: push\n"
            "    category: info\n"
            "    audience: {kind: all}\n"
            "    tier: 2\n"
            "    half_life_hours: 6\n"
            "    exclusive_group: a\n"
            "    novelty: 0.5\n"
            "    opening_hours: {monday: {start: 09:00, end: 17:00}}\n"
        ),
        [
            "conf/growth.yaml:7: campaigns.news.tier: priority tiers are not built yet; got 2; expected 1",
            "conf/growth.yaml:8: campaigns.news.half_life_hours: decay of value with delay is not built yet; remove the key",
            "conf/growth.yaml:9: campaigns.news.exclusive_group: exclusive groups are not built yet; remove the key",
            "conf/growth.yaml:10: campaigns.news.novelty: novelty is not built yet; remove the key",
            "conf/growth.yaml:11: campaigns.news.opening_hours: opening hours are not built yet; remove the key",
        ],
        id="tier",
    ),
    pytest.param(
        "env/local.yaml",
        ("mlflow:\n  tracking_uri: https://${MLFLOW_HOST}\n"),
        [
            'conf/env/local.yaml:2: mlflow.tracking_uri: interpolation is not supported; got "https://${MLFLOW_HOST}"; write the value itself (secrets belong to the environment of the program that needs them)',
        ],
        id="interp",
    ),
    pytest.param(
        "env/local.yaml",
        ("mlflow:\n  tracking_uri: https://ann:hunter2@mlflow.internal\n"),
        [
            "conf/env/local.yaml:2: mlflow.tracking_uri: holds a password; take it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        ],
        id="secret",
    ),
    pytest.param(
        "env/local.yaml",
        ("spark:\n  conf:\n    spark.hadoop.fs.s3a.secret.key: abc\n"),
        [
            "conf/env/local.yaml:3: spark.conf.spark.hadoop.fs.s3a.secret.key: looks like a secret; take it out and let the cluster's own settings hold it",
        ],
        id="secret_key",
    ),
    pytest.param(
        "env/local.yaml",
        ("spark:\n  conf:\n    spark.executor.cores: 4\n"),
        [
            'conf/env/local.yaml:3: spark.conf.spark.executor.cores: not text; got 4; expected text (further Spark properties, passed on as they are); put it in quotes: "4"',
        ],
        id="conf_non_text",
    ),
    pytest.param(
        "env/local.yaml",
        ("spark:\n  conf:\n    spark.dynamicAllocation.enabled: true\n"),
        [
            'conf/env/local.yaml:3: spark.conf.spark.dynamicAllocation.enabled: not text; got true; expected text (further Spark properties, passed on as they are); put it in quotes: "true"',
        ],
        id="conf_bool",
    ),
    pytest.param(
        "env/local.yaml",
        "spark: {driver_memory: 3 GB}\n",
        [
            'conf/env/local.yaml:1: spark.driver_memory: malformed; got "3 GB"; expected a size like 3g or 512m (JVM heap of the driver)',
        ],
        id="memory",
    ),
    pytest.param(
        "env/local.yaml",
        ("sources:\n  app:\n    mapping: conf/sources/ap.yaml\n    input: raw\n"),
        [
            'conf/env/local.yaml:3: sources.app.mapping: no such file; got "conf/sources/ap.yaml"; expected a path from the working directory, like conf/sources/demo.yaml',
        ],
        id="source",
    ),
    pytest.param(
        "env/local.yaml",
        "caps: {}\n",
        [
            "conf/env/local.yaml:1: caps: not a section of env/local.yaml; move it to growth.yaml",
        ],
        id="owner_env",
    ),
    pytest.param(
        "env/local.yaml",
        "training: {days: 30}\n",
        [
            "conf/env/local.yaml:1: training: not a section of env/local.yaml; move it to defaults.yaml",
        ],
        id="owner_env_night",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "spark: {master: local}\n",
        [
            "conf/growth.yaml:4: spark: not a section of growth.yaml; move it to env/NAME.yaml",
        ],
        id="owner_growth",
    ),
    pytest.param(
        "growth.yaml",
        NEWS + "arms: {holdout_fraction: 0.1}\n",
        [
            "conf/growth.yaml:4: arms: not a section of growth.yaml; move it to defaults.yaml",
        ],
        id="owner_growth_night",
    ),
    pytest.param(
        "defaults.yaml",
        ("grid:\n  slot_minutes: 45\n"),
        [
            "conf/defaults.yaml:2: grid.slot_minutes: not one of the choices; got 45; expected one of 15, 30, 60, 120, 240 (minutes; length of a slot)",
        ],
        id="slot",
    ),
    pytest.param(
        "defaults.yaml",
        ("grid:\n  horizon_hours: 48\n"),
        [
            "conf/defaults.yaml:2: grid.horizon_hours: horizons other than a day are not built yet; got 48; expected 24",
        ],
        id="horizon",
    ),
    pytest.param(
        "defaults.yaml",
        "objective:\n  kind: incremental\n  goals:\n    order: {weight: 4.0}\n",
        [
            "conf/defaults.yaml:3: objective.goals: what sending adds to a goal is not learnt yet, so kind incremental counts none; remove the goals, or set objective.kind to open",
        ],
        id="incremental_goals",
    ),
    pytest.param(
        "defaults.yaml",
        "objective:\n  goals:\n    order: {kind: buy, window_hours: 200}\n    a/b: {weight: 1}\n    free: {weight: 0}\n",
        [
            'conf/defaults.yaml:3: objective.goals.order.kind: not one of the choices; got "buy"; expected one of goal, click, open (the interaction that counts)',
            "conf/defaults.yaml:3: objective.goals.order.weight: missing; expected a number above 0 (opens that one of them is worth)",
            "conf/defaults.yaml:3: objective.goals.order.window_hours: out of range; got 200; expected a number above 0, at most 168 (hours after a send)",
            'conf/defaults.yaml:4: objective.goals.a/b: not a valid key; got "a/b"; expected a name of letters, digits, _ . or -, at most 80 characters',
            "conf/defaults.yaml:5: objective.goals.free.weight: out of range; got 0; expected a number above 0 (opens that one of them is worth)",
        ],
        id="goals",
    ),
    pytest.param(
        "defaults.yaml",
        ("grid:\n  horizon_hours: 25\n  slot_minutes: 240\n"),
        [
            "conf/defaults.yaml:2: grid.horizon_hours: horizons other than a day are not built yet; got 25; expected 24",
            "conf/defaults.yaml:3: grid.slot_minutes: does not divide the horizon of 25 hours; got 240",
        ],
        id="horizon_not_divided",
    ),
    pytest.param(
        "defaults.yaml",
        ("arms:\n  holdout_fraction: 0.9\n  uniform_time_fraction: 0.2\n"),
        [
            "conf/defaults.yaml:1: arms: holdout_fraction + uniform_time_fraction must stay <= 0.95, or nobody is treated",
        ],
        id="arms",
    ),
    pytest.param(
        "defaults.yaml",
        ("gate:\n  max_calibration_ratio: 0.8\n"),
        [
            "conf/defaults.yaml:1: gate.min_calibration_ratio: above max_calibration_ratio; got 0.9; expected at most 0.8",
        ],
        id="gate",
    ),
    pytest.param(
        "defaults.yaml",
        ("opt_out:\n  fatigue_edges: [1.0, 0.5]\n"),
        [
            "conf/defaults.yaml:2: opt_out.fatigue_edges: not in rising order; got 1, 0.5",
        ],
        id="edges_order",
    ),
    pytest.param(
        "defaults.yaml",
        ("opt_out:\n  fatigue_edges: [0.5, one]\n"),
        [
            'conf/defaults.yaml:2: opt_out.fatigue_edges.1: not a number; got "one"; expected a number above 0 (points; edges of the fatigue bins)',
        ],
        id="edges_text",
    ),
    pytest.param(
        "defaults.yaml",
        ("zones:\n  plausible:\n    - Europe/Berlin\n    - Europe/Pariss\n"),
        [
            'conf/defaults.yaml:4: zones.plausible.1: unknown zone; got "Europe/Pariss"; expected an IANA name like Europe/Paris',
        ],
        id="zones_unknown",
    ),
    pytest.param(
        "defaults.yaml",
        ("zones: {plausible: Europe/Berlin}\n"),
        [
            'conf/defaults.yaml:1: zones.plausible: not a list; got "Europe/Berlin"; expected a list of text (IANA zones that a user of unknown zone may live in; empty: every zone of the other users)',
        ],
        id="zones_no_list",
    ),
    pytest.param(
        "defaults.yaml",
        ("opt_out:\n  fatigue_edges: 0.5\n"),
        [
            "conf/defaults.yaml:2: opt_out.fatigue_edges: not a list; got 0.5; expected a list of numbers above 0 (points; edges of the fatigue bins)",
        ],
        id="edges_no_list",
    ),
    pytest.param(
        "defaults.yaml",
        "arms: {salt: ''}\n",
        [
            'conf/defaults.yaml:1: arms.salt: empty; got ""; expected text (text; key of the hash that draws arms)',
        ],
        id="salt",
    ),
    pytest.param(
        "defaults.yaml",
        "grid:\n",
        [
            "conf/defaults.yaml:1: grid: empty; write its entries below it, or remove the key",
        ],
        id="empty_section",
    ),
    pytest.param(
        "defaults.yaml",
        "grid: 60\n",
        [
            "conf/defaults.yaml:1: grid: not a map; got 60; expected a map of slot_minutes, horizon_hours, lead_minutes",
        ],
        id="number_for_section",
    ),
    pytest.param(
        "growth.yaml",
        (
            "channels: {push: {}}\n"
            "campaigns:\n"
            "  news:\n"
            "    channel: sms\n"
            "    category: info\n"
            "    audience: {kind: alll}\n"
            "caps:\n"
            "  a: {scope: 'campaign:news', max: x, window_minutes: 10}\n"
            "  b: {scope: 'campaign:nws', max: 1, window_minutes: 10}\n"
        ),
        [
            "conf/growth.yaml:4: campaigns.news.channel: unknown channel sms; expected one of the channels: push",
            'conf/growth.yaml:6: campaigns.news.audience: unknown kind; got "alll"; expected kind: active | all | ingested | share',
            'conf/growth.yaml:8: caps.a.max: not a whole number; got "x"; expected a whole number, at least 0 (sends)',
            "conf/growth.yaml:8: caps.a.window_minutes: shorter than a slot; got 10; expected at least 60 minutes",
            "conf/growth.yaml:9: caps.b.scope: unknown campaign nws, did you mean news?",
            "conf/growth.yaml:9: caps.b.window_minutes: shorter than a slot; got 10; expected at least 60 minutes",
        ],
        id="many",
    ),
]


@pytest.mark.parametrize(("file", "text", "expected"), BAD)
def test_a_bad_file_gives_its_exact_message(
    write_conf: Callable[..., Path], file: str, text: str, expected: list[str]
) -> None:
    conf = write_conf({"growth.yaml": NEWS, "env/local.yaml": "", file: text})
    with pytest.raises(ConfigError) as caught:
        load(conf)
    assert list(caught.value.problems) == expected
    assert caught.value.exit_code == 2


def test_there_are_enough_bad_files_and_each_is_told_apart() -> None:
    assert len(BAD) >= 24
    assert len({(case.values[0], case.values[1]) for case in BAD}) == len(BAD)
