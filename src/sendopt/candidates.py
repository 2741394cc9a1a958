"""Eligibility: which (user, message, slot) may be sent, and the one reason where not (model ¶3). Pure numpy.

A reason that concerns the person or the message comes before one that concerns the slot, so that what a team reads
is the thing it can change.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sendopt.config.schema import Campaign, QuietHours
from sendopt.domain.slots import Minutes, inside, outside

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

Flags = NDArray[np.bool_]


def refusals(
    rows: pd.DataFrame,
    *,
    campaigns: Mapping[str, Campaign],
    quiet_hours: QuietHours,
    supported_hours: frozenset[int],
) -> NDArray[np.object_]:
    """One reason of `REASONS` a row, or None where the row is eligible; shape (N,), dtype object.

    `rows` needs: campaign_id, channel, category, arm; known_user, already_sent (bool); channels, opted_out_categories,
    opted_out_channels (sequences of text); wall_minute (0 to 1439, negative where the zone is unknown), wall_length
    (minutes), local_hour; quiet_start, quiet_end ("HH:MM" or missing); slot_start, earliest_utc, expiry_utc (UTC or
    missing). A slot is refused where any of its minutes is quiet, or where it is not wholly in the campaign's window.
    """
    wall = rows["wall_minute"].to_numpy(np.int64), rows["wall_length"].to_numpy(np.int64)
    known = wall[0] >= 0
    start = rows["slot_start"]
    broken: dict[str, Flags] = {
        "unknown_user": ~rows["known_user"].to_numpy(bool),
        "unknown_campaign": ~rows["campaign_id"].isin(list(campaigns)).to_numpy(),
        "holdout": (rows["arm"] == "holdout").to_numpy(),
        "already_sent": rows["already_sent"].to_numpy(bool),
        "no_channel": ~_among(rows, "channel", "channels"),
        "channel_opted_out": _among(rows, "channel", "opted_out_channels"),
        "category_opted_out": _among(rows, "category", "opted_out_categories"),
        "zone_unknown": ~known,
        "quiet_hours": known & _quiet(rows, wall, quiet_hours),
        "window": known & _outside_window(rows, wall, campaigns),
        "earliest": (rows["earliest_utc"].notna() & (start < rows["earliest_utc"])).to_numpy(),
        "expiry": (rows["expiry_utc"].notna() & (start >= rows["expiry_utc"])).to_numpy(),
        "no_support": known & ~rows["local_hour"].isin(supported_hours).to_numpy(),
    }
    result = np.full(len(rows), None, dtype=object)
    for reason in reversed(REASONS):
        result[broken[reason]] = reason
    return result


def message_reason(reasons: Iterable[str]) -> str:
    """The reason of a message without an eligible slot: the one that refuses most slots; ties by precedence."""
    counts = Counter(reasons)
    return max(counts, key=lambda r: (counts[r], -REASONS.index(r)))


def values(
    worth: NDArray[np.float64], p_opt_out: NDArray[np.float64], weight: NDArray[np.float64], opt_out_cost: float
) -> NDArray[np.float64]:
    """v = w * worth - opt_out_cost * p_opt_out, in opens (¶8; without decay and novelty); shape (N,).

    `worth` is p_open plus each goal's weight · chance, or what sending adds where the objective is incremental (¶6).
    """
    return weight * worth - opt_out_cost * p_opt_out


def _among(rows: pd.DataFrame, item: str, collection: str) -> Flags:
    pairs = zip(rows[item], rows[collection], strict=True)
    return np.fromiter((i in c for i, c in pairs), bool, len(rows))


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
