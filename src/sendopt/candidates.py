"""Eligibility: which (user, message, slot) may be sent, and the one reason where not (model ¶3). Pure numpy.

A reason that concerns the person or the message comes before one that concerns the slot, so that what a team reads
is the thing it can change.
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

# In order of precedence: the first that applies is the row's reason.
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
    """One reason of `REASONS` a row, or None where the row is eligible; shape (N,), dtype object.

    `rows` needs: campaign_id, channel, category, arm; known_user, already_sent (bool); channels, opted_out_categories,
    opted_out_channels (sequences of text); slot (0 to S - 1); wall_minute (0 to 1439, negative where the zone is
    unknown), wall_length (minutes), local_hour; quiet_start, quiet_end ("HH:MM" or missing); slot_start, slot_end,
    earliest_utc, expiry_utc (UTC or missing). A slot is refused where any of its minutes is quiet, where it is not
    wholly in the campaign's window, or where it does not lie wholly between earliest_utc and expiry_utc.

    `plausible` has the night as each zone reads it in which a user of unknown zone may live. What all of them refuse
    has the reason of the first rule that all of them break, or else that any breaks; what only some refuse, or all
    where none is plausible, is `zone_unknown`.
    """
    known = rows["wall_minute"].to_numpy(np.int64) >= 0
    start, end = rows["slot_start"], rows["slot_end"]
    local, mixed = _by_local_time(rows, known, campaigns, quiet_hours, supported_hours, plausible)
    broken: dict[str, Flags] = {
        "unknown_user": ~rows["known_user"].to_numpy(bool),
        "unknown_campaign": ~rows["campaign_id"].isin(list(campaigns)).to_numpy(),
        "holdout": (rows["arm"] == "holdout").to_numpy(),
        "already_sent": rows["already_sent"].to_numpy(bool),
        "no_channel": ~_among(rows, "channel", "channels"),
        "channel_opted_out": _among(rows, "channel", "opted_out_channels"),
        "category_opted_out": _among(rows, "category", "opted_out_categories") | _refuse_all(rows),
        "zone_unknown": ~known & (len(plausible) == 0),
        "quiet_hours": local["quiet_hours"],
        "window": local["window"],
        "earliest": (rows["earliest_utc"].notna() & (start < rows["earliest_utc"])).to_numpy(),
        "expiry": (rows["expiry_utc"].notna() & (end > rows["expiry_utc"])).to_numpy(),
        "no_support": local["no_support"],
    }
    result = mixed
    for reason in reversed(REASONS):
        result[broken[reason]] = reason
    return result


def message_reason(reasons: Iterable[str]) -> str:
    """The reason of a message without an eligible slot: the one that refuses most slots; ties by precedence.

    It is zone_unknown wherever a slot is: if its zone were known, the message might have that slot.
    """
    counts = Counter(reasons)
    if "zone_unknown" in counts:
        return "zone_unknown"
    return max(counts, key=lambda r: (counts[r], -REASONS.index(r)))


def values(
    worth: NDArray[np.float64], p_opt_out: NDArray[np.float64], weight: NDArray[np.float64], opt_out_cost: float
) -> NDArray[np.float64]:
    """v = w * worth - opt_out_cost * p_opt_out, in opens (¶8; without decay and novelty); shape (N,).

    `worth` is p_open plus each goal's weight · chance, or what sending adds where the objective is incremental (¶6).
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
    """(cells that each rule of local time refuses whatever the zone, reasons (N,) of what single zones refuse)."""

    def broken(part: pd.DataFrame, wall: Wall) -> dict[str, Flags]:
        return {
            "quiet_hours": _quiet(part, (wall.minute, wall.length), quiet_hours),
            "window": _outside_window(part, (wall.minute, wall.length), campaigns),
            "no_support": ~np.isin(wall.local_hour, sorted(supported_hours)),
        }

    everywhere = {rule: np.zeros(len(rows), bool) for rule in LOCAL_RULES}
    mixed = np.full(len(rows), None, dtype=object)
    own = Wall(*(rows[name].to_numpy(np.int64)[known] for name in ("wall_minute", "wall_length", "local_hour")))
    everyone = bool(known.all())
    for rule, flags in broken(rows if everyone else rows[known], own).items():
        everywhere[rule][known] = flags
    if everyone or not plausible:
        return everywhere, mixed
    lost = rows[~known]
    slot = lost["slot"].to_numpy(np.int64)
    found = [broken(lost, Wall(*(column[slot] for column in wall))) for wall in plausible]
    by_rule = {rule: np.stack([zone[rule] for zone in found]) for rule in LOCAL_RULES}  # (zones, cells)
    refused = np.logical_or.reduce(list(by_rule.values()))
    why = np.full(len(lost), None, dtype=object)
    for rule in reversed(LOCAL_RULES):
        why[by_rule[rule].any(axis=0)] = rule
        everywhere[rule][~known] = by_rule[rule].all(axis=0)
    why[refused.any(axis=0) & ~refused.all(axis=0)] = "zone_unknown"
    mixed[~known] = why
    return everywhere, mixed


def _among(rows: pd.DataFrame, item: str, collection: str) -> Flags:
    pairs = zip(rows[item], rows[collection], strict=True)
    return np.fromiter((i in c for i, c in pairs), bool, len(rows))


def _refuse_all(rows: pd.DataFrame) -> Flags:
    """People who refuse every category, or said something about categories that nobody understands."""
    return np.fromiter((EVERY_CATEGORY in c for c in rows["opted_out_categories"]), bool, len(rows))


def _quiet(rows: pd.DataFrame, wall: tuple[Minutes, Minutes], quiet: QuietHours) -> Flags:
    refused = np.zeros(len(rows), bool)
    if quiet.everyone:
        refused |= ~outside(*wall, quiet.everyone.start, quiet.everyone.end)
    for channel, hours in quiet.channels.items():
        refused |= (rows["channel"] == channel).to_numpy() & ~outside(*wall, hours.start, hours.end)
    own = rows["quiet_start"].notna() & rows["quiet_end"].notna()
    for key, index in rows[own].groupby(["quiet_start", "quiet_end"]).indices.items():
        begin, end = (str(k) for k in cast("tuple[str, str]", key))
        at = np.flatnonzero(own.to_numpy())[index]
        if begin != end:
            refused[at] |= ~outside(wall[0][at], wall[1][at], begin, end)
    return refused


def _outside_window(rows: pd.DataFrame, wall: tuple[Minutes, Minutes], campaigns: Mapping[str, Campaign]) -> Flags:
    refused = np.zeros(len(rows), bool)
    for name, campaign in campaigns.items():
        if campaign.window:
            mine = (rows["campaign_id"] == name).to_numpy()
            refused |= mine & ~inside(*wall, campaign.window.start, campaign.window.end)
    return refused
