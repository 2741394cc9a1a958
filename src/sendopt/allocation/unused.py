"""What matches nothing is never silent: limits that bind no candidate, misspelt columns, a history of other people.

A name that no candidate has is refused with the nearest one that some have, because a misspelt limit is no limit.
`--allow-unused` says that the limits are a template for many problems: then each is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import pandas as pd

from sendopt.allocation.problem import Problem, Texts
from sendopt.allocation.tabular import Frame, plain
from sendopt.config.limits_file import Finding, refuse
from sendopt.config.yaml_tree import dotted
from sendopt.domain.limits import Limits
from sendopt.domain.outside_text import nearest
from sendopt.errors import ContractError

NEAR = 0.87  # likeness of two names of columns from which one is taken for the other misspelt
BUDGETS = {"p_opt_out": ("opt_outs", "max_expected"), "cost": ("cost", "max_total")}


@dataclass(frozen=True)
class Expectation:
    """What a caller takes for a mistake. By default nothing is: every finding is a warning."""

    limits_file: Path | None = None  # named, with the line, where a limit of it is refused
    allow_unused: bool = True
    min_history_match: float = 0.0  # share of history rows, 0 to 1, whose user must have a candidate


@dataclass(frozen=True)
class Offered:
    """The names that candidates have, and what of the history is theirs."""

    channels: frozenset[str]
    categories: frozenset[str]
    campaigns: frozenset[str]
    last_slot: int
    history_channels: frozenset[str] = frozenset()
    history_rows: int = 0
    history_matched: int = 0  # rows whose user has a candidate


def offered_by(problem: Problem) -> Offered:
    """Those of a problem in memory."""
    m, history = problem.messages, problem.history
    with_candidate = pd.Series(history.user).isin(m.user)
    return Offered(
        channels=frozenset(map(str, pd.unique(m.channel))),
        categories=frozenset(map(str, pd.unique(m.category))),
        campaigns=frozenset(map(str, pd.unique(m.campaign))),
        last_slot=int(problem.cells.slot.max(initial=-1)),
        history_channels=frozenset(map(str, pd.unique(history.channel))),
        history_rows=len(history.user),
        history_matched=int(with_candidate.sum()),
    )


def require_used(limits: Limits, offered: Offered, expect: Expectation) -> list[str]:
    """A warning for each limit that binds no candidate; where that is a mistake, ConfigError (exit 2) is raised."""
    findings = list(unused(limits, offered))
    if findings and not expect.allow_unused:
        raise refuse(expect.limits_file, findings, "give --allow-unused where the limits are meant for others too")
    beyond = [
        f"capacity.{channel}: slots after {offered.last_slot}, the last of the candidates, bind nothing"
        for channel, by_slot in limits.capacity.items()
        if isinstance(by_slot, dict) and by_slot and min(by_slot) <= offered.last_slot < max(by_slot)
    ]
    return [f"{dotted(path)}: {text}" for path, text in findings] + beyond


def unused(limits: Limits, offered: Offered) -> Iterator[Finding]:
    """Every limit that no candidate meets, with the nearest name that some have."""
    known = {"channel": offered.channels, "category": offered.categories, "campaign": offered.campaigns}
    for name, cap in limits.caps.items():
        kind, _, target = cap.scope.partition(":")
        if kind != "all" and target not in known[kind]:
            yield ("caps", name, "scope"), _nothing(kind, target, known[kind])
    for channel in limits.fatigue.points_per_send if limits.fatigue else ():
        if channel not in offered.channels | offered.history_channels:
            yield ("fatigue", "points_per_send", channel), _nothing("channel", channel, offered.channels)
    for channel, by_slot in limits.capacity.items():
        if channel not in offered.channels:
            yield ("capacity", channel), _nothing("channel", channel, offered.channels)
        elif isinstance(by_slot, dict) and by_slot and min(by_slot) > offered.last_slot:
            yield ("capacity", channel), f"all slots are after {offered.last_slot}, the last of the candidates"
    for campaign in limits.campaigns:
        if campaign not in offered.campaigns:
            yield ("campaigns", campaign), _nothing("campaign", campaign, offered.campaigns)


def without_column(limits: Limits, columns: Collection[str], candidates: Path | Frame) -> Iterator[Finding]:
    """Every budget whose column the candidates do not have: it would count 0 for each send."""
    for column, path in BUDGETS.items():
        if getattr(limits, path[0]) is not None and column not in columns:
            yield path, f"{candidates} has no column {column}, so the budget counts nothing"


def require_columns_used(
    limits: Limits, path: Path | Frame, written: Sequence[str], known: Collection[str], expect: Expectation
) -> list[str]:
    """Warnings of the columns `written` in the candidates: misspelt ones, and those that a budget lacks.

    Where that is a mistake, raises ContractError (exit 3) for the first, ConfigError (exit 2) for the second.
    """
    warnings = require_spelt(path, written, known, expect)
    findings = list(without_column(limits, {plain(name) for name in written}, path))
    if findings and not expect.allow_unused:
        raise refuse(expect.limits_file, findings, "add the column, or take the budget out")
    return warnings + [f"{dotted(place)}: {text}" for place, text in findings]


def require_spelt(path: Path | Frame, written: Sequence[str], known: Collection[str], expect: Expectation) -> list[str]:
    """A warning for each column that is not read and looks like one of `known` that is not there."""
    lines = [f"column {name} is not read, did you mean {meant}?" for name, meant in misspelt(written, known)]
    if lines and not expect.allow_unused:
        raise ContractError(f"{path}: {'; '.join(lines)} Rename it, or give --allow-unused where it is something else")
    return [f"{path}: {line}" for line in lines]


def misspelt(written: Sequence[str], known: Collection[str]) -> list[tuple[str, str]]:
    """(column as written, the one of `known` that it is probably meant to be) for what is not there under its name."""
    there = {plain(name) for name in written}
    absent = [name for name in known if name not in there]
    pairs = []
    for name in written:
        if plain(name) not in known:
            likeness = {other: SequenceMatcher(None, _letters(name), _letters(other)).ratio() for other in absent}
            best = max(likeness, key=lambda other: likeness[other], default=None)
            if best is not None and likeness[best] >= NEAR:
                pairs.append((name, best))
    return pairs


def require_history_used(path: Path | Frame | None, offered: Offered, expect: Expectation) -> list[str]:
    """A warning where history is of other people; raises ContractError (exit 3) below the share that is expected."""
    rows, matched = offered.history_rows, offered.history_matched
    if path is None or rows == 0:
        return []
    if matched < expect.min_history_match * rows:
        raise ContractError(
            f"{path}: {matched:,} of {rows:,} rows are of a user with a candidate, fewer than "
            f"--min-history-match {expect.min_history_match:g}; check that both files write user_id alike",
            history_rows=rows, history_matched=matched,
        )  # fmt: skip
    if matched == 0:
        return [
            f"{path}: none of its {rows:,} rows is of a user with a candidate, so it keeps nobody's caps, gap or "
            "fatigue; check that both files write user_id alike"
        ]
    return []


def require_same_form(path: Path | Frame | None, history: Texts, candidates: Texts, expect: Expectation) -> list[str]:
    """A warning where no id of the history is one of the candidates and would be, written alike; else nothing.

    Where that is a mistake, raises ContractError (exit 3). No id is shown.
    """
    if path is None or not len(history) or pd.Series(history).isin(candidates).any():
        return []
    for what, form in _FORMS.items():
        alike = {form(str(user)) for user in pd.unique(history)} & {form(str(user)) for user in candidates}
        if alike:
            text = f"{path}: its ids of users and those of the candidates are the same but for {what}; write them alike"
            if not expect.allow_unused:
                raise ContractError(text)
            return [text]
    return []


_FORMS: dict[str, Callable[[str], str]] = {
    "white space around": str.strip,
    "capitals": str.casefold,
    "a decimal point": lambda user: re.sub(r"\.0*$", "", user),
    "leading zeros": lambda user: user.lstrip("0"),
    "capitals, white space, zeros or a point": lambda user: re.sub(r"\.0*$", "", user.strip().casefold()).lstrip("0"),
}


def _nothing(kind: str, name: str, known: Collection[str]) -> str:
    close = nearest(name, known)
    if close is not None:
        return f"no candidate has the {kind} {name}, did you mean {close}?"
    some = ", ".join(sorted(known)[:5]) + (" …" if len(known) > 5 else "")
    return f"no candidate has the {kind} {name}; they have {some or 'none'}"


def _letters(name: str) -> str:
    return plain(name).replace("_", "").replace(" ", "").replace("-", "")
