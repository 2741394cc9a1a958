"""What goes wrong in a Python worker, in a race of two writers or on a full disk reaches the user as what it is."""

from __future__ import annotations

import ast
import errno
import threading
from datetime import UTC, date, datetime
from pathlib import Path

import delta.exceptions
import pandas as pd
import pyarrow as pa
import pytest
from lake_rows import in_order, slot_feature
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import functions as F

from sendopt import errors
from sendopt.domain.tables import TABLES
from sendopt.errors import ConfigError, ContractError, InputNotReady, LakeBusy, ModelError, NoSpace
from sendopt.night import runtime
from sendopt.spark.engine import failures, workers
from sendopt.spark.engine.lake import schema_of

REPO = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
DAY = date(2026, 3, 1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

PLANTED = {
    "contract": ContractError("table users: 3 rows are bad „so“\n<b>", table="users", count=3),
    "model": ModelError("the model does not fit", model_version="7"),
    "config": ConfigError("two settings are wrong:", ("conf/base.yaml:3: a", "conf/base.yaml:9: b")),
    "not ready": InputNotReady("run score_slots first"),
    "broken row": ValueError("could not convert string to float: 'x'"),
    "missing": KeyError("quiet_start"),
    "disk": OSError(errno.ENOSPC, "No space left on device", "/data/part-0"),
}


def _raises(error: Exception):
    def work(*_: object):
        raise error

    return work


def _stream_raises(error: Exception):
    def work(batches):
        for batch in batches:
            yield batch
            raise error

    return work


def _frames(spark, lake, error):
    workers.map_frames(spark.range(3), _stream_raises(error), "id long").collect()


def _batches(spark, lake, error):
    workers.map_batches(spark.range(3), _stream_raises(error), "id long").toPandas()


def _groups(spark, lake, error):
    workers.map_groups(spark.range(3).groupBy("id"), _raises(error), "id long").collect()


def _pairs(spark, lake, error):
    keys = spark.range(3).groupBy("id")
    workers.map_pairs(keys, spark.range(3).groupBy("id"), _raises(error), "id long").collect()


def _rdd(spark, lake, error):
    spark.sparkContext.parallelize(range(2), 2).map(workers.crossing(_raises(error))).collect()


def _udf(spark, lake, error):
    work = workers.crossing(_raises(error))

    def numbers(ids: pd.Series) -> pd.Series:
        return work(ids)

    spark.range(3).select(F.pandas_udf(numbers, "long")("id")).collect()


def _written(spark, lake, error):
    rows = workers.map_frames(spark.range(3), _stream_raises(error), "id long").withColumn("plan_date", F.lit(DAY))
    rows = rows.withColumns({c.name: F.col("id").cast(c.type) for c in TABLES["slot_features"].columns[1:]})
    lake.replace("slot_features", rows.withColumn("weekend", F.lit(True)), DAY)


WAYS = {"frames": _frames, "batches": _batches, "groups": _groups, "pairs": _pairs, "rdd": _rdd, "udf": _udf}


def _expected(error: Exception) -> Exception:
    return error if not isinstance(error, OSError) else NoSpace("no space is left on the disk of /data/part-0")


@pytest.mark.parametrize("way", WAYS)
def test_an_error_in_a_worker_is_the_same_error_on_the_driver_whatever_ran_it(spark, lake, way):
    planted = PLANTED["contract"]
    with pytest.raises(type(planted)) as caught, failures.as_ours():
        WAYS[way](spark, lake, planted)
    assert str(caught.value) == str(planted)


@pytest.mark.parametrize("kind", PLANTED)
def test_every_kind_of_error_crosses_with_its_sentence_facts_and_exit_code(spark, lake, capsys, kind):
    planted = PLANTED[kind]
    expected = _expected(planted)

    def work() -> None:
        with failures.as_ours():
            _frames(spark, lake, planted)

    code = runtime.guarded(work)
    shown = capsys.readouterr().err
    assert code == getattr(expected, "exit_code", 1)
    if isinstance(expected, errors.SendoptError):
        assert shown.startswith(f"sendopt: {expected.message}")
        assert all(f'"{name}"' in shown for name in expected.facts)
        assert all(line in shown for line in getattr(expected, "problems", ()))
    else:
        assert f"unexpected {type(planted).__name__}" in shown
    assert "Traceback" not in shown
    assert "sendopt-error" not in shown


def test_an_error_in_a_worker_crosses_a_write_and_nothing_is_written(spark, lake):
    with pytest.raises(ModelError, match="does not fit") as caught:
        _written(spark, lake, PLANTED["model"])
    assert caught.value.facts == {"model_version": "7"}
    assert not lake.exists("slot_features")


def test_workers_are_entered_by_one_door():
    """Functions of workers are given to Spark in workers.py only; a UDF or an RDD's map takes a crossing function."""
    doors = {"mapInPandas", "mapInArrow", "applyInPandas", "applyInArrow", "mapPartitions", "foreachPartition"}
    for path in (REPO / "src" / "sendopt" / "spark").rglob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = {n.func.attr if isinstance(n.func, ast.Attribute) else getattr(n.func, "id", "") for n in calls}
        assert path.name == "workers.py" or not names & doors, path
        if {"pandas_udf", "udf"} & names or "parallelize" in names:
            assert "crossing" in names, path


# Two writers, of whom one loses


def rows(spark, hours, rate=0.5):
    rows = [slot_feature(DAY, hour, rate) for hour in hours]
    return spark.createDataFrame(in_order("slot_features", rows), schema_of(TABLES["slot_features"]))


def opens(spark, *keys, imputed=False):
    values = [{"send_key": key, "kind": "open", "at_utc": NOON, "at_imputed": imputed} for key in keys]
    return spark.createDataFrame(in_order("interactions", values), schema_of(TABLES["interactions"]))


WRITES = {
    "replace": lambda spark, lake, n: lake.replace("slot_features", rows(spark, [n % 24]), DAY),
    "merge": lambda spark, lake, n: lake.merge("interactions", opens(spark, "a", imputed=n % 2 == 0)),
    "overwrite": lambda spark, lake, n: lake.overwrite("slot_features", rows(spark, [n % 24])),
}


def test_of_two_writers_at_once_the_loser_is_told_to_try_again(spark, lake):
    """Real commits by two threads: first writes of a table, then writes of a table that is there."""
    lost: list[Exception] = []
    gate = threading.Barrier(2)

    def writer(write: str, n: int) -> None:
        gate.wait()
        try:
            WRITES[write](spark, lake, n)
        except Exception as error:  # noqa: BLE001  looked at below
            lost.append(error)

    for round_, write in enumerate(("merge", "replace", "replace", "overwrite")):
        threads = [threading.Thread(target=writer, args=(write, 2 * round_ + n)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [str(error)[:1000] for error in lost if not isinstance(error, LakeBusy)] == []
    assert all(error.exit_code == 75 for error in lost)
    assert all(str(error).startswith("another process committed first to table ") for error in lost)
    assert 1 <= len(lost) <= 4, "of two writers at once one goes through"


def test_a_folder_with_other_files_is_no_race_and_is_named(spark, lake):
    folder = Path(lake.path("slot_features"))
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("x")
    with pytest.raises(ContractError, match="holds files and is no Delta table") as caught:
        lake.replace("slot_features", rows(spark, [1]), DAY)
    assert str(folder) in str(caught.value)
    assert (folder / "notes.txt").exists()


LOST = [name for name in dir(delta.exceptions) if name.endswith("Exception")]


@pytest.mark.parametrize("name", LOST)
def test_every_conflict_that_delta_names_is_a_lost_race(spark, name):
    planted = getattr(delta.exceptions, name)("files were added by a concurrent update", "io.delta: at x", None)
    lost = failures.translated(planted, "table send_plan")
    assert isinstance(lost, LakeBusy)
    assert lost.message.startswith("another process committed first to table send_plan")


@pytest.mark.parametrize(
    "condition",
    [
        "DELTA_CONCURRENT_APPEND.WITHOUT_HINT",
        "DELTA_METADATA_CHANGED",
        "DELTA_PROTOCOL_CHANGED",
        "DELTA_MAX_COMMIT_RETRIES_EXCEEDED",
        "DELTA_CONCURRENT_TRANSACTION",
        "DELTA_TABLE_NOT_FOUND",
    ],
)
def test_a_conflict_that_java_alone_names_is_a_lost_race(condition):
    assert isinstance(failures.translated(PySparkException(f"[{condition}] x"), ""), LakeBusy)


def test_a_full_disk_behind_java_is_told_and_tried_again(spark):
    """A real Java IOException: Linux's /dev/full has no space by definition."""
    out = spark.sparkContext._jvm.java.io.FileOutputStream("/dev/full")
    with pytest.raises(NoSpace, match="no space is left on the disk") as caught, failures.as_ours():
        out.write(bytearray(b"x" * 100_000))
    assert isinstance(caught.value.__cause__, Py4JJavaError)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize(
    "planted",
    [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        pa.ArrowException("IOError: [Errno 28] Error writing bytes to file. Detail: No space left on device"),
        RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    ],
    ids=lambda e: type(e).__name__,
)
def test_a_full_disk_is_told_whoever_meets_it(planted, capsys):
    def work() -> None:
        try:
            raise planted
        except Exception as error:
            raise RuntimeError("could not write") from error

    assert runtime.guarded(work) == 75
    assert capsys.readouterr().err.startswith("sendopt: no space is left on the disk")


def test_an_error_that_cannot_say_what_it_is_breaks_nothing(capsys):
    class Mute(RuntimeError):
        def __str__(self) -> str:
            raise ConnectionError("the JVM is gone")

    def work() -> None:
        with failures.as_ours():
            raise Mute

    assert runtime.guarded(work) == 1
    assert "unexpected Mute" in capsys.readouterr().err


def test_other_failures_stay_what_they_are(spark):
    with pytest.raises(PySparkException, match="no_such_column"), failures.as_ours():
        spark.range(1).select("no_such_column").collect()
