"""The contract of every table: columns, types, key and partition. It imports no engine.

Names and grains are stable: columns may be added, never renamed. Times are UTC. A `timestamp` is a point in time, a
`date` is a plan_date. Keys are unique. Where `partition_by` is set, a stage replaces its partition atomically; else
rows are merged on the key.
"""

from __future__ import annotations

from sendopt.domain.contract import Column, Table

__all__ = ["TABLES", "Column", "Table"]


def _columns(text: str) -> tuple[Column, ...]:
    """Return the columns of a text: `name type[?] [check…]`, one per line or separated by `;`; `?` means nullable."""
    columns = []
    for line in text.strip().replace(";", "\n").splitlines():
        name, kind, *check = line.split(None, 2)
        columns.append(Column(name, kind.rstrip("?"), kind.endswith("?"), check[0] if check else None))
    return tuple(columns)


def _table(name: str, key: str, text: str, partition_by: str = "") -> Table:
    return Table(name, tuple(key.split()), _columns(text), tuple(partition_by.split()))


_VERSIONS = """
plan_version string
config_hash string
model_version string
"""

SILVER = (
    _table(
        "sends",
        "send_key",
        """
        send_key string
        source string
        user_id string
        notification_id string
        campaign_id string
        channel string
        category string
        sent_at_utc timestamp
        timezone string?
        arm string?
        pscore double? pscore > 0 AND pscore <= 1
        decision_kind string? decision_kind IN ('send', 'slot')
        plan_version string?
        available boolean
        sent boolean
        outcome_known boolean?""",
    ),
    _table(
        "interactions",
        "send_key kind",
        """
        send_key string
        kind string kind IN ('open', 'click', 'goal', 'dismiss', 'opt_out')
        at_utc timestamp
        at_imputed boolean
        machine boolean?""",
    ),
    _table(
        "sessions",
        "user_id at_utc",
        """
        user_id string
        at_utc timestamp""",
    ),
    _table(
        "users",
        "user_id",
        """
        user_id string
        timezone string?
        channels array<string>
        opted_out_categories array<string>
        quiet_start string?
        quiet_end string?
        created_at timestamp
        updated_at timestamp?
        stated_at timestamp?
        source string?
        left boolean?""",
    ),
    _table(
        "consents",
        "user_id scope name statement",
        """
        user_id string
        scope string scope IN ('all', 'channel', 'category')
        name string
        statement string
        allowed boolean
        at_utc timestamp
        at_imputed boolean
        source string""",
    ),
    _table(
        "messages",
        "plan_date user_id notification_id",
        """
        plan_date date
        user_id string
        notification_id string
        campaign_id string
        earliest_utc timestamp?
        expiry_utc timestamp?
        origin string? origin = 'audience'""",
        "plan_date origin",
    ),
    _table(
        "quarantine",
        "source table_name row_hash reason",
        """
        source string
        table_name string
        reason string
        row_hash string
        raw string
        occurrences bigint occurrences > 0""",
    ),
)

# Features of a user at each local hour. A row of user_features holds 48 values of each, by place local_hour + 24 *
# weekend, so that scoring reads one row per user. A training row holds the value at the hour of its send.
USER_SLOT_FEATURES = _columns("""
user_hour_mature bigint
user_hour_successes bigint
user_hour_rate double user_hour_rate >= 0 AND user_hour_rate <= 1
user_daypart_rate double user_daypart_rate >= 0 AND user_daypart_rate <= 1
user_hour_activity double user_hour_activity >= 0 AND user_hour_activity <= 1
user_weekpart_activity double user_weekpart_activity >= 0 AND user_weekpart_activity <= 1
""")


def _by_place(column: Column) -> str:
    inside = f" AND array_min({column.name}) >= 0 AND array_max({column.name}) <= 1" if column.check else ""
    return f"{column.name} array<{column.type}> size({column.name}) = 48{inside}"


FEATURES = (
    _table(
        "user_features",
        "plan_date user_id",
        """
        plan_date date
        as_of timestamp
        user_id string
        timezone string?
        tenure_days double? tenure_days >= 0
        days_since_send double? days_since_send >= 0
        days_since_open double? days_since_open >= 0
        days_since_session double? days_since_session >= 0
        sends_7d bigint; sends_30d bigint; sends_90d bigint
        mature_7d bigint; mature_30d bigint; mature_90d bigint
        successes_7d bigint; successes_30d bigint; successes_90d bigint
        sessions_7d bigint
        sessions_30d bigint
        rate_7d double rate_7d >= 0 AND rate_7d <= 1
        rate_30d double rate_30d >= 0 AND rate_30d <= 1
        rate_90d double rate_90d >= 0 AND rate_90d <= 1
        fatigue_points double fatigue_points >= 0
        """
        + "\n".join(map(_by_place, USER_SLOT_FEATURES)),
        "plan_date",
    ),
    _table(
        "slot_features",
        "plan_date local_hour weekend",
        """
        plan_date date
        local_hour int local_hour BETWEEN 0 AND 23
        weekend boolean
        hour_sends bigint
        hour_mature bigint
        hour_successes bigint
        hour_rate double hour_rate >= 0 AND hour_rate <= 1""",
        "plan_date",
    ),
    _table(
        "group_features",
        "plan_date kind name",
        """
        plan_date date
        kind string kind IN ('all', 'channel', 'category', 'campaign')
        name string
        group_mature bigint
        group_successes bigint
        group_rate double group_rate >= 0 AND group_rate <= 1""",
        "plan_date",
    ),
)

_PER_ROW = ("plan_date", "as_of", "user_id", "timezone", "local_hour", "weekend")
_USER, _SLOT, _ = FEATURES
USER_FEATURES = tuple(c for c in _USER.columns if c.name not in _PER_ROW and not c.type.startswith("array"))
SLOT_FEATURES = tuple(c for c in _SLOT.columns if c.name not in _PER_ROW)
_SEND = """send_key string\nuser_id string\nsent_at_utc timestamp\nplan_date date\nlocal_hour int\nweekend boolean
weekday int\nchannel string\ncategory string\ncampaign_id string\npscore double?\nlabel int label IN (0, 1)
suspected boolean
category_rate double\nchannel_rate double"""
# The rows of the last training, and of the goal that was trained last. MLflow names the Delta versions of each run.
TRAINING = tuple(
    Table(name, ("send_key",), (*_columns(_SEND), *USER_FEATURES, *USER_SLOT_FEATURES, *SLOT_FEATURES))
    for name in ("training_rows", "goal_training_rows")
)

PLAN = (
    _table(
        "slot_scores",
        "plan_date user_id slot category channel",
        """
        plan_date date
        user_id string
        slot int slot >= 0
        category string
        channel string
        local_hour int?
        p_open double p_open >= 0 AND p_open <= 1
        p_opt_out double p_opt_out >= 0 AND p_opt_out <= 1
        incremental double? incremental >= -1 AND incremental <= 1
        p_goals map<string,double>? forall(map_values(p_goals), p -> p >= 0 AND p <= 1)"""
        + _VERSIONS,
        "plan_date",
    ),
    _table(
        "candidates",
        "plan_date user_id notification_id slot",
        """
        plan_date date
        user_id string
        notification_id string
        slot int slot >= 0
        campaign_id string
        channel string
        category string
        arm string arm IN ('holdout', 'uniform_time', 'treatment', 'fallback')
        eligible boolean
        reason string?
        p_open double?
        p_opt_out double?
        incremental double?
        p_goals map<string,double>?
        value double?"""
        + _VERSIONS,
        "plan_date",
    ),
    _table(
        "allocation",
        "plan_date user_id notification_id",
        """
        plan_date date
        user_id string
        notification_id string
        slot int slot >= 0
        arm string
        pscore double pscore > 0 AND pscore <= 1
        planned boolean
        reason string?
        detail string?"""
        + _VERSIONS,
        "plan_date",
    ),
    _table(
        "shadow_prices",
        "plan_date row",
        """
        plan_date date
        row string
        kind string kind IN ('capacity', 'campaign_max', 'campaign_min', 'opt_outs', 'cost')
        limit double; used double
        kept_free double kept_free >= 0
        price double price >= 0"""
        + _VERSIONS,
        "plan_date",
    ),
    _table(
        "certificate",
        "plan_date",
        """
        plan_date date
        value double; penalty double; objective double; bound double; gap double
        method string; termination string
        users bigint; messages bigint; cells bigint
        sends bigint"""
        + _VERSIONS,
        "plan_date",
    ),
    _table(
        "send_plan",
        "send_key",
        """
        plan_date date
        send_key string
        user_id string
        notification_id string
        campaign_id string
        channel string
        category string
        send_at_utc timestamp; slot_end_utc timestamp
        timezone string?; send_at_local string?
        arm string
        pscore double pscore > 0 AND pscore <= 1
        p_open double
        p_opt_out double
        value double"""
        + _VERSIONS,
        "plan_date",
    ),
    _table(
        "suppressed",
        "plan_date user_id notification_id",
        """
        plan_date date
        user_id string
        notification_id string
        campaign_id string
        arm string
        reason string
        detail string?"""
        + _VERSIONS,
        "plan_date",
    ),
)

MEASUREMENT = (
    _table(
        "outcomes",
        "plan_date arm channel",
        """
        plan_date date
        arm string
        channel string
        planned bigint; sent bigint; suspected bigint?; successes bigint; opt_outs bigint
        expected_successes double; expected_opt_outs double""",
        "plan_date",
    ),
    _table(
        "goal_outcomes",
        "plan_date goal",
        """
        plan_date date
        goal string
        sent bigint; successes bigint
        expected_successes double""",
        "plan_date goal",
    ),
    _table(
        "lift",
        "plan_date metric",
        """
        plan_date date
        metric string
        estimate double?; low double?; high double?
        users bigint; sends bigint
        note string?""",
        "plan_date",
    ),
    _table(
        "alerts",
        "plan_date kind name",
        """
        plan_date date
        kind string kind IN ('inputs', 'labels', 'prices', 'gate')
        name string
        value double?; bound double?
        sentence string""",
        "plan_date",
    ),
    _table(
        "runs",
        "plan_date stage",
        """
        plan_date date
        stage string
        plan_version string
        delta_versions string
        mlflow_run_id string?
        started_utc timestamp; seconds double
        rows_in bigint; rows_out bigint
        dropped_by_reason string
        facts string""",
        "plan_date stage",
    ),
)

TABLES: dict[str, Table] = {t.name: t for t in (*SILVER, *FEATURES, *TRAINING, *PLAN, *MEASUREMENT)}
