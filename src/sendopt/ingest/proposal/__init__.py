"""The proposal of `sendopt init`: a mapping, a source entry and the smallest settings for an unknown log; no engine.

The files hold guesses with the evidence beside them. The mapping is then read by the one reader of raw logs, so that
the figures in the settings are those that a night will see.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sendopt.domain.slots import zone_or_none
from sendopt.errors import ConfigError
from sendopt.ingest.mapping import load_mapping
from sendopt.ingest.proposal import presets, words
from sendopt.ingest.proposal.columns import slug
from sendopt.ingest.proposal.draft import mapping_text
from sendopt.ingest.proposal.guess import guess
from sendopt.ingest.proposal.observed import Observed, observe
from sendopt.ingest.proposal.sample import Sample, read_sample
from sendopt.ingest.proposal.settings import defaults_text, env_text, growth_text, min_sends, quiet_hours

__all__ = ["Proposal", "in_words", "propose", "write"]


@dataclass(frozen=True)
class Proposal:
    """The files of a new folder of settings, by their name in it; sentences on what was seen, assumed and not seen."""

    folder: str
    files: dict[str, str]
    seen: tuple[str, ...]
    assumed: tuple[str, ...]
    not_seen: tuple[str, ...]
    commands: tuple[str, str]


def propose(
    log: Path,
    folder: Path | None,
    now: datetime,
    preset: str | None = None,
    zone: str | None = None,
    columns: Sequence[str] = (),
) -> Proposal:
    """Return the proposal for a log; `columns` are given by the user as ROLE=COLUMN.

    Raises ConfigError where an argument is wrong or the folder exists already, ContractError where the file is no log
    or has no user, time or outcome.
    """
    if zone is not None and zone_or_none(zone) is None:
        raise ConfigError(f"--zone {zone!r} is no IANA time zone; expected one like Europe/Berlin")
    target = folder or Path(_name(log))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already, and nothing is overwritten; give another folder by --out")
    sample = read_sample(log)
    source = _name(log)
    mapping = _mapping(sample, source, preset, zone, _given(columns, sample))
    figures = _observed(mapping.text, log, now)
    name = target.as_posix()
    files = {
        "mapping.yaml": mapping.text,
        "growth.yaml": growth_text(figures),
        "defaults.yaml": defaults_text(figures, mapping.label, mapping.to_the_minute, now),
        "env/local.yaml": env_text(figures, source, name, _shown(log), now),
    }
    seen = (*mapping.seen, *_seen(figures, mapping.label))
    return Proposal(name, files, seen, mapping.assumed, mapping.not_seen, _commands(name, figures))


@dataclass(frozen=True)
class _MappingProposal:
    """The text of a mapping, sentences on it, and what settings must know of the log."""

    text: str
    seen: tuple[str, ...]
    assumed: tuple[str, ...]
    not_seen: tuple[str, ...]
    label: str  # the kind of interaction that counts as success
    to_the_minute: bool  # whether times have no seconds


def _mapping(
    sample: Sample, source: str, preset: str | None, zone: str | None, given: Mapping[str, str]
) -> _MappingProposal:
    """Return the mapping of the product that wrote the log, by its preset; for an unknown product, a guessed one."""
    product = None if given else presets.product_of(sample)
    if preset:
        product = (preset, "as --preset says")
    if product is None:
        draft = guess(sample, source, zone, given)
        sentences = (), tuple(draft.assumed), tuple(draft.not_seen)
        return _MappingProposal(mapping_text(draft), *sentences, draft.label, draft.to_the_minute)
    text, missing, assumed = presets.mapping_of_preset(product[0], sample, source, zone)
    seen = (f"a log of {product[0]} ({product[1]}): its preset is used",)
    return _MappingProposal(text, seen, tuple(assumed), tuple(missing), label="open", to_the_minute=False)


def _commands(folder: str, figures: Observed) -> tuple[str, str]:
    """Return the commands that check the new folder and plan the night after the log."""
    shown = folder if "/" in folder else f"./{folder}" if folder.startswith("-") else folder
    return f"sendopt check {shown}", f"sendopt night --plan-date {figures.plan_date} --conf {shown}"


def write(proposal: Proposal) -> None:
    """Write the files into their folder; raises ConfigError where it cannot be written."""
    folder = Path(proposal.folder)
    try:
        for name, text in proposal.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as out:
                out.write(text)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}; give another folder by --out") from None


def in_words(proposal: Proposal) -> Iterator[str]:
    """Yield the lines for a terminal: what was seen, assumed and not seen, and the two commands to run next."""
    yield f"{proposal.folder} holds a mapping and the smallest settings, with the evidence beside each line:"
    yield f"  {', '.join(proposal.files)}"
    for heading, lines in (("Seen", proposal.seen), ("Assumed", proposal.assumed), ("Not seen", proposal.not_seen)):
        if lines:
            yield f"{heading}:"
            yield from (f"  {text}" for text in lines)
    yield "Correct what is wrong there, then:"
    yield from (f"  {command}" for command in proposal.commands)


def _given(columns: Sequence[str], sample: Sample) -> dict[str, str]:
    """Return the columns that the user gives, by role; raises ConfigError for a wrong role or column."""
    given = {}
    for text in columns:
        role, sign, column = text.partition("=")
        if not sign or role not in words.ROLES:
            raise ConfigError(f"--column {text!r}: expected ROLE=COLUMN, with a role of {', '.join(words.ROLES)}")
        if column not in sample.columns:
            raise ConfigError(f"--column {text!r}: the log has no such column; it has: {sample.listed}")
        given[role] = column
    return given


def _name(log: Path) -> str:
    """Return the name of the source and of the folder, made of the log's file name."""
    stem = log.resolve().name.split(".")[0]
    return slug(stem).lower()


def _shown(log: Path) -> Path:
    """Return the path from the working directory where the log lies below it, else the absolute path."""
    relative = os.path.relpath(log)
    return Path(log.resolve() if relative.startswith("..") else relative)


def _observed(text: str, log: Path, now: datetime) -> Observed:
    """Return the figures of the log under the mapping in `text`."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "mapping.yaml"
        file.write_text(text, encoding="utf-8")
        return observe(load_mapping(file), log, now)


def _seen(figures: Observed, label: str) -> tuple[str, ...]:
    """Return sentences on what the log shows."""
    start, end, why = quiet_hours(figures)
    least, _ = min_sends(figures)
    rate = figures.successes / figures.sends
    return (
        f"{figures.sends:,} sends to {figures.people:,} people from {figures.first} to {figures.newest:%Y-%m-%d}; "
        f"{figures.successes:,} with {label} ({rate:.1%}), {figures.opt_outs:,} opt-outs",
        f"{len(figures.campaigns)} campaigns of late on {', '.join(figures.channels)}; quiet from {start}:00 to "
        f"{end}:00 ({why}); hours with at least {least} sends are planned",
        *figures.counts,
    )
