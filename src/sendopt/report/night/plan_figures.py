"""Figures about the plan: hours, campaigns, capacity, reasons, arms and what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd
from markupsafe import Markup

from sendopt.report.kit import words
from sendopt.report.kit.svg import CHARACTER, FULL, HALF, Scale, Svg, figure, fit, ticks

COLOURS = 6  # classes c0 to c5 in style.css


def channel_order(plan: pd.DataFrame, prices: pd.DataFrame) -> list[str]:
    """Return channels by planned sends, largest first, then those that only have capacity; the colours follow it."""
    planned = Counter(plan["channel"])
    names = sorted(planned, key=lambda name: (-planned[name], name))
    limited = {str(row).split(":")[1] for row in prices.loc[prices["kind"] == "capacity", "row"]}
    return names + sorted(limited - set(names))


def colour(channels: Sequence[str], channel: str) -> str:
    """Return the CSS class of a channel's colour."""
    return f"c{channels.index(channel) % COLOURS}" if channel in channels else "c5"


def local_hours(plan: pd.DataFrame) -> pd.Series:
    """Return the local hour (0 to 23) of each planned send, from the clock reading of `send_at_local`.

    Sends to people of unknown time zone have none and are left out; the index is that of `plan`.
    """
    return plan["send_at_local"].dropna().astype(str).str.slice(11, 13).astype(int)


def hours(plan: pd.DataFrame, channels: Sequence[str]) -> Markup:
    """Return the sends by local hour, stacked by channel."""
    empty = "No sends by local hour: nothing is planned for this night."
    plan = plan[plan["send_at_local"].notna()]
    table = Counter(zip(local_hours(plan), plan["channel"], strict=True))
    total = [sum(table[hour, channel] for channel in channels) for hour in range(24)]

    def draw(width: int) -> Svg:
        svg = Svg(width, 250)
        marks = ticks(0, max(total), 7)
        y = Scale(0, marks[-1], 212, 22)
        _count_axis(svg, y, marks, 40, width, "sends")
        step = (width - 44) / 24
        for hour in range(24):
            base, x = 0.0, 42 + hour * step
            for channel in channels:
                sends = table[hour, channel]
                tip = f"{hour:02d}:00 local: {words.plural(sends, f'{channel} send')}"
                svg.rect(
                    x + step * 0.1,
                    y(base + sends),
                    step * 0.8,
                    y(base) - y(base + sends),
                    colour(channels, channel),
                    tip,
                )
                base += sends
            if base and width > 900:
                svg.text(x + step / 2, y(base) - 5, words.count(base), "small", "middle")
            if hour % (2 if width > 600 else 4) == 0:
                svg.text(x + step / 2, 230, f"{hour:02d}", "label", "middle")
        svg.line(40, 212, width, 212, "axis")
        svg.text(width, 246, "local hour of the person", "small", "end")
        return svg

    busiest = total.index(max(total))
    label = f"Planned sends by local hour; the busiest is {busiest:02d}:00 with {words.count(max(total))}"
    return figure("sends-by-local-hour", label, plan, draw, FULL, empty)


class CampaignState(StrEnum):
    """Where the planned sends of a campaign stand against its limits."""

    WITHIN = ""
    AT_MAXIMUM = "at maximum"
    BELOW_MINIMUM = "below minimum"


@dataclass(frozen=True)
class CampaignUse:
    """Planned sends of one campaign and its limits (sends per plan; None: no such limit)."""

    name: str
    channel: str
    planned: int
    maximum: float | None
    minimum: float | None

    @property
    def state(self) -> CampaignState:
        if self.minimum and self.planned < self.minimum:
            return CampaignState.BELOW_MINIMUM
        if self.maximum is not None and self.planned >= self.maximum:
            return CampaignState.AT_MAXIMUM
        return CampaignState.WITHIN


def campaign_use(plan: pd.DataFrame, suppressed: pd.DataFrame, prices: pd.DataFrame) -> list[CampaignUse]:
    """Return every campaign with a candidate or a limit, by planned sends, largest first."""
    planned = plan["campaign_id"].value_counts()
    channel = plan.groupby("campaign_id")["channel"].first()
    limits = {str(row["row"]): float(row["limit"]) for _, row in prices.iterrows()}
    named = {row.partition(":")[2] for row in limits if row.startswith(("campaign_max:", "campaign_min:"))}
    uses = [
        CampaignUse(
            name,
            str(channel.get(name, "")),
            int(planned.get(name, 0)),
            limits.get(f"campaign_max:{name}"),
            limits.get(f"campaign_min:{name}"),
        )
        for name in named | set(plan["campaign_id"]) | set(suppressed["campaign_id"])
    ]
    return sorted(uses, key=lambda use: (-use.planned, use.name))


def campaigns(uses: Sequence[CampaignUse], channels: Sequence[str]) -> Markup:
    """Return the sends of each campaign as a bar inside its maximum, with its minimum as a tick."""
    most = max((use.planned for use in uses), default=0)
    far = max([1.0, most, *(use.minimum or 0 for use in uses)])
    reach = max([far, *(use.maximum for use in uses if use.maximum is not None and use.maximum <= 2.5 * far)])

    def draw(width: int) -> Svg:
        wide = width > 600
        longest = max(len(_campaign_note(use)) for use in uses)
        names = min(250, 7.4 * max(len(use.name) for use in uses) + 20)
        left, right, row = (names, CHARACTER * longest + 16, 30) if wide else (2.0, 2.0, 46)
        svg = Svg(width, row * len(uses) + 8)
        x = Scale(0, reach, left, width - right)
        for i, use in enumerate(uses):
            top = i * row + (4 if wide else 22)
            _campaign_row(svg, x, use, top, colour(channels, use.channel))
            note = _campaign_note(use)
            if wide:
                svg.text(left - 12, top + 15, fit(use.name, left - 14), "label", "end")
                svg.text(width - right + 14, top + 15, note, "small")
            else:
                room = width - 7 * len(note) - 12
                svg.text(0, top - 5, fit(use.name, room), "label")
                svg.text(width, top - 5, note, "small", "end")
        return svg

    empty = "No campaigns to show: nothing is planned and no campaign has a limit this night."
    label = "Planned sends by campaign against minimum and maximum: " + "; ".join(
        f"{use.name} {words.count(use.planned)}" for use in uses[:12]
    )
    return figure("sends-by-campaign", label, uses, draw, FULL, empty)


def _campaign_row(svg: Svg, x: Scale, use: CampaignUse, top: float, css: str) -> None:
    zero = x(0)
    if use.maximum is not None:
        end = x(min(use.maximum, x.high))
        svg.area(zero, top, end - zero, 20, "track")
        if use.maximum <= x.high:
            svg.line(end, top - 2, end, top + 22, "limit")
    svg.rect(zero, top + 3, x(use.planned) - zero, 14, css, f"{use.name}: {words.plural(use.planned, 'send')}", 1)
    if use.minimum:
        svg.line(x(use.minimum), top - 2, x(use.minimum), top + 22, "minimum")


def _campaign_note(use: CampaignUse) -> str:
    planned = words.count(use.planned)
    if use.state == CampaignState.BELOW_MINIMUM:
        return f"{planned} · below minimum {words.count(use.minimum or 0)}"
    if use.state or use.maximum is None:
        return f"{planned} · {use.state}" if use.state else planned
    return f"{planned} of {words.count(use.maximum)}"


@dataclass(frozen=True)
class SlotUse:
    """Use of one channel's capacity in one slot (sends) and what one more is worth."""

    slot: int
    used: float
    kept_free: float  # reserved for sends at random times, and not used by them
    limit: float
    price: float

    @property
    def full(self) -> bool:
        return self.used + self.kept_free >= self.limit - 1e-6


def slot_use(prices: pd.DataFrame) -> dict[str, list[SlotUse]]:
    """Return capacity rows by channel, in slot order."""
    uses: dict[str, list[SlotUse]] = {}
    for _, row in prices[prices["kind"] == "capacity"].iterrows():
        channel, _, slot = str(row["row"]).partition(":")[2].rpartition(":")
        use = SlotUse(int(slot), *(float(row[name]) for name in ("used", "kept_free", "limit", "price")))
        uses.setdefault(channel, []).append(use)
    return {channel: sorted(rows, key=lambda use: use.slot) for channel, rows in uses.items()}


def capacity(uses: dict[str, list[SlotUse]], channels: Sequence[str], slot_minutes: int | None, units: str) -> Markup:
    """Return a panel a channel: sends in each slot under the capacity line, and a strip with the price of one more."""
    slots = 1 + max((use.slot for rows in uses.values() for use in rows), default=0)
    dearest = max((use.price for rows in uses.values() for use in rows), default=0.0)
    shown = [channel for channel in channels if channel in uses]
    panel = 142

    def draw(width: int) -> Svg:
        svg = Svg(width, panel * len(shown) + 22)
        step = (width - 44) / slots
        for i, channel in enumerate(shown):
            _capacity_panel(
                svg, uses[channel], channel, i * panel, step, dearest, slot_minutes, units, colour(channels, channel)
            )
        every = _hour_step(slots, slot_minutes, width)
        for slot in range(0, slots, every):
            start = words.clock(slot, slot_minutes)[:5] if slot_minutes else str(slot)
            svg.text(42 + slot * step, panel * len(shown) + 4, start, "label")
        svg.text(width, panel * len(shown) + 20, "start of slot, UTC" if slot_minutes else "slot", "small", "end")
        return svg

    empty = "No capacity to show: no channel has a capacity limit, or the allocation wrote no prices."
    full = sum(use.full for rows in uses.values() for use in rows)
    label = f"Use of capacity by slot and channel; {words.plural(full, 'slot')} full"
    return figure("capacity-by-slot", label, shown, draw, FULL, empty)


def _capacity_panel(
    svg: Svg,
    rows: list[SlotUse],
    channel: str,
    top: float,
    step: float,
    dearest: float,
    slot_minutes: int | None,
    units: str,
    css: str,
) -> None:
    most = max([1.0, *(max(use.limit, use.used) for use in rows)])
    y = Scale(0, most * 1.08, top + 108, top + 24)
    full = sum(use.full for use in rows)
    svg.text(0, top + 14, channel, "strong")
    svg.text(svg.width, top + 14, f"full in {full} of {words.plural(len(rows), 'slot')}", "small", "end")
    _count_axis(svg, y, [tick for tick in ticks(0, most, 2) if tick <= most], 40, svg.width, "")
    for use in rows:
        x = 42 + use.slot * step
        tip = (
            f"{channel} {words.clock(use.slot, slot_minutes)}: {words.use(use.used, use.limit, use.kept_free)} sends; "
            f"one more is worth {words.amount(use.price)} {units}"
        )
        gap = min(2.0, step * 0.15)
        svg.rect(x + gap / 2, y(use.used), step - gap, y(0) - y(use.used), css if use.full else f"{css} slack", tip)
        if use.kept_free:
            top_of_kept = y(use.used + use.kept_free)
            svg.rect(x + gap / 2, top_of_kept, step - gap, y(use.used) - top_of_kept, "kept", tip)
        svg.line(x, y(use.limit), x + step, y(use.limit), "limit")
        svg.area(x + gap / 2, top + 113, step - gap, 9, "track")
        if use.price > 0:
            strength = 1 + min(4, int(5 * use.price / dearest))
            svg.rect(x + gap / 2, top + 113, step - gap, 9, f"price{strength}", tip)


def _hour_step(slots: int, slot_minutes: int | None, width: int) -> int:
    """Return the slots between two labels: a label about every 60 pixels, on whole hours where slots are shorter."""
    per_hour = max(1, 60 // slot_minutes) if slot_minutes else 1
    wanted = 64 * slots / (width - 44)
    return next((h * per_hour for h in (1, 2, 3, 4, 6, 8, 12) if h * per_hour >= wanted), slots)


def bars(
    name: str,
    label: str,
    rows: Sequence[tuple[str, float, str]],
    empty: str,
    css: str = "c0",
    widths: tuple[int, int, int] = HALF,
) -> Markup:
    """Return horizontal bars; `rows` are triples (name, length >= 0, text at the bar's end), in their order."""
    longest = max((length for _, length, _ in rows), default=0.0)

    def draw(width: int) -> Svg:
        wide = width > 400
        left = min(230, max(110, 7.2 * max(len(title) for title, _, _ in rows) + 12)) if wide else 0
        right = 7.2 * max(len(end) for _, _, end in rows) + 10
        row = 27 if wide else 40
        svg = Svg(width, row * len(rows) + 4)
        x = Scale(0, longest or 1.0, left, width - right)
        for i, (title, length, end) in enumerate(rows):
            top = i * row + (5 if wide else 20)
            svg.text(
                left - 10 if wide else 0,
                top + 13 if wide else top - 5,
                fit(title, (left if wide else width) - 12),
                "label",
                "end" if wide else "start",
            )
            svg.rect(left, top, x(length) - left, 17 if wide else 14, css, f"{title}: {end}", 1)
            svg.text(x(length) + 7, top + (13 if wide else 11), end, "small")
        return svg

    return figure(name, label, rows, draw, widths, empty)


@dataclass(frozen=True)
class Interval:
    """A value with its interval on a common axis; `note` is the text beside it, `css` the class of its colour."""

    name: str
    value: float
    low: float | None
    high: float | None
    note: str = ""
    css: str = "c0"
    expected: float | None = None


def intervals(
    name: str,
    label: str,
    rows: Sequence[Interval],
    axis: str,
    empty: str,
    zero: bool = False,
    rate: bool = False,
    widths: tuple[int, int, int] = HALF,
) -> Markup:
    """Return dots with intervals on one axis; with `zero` the axis holds and marks 0, with `rate` it is in percent."""
    values = [v for r in rows for v in (r.value, r.low, r.high, r.expected) if v is not None]
    marks = ticks(min([*values, 0.0] if zero else values), max([*values, 0.0] if zero else values)) if rows else []

    def draw(width: int) -> Svg:
        row = 46
        svg = Svg(width, row * len(rows) + 48)
        x = Scale(marks[0], marks[-1], 14, width - 14)
        for tick in marks[:: 1 if width > 400 or len(marks) < 6 else 2]:
            for i in range(len(rows)):
                svg.line(x(tick), i * row + 22, x(tick), i * row + 42, "zero" if zero and tick == 0 else "grid")
            value = words.percent(tick, 1 if marks[-1] - marks[0] < 0.06 else 0) if rate else _plain(tick)
            svg.text(x(tick), row * len(rows) + 18, value, "label", "middle")
        svg.text(width, row * len(rows) + 40, axis, "small", "end")
        for i, item in enumerate(rows):
            _interval_row(svg, x, item, i * row + 14, width)
        return svg

    return figure(name, label, rows, draw, widths, empty)


def _interval_row(svg: Svg, x: Scale, item: Interval, top: float, width: int) -> None:
    room = width - 7 * len(item.note) - 14
    svg.text(0, top, fit(item.name, room), "label")
    svg.text(width, top, item.note, "small", "end")
    y = top + 18
    if item.low is not None and item.high is not None:
        svg.line(x(item.low), y, x(item.high), y, f"bar {item.css}-line")
    if item.expected is not None:
        svg.line(x(item.expected), y - 8, x(item.expected), y + 8, "limit")
    svg.dot(x(item.value), y, 5, item.css, f"{item.name}: {item.note}")


def _count_axis(svg: Svg, y: Scale, marks: Sequence[float], left: float, right: float, units: str) -> None:
    for tick in marks:
        svg.line(left, y(tick), right, y(tick), "grid")
        svg.text(left - 6, y(tick) + 4, words.compact(tick), "label", "end")
    if units:
        svg.text(0, 11, units, "small")


def _plain(tick: float) -> str:
    return f"{tick:.6f}".rstrip("0").rstrip(".").replace("-", "−") if tick else "0"
