"""Features computed directly from the definitions in `sendopt.features`. Spark's features must agree with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd

from sendopt.domain import slots
from sendopt.domain.success import SuccessRule, judge
from sendopt.domain.tables import TABLES
from sendopt.features import (
    CELLS,
    DAY_MICROSECONDS,
    FEATURE_COLUMNS,
    SESSION_WINDOWS,
    TRAINING_KEYS,
    WINDOWS,
    Rules,
)


class Reference:
    """Features of one log, each a filter over the whole log; slow, and easy to compare with the definitions.

    `sends`, `interactions`, `sessions`, `users` hold the contracts' columns, with times as naive UTC datetime64.
    """

    def __init__(
        self, sends: pd.DataFrame, interactions: pd.DataFrame, sessions: pd.DataFrame, users: pd.DataFrame, rules: Rules
    ) -> None:
        self.rules = rules
        self.users = users
        self.sends = _exposures(sends, interactions, rules)
        zones = dict(zip(users.user_id, users.timezone, strict=True))
        self.sessions = _localised(
            pd.DataFrame({"user_id": sessions.user_id, "at": _microseconds(sessions.at_utc)}),
            (zones.get(user) for user in sessions.user_id),
        )

    def tables(self, plan_date: date) -> dict[str, pd.DataFrame]:
        """Return the tables of features as of `plan_date`, for the users created before as_of."""
        as_of = slots.as_of(plan_date, self.rules.lead_minutes)
        known = self.users[_microseconds(self.users.created_at) < self._as_of(plan_date)]
        stamp: dict[str, object] = {"plan_date": plan_date}
        population = {cell: self.slot(plan_date, *cell) for cell in CELLS}
        users = []
        for user, zone in zip(known.user_id, known.timezone, strict=True):
            of_user = self.user(plan_date, user)
            cells = [self.user_slot(plan_date, user, *cell, of_user, common) for cell, common in population.items()]
            by_place = {name: [cell[name] for cell in cells] for name in cells[0]}
            users.append(
                {**stamp, "as_of": as_of.replace(tzinfo=None), "user_id": user, "timezone": zone, **of_user, **by_place}
            )
        rows: dict[str, list[dict[str, object]]] = {
            "user_features": users,
            "slot_features": [{**stamp, "local_hour": h, "weekend": w, **r} for (h, w), r in population.items()],
            "group_features": [{**stamp, **row} for row in self.groups(plan_date)],
        }
        return {name: pd.DataFrame(records, columns=list(TABLES[name].names)) for name, records in rows.items()}

    def training_rows(self, plan_date: date, days: int) -> pd.DataFrame:
        """Return one row a mature send of the `days` plan dates before `plan_date`, with the features of its night."""
        rows: list[dict[Hashable, object]] = []
        for send in self.sends.to_dict("records"):
            night = datetime.fromtimestamp(send["at"] // 1_000_000, UTC).date()
            young = send["mature_at"] >= self._as_of(plan_date)
            if (
                young
                or not send["outcome_known"]
                or not plan_date - timedelta(days=days) <= night < plan_date
                or send["local_hour"] < 0
            ):
                continue
            user, cell = send["user_id"], (send["local_hour"], send["weekend"])
            of_user = self.user(night, user)
            common = self.slot(night, *cell)
            of_user_slot = self.user_slot(night, user, *cell, of_user, common)
            rates = {(g["kind"], g["name"]): g["group_rate"] for g in self.groups(night)}
            rest = {
                "plan_date": night,
                "category_rate": rates.get(("category", send["category"]), self.global_rate(night)),
                "channel_rate": rates.get(("channel", send["channel"]), self.global_rate(night)),
            }
            rows.append(dict(send, **of_user, **of_user_slot, **common, **rest))
        return pd.DataFrame(rows, columns=[*TRAINING_KEYS, *FEATURE_COLUMNS])

    def user(self, plan_date: date, user: str) -> dict[str, float | int | None]:
        """Return the features of a user as of a plan date, without keys."""
        as_of = self._as_of(plan_date)
        sends = self.sends[self.sends.user_id == user]
        sessions = self.sessions[self.sessions.user_id == user]
        created = _microseconds(self.users[self.users.user_id == user].created_at)
        features: dict[str, float | int | None] = {
            "tenure_days": self._days(as_of, created[created <= as_of]),
            "days_since_send": self._days(as_of, sends["at"][self._within(plan_date, sends["at"])]),
            "days_since_open": self._days(as_of, sends.open_at[self._within(plan_date, sends.open_at)]),
            "days_since_session": self._days(as_of, sessions["at"][self._within(plan_date, sessions["at"])]),
        }
        for w in WINDOWS:
            mature = sends[self._within(plan_date, sends.counted_at, w)]
            features[f"sends_{w}d"] = int(self._within(plan_date, sends["at"], w).sum())
            features[f"mature_{w}d"] = len(mature)
            features[f"successes_{w}d"] = int(mature.label.sum())
            features[f"rate_{w}d"] = self._shrink(mature, self.global_rate(plan_date))
        for w in SESSION_WINDOWS:
            features[f"sessions_{w}d"] = int(self._within(plan_date, sessions["at"], w).sum())
        past = sends[sends["at"] < as_of]
        half_lives = (as_of - past["at"].to_numpy()) / (self.rules.half_life_hours * 3_600_000_000)
        points = np.array([self.rules.points_of(c) for c in past.channel])
        features["fatigue_points"] = float((points * 2.0**-half_lives).sum())
        return features

    def user_slot(
        self,
        plan_date: date,
        user: str,
        hour: int,
        weekend: bool,
        of_user: dict[str, float | int | None],
        common: dict[str, float | int],
    ) -> dict[str, float | int]:
        """Return the features of a user at a local hour, given the features of the user and those of the hour."""
        everyone = self._mature(plan_date)
        sends = everyone[everyone.user_id == user]
        near = [(hour - 1) % 24, hour, (hour + 1) % 24]
        base = self.global_rate(plan_date)
        lean = float(of_user["rate_90d"] or 0.0) / base
        daypart_rate = self._shrink(everyone[everyone.local_hour.isin(near)], base)
        cell = sends[(sends.local_hour == hour) & (sends.weekend == weekend)]
        sessions = self.sessions[self._within(plan_date, self.sessions["at"]) & (self.sessions.local_hour >= 0)]
        part = sessions[sessions.weekend == weekend]
        return {
            "user_hour_mature": len(cell),
            "user_hour_successes": int(cell.label.sum()),
            "user_hour_rate": self._shrink(cell, min(1.0, lean * common["hour_rate"])),
            "user_daypart_rate": self._shrink(sends[sends.local_hour.isin(near)], min(1.0, lean * daypart_rate)),
            "user_hour_activity": self._share(sessions, user, hour),
            "user_weekpart_activity": self._share(part, user, hour),
        }

    def slot(self, plan_date: date, hour: int, weekend: bool) -> dict[str, float | int]:
        """Return the features of a local hour over all users."""
        sends = self.sends[self._within(plan_date, self.sends["at"])]
        mature = self._mature(plan_date)
        cell = mature[(mature.local_hour == hour) & (mature.weekend == weekend)]
        return {
            "hour_sends": int(((sends.local_hour == hour) & (sends.weekend == weekend)).sum()),
            "hour_mature": len(cell),
            "hour_successes": int(cell.label.sum()),
            "hour_rate": self._shrink(cell, self.global_rate(plan_date)),
        }

    def groups(self, plan_date: date) -> list[dict[str, object]]:
        """Return the rows of group_features: `all`, and each channel, category and campaign that has mature sends."""
        mature = self._mature(plan_date)
        base = self.global_rate(plan_date)
        parts = [("all", "all", mature)]
        for kind, column in (("channel", "channel"), ("category", "category"), ("campaign", "campaign_id")):
            parts += [(kind, str(name), rows) for name, rows in mature.groupby(column)]
        return [
            {
                "kind": kind,
                "name": name,
                "group_mature": len(rows),
                "group_successes": int(rows.label.sum()),
                "group_rate": base if kind == "all" else self._shrink(rows, base),
            }
            for kind, name, rows in parts
        ]

    def global_rate(self, plan_date: date) -> float:
        """Return the rate over all mature sends, with one success in two sends added."""
        mature = self._mature(plan_date)
        return float((mature.label.sum() + 1) / (len(mature) + 2))

    def _mature(self, plan_date: date) -> pd.DataFrame:
        return self.sends[self._within(plan_date, self.sends.counted_at)]

    def _shrink(self, sends: pd.DataFrame, prior: float) -> float:
        k = self.rules.prior_sends
        return float((sends.label.sum() + k * prior) / (len(sends) + k))

    def _share(self, sessions: pd.DataFrame, user: str, hour: int) -> float:
        def near(rows: pd.DataFrame) -> float:
            apart = np.minimum((rows.local_hour - hour) % 24, (hour - rows.local_hour) % 24)
            return sum(int((apart == away).sum()) * (3 - away) for away in range(3)) / 9

        common = (near(sessions) + 1) / (len(sessions) + 24)
        of_user = sessions[sessions.user_id == user]
        c = self.rules.prior_sessions
        return float((near(of_user) + c * common) / (len(of_user) + c))

    def _within(self, plan_date: date, times: pd.Series[int], days: int | None = None) -> pd.Series[bool]:
        as_of = self._as_of(plan_date)
        first = as_of - min(days or self.rules.history_days, self.rules.history_days) * DAY_MICROSECONDS
        return (times >= first) & (times < as_of)

    def _as_of(self, plan_date: date) -> int:
        return round(slots.as_of(plan_date, self.rules.lead_minutes).timestamp()) * 1_000_000

    @staticmethod
    def _days(as_of: int, times: pd.Series[int]) -> float | None:
        return (as_of - int(times.max())) / DAY_MICROSECONDS if len(times) else None


def _exposures(sends: pd.DataFrame, interactions: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    rows = sends[sends.sent.astype(bool) & sends.available.astype(bool)].reset_index(drop=True)
    rows["at"] = _microseconds(rows.sent_at_utc)
    rows["mature_at"] = rows["at"] + rules.success.window
    reactions = pd.DataFrame(
        {
            "send_key": interactions.send_key,
            "kind": interactions.kind,
            "at": _microseconds(interactions.at_utc),
            "machine": _flags(interactions, "machine", False),
        }
    )
    judged = judge(rows[["send_key", "user_id", "at"]], reactions, rules.success)
    rows["label"] = judged.success.astype("int64")
    rows["suspected"] = judged.suspected
    unknown = ~_flags(rows, "outcome_known", True)
    rows["outcome_known"] = ~unknown
    rows["suspected"] = rows.suspected | unknown
    rows["counted_at"] = rows.mature_at.where(~rows.suspected, -1)  # -1: before every window
    opened = judge_opens(rows, reactions, rules.success)
    rows["open_at"] = pd.Series([opened.get(key, -1) for key in rows.send_key], dtype="int64")
    rows.loc[rows.suspected, "open_at"] = -1
    return _localised(rows, rows.timezone)


def judge_opens(rows: pd.DataFrame, interactions: pd.DataFrame, rule: SuccessRule) -> dict[str, int]:
    """Return the time of each send's first reaction by a person, in microseconds."""
    sent = dict(zip(rows.send_key, rows["at"], strict=True))
    user = dict(zip(rows.send_key, rows.user_id, strict=True))
    first: dict[tuple[str, str], tuple[int, bool]] = {}
    for key, kind, at, flagged in interactions[["send_key", "kind", "at", "machine"]].itertuples(index=False):
        if kind in rule.kinds and key in sent and rule.belongs(sent[key], at):
            first[key, kind] = min(first.get((key, kind), (at, flagged)), (at, flagged))
    seconds = Counter((user[key], kind, at // 1_000_000) for (key, kind), (at, _) in first.items())
    opened: dict[str, int] = {}
    for (key, kind), (at, flagged) in first.items():
        if not rule.machine(sent[key], at, seconds[user[key], kind, at // 1_000_000], bool(flagged)):
            opened[key] = min(opened.get(key, at), at)
    return opened


def _flags(rows: pd.DataFrame, name: str, default: bool) -> pd.Series[bool]:
    """Return a nullable flag with the default where it is missing."""
    if name not in rows:
        return pd.Series(default, index=rows.index)
    return rows[name].map(lambda v: default if v is None or v != v else bool(v)).astype(bool)


def _localised(rows: pd.DataFrame, zones: Iterable[str | None]) -> pd.DataFrame:
    """Return the rows with local_hour (-1 where the zone is unknown), weekend and weekday at `at`."""
    hours, weekdays = [], []
    for at, zone in zip(rows["at"], zones, strict=True):
        info = slots.zone_or_none(zone) if isinstance(zone, str) else None
        local = datetime.fromtimestamp(at // 1_000_000, UTC).astimezone(info) if info else None
        hours.append(local.hour if local else -1)
        weekdays.append(local.weekday() if local else -1)
    weekday = pd.Series(weekdays, dtype="int64", index=rows.index)
    hour = pd.Series(hours, dtype="int64", index=rows.index)
    return rows.assign(local_hour=hour, weekday=weekday, weekend=weekday >= 5)


def _microseconds(times: pd.Series[pd.Timestamp]) -> pd.Series[int]:
    return times.astype("datetime64[us]").astype("int64")
