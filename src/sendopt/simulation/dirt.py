"""Dirt of real logs in known amounts: extra lines and files that an ingest must detect, counted by kind.

Dirt is only added. Without these lines, and with repeated lines read once, the logs are the clean ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from sendopt.lake.files import write_whole
from sendopt.simulation.raw import json_lines, written

AMOUNTS = {
    "duplicated_send": 20,  # lines of `sends` once more, to the byte
    "malformed_json": 3,  # lines of `sends` cut in the middle
    "unparseable_zone_send": 2,  # sends in zone Mars/Phobos
    "nan_pscore": 3,  # sends with pscore NaN
    "far_future": 2,  # sends in the year 2099
    "interaction_without_send": 5,  # opens of sends that no log holds
    "unparseable_zone_user": 1,  # someone without any channel, whom the world does not know, in zone Mars/Phobos
    "empty_file": 1,  # of sends, the day before the history begins
}


def add_dirt(raw: Path, first: date) -> dict[str, int]:
    """Add every kind of dirt to clean logs that begin on `first`; return what was added, by kind.

    That is all of AMOUNTS, unless the logs hold no send.
    """
    files = [path for path, _, _ in written(raw, "sends") if path.stat().st_size]
    added = dict.fromkeys(AMOUNTS, 0)
    for kind in ("duplicated_send", "malformed_json", "unparseable_zone_send", "nan_pscore", "far_future"):
        # from the newest file back, so that a short look-back still meets the dirt
        for number, path in enumerate(islice(cycle(reversed(files)), AMOUNTS[kind] if files else 0)):
            text = path.read_text()
            write_whole(path, text + _bad_send(kind, number, text.splitlines()[number % 7 % text.count("\n")]))
            added[kind] += 1
    for path, rows in _orphans(files):
        write_whole(path, (path.read_text() if path.exists() else "") + json_lines(rows))
        added["interaction_without_send"] += len(rows)
    with (raw / "users.csv").open("a") as users:
        users.write(f"u-mars,Mars/Phobos,,,,,{first.isoformat()}T00:00:00Z\n")
    write_whole(raw / "sends" / f"{(first - timedelta(days=1)).isoformat()}.jsonl", "")
    return added | {"unparseable_zone_user": 1, "empty_file": 1}


def _bad_send(kind: str, number: int, line: str) -> str:
    """Return a bad line made from a good one; ids are new except in a duplicate."""
    if kind == "duplicated_send":
        return line + "\n"
    if kind == "malformed_json":
        return line[: len(line) // 2] + "\n"
    row: dict[str, Any] = json.loads(line)
    row["id"] = f"{row['id']}-{kind}-{number}"
    match kind:
        case "unparseable_zone_send":
            row["tz"] = "Mars/Phobos"
        case "nan_pscore":
            row["pscore"] = float("nan")
        case _:
            row["sent_at"] = "2099-01-01T00:00:00Z"
    return json_lines([row])


def _orphans(sends: list[Path]) -> Iterator[tuple[Path, list[dict[str, object]]]]:
    """Yield files of interactions with opens of sends that no log holds."""
    for number, path in enumerate(islice(cycle(reversed(sends)), AMOUNTS["interaction_without_send"] if sends else 0)):
        row = json.loads(path.read_text().splitlines()[0])
        lost = {"user": row["user"], "id": f"lost-{number}", "send_key": None, "kind": "open", "at": row["sent_at"]}
        yield path.parent.parent / "interactions" / path.name, [lost]
