"""Keyed hashes: identities, arms and every other draw that must come out the same anywhere (model ¶14, ¶15).

Spark computes the same numbers as `sha2(concat_ws(char(31), …), 256)`; `tests/spark` holds the two together.
"""

from __future__ import annotations

import hashlib

_SEPARATOR = "\x1f"
_HEX_OF_UNIT = 13  # 52 bits: exact in a double


def keyed_hash(*parts: str) -> str:
    """32 hex digits (128 bits of SHA-256) of the parts in order."""
    return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:32]


def unit_interval(*parts: str) -> float:
    """A number in [0, 1), uniform over `parts`."""
    return int(keyed_hash(*parts)[:_HEX_OF_UNIT], 16) / 16.0**_HEX_OF_UNIT


def planned_send_key(user_id: str, notification_id: str) -> str:
    """The key of a planned send: of user and notification, never of the slot or the run, so a re-plan keeps it."""
    return keyed_hash("send", user_id, notification_id)
