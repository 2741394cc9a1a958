"""`sendopt solve`: what matches nothing is never silent, and files of every kind are read by one reader."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import solve_rows
from typer.testing import CliRunner

from sendopt.allocation.buckets import solve_folder, split
from sendopt.allocation.problem import Problem
from sendopt.allocation.tables import tabular
from sendopt.allocation.tables.files import CANDIDATES as COLUMNS
from sendopt.allocation.tables.files import CANDIDATES_MORE, read_checked, read_problem
from sendopt.allocation.tables.unused import Expectation, misspelt
from sendopt.cli import app
from sendopt.config.limits_file import load_limits
from sendopt.domain.limits import SolveLimits
from sendopt.errors import ConfigError, ContractError, InputNotReady, SendoptError

ROWS = solve_rows.of(solve_rows.ROWS, user_id=["01", "01", "02"])
PAST = {
    "user_id": ["01"],
    "channel": ["push"],
    "category": ["deals"],
    "campaign_id": ["sale"],
    "minutes_before": [90.0],
}
STRICT = Expectation(allow_unused=False)


def strict(path: Path) -> Expectation:
    return Expectation(path, allow_unused=False)


def files(home: Path, limits: str, history: dict | None = None, **columns: object) -> tuple[Path, Path, Path | None]:
    """(candidates, limits, history) as files, the candidates with further columns."""
    pd.DataFrame({**ROWS, **columns}).to_parquet(home / "candidates.parquet")
    (home / "limits.yaml").write_text(limits)
    if history is None:
        return home / "candidates.parquet", home / "limits.yaml", None
    pd.DataFrame(history).to_parquet(home / "history.parquet")
    return home / "candidates.parquet", home / "limits.yaml", home / "history.parquet"


UNUSED = [
    ("capacity:\n  psuh: 1\n", 2, "no candidate has the channel psuh, did you mean push?"),
    ("capacity: {PUSH: 1}\n", 1, "did you mean push?"),
    (
        "campaigns:\n  slae: {max_sends: 0}\n",
        2,
        "no candidate has the campaign slae, did you mean sale?",
    ),
    (
        "caps:\n  a: {scope: 'channel:psh', max: 0, calendar: day}\n",
        2,
        "no candidate has the channel psh, did you mean",
    ),
    ("caps:\n  a: {scope: 'category:daels', max: 0, calendar: day}\n", 2, "the category daels, did you mean deals?"),
    ("caps:\n  a: {scope: 'campaign:x', max: 0, calendar: day}\n", 2, "the campaign x; they have news, sale"),
    ("fatigue:\n  max_points: 1\n  points_per_send: {emial: 1}\n", 3, "the channel emial, did you mean email?"),
    ("capacity:\n  push: {12: 1, 13: 1}\n", 2, "capacity.push: all slots are after 11, the last of the candidates"),
    ("opt_outs:\n  max_expected: 0.0\n", 2, "opt_outs.max_expected: "),
    ("cost:\n  max_total: 5\n", 2, "cost.max_total: "),
]


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize(("limits", "line", "words"), UNUSED)
def test_a_limit_that_matches_nothing_is_refused_with_its_line(
    limits: str, line: int, words: str, folder: bool, tmp_path: Path
) -> None:
    local_days = [1, 1, 1]
    candidates, path, _ = files(tmp_path, limits, local_day=local_days)
    with pytest.raises(ConfigError) as caught:
        _plan(candidates, path, None, folder, tmp_path)
    assert caught.value.exit_code == 2
    assert any(f"{path}:{line}: " in problem and words in problem for problem in caught.value.problems)
    assert not (tmp_path / "out").exists()


def _plan(candidates: Path, path: Path, history: Path | None, folder: bool, home: Path) -> object:
    if not folder:
        return read_checked(candidates, load_limits(path), history, strict(path))
    (home / "parts").mkdir(exist_ok=True)
    candidates.rename(home / "parts" / candidates.name)
    return solve_folder(home / "parts", history, load_limits(path), home / "out", 1e-4, 2, expect=strict(path))


@pytest.mark.parametrize(("limits", "line", "words"), UNUSED)
def test_a_template_may_hold_limits_for_others_and_each_is_a_warning(
    limits: str, line: int, words: str, tmp_path: Path
) -> None:
    candidates, path, _ = files(tmp_path, limits, local_day=[1, 1, 1])
    problem, warnings = read_checked(candidates, load_limits(path), None, Expectation(path, allow_unused=True))
    assert isinstance(problem, Problem)
    assert any(words in warning for warning in warnings)


def test_limits_that_match_are_not_mentioned(tmp_path: Path) -> None:
    limits = (
        "caps: {a: {scope: 'category:deals', max: 1, window_minutes: 60}}\ncapacity: {push: {9: 1, 11: 3}, email: 5}\n"
        "campaigns: {sale: {max_sends: 2}}\nfatigue: {max_points: 3, points_per_send: {push: 1, sms: 1}}\n"
        "opt_outs: {max_expected: 1}\ncost: {max_total: 1}\n"
    )
    past = {**PAST, "channel": ["sms"]}  # fatigue of a channel that only the past has counts
    candidates, path, history = files(tmp_path, limits, past, p_opt_out=[0.1, 0.1, 0.1], cost=[1, 1, 1])
    assert read_checked(candidates, load_limits(path), history, strict(path))[1] == []


def test_slots_of_a_map_that_no_candidate_reaches_are_a_warning(tmp_path: Path) -> None:
    candidates, path, _ = files(tmp_path, "capacity: {push: {9: 1, 23: 3}}\n")
    assert read_checked(candidates, load_limits(path), None, strict(path))[1] == [
        "capacity.push: slots after 11, the last of the candidates, bind nothing"
    ]


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("p_optout", "p_opt_out"),
        ("P_Opt-Out", "p_opt_out"),
        ("costs", "cost"),
        ("localday", "local_day"),
        ("tiers", "tier"),
    ],
)
def test_a_misspelt_column_is_named(column: str, meant: str, tmp_path: Path) -> None:
    candidates, path, _ = files(tmp_path, "", **{column: [0, 0, 0]})
    with pytest.raises(ContractError, match=f"column {column} is not read, did you mean {meant}") as caught:
        read_checked(candidates, load_limits(path), None, strict(path))
    assert caught.value.exit_code == 3
    assert len(read_checked(candidates, load_limits(path), None, Expectation())[1]) == 1


@pytest.mark.parametrize("column", ["local_date", "p_open", "note", "price", "message_title", "segment", "score"])
def test_a_column_of_its_own_is_not_taken_for_a_misspelt_one(column: str) -> None:
    assert misspelt([*ROWS, column], [*COLUMNS, *CANDIDATES_MORE]) == []


def test_a_missing_column_is_named_with_the_one_that_was_meant(tmp_path: Path) -> None:
    pd.DataFrame(ROWS).rename(columns={"slot": "slots"}).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(ContractError, match=r"columns slot are missing; found: user_.*; did you mean slot by slots\?"):
        read_problem(tmp_path / "c.csv", SolveLimits(), None)


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_history_of_other_people_is_said_and_stops_below_a_share(folder: bool, tmp_path: Path) -> None:
    past = {name: values * 4 for name, values in PAST.items()} | {"user_id": ["x", "y", "z", "z"]}
    candidates, path, history = files(tmp_path, "", past)
    argv = ["solve", str(candidates), "--limits", str(path), "--history", str(history), "--out", str(tmp_path / "out")]
    if folder:
        (tmp_path / "parts").mkdir()
        candidates.rename(tmp_path / "parts/c.parquet")
        argv[1] = str(tmp_path / "parts")
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.stderr
    assert "warning: " in done.stdout
    assert "none of its 4 rows is of a user with a candidate" in done.stdout
    told = json.loads((tmp_path / "out/solution.json").read_text())
    assert any("none of its 4 rows" in warning for warning in told["warnings"])
    done = CliRunner().invoke(app, [*argv, "--min-history-match", "0.5"])
    assert done.exit_code == 3
    assert "0 of 4 rows are of a user with a candidate, fewer than --min-history-match 0.5" in done.stderr


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (["1", "2"], "leading zeros"),
        (["01.0", "02.0"], "a decimal point"),
        ([" 01", "02 "], "white space"),
        (["1.0", "2.0"], "zeros or a point"),
    ],
)
def test_history_whose_ids_are_written_otherwise_is_refused(ids: list[str], words: str, tmp_path: Path) -> None:
    past = {name: values * 2 for name, values in PAST.items()} | {"user_id": ids}
    candidates, path, history = files(tmp_path, "", past)
    with pytest.raises(ContractError, match=words) as caught:
        read_checked(candidates, load_limits(path), history, strict(path))
    assert not any(user in str(caught.value) for user in ("01", "02"))


def test_ids_with_a_decimal_point_are_refused(tmp_path: Path) -> None:
    candidates, path, _ = files(tmp_path, "", user_id=[123456789012.0, 1.0, 2.0])
    with pytest.raises(ContractError, match="column user_id: double where text or whole numbers are expected"):
        read_problem(candidates, load_limits(path), None)
    with pytest.raises(ContractError, match="column user_id: double where text or whole numbers are expected"):
        split(candidates, None, tmp_path / "buckets", 1)


# --- One reader for all files ---------------------------------------------------------------------------------------


def frame() -> pd.DataFrame:
    return pd.DataFrame(ROWS)


def as_json_lines() -> bytes:
    return frame().to_json(orient="records", lines=True).encode()


def as_csv(**options: object) -> bytes:
    return frame().to_csv(index=False, **options).encode()  # type: ignore[call-overload]


def as_parquet(**names: str) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(frame().rename(columns=names)), sink)
    return sink.getvalue().to_pybytes()


READ = {
    "c.parquet": as_parquet(),
    "c.PARQUET": as_parquet(),
    "c.pq": as_parquet(),
    "part-0000": as_parquet(),
    "upper.parquet": as_parquet(**{name: name.upper() for name in ROWS}),
    "c.csv": as_csv(),
    "c.CSV": as_csv(),
    "c.csv.gz": gzip.compress(as_csv()),
    "c.CSV.GZ": gzip.compress(as_csv()),
    "upper.csv": as_csv(header=[name.upper() for name in ROWS]),
    "spaces.csv": as_csv(header=[f" {name} " for name in ROWS]),
    "mark.csv": b"\xef\xbb\xbf" + as_csv(),
    "windows.csv": as_csv(lineterminator="\r\n"),
    "semicolon.csv": as_csv(sep=";"),
    "c.tsv": as_csv(sep="\t"),
    "quoted.csv": as_csv(quoting=1),
    "c.jsonl": as_json_lines(),
    "c.JSONL": as_json_lines(),
    "c.ndjson": as_json_lines(),
    "c.jsonl.gz": gzip.compress(as_json_lines()),
    "blank.jsonl": b"\n" + as_json_lines().replace(b"\n", b"\n\n"),
    "lines.json": as_json_lines(),
    "array.json": frame().to_json(orient="records").encode(),
    "array.json.gz": gzip.compress(frame().to_json(orient="records", indent=1).encode()),
    "upper.json": frame().rename(columns=str.upper).to_json(orient="records").encode(),
}


@pytest.mark.parametrize("name", READ)
def test_every_kind_of_file_gives_the_same_problem(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(READ[name])
    problem = read_problem(tmp_path / name, SolveLimits(), None)
    assert problem.users.tolist() == ["01", "02"]
    assert problem.messages.message_id.tolist() == ["m1", "m2", "m3"]
    assert problem.cells.slot.tolist() == [9, 10, 11]
    assert problem.cells.value.tolist() == [0.5, 0.25, 1.0]


@pytest.mark.parametrize("name", ["h.CSV", "h.csv.gz", "h.json", "h.jsonl", "h.PARQUET"])
def test_history_is_read_by_the_same_reader(name: str, tmp_path: Path) -> None:
    past, candidates = pd.DataFrame(PAST), tmp_path / "c.csv"
    candidates.write_bytes(as_csv())
    contents = {
        ".CSV": lambda: past.to_csv(index=False).encode(),
        ".gz": lambda: gzip.compress(past.to_csv(index=False).encode()),
        ".json": lambda: past.to_json(orient="records").encode(),
        ".jsonl": lambda: past.to_json(orient="records", lines=True).encode(),
        ".PARQUET": lambda: past.rename(columns=str.upper).to_parquet(),
    }
    (tmp_path / name).write_bytes(contents[Path(name).suffix]())
    problem = read_problem(candidates, SolveLimits(), tmp_path / name)
    assert problem.users[problem.history.user].tolist() == ["01"]
    assert problem.history.minutes_before.tolist() == [90.0]


def test_a_folder_may_hold_files_of_several_kinds(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    (parts / "_delta_log").mkdir(parents=True)
    (parts / "_delta_log/0.json").write_text('{"add": {}}')
    (parts / "README").write_text("not read")
    for row, name in enumerate(("a.CSV", "b.jsonl.gz", "c.PARQUET")):
        one = frame().iloc[[row]]
        text = one.to_csv(index=False) if name == "a.CSV" else one.to_json(orient="records", lines=True)
        if name == "c.PARQUET":
            one.rename(columns=str.upper).to_parquet(parts / name)
        else:
            (parts / name).write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    planned = solve_folder(parts, None, SolveLimits(), tmp_path / "out", 1e-4, 2, expect=STRICT)
    assert planned.sends == 3
    assert sorted(pd.read_parquet(tmp_path / "out/plan.parquet")["message_id"]) == ["m1", "m2", "m3"]


REFUSED = [
    ("c.xlsx", b"PK\x03\x04", "files that end in .xlsx are not read; expected .parquet, .csv", 3),
    ("c.csv.zip", b"PK\x03\x04", "files that end in .csv.zip are not read", 3),
    ("candidates", as_csv(), "a file without an ending is not read", 3),
    ("c.csv", as_parquet(), "ends in .csv and holds Parquet; name it .parquet", 3),
    ("c.csv.gz", as_csv(), "ends in .gz and is not compressed by gzip", 3),
    ("c.csv", gzip.compress(as_csv()), "is compressed by gzip: name it with .gz", 3),
    ("c.csv.gz", gzip.compress(as_csv())[:-20], "cannot be read", 3),
    ("c.csv", b"", "an empty file", 3),
    ("c.csv", as_csv().splitlines()[0] + b"\n", "no row; nothing can be planned", 3),
    ("c.csv", as_csv().decode().encode("utf-16"), "UTF-16 text; save the file as UTF-8", 3),
    ("c.csv", as_csv() + b"a,b\n", "cannot be read", 3),
    ("c.csv", as_csv().replace(b"value", b"Slot"), "column slot is there more than once", 3),
    ("c.csv", as_csv().replace(b"m1", b'""'), "column message_id: empty in 1 of 3 rows", 3),
    ("c.csv", as_csv(sep=";", decimal=","), "column value: string where numbers are expected", 3),
    ("c.csv", as_csv().replace(b",9,", b",1785000000,"), "is beyond the longest plan of 32,767 slots", 3),
    ("c.parquet", as_csv(), "cannot be read", 3),
    ("c.parquet", as_parquet()[:-10], "cannot be read", 3),
    ("c.json", b'{"user_id": ["a"]', "cannot be read", 3),
    ("c.json", b"[1, 2]", "entry 0 is no object; expected an array of objects", 3),
    ("c.json", b"[" * 100_000, "cannot be read", 3),
    ("c.json", b"[{}, " + b"9" * 5000 + b"]", "cannot be read", 3),
    ("c.json", b"[]", "columns user_id, message_id", 3),
    ("c.jsonl", as_json_lines() + b"{", "cannot be read", 3),
    ("c.jsonl", as_json_lines() + b"7\n", "line 4 is no object", 3),
    ("c.jsonl", as_json_lines().replace(b'"value":0.5', b'"value":[1]'), "cannot be read", 3),
    ("c.jsonl", b"\xff\xfe\x00", "UTF-16 text", 3),
    ("c.jsonl", as_json_lines() + b"\xff", "cannot be read", 3),
]


@pytest.mark.parametrize(("name", "content", "words", "code"), REFUSED)
def test_a_file_that_cannot_be_read_is_one_sentence(
    name: str, content: bytes, words: str, code: int, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SendoptError) as caught:
        read_checked(tmp_path / name, SolveLimits(), None, STRICT)
    assert caught.value.exit_code == code
    assert words in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert len(str(caught.value)) < 800


def test_a_folder_without_files_names_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_text("x")
    with pytest.raises(InputNotReady, match=r"no Parquet file, CSV or JSON there; it holds a\.xlsx"):
        tabular.parts_of(tmp_path)


def test_spark_reads_parquet_only_and_says_so_before_it_starts(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/a.csv").write_bytes(as_csv())
    (tmp_path / "limits.yaml").write_text("")
    argv = ["solve", str(tmp_path / "parts"), "--limits", str(tmp_path / "limits.yaml"), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, [*argv, "--spark", "local"])
    assert done.exit_code == 2
    assert "--spark reads Parquet only, and " in done.stderr


def test_slots_beyond_every_plan_are_refused_before_any_work(tmp_path: Path) -> None:
    candidates, _, _ = files(tmp_path, "", slot=[1785000000, 2, 3])
    limits = SolveLimits(capacity={"push": {1_000_000_000: 1}})
    pd.DataFrame(ROWS).to_parquet(tmp_path / "sound.parquet")
    (tmp_path / "parts").mkdir()
    candidates.rename(tmp_path / "parts/c.parquet")
    with pytest.raises(ContractError, match="beyond the longest plan"):
        solve_folder(tmp_path / "parts", None, SolveLimits(), tmp_path / "out", 1e-4, 2)
    with pytest.raises(ContractError, match=r"capacity\.push: slot 1,000,000,000 is beyond"):
        read_problem(tmp_path / "sound.parquet", limits, None)


def test_the_command_refuses_and_says_how_to_go_on(tmp_path: Path) -> None:
    candidates, path, _ = files(tmp_path, "min_gap_minutes: 60\ncapacity: {psuh: 1}\n")
    argv = ["solve", str(candidates), "--limits", str(path), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 2
    assert f"{path}:2: capacity.psuh: no candidate has the channel psuh, did you mean push?" in done.stderr
    assert "--allow-unused" in done.stderr
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*argv, "--allow-unused", "--json"])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["warnings"] == [
        "capacity.psuh: no candidate has the channel psuh, did you mean push?"
    ]
