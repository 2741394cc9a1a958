"""Columns of outcomes and opt-outs: whether their values can be read, and which values are opt-outs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sendopt.ingest.proposal import words
from sendopt.ingest.proposal.clocks import Clock
from sendopt.ingest.proposal.columns import Columns, flag_words
from sendopt.ingest.proposal.draft import OutcomeKeys
from sendopt.ingest.schema import Booleans
from sendopt.ingest.values import is_number

KINDS = ("open", "click", "goal")


@dataclass(frozen=True)
class OptOut:
    """A column of opt-outs: the values that are one ("*": every filled one), the number of rows, the clock of times."""

    column: str
    where: tuple[str, ...]
    rows: int
    clock: Clock | None


def meanings(values: Counter[str]) -> dict[str, str | None]:
    """Return the kind of event that each value of an event column means; None for no known kind."""
    return {v: words.event_of(v) for v in values}


def flags(values: Counter[str]) -> dict[str, bool] | None:
    """Return the meaning of each value of a flag; None where the values are no flag."""
    extra_words = flag_words(values)
    if extra_words is None:
        return None
    meaning = Booleans(yes=extra_words[0], no=extra_words[1]).meaning()
    return {v: meaning[v.lower()] for v in values}


def is_stream(columns: Columns, event: str) -> bool:
    """Return True where outcomes are rows of their own: their people and ids are found in rows of sends too."""
    rows, user = columns.rows, columns.user
    kind = rows[event].map(meanings(columns.counts(event)).get)
    sent, outcome = rows[kind.isin(["sent", "delivered"])], rows[kind.isin(list(KINDS))]
    for column in (c for c in columns.by_rank("notification_id") if columns.share(c) > 0.5):
        keys = set(zip(sent[user], sent[column], strict=True))
        pairs = list(zip(outcome[user], outcome[column], strict=True))
        if pairs and sum(p in keys for p in pairs) >= 0.5 * len(pairs):
            return True
    if "stat" in words.normal(event):
        return False
    return bool(len(outcome)) and bool(outcome[user].isin(set(sent[user])).mean() >= 0.5)


def readable(columns: Columns, column: str) -> tuple[OutcomeKeys, str] | None:
    """Return the words of a column of outcomes, as keys of `outcome`, and the evidence; None where it is unreadable."""
    values, total = columns.counts(column), len(columns)
    if values and all(is_number(v) and float(v) >= 0 for v in values) and set(values) - {"0", "1"}:
        good = sum(n for v, n in values.items() if float(v) > 0)
        return {}, f"{good:,} of {total:,} hold a number above 0"
    if len(values) == 1 and values.total() < total:
        word, n = values.most_common(1)[0]
        return {"yes": (word,)}, f"{n:,} of {total:,} are {word!r}, the rest are empty"
    extra_words, meaning = flag_words(values), flags(values)
    if extra_words is None or meaning is None:
        return None
    shown = ", ".join(f"{n:,} of {total:,} are {v!r}" for v, n in values.items() if meaning[v])
    return {
        k: v for k, v in (("yes", extra_words[0]), ("no", extra_words[1])) if v
    }, shown or f"none of {total:,} is yes"


def opt_outs(columns: Columns, states: Iterable[str | None]) -> list[OptOut]:
    """Return the columns that say who opted out: most rows first, then those with times; `states` are event columns."""
    statements = [o for c in columns.by_rank("opt_out") if (o := _opt_out(columns, c)) is not None]
    for column in dict.fromkeys(s for s in states if s is not None):
        values = columns.counts(column)
        where = tuple(v for v, meaning in meanings(values).items() if meaning == "opt_out")
        if where:
            statements.append(OptOut(column, where, sum(values[v] for v in where), None))
    return sorted(statements, key=lambda o: (-o.rows, o.clock is None))


def _opt_out(columns: Columns, column: str) -> OptOut | None:
    """Return the opt-outs of a column; None where it holds none."""
    values, clock = columns.counts(column), columns.clock(column)
    where: tuple[str, ...] = ("*",)
    if clock is None and all(is_number(v) for v in values):
        where = tuple(v for v in values if float(v) > 0)
    elif clock is None and (meaning := flags(values)) is not None:
        where = tuple(v for v in values if meaning[v])
    rows = values.total() if where == ("*",) else sum(values[v] for v in where)
    return OptOut(column, where, rows, clock) if rows else None
