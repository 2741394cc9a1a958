"""`sendopt solve` of a folder: one process, local Spark and a cluster write the same plan, byte for byte."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest
from pyspark.sql import SparkSession

pytestmark = pytest.mark.slow

LIMITS = """
slot_minutes: 60
min_gap_minutes: 240
caps: {day: {window_minutes: 1440, max: 2}}
capacity: {push: 60}
campaigns: {c0: {max_sends: 90}, c1: {min_sends: 40}}
opt_outs: {max_expected: 1.5}
"""
USERS, SLOTS, BUCKETS = 1000, 12, 3


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Candidates in two files, history, limits, and the plan of one process."""
    folder, draw = tmp_path_factory.mktemp("solve"), np.random.default_rng(1)
    n = USERS * 2 * SLOTS
    user, message = np.arange(n) // (2 * SLOTS), np.arange(n) // SLOTS % 2
    rows = pa.table(
        {
            "user_id": [f"u{u}" for u in user],
            "message_id": [f"m{m}" for m in message],
            "campaign_id": [f"c{(u + m) % 4}" for u, m in zip(user, message, strict=True)],
            "channel": ["push"] * n,
            "category": ["k"] * n,
            "slot": np.arange(n) % SLOTS,
            "value": draw.gamma(2.0, 0.05, n),
            "p_opt_out": np.full(n, 0.002),
        }
    )
    (folder / "candidates").mkdir()
    rows = rows.take(pa.array(draw.permutation(n)))
    for i in range(2):
        pq.write_table(rows.slice(i * n // 2, n // 2), folder / f"candidates/{i}.parquet")
    past = {"user_id": [f"u{u}" for u in range(0, USERS, 3)]}
    past |= {name: ["push"] * len(past["user_id"]) for name in ("channel", "category", "campaign_id")}
    minutes = draw.integers(-600, 3000, len(past["user_id"])).astype(float)
    past |= {"minutes_before": minutes, "p_opt_out": np.full(len(minutes), 0.002)}
    pq.write_table(pa.table(past), folder / "history.parquet")
    (folder / "limits.yaml").write_text(LIMITS)
    done = solve(folder, "one")
    assert done.returncode == 0, done.stderr
    return folder


def solve(home: Path, out: str, *more: str, candidates: str = "candidates") -> subprocess.CompletedProcess[str]:
    argv = [
        str(Path(sys.executable).with_name("sendopt")),
        "solve",
        candidates,
        "--limits",
        "limits.yaml",
        "--history",
        "history.parquet",
        "--buckets",
        str(BUCKETS),
        "--out",
        out,
        *more,
    ]
    return subprocess.run(argv, cwd=home, capture_output=True, text=True, check=False, env=environment())


def environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    return {**clean, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, "SPARK_NO_DAEMONIZE": "1"}


def same_plan(home: Path, out: str) -> None:
    names = [f"plan.parquet/{b:05d}.parquet" for b in range(BUCKETS)]
    assert [str(p.relative_to(home / out)) for p in sorted((home / out).rglob("*.parquet")) if p.is_file()] == names
    for name in names:
        assert (home / out / name).read_bytes() == (home / "one" / name).read_bytes(), name
    one, other = (json.loads((home / name / "solution.json").read_text()) for name in ("one", out))
    assert {k: v for k, v in one.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert one["sends"] > 300


def test_local_spark_writes_the_plan_of_one_process(home: Path) -> None:
    done = solve(home, "local", "--spark", "local[2]")
    assert done.returncode == 0, done.stderr
    same_plan(home, "local")


def test_columns_in_capitals_are_read_by_spark_as_by_one_process(
    spark: SparkSession, home: Path, tmp_path: Path
) -> None:
    from sendopt.allocation.buckets import split
    from sendopt.spark.allocation.solve_buckets import write_buckets

    rows = pq.read_table(home / "candidates/0.parquet")
    pq.write_table(rows.rename_columns([name.upper() for name in rows.column_names]), tmp_path / "c.PARQUET")
    split(tmp_path / "c.PARQUET", None, tmp_path / "one", 1)
    write_buckets(spark, tmp_path / "c.PARQUET", None, tmp_path / "spark", 1)
    one, other = (tmp_path / folder / "bucket-00000.parquet" for folder in ("one", "spark"))
    assert one.read_bytes() == other.read_bytes()


def test_a_sentence_from_a_worker_reaches_the_user(home: Path) -> None:
    rows = pq.read_table(home / "candidates/0.parquet")
    (home / "bad").mkdir()
    twice = pa.concat_tables([rows, rows.slice(0, 1)])
    pq.write_table(twice, home / "bad/0.parquet")
    done = solve(home, "refused", "--spark", "local[2]", candidates="bad")
    assert done.returncode == 3, done.stderr
    assert re.search(r"sendopt: bad \(bucket \d of 3\): \(user_id, message_id, slot\) repeated in 1 of", done.stderr)
    assert "Traceback" not in done.stderr
    assert not (home / "refused").exists()


def test_a_stand_alone_cluster_writes_the_plan_of_one_process(home: Path, tmp_path: Path) -> None:
    with cluster(tmp_path, workers=2) as master:
        done = solve(home, "cluster", "--spark", master)
    assert done.returncode == 0, done.stderr
    same_plan(home, "cluster")
    used = {path.parent.parent.name for path in tmp_path.glob("worker*/app-*/*")}
    assert used == {"worker0", "worker1"}, "each worker ran an executor"


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """A master and workers on loopback, from the pip package; ends with the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    master = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    commands = [[f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]]
    for i in range(workers):
        commands.append(
            [
                f"{deploy}.worker.Worker",
                master,
                "--host",
                "127.0.0.1",
                "--cores",
                "1",
                "--memory",
                "1g",
                "--webui-port",
                "0",
                "--work-dir",
                str(folder / f"worker{i}"),
            ]
        )
    spark_class = Path(pyspark.__file__).parent / "bin" / "spark-class"
    running, logs = [], [folder / f"{i}.log" for i in range(workers + 1)]
    try:
        for log, command in zip(logs, commands, strict=True):
            with log.open("w") as out:
                running.append(
                    subprocess.Popen(
                        [str(spark_class), *command],
                        stdout=out,
                        stderr=subprocess.STDOUT,
                        env=environment(),
                        start_new_session=True,
                    )
                )
        until = time.monotonic() + 1200
        while not all("Successfully registered with master" in log.read_text() for log in logs[1:]):
            assert time.monotonic() < until, [log.read_text()[-500:] for log in logs]
            assert all(process.poll() is None for process in running)
            time.sleep(0.5)
        yield master
    finally:
        for process in reversed(running):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(600)
