"""The smallest settings that plan a log: growth.yaml, defaults.yaml and env/local.yaml, with the evidence by line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sendopt.config.schema import ENV_SECTIONS, Settings, Support
from sendopt.ingest.proposal.draft import line, scalar
from sendopt.ingest.proposal.observed import RECENT_DAYS, Observed

HISTORIC = timedelta(days=2)
_NIGHT = (22, 8)  # quiet hours where the log shows none
_FEW_SENDS = 200  # below, nothing is trained
_ENOUGH_HOURS = 6  # that should be open to planning


def growth_text(seen: Observed) -> str:
    """Return growth.yaml with what the log shows, for its owners to correct."""
    start, end, why = quiet_hours(seen)
    day, week = seen.per_day[0], max(seen.per_week[0], seen.per_day[0])
    rows = [
        "# Proposed by `sendopt init` from the log: who may get what, how often. Each comment says what the log shows.",
        "# All sections and what they mean: conf/growth.yaml of sendopt; `sendopt check` says what a change does.",
        "",
        "channels:",
        *(line(2, f"{scalar(c)}: {{cost_per_send: 0.0}}") for c in seen.channels),
        "",
        "quiet_hours:                                              # local hours without any send",
        line(2, f"everyone: {{start: {scalar_hour(start)}, end: {scalar_hour(end)}}}", why),
        "",
        "caps:                                                     # sends to one person in so many minutes",
        line(
            2,
            f"daily: {{scope: all, window_minutes: 1440, max: {day}}}",
            f"95 % of people had at most {day} on a day, the most were {seen.per_day[1]}",
        ),
        line(
            2,
            f"weekly: {{scope: all, window_minutes: 10080, max: {week}}}",
            f"95 % of people had at most {seen.per_week[0]} in a week, the most were {seen.per_week[1]}",
        ),
        "",
        *_gap(seen),
        "",
        "capacity:                                                 # sends of a channel in an hour",
        *(line(2, f"{scalar(c)}: {max(10, n)}", f"the most in an hour was {n:,}") for c, n in seen.channels.items()),
        "",
        f"# The {len(seen.campaigns)} campaigns of the log's last {RECENT_DAYS} days, of {seen.all_campaigns} in all.",
        "campaigns:",
        *_campaigns(seen),
    ]
    return "\n".join(rows) + "\n"


def scalar_hour(hour: int) -> str:
    """Return an hour of the day as text in YAML."""
    return f'"{hour % 24:02d}:00"'


def _gap(seen: Observed) -> Iterator[str]:
    if seen.gap is None:
        yield line(0, "min_gap_minutes: 240", "nobody was sent to twice; four hours is careful")
        return
    gap = int(min(240, max(0, seen.gap // 60 * 60)))
    yield line(0, f"min_gap_minutes: {gap}", f"5 % of people's sends follow the one before within {seen.gap:,.0f} min")


def _campaigns(seen: Observed) -> Iterator[str]:
    for campaign in seen.campaigns:
        share = min(1.0, math.ceil(campaign.share * 100) / 100)
        audience = {"kind": "all"} if share >= 0.95 else {"kind": "share", "fraction": share}
        yield line(2, f"{scalar(campaign.name)}:", f"{campaign.sends:,} sends, the last on {campaign.last}")
        yield line(4, f"channel: {scalar(campaign.channel)}")
        yield line(4, f"category: {scalar(campaign.category)}")
        yield line(4, "value: 1.0", "in opens; raise it for what is worth more")
        yield line(4, f"audience: {scalar(audience)}", f"went to {campaign.share:.0%} of people on a day that it ran")


def quiet_hours(seen: Observed) -> tuple[int, int, str]:
    """Return (first quiet hour, first hour after them, the evidence) of the longest stretch of hours with few sends."""
    total = sum(seen.by_hour)
    few = [n <= max(0, total // 200) for n in seen.by_hour]
    best, begin = 0, 0
    for start in range(24):
        length = next((i for i in range(24) if not few[(start + i) % 24]), 24)
        if length > best:
            best, begin = length, start
    if 6 <= best <= 22 and few[3]:
        held = sum(seen.by_hour[(begin + i) % 24] for i in range(best))
        return begin, (begin + best) % 24, f"{held:,} of {total:,} sends fell into these hours"
    inside = sum(seen.by_hour[h % 24] for h in range(_NIGHT[0], 24 + _NIGHT[1]))
    why = f"the log sends at all hours, {inside:,} of {total:,} in these: the usual night"
    busiest = max(range(24), key=lambda h: seen.by_hour[h])
    if inside > 0.5 * total:
        return (busiest + 12) % 24, (busiest + 14) % 24, f"the log sends at night, most at {busiest}:00"
    return *_NIGHT, why


def min_sends(seen: Observed) -> tuple[int, str]:
    """Return support.min_sends, low enough that some hours can be planned, and the evidence."""
    usual = Support().min_sends
    start, end, _ = quiet_hours(seen)
    awake = [h for h in range(24) if (h - start) % 24 >= (end - start) % 24]
    counts = sorted((seen.by_hour[h] for h in awake if seen.by_hour[h]), reverse=True)
    with_usual = sum(n >= usual for n in counts)
    if with_usual >= min(_ENOUGH_HOURS, len(counts)):
        return usual, f"{with_usual} of the hours outside quiet hours have {usual} sends or more"
    least = max(1, counts[min(_ENOUGH_HOURS, len(counts)) - 1] // 2) if counts else 0
    least = min(usual, least)
    number = sum(n >= least for n in counts)
    return least, f"only {with_usual} hours have {usual} sends or more; {number} have {least}"


def defaults_text(seen: Observed, label: str, to_the_minute: bool, now: datetime) -> str:
    """Return defaults.yaml with only the settings in which this log must differ from the defaults."""
    least, why = min_sends(seen)
    rows = [
        "# Proposed by `sendopt init`: only what differs from the defaults, see conf/defaults.yaml of sendopt.",
        "support:",
        line(2, f"min_sends: {least}", why),
        "",
        "label:",
        line(2, f"kind: {label}", "what counts as a success in this log"),
    ]
    if to_the_minute:
        rows.append(line(2, "machine_open_seconds: 0", "times are kept by the minute: a quick open shows no machine"))
    days = min(400, max(45, seen.days))
    rows += ["", "training:", line(2, f"days: {days}", f"the log holds {seen.days:,} days")]
    rare = min(seen.successes, seen.sends - seen.successes)
    if seen.sends < _FEW_SENDS or rare < 2 * 20:
        why = f"{seen.sends:,} sends, {rare:,} of the rarer outcome: too few to learn from, people's rates are used"
        rows.append(line(2, "min_data_in_leaf: 20", why))
    elif seen.sends < 20_000:
        rows.append(line(2, "num_leaves: 7", f"{seen.sends:,} sends: small trees"))
        rows.append(line(2, "min_data_in_leaf: 40"))
    history = min(400, max(90, seen.days))
    rows += ["", "features:", line(2, f"history_days: {history}", "how far back features look")]
    if seen.people < 100:
        rows += ["", "arms:", line(2, "holdout_fraction: 0.0", f"{seen.people:,} people are too few to hold any out")]
    if (clock := _clock(seen, now)) and "clock" not in ENV_SECTIONS:
        rows += ["", *clock]
    return "\n".join(rows) + "\n"


def _clock(seen: Observed, now: datetime) -> list[str]:
    """Return the lines by which nights of a historic log take their own time; none for a log that is still written."""
    if "clock" not in Settings.model_fields or seen.newest >= now - HISTORIC:
        return []
    why = f"a historic log: its newest send is of {seen.newest.astimezone(UTC):%Y-%m-%d}; take this out for live nights"
    return ["clock:", line(2, "now: as_of", why)]


def env_text(seen: Observed, source: str, folder: str, log: Path, now: datetime) -> str:
    """Return env/local.yaml with the places of the log and of the results, from the working directory."""
    entry = scalar({"mapping": f"{folder}/mapping.yaml", "input": str(log)})
    rows = [
        "# Proposed by `sendopt init`: this machine. Paths are taken from the working directory.",
        "sources:",
        line(2, f"{scalar(source)}: {entry}"),
        "",
        f"paths: {scalar({'data': f'{folder}/data', 'out': f'{folder}/out'})}",
        "",
        "mlflow:",
        line(2, f"tracking_uri: {scalar(f'sqlite:///{folder}/out/mlflow.db')}"),
        line(2, f"experiment: {scalar(source)}"),
    ]
    if (clock := _clock(seen, now)) and "clock" in ENV_SECTIONS:
        rows += ["", *clock]
    return "\n".join(rows) + "\n"
