"""What a mapping says of columns that a log fills in one place or another, or not at all."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sendopt.errors import ConfigError, ContractError
from sendopt.ingest import SourceMapping, TableMapping, load_mapping
from sendopt.ingest.reader import Reading, read_table


def sessions(tmp_path, text, file="s.jsonl", **mapping):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    table = TableMapping(**{"format": "jsonl", "time_format": "epoch_seconds", **mapping})
    rows = read_table(Reading("sessions", SourceMapping(source="s", tables={"sessions": table})), path).rows
    return rows[["user_id", "reason"]].to_numpy(object).tolist()


def lines(*items):
    return "\n".join(json.dumps(i) for i in items)


def test_the_first_filled_of_several_columns_is_taken(tmp_path):
    text = lines({"a": "x", "b": "y", "t": 1772357400}, {"b": "y", "t": 1772357400}, {"a": "null", "t": 1772357400})
    rows = sessions(tmp_path, text, columns={"user_id": {"first": ("a", "b")}, "at_utc": "t"})
    assert rows == [["x", None], ["y", None], [None, "missing_value:user_id"]]


def test_of_alternatives_one_column_is_enough_and_none_is_an_error(tmp_path):
    columns = {"user_id": {"first": ("a", "b")}, "at_utc": "t"}
    assert sessions(tmp_path, "b,t\ny,1772357400\n", "s.csv", format="csv", columns=columns) == [["y", None]]
    for file, text, form in (("n.csv", "c,t\ny,1772357400\n", "csv"), ("n.jsonl", lines({"c": 1, "t": 2}), "jsonl")):
        with pytest.raises(ContractError, match=r"user_id[.]first"):
            sessions(tmp_path, text, file, format=form, columns=columns)


def test_a_default_fills_only_what_the_log_leaves_empty(tmp_path):
    text = lines({"u": "x", "t": 1772357400}, {"u": "", "t": 1772357400}) + "\n[cut"
    rows = sessions(tmp_path, text, columns={"user_id": "u", "at_utc": "t"}, defaults={"user_id": "nobody"})
    assert rows == [["x", None], ["nobody", None], [None, "malformed_row"]]


@pytest.mark.parametrize(
    ("value", "path", "read"),
    [
        (["x", "y"], "v.0", "x"),
        ("x", "v.0", "x"),
        ([], "v.0", None),
        (["x"], "v.1", None),
        ([{"key": "k", "value": {"string_value": None, "int_value": "7"}}], "v.k", "7"),
        ([{"key": "k", "value": {"string_value": "x", "int_value": None}}], "v.k", "x"),
        ([{"key": "other", "value": {"string_value": "x"}}], "v.k", None),
        ([{"key": "k", "value": "x"}], "v.k", "x"),
        ({"k": {"l": ["x"]}}, "v.k.l.0", "x"),
    ],
)
def test_a_path_leads_through_lists_alike_in_json_and_parquet(tmp_path, value, path, read):
    rows = [{"v": value, "t": 1772357400}]
    columns = {"user_id": {"first": (path, "spare")}, "at_utc": "t"}
    wanted = [[read, None if read else "missing_value:user_id"]]
    assert sessions(tmp_path, lines({"spare": None, **rows[0]}), columns=columns) == wanted
    if value == []:
        return
    pq.write_table(pa.Table.from_pylist([{"spare": None, **rows[0]}]), tmp_path / "s.parquet")
    table = TableMapping(format="parquet", time_format="epoch_seconds", columns=columns)
    source = SourceMapping(source="s", tables={"sessions": table})
    typed = read_table(Reading("sessions", source), tmp_path / "s.parquet").rows
    assert typed[["user_id", "reason"]].to_numpy(object).tolist() == wanted


def test_a_folder_named_like_a_column_and_its_value_gives_that_column(tmp_path):
    columns = {"user_id": "who", "at_utc": "t"}
    assert sessions(tmp_path, "t\n1772357400\n", "who=a%20b/s.csv", format="csv", columns=columns) == [["a b", None]]


def test_a_default_of_a_column_that_is_not_mapped_is_a_fault(tmp_path):
    (tmp_path / "m.yaml").write_text(
        "source: s\ntables:\n  sessions:\n    format: csv\n    columns: {user_id: u, at_utc: t}\n"
        "    defaults: {user: x}\n"
    )
    with pytest.raises(
        ConfigError, match=r"6: tables.sessions.defaults.user: unknown mapped column, did you mean user_"
    ):
        load_mapping(tmp_path / "m.yaml")
