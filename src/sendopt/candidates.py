"""Eligibility: which (user, message, slot) may be sent, and the reason where it may not (model ¶3).

Reasons that concern the person or the message come before those that concern the slot, so that a team reads the reason
that it can act on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.config.schema import Campaign, QuietHours
from sendopt.domain.consent import EVERY_CATEGORY
from sendopt.domain.plausible import Wall
from sendopt.domain.slots import Minutes, inside, outside
from sendopt.stats.arrays import Flags

# By precedence: the first reason that applies is the reason of the row.
REASONS = (
    "unknown_user",
    "unknown_campaign",
    "holdout",
    "already_sent",
    "no_channel",
    "channel_opted_out",
    "category_opted_out",
    "zone_unknown",
    "quiet_hours",
    "window",
    "earliest",
    "expiry",
    "no_support",
)

LOCAL_RULES = ("quiet_hours", "window", "no_support")  # by precedence


def refusals(
    rows: pd.DataFrame,
    *,
    campaigns: Mapping[str, Campaign],
    quiet_hours: QuietHours,
    supported_hours: frozenset[int],
    plausible: Sequence[Wall] = (),
) -> NDArray[np.object_]:
    """Return the reason of each row, one of `REASONS`, or None where the row is eligible; shape (N,), dtype object.

    `rows` has campaign_id, channel, category, arm; known_user, already_sent (bool); channels, opted_out_categories,
    opted_out_channels (sequences of text); slot (0 to S - 1); wall_minute (0 to 1439, negative where the zone is
    unknown), wall_length (minutes), local_hour; quiet_start, quiet_end ("HH:MM" or missing); slot_start, slot_end,
    earliest_utc, expiry_utc (UTC or missing). A slot is refused if any of its minutes is quiet, if it is not wholly in
    the campaign's window, or if it does not lie wholly between earliest_utc and expiry_utc.

    `plausible` holds the night in local time of each zone that a user of unknown zone may live in. A slot that all of
    these zones refuse has the reason of the first rule that all of them break, or else of the first that any breaks. A
    slot that only some of them refuse is `zone_unknown`, and so is every slot where no zone is plausible.
    """
    known = rows["wall_minute"].to_numpy(np.int64) >= 0
    local, result = _by_local_time(rows, known, campaigns, quiet_hours, supported_hours, plausible)
    broken = _by_person_and_message(rows, campaigns) | local | {"zone_unknown": ~known & (len(plausible) == 0)}
    for reason in reversed(REASONS):
        result[broken[reason]] = reason
    return result


def _by_person_and_message(rows: pd.DataFrame, campaigns: Mapping[str, Campaign]) -> dict[str, Flags]:
    """Return the rows that each rule refuses whatever the local time; shape (N,)."""
    return {
        "unknown_user": ~rows["known_user"].to_numpy(bool),
        "unknown_campaign": ~rows["campaign_id"].isin(list(campaigns)).to_numpy(),
        "holdout": (rows["arm"] == "holdout").to_numpy(),
        "already_sent": rows["already_sent"].to_numpy(bool),
        "no_channel": ~_among(rows, "channel", "channels"),
        "channel_opted_out": _among(rows, "channel", "opted_out_channels"),
        "category_opted_out": _among(rows, "category", "opted_out_categories") | _refuse_all(rows),
        "earliest": (rows["earliest_utc"].notna() & (rows["slot_start"] < rows["earliest_utc"])).to_numpy(),
        "expiry": (rows["expiry_utc"].notna() & (rows["slot_end"] > rows["expiry_utc"])).to_numpy(),
    }


def message_reason(reasons: Iterable[str]) -> str:
    """Return the reason of a message without an eligible slot: the one that refuses most slots, ties by precedence.

    It is zone_unknown if any slot's reason is: with a known zone, the message might have that slot.

    >>> message_reason(["window", "quiet_hours", "quiet_hours"])
    'quiet_hours'
    >>> message_reason(["expiry", "window"])  # a tie
    'window'
    """
    counts = Counter(reasons)
    if "zone_unknown" in counts:
        return "zone_unknown"
    return max(counts, key=lambda r: (counts[r], -REASONS.index(r)))


def values(
    worth: NDArray[np.float64], p_opt_out: NDArray[np.float64], weight: NDArray[np.float64], opt_out_cost: float
) -> NDArray[np.float64]:
    """Return the value of each send in opens: v = weight * worth - opt_out_cost * p_opt_out; shape (N,) (¶8).

    `worth` is p_open plus weight times chance of each goal, or what sending adds where the objective is incremental
    (¶6). Decay and novelty are not in it.

    >>> values(np.array([0.2]), np.array([0.001]), np.array([1.0]), 25.0)
    array([0.175])
    """
    return weight * worth - opt_out_cost * p_opt_out


def _by_local_time(
    rows: pd.DataFrame,
    known: Flags,
    campaigns: Mapping[str, Campaign],
    quiet_hours: QuietHours,
    supported_hours: frozenset[int],
    plausible: Sequence[Wall],
) -> tuple[dict[str, Flags], NDArray[np.object_]]:
    """Return (rows that each rule of local time refuses in all zones, reasons (N,) of rows that some zones refuse)."""

    def broken(part: pd.DataFrame, wall: Wall) -> dict[str, Flags]:
        return {
            "quiet_hours": _quiet(part, (wall.minute, wall.length), quiet_hours),
            "window": _outside_window(part, (wall.minute, wall.length), campaigns),
            "no_support": ~np.isin(wall.local_hour, sorted(supported_hours)),
        }

    everywhere = {rule: np.zeros(len(rows), bool) for rule in LOCAL_RULES}
    mixed = np.full(len(rows), None, dtype=object)
    known_wall = Wall(*(rows[name].to_numpy(np.int64)[known] for name in ("wall_minute", "wall_length", "local_hour")))
    all_known = bool(known.all())
    for rule, flags in broken(rows if all_known else rows[known], known_wall).items():
        everywhere[rule][known] = flags
    if all_known or not plausible:
        return everywhere, mixed
    unknown = rows[~known]
    slot = unknown["slot"].to_numpy(np.int64)
    by_zone = [broken(unknown, Wall(*(column[slot] for column in wall))) for wall in plausible]
    by_rule = {rule: np.stack([zone[rule] for zone in by_zone]) for rule in LOCAL_RULES}  # (zones, rows)
    refused = np.logical_or.reduce(list(by_rule.values()))
    reasons = np.full(len(unknown), None, dtype=object)
    for rule in reversed(LOCAL_RULES):
        reasons[by_rule[rule].any(axis=0)] = rule
        everywhere[rule][~known] = by_rule[rule].all(axis=0)
    reasons[refused.any(axis=0) & ~refused.all(axis=0)] = "zone_unknown"
    mixed[~known] = reasons
    return everywhere, mixed


def _among(rows: pd.DataFrame, item: str, collection: str) -> Flags:
    """Return the rows whose value of column `item` is in their collection."""
    pairs = zip(rows[item], rows[collection], strict=True)
    return np.fromiter((i in c for i, c in pairs), bool, len(rows))


def _refuse_all(rows: pd.DataFrame) -> Flags:
    """Return the rows of people who refuse every category, or whose statement on categories cannot be understood."""
    return np.fromiter((EVERY_CATEGORY in c for c in rows["opted_out_categories"]), bool, len(rows))


def _quiet(rows: pd.DataFrame, wall: tuple[Minutes, Minutes], quiet: QuietHours) -> Flags:
    refused = np.zeros(len(rows), bool)
    if quiet.everyone:
        refused |= ~outside(*wall, quiet.everyone.start, quiet.everyone.end)
    for channel, hours in quiet.channels.items():
        refused |= (rows["channel"] == channel).to_numpy() & ~outside(*wall, hours.start, hours.end)
    personal = rows["quiet_start"].notna() & rows["quiet_end"].notna()
    for key, index in rows[personal].groupby(["quiet_start", "quiet_end"]).indices.items():
        begin, end = (str(k) for k in cast("tuple[str, str]", key))
        at = np.flatnonzero(personal.to_numpy())[index]
        if begin != end:
            refused[at] |= ~outside(wall[0][at], wall[1][at], begin, end)
    return refused


def _outside_window(rows: pd.DataFrame, wall: tuple[Minutes, Minutes], campaigns: Mapping[str, Campaign]) -> Flags:
    refused = np.zeros(len(rows), bool)
    for name, campaign in campaigns.items():
        if campaign.window:
            of_campaign = (rows["campaign_id"] == name).to_numpy()
            refused |= of_campaign & ~inside(*wall, campaign.window.start, campaign.window.end)
    return refused
