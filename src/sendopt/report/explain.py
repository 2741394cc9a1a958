"""Which messages a person gets and why: the slot, the slot that looked better and lost, the rule and its price."""

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
    """What a send in a slot would bring; `net` is its value minus the prices of shared limits."""

    slot: int
    at: str
    p_open: float
    p_goals: dict[str, float]
    p_opt_out: float
    value: float
    net: float


@dataclass(frozen=True)
class Decision:
    """A reason against a send: its code in docs/reasons.md, its texts, its numbers, and the numbers as a clause."""

    code: str
    name: str
    sentence: str
    detail: dict[str, object]
    facts: str


@dataclass(frozen=True)
class Message:
    """One message: its slot and the probability of it where it is sent, else the reason why not.

    `best` is the slot of most value after prices; for a message that is not sent, the slot of its reason. `better` is
    the slot of most value where the message is sent in another one, and `better_lost` says why it lost. `refused`
    counts the slots that no plan may use, by reason.
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
    """The decisions of a night about one user."""

    user: str
    plan_date: str
    timezone: str | None
    arm: str | None
    messages: tuple[Message, ...]

    def as_json(self) -> dict[str, object]:
        """Return the explanation as a JSON document."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Return the explanation as lines for a terminal."""
        arm = f"; arm {self.arm}" if self.arm else ""
        yield f"{self.user} on {self.plan_date} ({self.timezone or 'zone unknown'}{arm})"
        if self.arm in _ARM_WORDS:
            yield _ARM_WORDS[self.arm]
        if not self.messages:
            yield "No campaign offered this person a message for that date, so there was nothing to decide."
        for message in self.messages:
            yield f"\n{message.campaign} by {message.channel}, message {message.notification_id}"
            yield from _lines(message)


def explain(
    data_root: str,
    user: str,
    message: str | None,
    day: date | None,
    slot_minutes: int,
    costs: Mapping[str, float] = MappingProxyType({}),
) -> Explanation:
    """Return the decisions about every message of a user, or about one, on a plan date; default: the last one.

    `costs` is the money of one send by channel. Raises InputNotReady where there is no plan, and ConfigError for a user
    or a message that the tables do not hold.
    """
    day = day or _last_date(data_root)
    cells = read_table(data_root, "candidates", day, user=user)
    profile = read_table(data_root, "users", user=user)
    if cells.empty and profile.empty:
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
    zone = None if profile.empty or not profile["timezone"].iloc[0] else str(profile["timezone"].iloc[0])
    night = _Night(data_root, user, day, _Clock(day, zone, slot_minutes), costs)
    groups = sorted(cells.groupby("notification_id"), key=lambda pair: (pair[1]["campaign_id"].iloc[0], pair[0]))
    return Explanation(
        user=user,
        plan_date=str(day),
        timezone=zone,
        arm=None if cells.empty else str(cells["arm"].iloc[0]),
        messages=tuple(night.message(str(notification), its_cells) for notification, its_cells in groups),
    )


class _Night:
    """The tables of a night about one user."""

    def __init__(self, data_root: str, user: str, day: date, clock: _Clock, costs: Mapping[str, float]) -> None:
        self._clock, self._costs = clock, costs
        self._sent = read_table(data_root, "allocation", day, user=user).set_index("notification_id")
        self._held = read_table(data_root, "suppressed", day, user=user).set_index("notification_id")
        self._prices = read_table(data_root, "shadow_prices", day).set_index("row")["price"]

    def message(self, notification: str, cells: pd.DataFrame) -> Message:
        """Return the decision about a message; `cells` are its candidate slots."""
        row = cast("pd.Series[Any]", self._sent.loc[notification]) if notification in self._sent.index else None
        published = notification not in self._held.index  # publishing may have left out what was planned
        sent = row is not None and bool(row["planned"]) and published
        ranked = self._ranked(cells[cells["eligible"]])
        by_slot = {worth.slot: worth for worth in ranked}
        chosen = by_slot[int(row["slot"])] if row is not None and sent else None
        lost = reasons.from_detail(row.get("detail")) if row is not None and sent else {}
        runner_up = next((worth for worth in ranked if worth is not chosen), None)
        drawn = sent and bool((cells["arm"] == UNIFORM_TIME).any())
        reason = None if sent else self._reason(notification)
        slot_of_reason = by_slot.get(int(cast(int, reason.detail.get("slot", -1)))) if reason else None
        return Message(
            notification_id=notification,
            campaign=str(cells["campaign_id"].iloc[0]),
            channel=str(cells["channel"].iloc[0]),
            sent=chosen,
            pscore=float(row["pscore"]) if row is not None and sent else None,
            drawn=drawn,
            reason=reason,
            best=slot_of_reason or (ranked[0] if ranked else None),
            better=by_slot.get(int(cast(int, lost["slot"]))) if lost else None,
            better_lost=self._decision(str(lost["reason"]), lost) if lost else None,
            runner_up=runner_up,
            refused={str(code): int(n) for code, n in cells.loc[~cells["eligible"], "reason"].value_counts().items()},
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
        """Return the slots that the rules allow, the most value after prices first."""
        if cells.empty:
            return []
        campaign, channel = cells["campaign_id"].iloc[0], cells["channel"].iloc[0]
        fixed = self._price(f"campaign_max:{campaign}") - self._price(f"campaign_min:{campaign}")
        fixed += self._price("cost") * self._costs.get(str(channel), 0.0)
        worths = []
        for cell in cells.to_dict("records"):
            price = fixed + self._price("opt_outs") * cell["p_opt_out"]
            price += self._price(f"capacity:{channel}:{cell['slot']}")
            worths.append(
                SlotWorth(
                    slot=int(cell["slot"]),
                    at=self._clock.at(int(cell["slot"])),
                    p_open=float(cell["p_open"]),
                    p_goals=dict(_pairs(cell.get("p_goals"))),
                    p_opt_out=float(cell["p_opt_out"]),
                    value=float(cell["value"]),
                    net=float(cell["value"] - price),
                )
            )
        return sorted(worths, key=lambda worth: (-worth.net, worth.slot))

    def _price(self, row: str) -> float:
        return float(self._prices.get(row, 0.0))


def _lines(message: Message) -> Iterator[str]:
    if message.refused and (message.reason is None or message.best is not None or len(message.refused) > 1):
        yield f"  slots refused before the plan: {reason_words.slots(message.refused)}"
    if message.reason is not None:
        yield from _unsent_lines(message, message.reason)
    elif message.sent is not None:
        yield from _sent_lines(message, message.sent)


def _unsent_lines(message: Message, reason: Decision) -> Iterator[str]:
    yield f"  not sent: {reason.name.lower()}. {reason.sentence}"
    if reason.facts and "slots" not in reason.detail:
        yield f"    {_capital(reason.facts)}."
    if message.best is not None:
        yield f"    best slot {message.best.at}: {_worth(message.best)}"


def _sent_lines(message: Message, sent: SlotWorth) -> Iterator[str]:
    if message.drawn:
        yield f"  sent {sent.at}, drawn by lot among {round(1 / (message.pscore or 1.0))} slots: {_worth(sent)}"
        if message.best is not None and message.best is not sent:
            best = message.best
            yield f"  without the lot, the slot of most value after prices is {best.at}: {_worth(best)}"
        return
    yield f"  sent {sent.at}: {_worth(sent)}"
    if message.better is not None and message.better_lost is not None:
        lost = message.better_lost
        facts = lost.facts or lost.sentence[0].lower() + lost.sentence[1:].rstrip(".")
        yield f"  {message.better.at} it would be worth {amount(message.better.value, 3)}, but {facts}"
    if message.runner_up is not None and message.runner_up != message.better:
        yield f"  runner-up {message.runner_up.at}: {_worth(message.runner_up)}"


def _worth(worth: SlotWorth) -> str:
    goals = "".join(f"{name} with p = {p:.3f}, " for name, p in worth.p_goals.items())
    opt_out = f"opts out with p = {worth.p_opt_out:.4f}"
    text = f"opens with p = {worth.p_open:.3f}, {goals}{opt_out}, worth {amount(worth.value, 3)}"
    if abs(worth.value - worth.net) <= 1e-9 * abs(worth.value):
        return text
    return f"{text}, {amount(worth.net, 3)} after the prices of shared limits and minimums"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _pairs(goals: object) -> list[tuple[str, float]]:
    """Return the pairs of a map column as Arrow gives them; none where it is null."""
    return list(goals) if isinstance(goals, list) else []


class _Clock:
    """The person's wall clock: slots as local times."""

    def __init__(self, day: date, zone: str | None, slot_minutes: int) -> None:
        self._start, self._zone, self.slot_minutes = pd.Timestamp(day, tz="UTC"), zone, slot_minutes

    def at(self, slot: int) -> str:
        return self.at_minute(slot * self.slot_minutes)

    def at_minute(self, minute: float) -> str:
        """Return the time `minute` minutes after the plan's start; for a time before it, the hours before it."""
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
