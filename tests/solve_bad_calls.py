"""Options and paths that `sendopt solve` refuses, with the exit code and words of their sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from solve_rows import PAST, ROWS, Columns, bytes_of, first, of, table


@dataclass(frozen=True)
class Call:
    """A call whose files are sound, but for what `before` does to the working directory."""

    code: int
    words: str
    argv: tuple[str, ...] = ()  # after the usual ones, whose last value counts
    candidates: str = "c.parquet"
    before: Callable[[], object] = lambda: None
    keeps: tuple[str, ...] = ()  # paths below `out` that lie there before and must lie there after


def _folder(*names: str) -> None:
    for name in names:
        Path(name).mkdir(parents=True)


def _file(name: str, content: str = "x") -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(content)


def _candidates(name: str, base: Columns = ROWS) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(bytes_of(base))


def _parts(name: str = "parts") -> None:
    _candidates(f"{name}/a.parquet")
    _candidates(f"{name}/b.parquet", of(ROWS, user_id=["x", "y", "z"]))


CALLS: dict[str, Call] = {
    "candidates gone": Call(75, "gone.parquet: no such file", candidates="gone.parquet"),
    "candidates a link to nothing": Call(
        75,
        "link.parquet: no such file",
        candidates="link.parquet",
        before=lambda: Path("link.parquet").symlink_to("gone"),
    ),
    "candidates a device": Call(75, "/dev/null: no such file", candidates="/dev/null"),
    "candidates the limits": Call(3, "files that end in .yaml are not read", candidates="limits.yaml"),
    "folder empty": Call(75, "no Parquet file, CSV or JSON there", candidates="parts", before=lambda: _folder("parts")),
    "folder of other files": Call(75, "it holds a.xlsx", candidates="parts", before=lambda: _file("parts/a.xlsx")),
    "folder with a link to nothing": Call(
        75,
        "b.parquet: a link that leads nowhere",
        candidates="parts",
        before=lambda: (_parts(), Path("parts/b.parquet").unlink(), Path("parts/b.parquet").symlink_to("gone")),
    ),
    "folder of empty tables": Call(
        3,
        "parts: no row; nothing can be planned",
        candidates="parts",
        before=lambda: _candidates("parts/a.parquet", table(ROWS).slice(0, 0)),
    ),
    "folder with a column in one file only": Call(
        2,
        "b.parquet has no column cost, so the budget counts nothing for its sends",
        ("--limits", "cost.yaml"),
        "parts",
        lambda: (
            _candidates("parts/a.parquet", of(ROWS, cost=[1.0, 1, 1])),
            _candidates("parts/b.parquet", of(ROWS, user_id=["x", "y", "z"])),
            _file("cost.yaml", "cost: {max_total: 5.0}"),
        ),
    ),
    "folder with local_day in one file only": Call(
        3,
        "column local_day is missing; caps.a counts",
        ("--limits", "day.yaml"),
        "parts",
        lambda: (
            _candidates("parts/a.parquet", of(ROWS, local_day=[1, 1, 1])),
            _candidates("parts/b.parquet", of(ROWS, user_id=["x", "y", "z"])),
            _file("day.yaml", "caps: {a: {calendar: day, max: 1}}"),
        ),
    ),
    "folder with a row in two files": Call(
        3,
        "repeated in 3 of 6 rows",
        candidates="parts",
        before=lambda: (_candidates("parts/a.parquet"), _candidates("parts/b.parquet")),
    ),
    "folder with a damaged bucket": Call(
        3,
        "bucket-00000.parquet cannot be read",
        candidates="parts",
        before=lambda: _file("parts/bucket-00000.parquet", "PAR1"),
    ),
    "history gone": Call(75, "gone.parquet: no such file", ("--history", "gone.parquet")),
    "history a folder for one file": Call(
        3, "a folder where one file is expected", ("--history", "parts"), before=_parts
    ),
    "history the candidates": Call(3, "columns minutes_before are missing", ("--history", "c.parquet")),
    "history an empty file": Call(3, "an empty file", ("--history", "h.csv"), before=lambda: _file("h.csv", "")),
    "history of sends without the budget's column": Call(
        2,
        "h.parquet has no column p_opt_out, so the budget counts nothing for its committed sends",
        ("--history", "h.parquet", "--limits", "o.yaml"),
        "p.parquet",
        lambda: (
            _candidates("p.parquet", of(ROWS, p_opt_out=[0.1, 0.1, 0.1])),
            _candidates("h.parquet", first(PAST, "minutes_before", -60.0)),
            _file("o.yaml", "opt_outs: {max_expected: 1.0}"),
        ),
    ),
    "limits gone": Call(2, "gone.yaml: no such file", ("--limits", "gone.yaml")),
    "limits a folder": Call(2, "limits: a folder", ("--limits", "limits"), before=lambda: _folder("limits")),
    "limits a table": Call(2, "c.parquet:1: not text", ("--limits", "c.parquet")),
    "limits UTF-16": Call(
        2,
        "UTF-16 text",
        ("--limits", "u.yaml"),
        before=lambda: Path("u.yaml").write_bytes("capacity: {push: 1}".encode("utf-16")),
    ),
    "limits that are no UTF-8": Call(
        2, "not UTF-8 text", ("--limits", "u.yaml"), before=lambda: Path("u.yaml").write_bytes(b"capacity: {\xff: 1}")
    ),
    "limits too long": Call(2, "too large", ("--limits", "u.yaml"), before=lambda: _file("u.yaml", "#" * 1_100_000)),
    "out a file": Call(2, "out is a file where a folder is expected", before=lambda: _file("out"), keeps=("",)),
    "out below a file": Call(
        2, "out is a file where a folder is expected", ("--out", "out/plan"), before=lambda: _file("out"), keeps=("",)
    ),
    "out the candidates": Call(2, "c.parquet is a file where a folder is expected", ("--out", "c.parquet")),
    "out a link to nothing": Call(2, "out is a link to nothing", before=lambda: Path("out").symlink_to("gone")),
    "out below a link to nothing": Call(
        2, "away is a link to nothing", ("--out", "away/plan"), before=lambda: Path("away").symlink_to("gone")
    ),
    "out a link in a circle": Call(
        2, "--out", ("--out", "one/plan"), before=lambda: (Path("one").symlink_to("two"), Path("two").symlink_to("one"))
    ),
    "out in /proc": Call(2, "no folder can be written there", ("--out", "/proc/plan")),
    "out below a device": Call(2, "/dev/null is a file where a folder is expected", ("--out", "/dev/null/plan")),
    "out with a name too long": Call(2, "--out", ("--out", "n" * 300)),
    "out with a zero byte": Call(2, "--out", ("--out", "a\0b")),
    "out that holds the candidates": Call(2, "it holds c.parquet, which is read", ("--out", ".")),
    "out that holds the history": Call(
        2,
        "it holds past/h.parquet, which is read",
        ("--out", "past", "--history", "past/h.parquet"),
        before=lambda: _candidates("past/h.parquet", PAST),
    ),
    "out in the folder of candidates": Call(
        2, "it lies in parts, whose files are read", ("--out", "parts/plan"), "parts", _parts
    ),
    "out the folder of candidates": Call(2, "it holds parts, which is read", ("--out", "parts"), "parts", _parts),
    "out in the folder of candidates by a link": Call(
        2,
        "it lies in parts, whose files are read",
        ("--out", "by/plan"),
        "parts",
        lambda: (_parts(), Path("by").symlink_to("parts")),
    ),
    "out with the plan of a folder": Call(
        2,
        "plan.parquet in it is a folder",
        before=lambda: _candidates("out/plan.parquet/00000.parquet"),
        keeps=("plan.parquet/00000.parquet",),
    ),
    "out with a folder that is no plan": Call(
        2,
        "plan.parquet in it is a folder that is no plan",
        (),
        "parts",
        lambda: (_parts(), _file("out/plan.parquet/mine.txt")),
        keeps=("plan.parquet/mine.txt",),
    ),
    "out with a folder for the manifest": Call(
        2, "solution.json in it is a folder", before=lambda: _folder("out/solution.json"), keeps=("solution.json",)
    ),
    "method unknown": Call(2, "--method: got 'best'", ("--method", "best")),
    "method exact for a folder": Call(2, "--method: got 'exact' for a folder", ("--method", "exact"), "parts", _parts),
    "buckets for a file": Call(2, "--buckets and --spark are for a folder", ("--buckets", "2")),
    "buckets none": Call(2, "--buckets: got 0, expected 1 to 1000", ("--buckets", "0"), "parts", _parts),
    "buckets negative": Call(2, "--buckets: got -1", ("--buckets", "-1"), "parts", _parts),
    "buckets too many": Call(2, "--buckets: got 1001", ("--buckets", "1001"), "parts", _parts),
    "buckets in words": Call(2, "--buckets", ("--buckets", "many"), "parts", _parts),
    "check-prices negative": Call(2, "--check-prices", ("--check-prices", "-1")),
    "check-prices for a folder": Call(2, "--check-prices is for one file", ("--check-prices", "1"), "parts", _parts),
    "share above 1": Call(2, "--min-history-match", ("--min-history-match", "1.5")),
    "share negative": Call(2, "--min-history-match", ("--min-history-match", "-0.5")),
    "share NaN": Call(2, "--min-history-match", ("--min-history-match", "nan")),
    "share in words": Call(2, "--min-history-match", ("--min-history-match", "half")),
    "history of fewer users than asked": Call(
        3,
        "0 of 2 rows are of a user with a candidate",
        ("--history", "h.parquet", "--min-history-match", "0.5"),
        before=lambda: _candidates("h.parquet", of(PAST, user_id=["x", "y"])),
    ),
    "option unknown": Call(2, "No such option", ("--limit", "limits.yaml")),
}
