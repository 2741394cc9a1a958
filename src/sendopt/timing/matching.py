"""Which send an interaction belongs to, without an engine: the same rule as `sendopt.spark.ingest.matching`."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from sendopt.ingest import TableMapping


def with_send(rows: pd.DataFrame, sends: pd.DataFrame, table: TableMapping, tolerance: pd.Timedelta) -> pd.DataFrame:
    """The rows with found_key and sent_at of their send, None where there is none; `sends`: one row a send_key.

    By key where they carry one, else by id; where the log names the user, the send must be of that user, and an id of
    several sends finds none. With `match: nearest_send` a row that carries neither finds the latest send of its user,
    and of its campaign and channel where it names them.
    """
    by_user = "user_id" in table.columns
    keyed = _index(sends, "send_key", by_user)
    named = _index(sends, "notification_id", by_user)
    found = np.full(len(rows), None, object)
    users = rows["user_id"] if by_user else [None] * len(rows)
    for i, (key, name, user) in enumerate(zip(rows["send_key"], rows["notification_id"], users, strict=True)):
        if key is not None:
            found[i] = keyed.get((key, user))
        elif name is not None:
            found[i] = named.get((name, user))
    if table.match == "nearest_send":
        _nearest(rows, sends, table.within_hours, tolerance, found)
    at = dict(zip(sends["send_key"], sends["sent_at_utc"], strict=True))
    return rows.assign(
        found_key=pd.Series(found, index=rows.index, dtype=object),
        sent_at=pd.Series([at.get(k) for k in found], index=rows.index, dtype=object),
    )


def _index(sends: pd.DataFrame, column: str, by_user: bool) -> dict[tuple[str, str | None], str]:
    """(value, user) -> the one send that has it."""
    users = sends["user_id"] if by_user else [None] * len(sends)
    found: dict[tuple[str, str | None], str] = {}
    several: set[tuple[str, str | None]] = set()
    for value, user, key in zip(sends[column], users, sends["send_key"], strict=True):
        if (value, user) in found:
            several.add((value, user))
        found[value, user] = key
    return {pair: key for pair, key in found.items() if pair not in several}


def _nearest(rows: pd.DataFrame, sends: pd.DataFrame, within_hours: float, tolerance: pd.Timedelta, found: Any) -> None:
    """Fill `found` where a row carries neither key nor id."""
    of_user: dict[str, list[tuple[Any, str, str, str]]] = {}
    columns = ("user_id", "sent_at_utc", "send_key", "campaign_id", "channel")
    for user, at, key, campaign, channel in zip(*(sends[c] for c in columns), strict=True):
        of_user.setdefault(user, []).append((at, key, campaign, channel))
    for its in of_user.values():
        its.sort()
    within = pd.Timedelta(hours=within_hours)
    asked = ("user_id", "at_utc", "send_key", "notification_id", "campaign_id", "channel")
    for i, (user, at, key, name, campaign, channel) in enumerate(zip(*(rows[c] for c in asked), strict=True)):
        if key is None and name is None and at is not None:
            its = of_user.get(user, [])
            for place in range(bisect_right(its, at + tolerance, key=itemgetter(0)) - 1, -1, -1):
                sent, send_key, its_campaign, its_channel = its[place]
                if sent < at - within:
                    break
                if campaign in (None, its_campaign) and channel in (None, its_channel):
                    found[i] = send_key
                    break
