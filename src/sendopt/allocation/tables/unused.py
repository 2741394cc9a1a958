"""Report input that has no effect: limits that bind no candidate, misspelt columns, a history of other users.

A limit whose name no candidate has is refused, with the nearest name that candidates have: a misspelt limit would
limit nothing. With `--allow-unused` the limits serve many problems; such limits are then warnings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path

from sendopt.allocation.tables.same_ids import Alike
from sendopt.allocation.tables.tabular import Frame, plain
from sendopt.config.limits_file import Finding, refuse
from sendopt.config.yaml_tree import dotted
from sendopt.domain.limits import Limits
from sendopt.domain.outside_text import nearest
from sendopt.errors import ConfigError, ContractError

NEAR = 0.87  # least likeness of two column names that are taken for spellings of the same
BUDGETS = {"p_opt_out": ("opt_outs", "max_expected"), "cost": ("cost", "max_total")}
FEW = 0.01  # share of users with a history whose ids may match in another form by chance
KINDS = ("channel", "category", "campaign")


@dataclass(frozen=True)
class Expectation:
    """What a caller takes for a mistake. By default every finding is a warning."""

    limits_file: Path | None = None  # messages name it, and the line, where a limit of it is refused
    allow_unused: bool = True
    min_history_match: float = 0.0  # share of history rows, 0 to 1, whose user must have a candidate

    def __post_init__(self) -> None:
        if not 0 <= self.min_history_match <= 1:
            raise ConfigError(f"--min-history-match: got {self.min_history_match}, expected a share from 0 to 1")


@dataclass(frozen=True)
class Offered:
    """The names that occur in candidates and history, and the rows of history whose user has a candidate."""

    channels: frozenset[str]
    categories: frozenset[str]
    campaigns: frozenset[str]
    last_slot: int
    history_channels: frozenset[str] = frozenset()
    history_rows: int = 0
    history_matched: int = 0  # rows whose user has a candidate
    history_categories: frozenset[str] = frozenset()
    history_campaigns: frozenset[str] = frozenset()
    slots: Mapping[str, Collection[int]] = field(default_factory=dict)  # of each channel's candidates, where known
    any_worth: bool = True  # some candidate's value is above 0

    def names(self, kind: str) -> frozenset[str]:
        """Return the candidates' names of a kind: channel, category or campaign."""
        return {"channel": self.channels, "category": self.categories, "campaign": self.campaigns}[kind]

    def history_names(self, kind: str) -> frozenset[str]:
        """Return the history's names of a kind: channel, category or campaign."""
        return {
            "channel": self.history_channels,
            "category": self.history_categories,
            "campaign": self.history_campaigns,
        }[kind]


def require_used(limits: Limits, offered: Offered, expect: Expectation) -> list[str]:
    """Return a warning for each limit that binds no candidate.

    Raises ConfigError (exit 2) instead where `expect` takes that for a mistake.
    """
    findings = list(unused(limits, offered))
    if findings and not expect.allow_unused:
        raise refuse(expect.limits_file, findings, "give --allow-unused where the limits are meant for others too")
    beyond = [
        f"capacity.{channel}: slots after {offered.last_slot}, the last of the candidates, bind nothing"
        for channel, by_slot in limits.capacity.items()
        if isinstance(by_slot, dict) and by_slot and min(by_slot) <= offered.last_slot < max(by_slot)
    ]
    worthless = [] if offered.any_worth else ["no candidate has a value above 0, so none is sent"]
    return [f"{dotted(path)}: {text}" for path, text in findings] + beyond + worthless


def unused(limits: Limits, offered: Offered) -> Iterator[Finding]:
    """Yield (place, what is wrong) for each limit that no candidate meets and each limit that limits nothing."""
    for name, cap in limits.caps.items():
        kind, _, target = cap.scope.partition(":")
        if kind != "all":
            yield from _by_name(("caps", name, "scope"), kind, target, offered.names(kind))
    yield from _unused_fatigue(limits, offered)
    for channel, by_slot in limits.capacity.items():
        yield from _by_name(("capacity", channel), "channel", channel, offered.channels)
        if isinstance(by_slot, dict) and channel in offered.channels:
            yield from _unused_slots(channel, by_slot, offered)
    for campaign, bounds in limits.campaigns.items():
        place = ("campaigns", campaign)
        yield from _by_name(place, "campaign", campaign, offered.campaigns)
        if bounds.max_sends is None and bounds.min_sends == 0:
            yield place, "neither max_sends nor min_sends above 0, so it limits nothing"


def _by_name(place: tuple[str | int, ...], kind: str, name: str, known: frozenset[str]) -> Iterator[Finding]:
    """Yield a finding where no candidate has this name, or some candidates have it in another spelling."""
    if name not in known:
        yield place, _no_candidate_has(kind, name, known)
        return
    spellings = sorted(spelling for spelling in known if spelling != name and _spelt(spelling) == _spelt(name))
    if spellings:
        names = ", ".join(spellings)
        yield place, f"candidates also have the {kind} {names}, which it does not limit; write them alike"


def _unused_fatigue(limits: Limits, offered: Offered) -> Iterator[Finding]:
    if limits.fatigue is None:
        return
    points = limits.fatigue.points_per_send
    for channel in points:
        place = ("fatigue", "points_per_send", channel)
        if channel not in offered.history_channels:
            yield from _by_name(place, "channel", channel, offered.channels)
    if not any(points.values()):
        yield ("fatigue", "points_per_send"), "no channel has points above 0, so it limits nothing"


def _unused_slots(channel: str, by_slot: Mapping[int, int], offered: Offered) -> Iterator[Finding]:
    place = ("capacity", channel)
    if not by_slot:
        yield place, "an empty map, so it limits nothing"
    elif min(by_slot) > offered.last_slot:
        yield place, f"all slots are after {offered.last_slot}, the last of the candidates"
    elif channel in offered.slots and not by_slot.keys() & set(offered.slots[channel]):
        yield place, "no candidate of the channel is in one of its slots"


def require_budgets_counted(
    limits: Limits, written: Mapping[Path | Frame, Sequence[str]], expect: Expectation, what: str = "sends"
) -> list[str]:
    """Return a warning for each budget whose column is missing in some file, so that it counts 0 for its rows.

    `what` names those rows in messages. Raises ConfigError (exit 2) instead where `expect` takes that for a mistake.
    """
    findings: list[Finding] = []
    for column, place in BUDGETS.items():
        lacking = [path for path, names in written.items() if column not in {plain(name) for name in names}]
        if lacking and getattr(limits, place[0]) is not None:
            more = f" and {len(lacking) - 1:,} other files have" if len(lacking) > 1 else " has"
            counts = "nothing" if len(lacking) == len(written) and what == "sends" else f"nothing for its {what}"
            findings.append((place, f"{lacking[0]}{more} no column {column}, so the budget counts {counts}"))
    if findings and not expect.allow_unused:
        raise refuse(expect.limits_file, findings, "add the column, or take the budget out")
    return [f"{dotted(place)}: {text}" for place, text in findings]


def require_spelt(
    written: Mapping[Path | Frame, Sequence[str]], known: Collection[str], expect: Expectation
) -> list[str]:
    """Return a warning for each column that is not read and whose name is close to a missing one of `known`.

    Raises ContractError (exit 3) instead where `expect` takes that for a mistake.
    """
    warnings = []
    for path, names in written.items():
        lines = [f"column {name} is not read, did you mean {meant}?" for name, meant in misspelt(names, known)]
        if lines and not expect.allow_unused:
            advice = "Rename it, or give --allow-unused where it is something else"
            raise ContractError(f"{path}: {'; '.join(lines)} {advice}")
        warnings += [f"{path}: {line}" for line in lines]
    return warnings


def files_not_read(source: Path | Frame, skipped: Sequence[Path]) -> list[str]:
    """Return a warning that names the files of a folder that are not read, `skipped`, if there are any."""
    if not skipped:
        return []
    some = ", ".join(path.name for path in skipped[:3]) + (" …" if len(skipped) > 3 else "")
    return [f"{source}: {len(skipped):,} of its files are not read, for their endings: {some}"]


def misspelt(written: Sequence[str], known: Collection[str]) -> list[tuple[str, str]]:
    """Return (column as written, the missing column of `known` that is probably meant) for each such column.

    >>> misspelt(["user_id", "userid", "chanel"], ["user_id", "channel"])
    [('chanel', 'channel')]
    """
    present = {plain(name) for name in written}
    absent = [name for name in known if name not in present]
    pairs = []
    for name in written:
        if plain(name) not in known:
            likeness = {meant: SequenceMatcher(None, _letters(name), _letters(meant)).ratio() for meant in absent}
            best = max(likeness, key=lambda meant: likeness[meant], default=None)
            if best is not None and likeness[best] >= NEAR:
                pairs.append((name, best))
    return pairs


def require_history_used(path: Path | Frame | None, offered: Offered, expect: Expectation) -> list[str]:
    """Return warnings where the history is empty, is of other users, or spells names differently.

    Raises ContractError (exit 3) where fewer rows have a user with a candidate than `expect` demands, and for names
    spelt differently where `expect` takes that for a mistake.
    """
    rows, matched = offered.history_rows, offered.history_matched
    if path is None:
        return []
    if rows == 0:
        return [f"{path}: no row; it keeps nobody's caps, gap or fatigue"]
    if matched < expect.min_history_match * rows:
        raise ContractError(
            f"{path}: {matched:,} of {rows:,} rows are of a user with a candidate, fewer than "
            f"--min-history-match {expect.min_history_match:g}; check that both files write user_id alike",
            history_rows=rows,
            history_matched=matched,
        )
    if matched == 0:
        return [
            f"{path}: none of its {rows:,} rows is of a user with a candidate, so it keeps nobody's caps, gap or "
            "fatigue; check that both files write user_id alike"
        ]
    return _require_same_names(path, offered, expect)


def _require_same_names(path: Path | Frame, offered: Offered, expect: Expectation) -> list[str]:
    """Return a warning for each name of the history that candidates spell differently.

    Raises ContractError (exit 3) instead where `expect` takes that for a mistake.
    """
    lines = []
    for kind in KINDS:
        spelt = {_spelt(name): name for name in offered.names(kind)}
        for name in sorted(offered.history_names(kind) - offered.names(kind)):
            if _spelt(name) in spelt:
                lines.append(f"the {kind} {name} is {spelt[_spelt(name)]} in the candidates, so no limit counts both")
    if lines and not expect.allow_unused:
        raise ContractError(f"{path}: {'; '.join(lines)}; write them alike")
    return [f"{path}: {line}" for line in lines]


def require_same_form(path: Path | Frame | None, alike: Alike | None, expect: Expectation) -> list[str]:
    """Return a warning where more users with a candidate would have a history if ids were written alike.

    Raises ContractError (exit 3) instead where `expect` takes that for a mistake and such users are more than a few,
    who may match by chance. No id is shown.
    """
    if path is None or alike is None or not alike.otherwise:
        return []
    text = (
        f"{path}: for {alike.otherwise:,} of {alike.matched + alike.otherwise:,} users with a history, its ids of "
        f"users and those of the candidates are the same but for {alike.form}; write them alike"
    )
    if alike.otherwise > FEW * (alike.matched + alike.otherwise) and not expect.allow_unused:
        raise ContractError(text)
    return [text]


def _spelt(name: str) -> str:
    """Return a name without differences of capitals and white space around."""
    return name.strip().casefold()


def _no_candidate_has(kind: str, name: str, known: Collection[str]) -> str:
    """Return the sentence for a name that no candidate has, with the nearest or the first names that they have."""
    close = nearest(name, known)
    if close is not None:
        return f"no candidate has the {kind} {name}, did you mean {close}?"
    some = ", ".join(sorted(known)[:5]) + (" …" if len(known) > 5 else "")
    return f"no candidate has the {kind} {name}; they have {some or 'none'}"


def _letters(name: str) -> str:
    """Return a column's name without separators."""
    return plain(name).replace("_", "").replace(" ", "").replace("-", "")
