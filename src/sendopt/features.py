"""The meaning of every feature (model ¶16). Tests compute each feature from these definitions and compare.

Every fact has a time t. Features as of plan_date D see t < as_of(D) only, `in w days` means
as_of(D) - w days <= t < as_of(D), and never more than `history_days`. Successes are dated by the moment the send's
label is final, so that a rate is unbiased: sends whose window is still open are in neither count.

    send          a row of `sends` that was sent and available; other rows are no exposures and are not counted
    mature_at     sent_at + label.window_hours, the time of a send's (mature, success) counts
    success, suspected   as `domain.success` defines them for label.kind and the kinds that imply it. A suspected send
                  counts as a send, but in no mature, success, rate or days_since_open: what the person did is not
                  known. The same holds for a send whose outcome in the log cannot be read (`outcome_known` is false)
    open          the first interaction by a person, of these kinds, that belongs to the send, in the window or later
    local hour, weekend   of a send in its own zone, of a session in its user's zone; unknown zone: in no hour feature
    k             prior_sends           shrink(s, m, prior) = (s + k prior) / (m + k)

    user_features        (plan_date, user_id)
    tenure_days          as_of - created_at in days; NULL where created later
    days_since_send/_open/_session   as_of - the last one in history_days, in days; NULL where there is none
    sends_w, sessions_w  by their own time, in w days; mature_w, successes_w by mature_at
    rate_w               shrink(successes_w, mature_w, global)
    fatigue_points       sum over sends of points(channel) * 2^(-(as_of - sent_at) / half_life), no limit of history;
                         where no fatigue is configured each send has 1 point and the half-life is 72 h (¶9d)

    group_features       (plan_date, kind, name), over history_days
    group_rate           all: global = (successes + 1) / (mature + 2), so it is never 0 nor 1;
                         channel, category, campaign: shrink(.., .., global); a name without a row has the rate global

    slot_features        (plan_date, local_hour, weekend), all users, over history_days
    hour_sends           sends by sent_at; hour_mature, hour_successes by mature_at
    hour_rate            shrink(hour_successes, hour_mature, global)

    user_features too, by place local_hour + 24 * weekend (0 to 47), over history_days
    user_hour_rate       shrink(user_hour_successes, user_hour_mature, min(1, rate_90d * hour_rate / global))
    user_daypart_rate    the same over the hours h-1, h, h+1 (circular), weekdays and weekends pooled
    user_hour_activity   (sessions near h + c p) / (sessions + c), p = (everyone's near h + 1) / (everyone's + 24);
                         `near` counts a session of the hour 3/9, of the next or last hour 2/9, two hours off 1/9, and
                         c is prior_sessions: a share of the day, seen through a window of five hours
    user_weekpart_activity   the same among weekday sessions only or weekend sessions only
"""

from __future__ import annotations

from dataclasses import dataclass

from sendopt.config.schema import FeatureSettings, Grid, Label
from sendopt.domain.limits import Fatigue
from sendopt.domain.success import SuccessRule, rule_of
from sendopt.domain.tables import SLOT_FEATURES, USER_FEATURES, USER_SLOT_FEATURES

WINDOWS = (7, 30, 90)  # days of sends, mature, successes, rate
SESSION_WINDOWS = (7, 30)
DEFAULT_HALF_LIFE_HOURS = 72.0
DAY_MICROSECONDS = 86_400_000_000
CELLS = tuple((hour, weekend) for weekend in (False, True) for hour in range(24))  # by place
FEATURE_COLUMNS = (
    *(c.name for c in (*USER_FEATURES, *USER_SLOT_FEATURES, *SLOT_FEATURES)),
    "category_rate",
    "channel_rate",
)
TRAINING_KEYS = (
    *("send_key", "user_id", "sent_at_utc", "plan_date", "local_hour", "weekend", "weekday"),
    *("channel", "category", "campaign_id", "pscore", "label", "suspected"),
)
SCORING_KEYS = ("user_id", "plan_date", "slot", "local_hour", "weekend", "weekday", "channel", "category")


@dataclass(frozen=True)
class Rules:
    """The settings that features depend on; names give the units."""

    lead_minutes: int
    success: SuccessRule
    prior_sends: float
    prior_sessions: float
    history_days: int
    half_life_hours: float
    points: dict[str, float] | None  # by channel; None: each send has 1 point

    def points_of(self, channel: str) -> float:
        """Return the fatigue points of a send on this channel."""
        return 1.0 if self.points is None else self.points.get(channel, 0.0)


def rules_of(grid: Grid, label: Label, features: FeatureSettings, fatigue: Fatigue | None) -> Rules:
    """Return the rules of these settings. Without a fatigue budget a send has 1 point, halved every 72 h."""
    return Rules(
        lead_minutes=grid.lead_minutes,
        success=success_rule(label, label.kind, label.window_hours),
        prior_sends=features.prior_sends,
        prior_sessions=features.prior_sessions,
        history_days=features.history_days,
        half_life_hours=fatigue.half_life_hours if fatigue else DEFAULT_HALF_LIFE_HOURS,
        points=dict(fatigue.points_per_send) if fatigue else None,
    )


def success_rule(label: Label, kind: str, window_hours: float) -> SuccessRule:
    """Return the rule for successes of this kind under these settings."""
    return rule_of(kind, window_hours, label.implies, label.clock_tolerance_seconds, label.machine_open_seconds)
