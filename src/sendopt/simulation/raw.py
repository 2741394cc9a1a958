"""Raw logs of the world as files in one folder: `users.csv` and, by date, `sends`, `interactions` and `sessions`.

Every file has an owner, which alone may rewrite it. `interactions/A.jsonl` belongs to date A. Reactions on date A to a
send of an earlier date S are in `interactions/A.from-S.jsonl`, which belongs to S, so playing S again rewrites exactly
the files of S. The history owns all its files; reactions after its last night are in `A.from-history.jsonl`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from operator import itemgetter
from pathlib import Path

import numpy as np

from sendopt.domain.slots import zone_or_none
from sendopt.simulation.clock import iso, seconds_of
from sendopt.simulation.nature import NEVER, Memory, Reactions
from sendopt.simulation.population import QUIET, ZONES
from sendopt.simulation.world import World
from sendopt.stats.arrays import Ints

FOLDERS = {"sends": "jsonl", "interactions": "jsonl", "sessions": "csv"}
HISTORY = "history"
_NAME = re.compile(r"^(\d{4}-\d\d-\d\d)(?:\.from-(\d{4}-\d\d-\d\d|history))?\.(?:jsonl|csv)$")


def json_lines(rows: Iterable[dict[str, object]]) -> str:
    """Return the rows as JSON lines."""
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def users_csv(world: World) -> str:
    """Return all users as known when the history ends; later opt-outs are in the interactions."""
    people, zones = world.people, list(ZONES)
    rows = []
    for i, created in enumerate(iso(people.created)):
        channels = [c for c, owned in zip(world.channels, people.owns[i], strict=True) if owned]
        refused = [k for k, no in zip(world.categories, people.refuses[i], strict=True) if no]
        quiet = QUIET[people.quiet[i]] if people.quiet[i] >= 0 else ("", "")
        zone = zones[people.zone[i]] if people.zone_known[i] else ""
        rows.append((people.ids[i], zone, "|".join(channels), "|".join(refused), *quiet, created))
    return _csv(("user", "tz", "channels", "opted_out", "quiet_start", "quiet_end", "created"), rows)


def sessions_csv(world: World, user: Ints, at: Ints) -> str:
    """Return the sessions of `user` (N,) at epoch seconds `at` (N,) as CSV."""
    return _csv(("user", "at"), zip(world.people.ids[user], iso(at), strict=True))


def interactions(
    users: Iterable[str], ids: Iterable[str], send_keys: Iterable[str | None], reactions: Reactions
) -> dict[str, list[dict[str, object]]]:
    """Return one row for each reaction to the given sends, by UTC date, in order of time."""
    sends = list(zip(users, ids, send_keys, strict=True))
    events = []
    times_of = {
        "open": reactions.opened,
        "click": reactions.clicked,
        "goal": reactions.ordered,
        "opt_out": reactions.opted_out,
    }
    for kind, times in times_of.items():
        rows = np.flatnonzero(times != NEVER)
        events += [(at, *sends[row], kind) for row, at in zip(rows, iso(times[rows]), strict=True)]
    by_date: dict[str, list[dict[str, object]]] = {}
    for at, user, notification, send_key, kind in sorted(events, key=itemgetter(0, 1, 2, 4)):
        row: dict[str, object] = {"user": user, "id": notification, "send_key": send_key, "kind": kind, "at": at}
        by_date.setdefault(at[:10], []).append(row)
    return by_date


def written(raw: Path, folder: str) -> list[tuple[Path, str, str]]:
    """Return the world's files of a folder, in order of name: (path, date, owner: a date or "history")."""
    files = []
    for path in sorted((raw / folder).glob(f"*.{FOLDERS[folder]}")):
        if match := _NAME.match(path.name):
            files.append((path, match[1], match[2] or match[1]))
    return files


def remember(world: World, raw: Path, plan_date: date) -> Memory:
    """Return fatigue and opt-outs at `plan_date` 00:00Z, from all sends of earlier dates and their reactions.

    Rows that an ingest would refuse do not count: they never happened in the world.
    """
    memory, index = Memory.blank(world), {u: i for i, u in enumerate(world.people.ids)}
    channels = {c: i for i, c in enumerate(world.channels)}
    off = _opt_outs(raw)
    files = {date.fromisoformat(day): path for path, day, _ in written(raw, "sends")}
    day = min(files, default=plan_date)
    while day < plan_date:
        rows = list(_good_sends(files[day], day, index)) if day in files else []
        user = np.array([index[r["user"]] for r in rows], np.int64)
        channel = np.array([channels[r["channel"]] for r in rows], np.int64)
        memory.pass_day(world, day, user, channel, seconds_of(r["sent_at"] for r in rows))
        for u, c, row in zip(user, channel, rows, strict=True):
            memory.off_at[u, c] = min(memory.off_at[u, c], off.get((row["user"], row["id"]), NEVER))
        day += timedelta(days=1)
    return memory


def _good_sends(path: Path, day: date, known: dict[str, int]) -> Iterator[dict[str, str]]:
    """Yield the sends of a file that an ingest would accept, each once."""
    seen: set[tuple[str, str]] = set()
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        fits = row["user"] in known and row["sent_at"][:10] == day.isoformat() and (row["user"], row["id"]) not in seen
        zone_fits = row["tz"] is None or zone_or_none(row["tz"]) is not None
        if fits and zone_fits and row["pscore"] is not None and not math.isnan(row["pscore"]):
            seen.add((row["user"], row["id"]))
            yield row


def _opt_outs(raw: Path) -> dict[tuple[str, str], int]:
    """Return the epoch seconds of every opt-out, by (user, id)."""
    rows = []
    for path, _, _ in written(raw, "interactions"):
        rows += [json.loads(line) for line in path.read_text().splitlines() if '"kind":"opt_out"' in line]
    keys = [(row["user"], row["id"]) for row in rows]
    return dict(zip(keys, seconds_of(row["at"] for row in rows).tolist(), strict=True))


def _csv(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> str:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(header)
    out.writerows(rows)
    return text.getvalue()
