"""Which send an interaction belongs to, without an engine: the same rule as `sendopt.spark.ingest.matching`."""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd

from sendopt.ingest import TableMapping


def with_send(rows: pd.DataFrame, sends: pd.DataFrame, table: TableMapping, tolerance: pd.Timedelta) -> pd.DataFrame:
    """Return the rows with columns found_key and sent_at of their send, None where there is none.

    `sends`: one row for each send_key. A row is matched by its key, else by its id. Where the log names the user, the
    send must be of that user. An id of several sends matches none. With `match: nearest_send`, a row without key and id
    gets the latest send of its user, and of its campaign and channel where it names them.
    """
    by_user = "user_id" in table.columns
    keyed = _index(sends, "send_key", by_user)
    named = _index(sends, "notification_id", by_user)
    send_keys = np.full(len(rows), None, object)
    users = rows["user_id"] if by_user else [None] * len(rows)
    for i, (key, name, user) in enumerate(zip(rows["send_key"], rows["notification_id"], users, strict=True)):
        if key is not None:
            send_keys[i] = keyed.get((key, user))
        elif name is not None:
            send_keys[i] = named.get((name, user))
    if table.match == "nearest_send":
        _nearest(rows, sends, table.within_hours, tolerance, send_keys)
    at = dict(zip(sends["send_key"], sends["sent_at_utc"], strict=True))
    return rows.assign(
        found_key=pd.Series(send_keys, index=rows.index, dtype=object),
        sent_at=pd.Series([at.get(k) for k in send_keys], index=rows.index, dtype=object),
    )


def _index(sends: pd.DataFrame, column: str, by_user: bool) -> dict[tuple[str, str | None], str]:
    """Return the send_key of each (value, user) that one send has."""
    users = sends["user_id"] if by_user else [None] * len(sends)
    send_key: dict[tuple[str, str | None], str] = {}
    several: set[tuple[str, str | None]] = set()
    for value, user, key in zip(sends[column], users, sends["send_key"], strict=True):
        if (value, user) in send_key:
            several.add((value, user))
        send_key[value, user] = key
    return {pair: key for pair, key in send_key.items() if pair not in several}


def _nearest(
    rows: pd.DataFrame, sends: pd.DataFrame, within_hours: float, tolerance: pd.Timedelta, send_keys: Any
) -> None:
    """Fill `send_keys` (N,) where a row carries neither key nor id."""
    of_user: dict[str, list[tuple[Any, str, str, str]]] = {}
    columns = ("user_id", "sent_at_utc", "send_key", "campaign_id", "channel")
    for user, at, key, campaign, channel in zip(*(sends[c] for c in columns), strict=True):
        of_user.setdefault(user, []).append((at, key, campaign, channel))
    for user_sends in of_user.values():
        user_sends.sort()
    within = pd.Timedelta(hours=within_hours)
    row_columns = ("user_id", "at_utc", "send_key", "notification_id", "campaign_id", "channel")
    for i, (user, at, key, name, campaign, channel) in enumerate(zip(*(rows[c] for c in row_columns), strict=True)):
        if key is None and name is None and at is not None:
            user_sends = of_user.get(user, [])
            for place in range(bisect_right(user_sends, at + tolerance, key=itemgetter(0)) - 1, -1, -1):
                sent, send_key, send_campaign, send_channel = user_sends[place]
                if sent < at - within:
                    break
                if campaign in (None, send_campaign) and channel in (None, send_channel):
                    send_keys[i] = send_key
                    break
