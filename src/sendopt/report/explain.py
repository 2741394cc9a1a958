"""Why a person gets what, when: chosen slot, the slot that looked better and lost, the rule that decided, its price."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, cast

import pandas as pd

from sendopt.domain import reasons
from sendopt.domain.slots import local_text
from sendopt.errors import ConfigError, InputNotReady
from sendopt.experiment.arms import HOLDOUT, UNIFORM_TIME
from sendopt.lake.tables import read_table
from sendopt.report.kit import reason_words
from sendopt.report.kit.words import amount

_ARM_WORDS = {
    HOLDOUT: "This person is in the hold-out group: nothing is sent, so that the effect of sending can be measured.",
    UNIFORM_TIME: (
        "This person is in the random-time group: the plan chose the messages as for everyone, then a lot drew each "
        "one's time, so that the effect of timing can be measured. What was left out, that plan left out, before any "
        "draw and with its own times."
    ),
}


@dataclass(frozen=True)
class SlotWorth:
    """A slot with what a send there would bring; `net` is the value after the prices of shared limits."""

    slot: int
    at: str
    p_open: float
    p_goals: dict[str, float]
    p_opt_out: float
    value: float
    net: float


@dataclass(frozen=True)
class Decision:
    """Why something is not so: a code of docs/reasons.md, its words, its numbers, and the numbers as a clause."""

    code: str
    name: str
    sentence: str
    detail: dict[str, object]
    facts: str


@dataclass(frozen=True)
class Message:
    """One message: sent in a slot with a probability, or not, with the reason.

    `best` is the slot of most value after prices; of a message that is not sent the one that its reason is about.
    `better` is the slot of most value where the message is sent in another, with why it lost. `refused` counts the
    slots that no plan may use, by reason.
    """

    notification_id: str
    campaign: str
    channel: str
    sent: SlotWorth | None
    pscore: float | None
    drawn: bool
    reason: Decision | None
    best: SlotWorth | None
    better: SlotWorth | None
    better_lost: Decision | None
    runner_up: SlotWorth | None
    refused: dict[str, int]


@dataclass(frozen=True)
class Explanation:
    """A user's night."""

    user: str
    plan_date: str
    timezone: str | None
    arm: str | None
    messages: tuple[Message, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """The same for a terminal."""
        arm = f"; arm {self.arm}" if self.arm else ""
        yield f"{self.user} on {self.plan_date} ({self.timezone or 'zone unknown'}{arm})"
        if self.arm in _ARM_WORDS:
            yield _ARM_WORDS[self.arm]
        if not self.messages:
            yield "No campaign offered this person a message for that date, so there was nothing to decide."
        for message in self.messages:
            yield f"\n{message.campaign} by {message.channel}, message {message.notification_id}"
            yield from _lines(message)


def explain_user(
    data_root: str,
    user: str,
    message: str | None,
    day: date | None,
    slot_minutes: int,
    costs: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[str]:
    """Lines about every message (or one) of a user on a plan date; raises as `explain` does."""
    return explain(data_root, user, message, day, slot_minutes, costs).lines()


def explain(
    data_root: str,
    user: str,
    message: str | None,
    day: date | None,
    slot_minutes: int,
    costs: Mapping[str, float] = MappingProxyType({}),
) -> Explanation:
    """Every message (or one) of a user on a plan date, by default the last planned one.

    `costs` is the money of one send by channel. Raises InputNotReady where there is no plan, ConfigError for a user or
    a message that the tables do not hold.
    """
    day = day or _last_date(data_root)
    cells = read_table(data_root, "candidates", day, user=user)
    known = read_table(data_root, "users", user=user)
    if cells.empty and known.empty:
        raise ConfigError(
            "--user: the tables hold no such user id; expected one as the raw logs write it, with the same case and "
            "without spaces around it"
        )
    if cells.empty and not _is_planned(data_root, day):
        raise InputNotReady(f"{day} has not been planned: run `sendopt night --plan-date {day}` first")
    if message is not None:
        cells = cells[cells["notification_id"] == message]
        if cells.empty:
            raise ConfigError(
                f"--message: that user has no candidate message of that id on {day}; leave --message out to see all"
            )
    zone = None if known.empty or not known["timezone"].iloc[0] else str(known["timezone"].iloc[0])
    night = _Night(data_root, user, day, _Clock(day, zone, slot_minutes), costs)
    groups = sorted(cells.groupby("notification_id"), key=lambda g: (g[1]["campaign_id"].iloc[0], g[0]))
    return Explanation(
        user=user,
        plan_date=str(day),
        timezone=zone,
        arm=None if cells.empty else str(cells["arm"].iloc[0]),
        messages=tuple(night.message(str(notification), own) for notification, own in groups),
    )


class _Night:
    """What a night decided for one user."""

    def __init__(self, data_root: str, user: str, day: date, clock: _Clock, costs: Mapping[str, float]) -> None:
        self._clock, self._costs = clock, costs
        self._sent = read_table(data_root, "allocation", day, user=user).set_index("notification_id")
        self._held = read_table(data_root, "suppressed", day, user=user).set_index("notification_id")
        self._prices = read_table(data_root, "shadow_prices", day).set_index("row")["price"]

    def message(self, notification: str, cells: pd.DataFrame) -> Message:
        row = cast("pd.Series[Any]", self._sent.loc[notification]) if notification in self._sent.index else None
        published = notification not in self._held.index  # publishing may have left out what was planned
        sent = row is not None and bool(row["planned"]) and published
        ranked = self._ranked(cells[cells["eligible"]])
        by_slot = {w.slot: w for w in ranked}
        chosen = by_slot[int(row["slot"])] if row is not None and sent else None
        lost = reasons.from_detail(row.get("detail")) if row is not None and sent else {}
        others = [w for w in ranked if w is not chosen]
        drawn = sent and bool((cells["arm"] == UNIFORM_TIME).any())
        reason = None if sent else self._reason(notification)
        looked_at = by_slot.get(int(cast(int, reason.detail.get("slot", -1)))) if reason else None
        return Message(
            notification_id=notification,
            campaign=str(cells["campaign_id"].iloc[0]),
            channel=str(cells["channel"].iloc[0]),
            sent=chosen,
            pscore=float(row["pscore"]) if row is not None and sent else None,
            drawn=drawn,
            reason=reason,
            best=looked_at or (ranked[0] if ranked else None),
            better=by_slot.get(int(cast(int, lost["slot"]))) if lost else None,
            better_lost=self._decision(str(lost["reason"]), lost) if lost else None,
            runner_up=others[0] if others else None,
            refused={str(k): int(v) for k, v in cells.loc[~cells["eligible"], "reason"].value_counts().items()},
        )

    def _reason(self, notification: str) -> Decision:
        if notification not in self._held.index:
            return Decision("not_eligible", "Not decided yet", "The stage allocate has not run for this date.", {}, "")
        row = self._held.loc[notification]
        return self._decision(str(row["reason"]), reasons.from_detail(row.get("detail")))

    def _decision(self, code: str, detail: dict[str, object]) -> Decision:
        facts = reason_words.facts(code, detail, self._clock.at_minute, self._clock.slot_minutes)
        return Decision(code, reasons.name(code), reasons.sentence(code), detail, facts)

    def _ranked(self, cells: pd.DataFrame) -> list[SlotWorth]:
        """Every slot that rules allow, most value after prices first."""
        if cells.empty:
            return []
        campaign, channel = cells["campaign_id"].iloc[0], cells["channel"].iloc[0]
        fixed = self._price(f"campaign_max:{campaign}") - self._price(f"campaign_min:{campaign}")
        fixed += self._price("cost") * self._costs.get(str(channel), 0.0)
        found = []
        for c in cells.to_dict("records"):
            price = fixed + self._price("opt_outs") * c["p_opt_out"] + self._price(f"capacity:{channel}:{c['slot']}")
            found.append(
                SlotWorth(
                    slot=int(c["slot"]),
                    at=self._clock.at(int(c["slot"])),
                    p_open=float(c["p_open"]),
                    p_goals=dict(_pairs(c.get("p_goals"))),
                    p_opt_out=float(c["p_opt_out"]),
                    value=float(c["value"]),
                    net=float(c["value"] - price),
                )
            )
        return sorted(found, key=lambda w: (-w.net, w.slot))

    def _price(self, row: str) -> float:
        return float(self._prices.get(row, 0.0))


def _lines(m: Message) -> Iterator[str]:
    if m.refused and (m.reason is None or m.best is not None or len(m.refused) > 1):
        yield f"  slots refused before the plan: {reason_words.slots(m.refused)}"
    if m.reason is not None:
        yield f"  not sent: {m.reason.name.lower()}. {m.reason.sentence}"
        if m.reason.facts and "slots" not in m.reason.detail:
            yield f"    {_capital(m.reason.facts)}."
        if m.best is not None:
            yield f"    best slot {m.best.at}: {_worth(m.best)}"
        return
    assert m.sent is not None
    if m.drawn:
        yield f"  sent {m.sent.at}, drawn by lot among {round(1 / (m.pscore or 1.0))} slots: {_worth(m.sent)}"
        if m.best is not None and m.best is not m.sent:
            yield f"  without the lot, the slot of most value after prices is {m.best.at}: {_worth(m.best)}"
        return
    yield f"  sent {m.sent.at}: {_worth(m.sent)}"
    if m.better is not None and m.better_lost is not None:
        facts = m.better_lost.facts or m.better_lost.sentence[0].lower() + m.better_lost.sentence[1:].rstrip(".")
        yield f"  {m.better.at} it would be worth {amount(m.better.value, 3)}, but {facts}"
    if m.runner_up is not None and m.runner_up != m.better:
        yield f"  runner-up {m.runner_up.at}: {_worth(m.runner_up)}"


def _worth(w: SlotWorth) -> str:
    goals = "".join(f"{name} with p = {p:.3f}, " for name, p in w.p_goals.items())
    outs = f"opts out with p = {w.p_opt_out:.4f}"
    text = f"opens with p = {w.p_open:.3f}, {goals}{outs}, worth {amount(w.value, 3)}"
    return text + (
        f", {amount(w.net, 3)} after the prices of shared limits and minimums"
        if abs(w.value - w.net) > 1e-9 * abs(w.value)
        else ""
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pairs(goals: Any) -> list[tuple[str, float]]:
    """A map column as Arrow gives it: pairs, or nothing."""
    return list(goals) if isinstance(goals, list) else []


class _Clock:
    """Slots as the person's wall clock reads them."""

    def __init__(self, day: date, zone: str | None, slot_minutes: int) -> None:
        self._start, self._zone, self.slot_minutes = pd.Timestamp(day, tz="UTC"), zone, slot_minutes

    def at(self, slot: int) -> str:
        return self.at_minute(slot * self.slot_minutes)

    def at_minute(self, minute: float) -> str:
        """Minutes after plan start; times before it say so many hours."""
        if minute < 0:
            return f"{-minute / 60:.1f} h before the plan starts"
        start = (self._start + pd.Timedelta(minutes=minute)).to_pydatetime()
        local = local_text(start, self._zone or "")
        return f"at {local[11:16]} local" if local else f"at {start:%H:%M} UTC"


def _last_date(data_root: str) -> date:
    dates = read_table(data_root, "certificate")["plan_date"]
    if dates.empty:
        raise InputNotReady("no night has been planned yet: run `sendopt night --plan-date D` first")
    return cast(date, max(dates))


def _is_planned(data_root: str, day: date) -> bool:
    return not read_table(data_root, "certificate", day).empty
