"""Keyed hashes, for identities, arms and every other draw that must be equal on all machines (model ¶14, ¶15).

`sendopt.spark.engine.keys` computes the same numbers as Spark columns; a test in `tests/spark` compares the two.
"""

from __future__ import annotations

import hashlib

_SEPARATOR = "\x1f"
_HEX_OF_UNIT = 13  # 52 bits: exact in a double


def keyed_hash(*parts: str) -> str:
    """Return 32 hex digits (128 bits of SHA-256) of the parts; their order counts.

    >>> keyed_hash("arm", "salt", "user-1")
    'c98716bd35c4e2da4ad1848c177b69ce'
    """
    return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:32]


def unit_interval(*parts: str) -> float:
    """Return a number in [0, 1), uniform over `parts`.

    >>> round(unit_interval("arm", "salt", "user-1"), 6)
    0.787218
    """
    return int(keyed_hash(*parts)[:_HEX_OF_UNIT], 16) / 16.0**_HEX_OF_UNIT


def planned_send_key(user_id: str, notification_id: str) -> str:
    """Return the key of a planned send. It depends on user and notification only, so that a new plan keeps it."""
    return keyed_hash("send", user_id, notification_id)
