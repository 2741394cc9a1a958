"""Consent: statements of a person with a time. The latest statement holds; of two at one time, the one that forbids."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ALL, CHANNEL, CATEGORY = "all", "channel", "category"
EVERY_CATEGORY = "*"  # among opted-out categories: all of them, also those added later


class Statement(NamedTuple):
    """An opt-in or opt-out of a person at a time: of everything, of a channel or of a category."""

    scope: str
    name: str  # "" for all
    allowed: bool
    at: int  # microseconds since 1970


class Consent(NamedTuple):
    """Channels that reach the person, those of them that the person turned off, and categories that they refuse."""

    channels: frozenset[str]
    opted_out_channels: frozenset[str]
    opted_out_categories: frozenset[str]


def effective(
    channels: Iterable[str], opted_out_categories: Iterable[str], stated_at: int, statements: Iterable[Statement]
) -> Consent:
    """Return the consent that follows from a person's row of `users`, stated at `stated_at`, and their statements.

    Times are microseconds since 1970.

    >>> out, back = Statement("channel", "push", False, 5), Statement("channel", "push", True, 9)
    >>> sorted(effective(["push"], [], 1, [out]).opted_out_channels)
    ['push']
    >>> sorted(effective(["push"], [], 1, [out, back]).opted_out_channels)
    []
    >>> sorted(effective(["push"], [], 7, [out]).opted_out_channels)  # the row is the later statement
    []
    """
    stated = list(statements)
    reached, refused = set(channels), set(opted_out_categories)
    turned_off = set[str]()
    for channel in reached | {s.name for s in stated if s.scope == CHANNEL}:
        last = _last(s for s in stated if s.scope == ALL or (s.scope == CHANNEL and s.name == channel))
        if last is None or last.at < stated_at:
            continue
        if not last.allowed:
            turned_off.add(channel)
        elif last.at > stated_at and last.scope == CHANNEL:
            reached.add(channel)
    for category in {s.name for s in stated if s.scope == CATEGORY}:
        last = _last(s for s in stated if s.scope == CATEGORY and s.name == category)
        if last is not None and not last.allowed and last.at >= stated_at:
            refused.add(category)
        elif last is not None and last.allowed and last.at > stated_at:
            refused.discard(category)
    return Consent(frozenset(reached), frozenset(turned_off), frozenset(refused))


def _last(statements: Iterable[Statement]) -> Statement | None:
    return max(statements, key=lambda s: (s.at, not s.allowed), default=None)
