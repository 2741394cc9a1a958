"""A mapping, a source entry and the smallest settings for a log that nobody has described: `sendopt init`; no engine.

Guesses stand in the files with the evidence beside them. The mapping is then read by the one reader of raw logs, so
that the figures in the settings are those that a night will see.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
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
    """The files of a new folder of settings, by their name in it; what was seen, assumed and not seen, in sentences."""

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
    """The proposal for a log; `columns`: ROLE=COLUMN, where the user names one.

    Raises ConfigError where an argument is wrong or the folder is there already, ContractError where the log is none or
    has no user, time or outcome.
    """
    if zone is not None and zone_or_none(zone) is None:
        raise ConfigError(f"--zone {zone!r} is no IANA time zone; expected one like Europe/Berlin")
    target = folder or Path(_name(log))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already, and nothing is overwritten; give another folder by --out")
    sample = read_sample(log)
    source = _name(log)
    given = _given(columns, sample)
    product = None if given else presets.product_of(sample)
    if preset:
        product = (preset, "as --preset says")
    if product is not None:
        text, missing, assumed = presets.mapping_of_preset(product[0], sample, source, zone)
        seen = [f"a log of {product[0]} ({product[1]}): its preset is used"]
        not_seen, label, to_the_minute = missing, "open", False
    else:
        draft = guess(sample, source, zone, given)
        text, seen = mapping_text(draft), []
        assumed, not_seen, label, to_the_minute = draft.assumed, draft.not_seen, draft.label, draft.to_the_minute
    figures = _observed(text, log, now)
    name = target.as_posix()
    files = {
        "mapping.yaml": text,
        "growth.yaml": growth_text(figures),
        "defaults.yaml": defaults_text(figures, label, to_the_minute, now),
        "env/local.yaml": env_text(figures, source, name, _shown(log), now),
    }
    shown = name if "/" in name else f"./{name}" if name.startswith("-") else name
    commands = (f"sendopt check {shown}", f"sendopt night --plan-date {figures.plan_date} --conf {shown}")
    return Proposal(name, files, (*seen, *_seen(figures, label)), tuple(assumed), tuple(not_seen), commands)


def write(proposal: Proposal) -> None:
    """The files in their folder; raises ConfigError where it cannot be written."""
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
    """What a terminal shows: what was seen, what is assumed, what was not seen, and the two commands that plan."""
    yield f"{proposal.folder} holds a mapping and the smallest settings, with the evidence beside each line:"
    yield f"  {', '.join(proposal.files)}"
    for heading, lines in (("Seen", proposal.seen), ("Assumed", proposal.assumed), ("Not seen", proposal.not_seen)):
        if lines:
            yield f"{heading}:"
            yield from (f"  {text}" for text in lines)
    yield "Correct what is wrong there, then:"
    yield from (f"  {command}" for command in proposal.commands)


def _given(columns: Sequence[str], sample: Sample) -> dict[str, str]:
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
    stem = log.resolve().name.split(".")[0]
    return slug(stem).lower()


def _shown(log: Path) -> Path:
    relative = os.path.relpath(log)
    return Path(log.resolve() if relative.startswith("..") else relative)


def _observed(text: str, log: Path, now: datetime) -> Observed:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "mapping.yaml"
        file.write_text(text, encoding="utf-8")
        return observe(load_mapping(file), log, now)


def _seen(figures: Observed, label: str) -> tuple[str, ...]:
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
