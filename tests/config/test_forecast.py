"""What `sendopt check` says about a legal configuration, each line solvable by eye."""

import pytest

from sendopt.config.forecast import forecast, warnings
from sendopt.config.schema import Settings

BASE = {
    "channels": {"push": {}, "sms": {"cost_per_send": 0.01}},
    "campaigns": {
        "news": {"channel": "push", "category": "info", "audience": {"kind": "all"}, "messages_per_user": 2},
        "sale": {
            "channel": "sms",
            "category": "deals",
            "audience": {"kind": "share", "fraction": 0.25},
            "max_sends": 90,
        },
    },
    "capacity": {"push": 10, "sms": 5},
}


def _settings(**sections: object) -> Settings:
    return Settings.model_validate({**BASE, **sections})


def _with_news(**changes: object) -> Settings:
    news = {**BASE["campaigns"]["news"], **changes}
    return _settings(campaigns={**BASE["campaigns"], "news": news})


def test_forecast_of_a_small_config() -> None:
    settings = _settings(
        quiet_hours={"everyone": {"start": "22:00", "end": "08:00"}},
        caps={
            "daily": {"max": 2, "window_minutes": 1440},
            "weekly": {"max": 7, "window_minutes": 10080, "scope": "channel:push"},
            "deals": {"max": 1, "calendar": "week", "scope": "category:deals"},
        },
        min_gap_minutes=240,
        fatigue={"half_life_hours": 24, "max_points": 2.0, "points_per_send": {"push": 1.0, "sms": 3.0}},
        opt_outs={"max_expected": 3},
        cost={"max_total": 1.5},
    )
    assert forecast(settings) == [
        "On offer: up to 2.25 messages a user and night, from 2 campaigns in 2 categories "
        "(before consent, channels and quiet hours).",
        "Nobody is sent to between 22:00 and 08:00 local time: 14 hours a day remain.",
        "The gap of 240 minutes leaves a user at most 4 messages a day.",
        "Cap daily: a user gets at most 2 messages in any 24 hours.",
        "Cap weekly: a user gets at most 7 messages of channel push in any 168 hours, 1 a day on average.",
        "Cap deals: a user gets at most 1 message of category deals in a local calendar week.",
        # one point a day, halving every day: 1 + 1/2 + 1/4 + … = 2
        "Fatigue: push alone can go on for ever at 1.00 sends a day to a user.",
        "Fatigue: one sms send costs more points than a user may have, so sms is never sent.",
        "Channel push: room for 240 sends a night in 24 slots; campaigns: 0 with a maximum (0 in all), 1 without.",
        "Channel sms: room for 120 sends a night in 24 slots; campaigns: 1 with a maximum (90 in all), 0 without.",
        "A plan may be expected to lose 3 users to opt-outs at most.",
        "A plan may cost 1.50: 150 sms.",
        "Arms: 2.0% of users get nothing (holdout), 5.0% get their messages at random times (uniform_time), "
        "93.0% are planned (treatment).",
    ]


def test_a_sound_config_has_no_warnings() -> None:
    assert warnings(_settings()) == []


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            _with_news(min_sends=9, max_sends=4),
            "campaigns.news.min_sends: 9 is more than max_sends 4; the night will end with exit 4",
        ),
        (
            _with_news(shortfall_price=1.0),
            "campaigns.news.shortfall_price: without effect, because min_sends is 0",
        ),
        (
            _with_news(audience={"kind": "share", "fraction": 0}),
            "campaigns.news.audience: a share of 0 reaches nobody",
        ),
        (_with_news(max_sends=0), "campaigns.news.max_sends: 0 stops the campaign"),
        (
            _settings(capacity={"sms": 5}),
            "campaigns.news.channel: push has no capacity set, so its volume in a slot is without limit",
        ),
        (
            _settings(capacity={"push": 0, "sms": 5}),
            "campaigns.news.channel: push has room for 0 sends a night, the campaign wants at least 1",
        ),
        (
            _settings(quiet_hours={"everyone": {"start": "12:30", "end": "12:00"}}),
            "campaigns.news.window: every slot in it lies in quiet hours, so nothing is sent",
        ),
        (_settings(channels={**BASE["channels"], "fax": {}}), "channels.fax: no campaign uses it"),
        (
            _settings(capacity={"push": {3: 5}, "sms": 5}),
            "capacity.push: slots that are not in the map are without limit",
        ),
        (
            _settings(channels={"push": {}, "sms": {}}, cost={"max_total": 1}),
            "cost.max_total: without effect, because no channel has a cost_per_send",
        ),
        (_settings(caps={"a": {"max": 0, "calendar": "day"}}), "caps.a.max: 0 stops every message of scope all"),
        (
            _settings(min_gap_minutes=30),
            "min_gap_minutes: 30 is shorter than a slot of 60 minutes, so it only forbids two messages in one slot",
        ),
        (
            _settings(fatigue={"max_points": 1.0, "points_per_send": {"sms": 1.5}}),
            "fatigue.points_per_send.sms: 1.5 is more than max_points, so nothing is sent there",
        ),
        (
            _settings(arms={"holdout_fraction": 0.0}),
            "arms.holdout_fraction: 0, so the effect of sending at all cannot be measured",
        ),
        (
            _settings(arms={"uniform_time_fraction": 0.0}),
            "arms.uniform_time_fraction: 0, so the effect of timing cannot be measured",
        ),
        (Settings(), "campaigns: none is configured, so nothing is sent"),
    ],
)
def test_what_is_legal_and_suspicious_is_mentioned(settings: Settings, expected: str) -> None:
    assert expected in warnings(settings)


def test_goals_are_said_in_opens_and_one_that_is_the_label_is_warned_of() -> None:
    goals = {"order": {"weight": 4.0}, "visit": {"kind": "click", "window_hours": 24, "weight": 0.5}}
    settings = _settings(objective={"goals": goals})
    assert (
        "Goals: beside its chance of success a send is worth 4 for each order (goal within 72 hours), 0.50 for each "
        "visit (click within 24 hours), in opens." in forecast(settings)
    )
    assert not [w for w in warnings(settings) if "goals" in w]
    assert not [line for line in forecast(_settings()) if line.startswith("Goals")]
    again = _settings(objective={"goals": {"seen": {"kind": "open", "window_hours": 24, "weight": 1}}})
    assert [w for w in warnings(again) if "goals" in w] == [
        "objective.goals.seen: counts what the label counts already, so it only makes opt-outs cheaper"
    ]
