"""Airflow on this machine only, for looking at: `python tools/local_airflow.py`, ended by Ctrl-C.

Not `airflow standalone`: that one also starts two log servers on every interface. Everything is kept in out/airflow.
Whoever reaches the port is an admin, which is why the port is on loopback and nothing else listens.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PORT = os.environ.get("SENDOPT_AIRFLOW_PORT", "8080")
ADDRESS = f"http://127.0.0.1:{PORT}"
SETTINGS = {
    "AIRFLOW_HOME": str(ROOT / "out" / "airflow"),
    "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "airflow_dags"),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "2",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
    # A trigger's plan_date must arrive; JobOperator checks it and hands it on without a shell.
    "AIRFLOW__CORE__DAG_RUN_CONF_OVERRIDES_PARAMS": "True",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{ADDRESS}/execution/",
    "AIRFLOW__API__BASE_URL": ADDRESS,
}
PARTS = (
    ("api-server", "--host", "127.0.0.1", "--port", PORT),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
)


def main() -> int:
    environment = {"SENDOPT_HOME": str(ROOT), **os.environ, **SETTINGS}
    airflow = [sys.executable, "-m", "airflow"]
    subprocess.run([*airflow, "db", "migrate"], env=environment, check=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Sessions of their own: Ctrl-C reaches this process alone, which then ends the parts in order.
    parts = [subprocess.Popen([*airflow, *part], env=environment, start_new_session=True) for part in PARTS]
    sys.stderr.write(f"Airflow is at {ADDRESS}; DAGs start paused. Ctrl-C ends it.\n")
    while not stop.wait(1.0) and all(part.poll() is None for part in parts):
        pass
    ended = [name for (name, *_), part in zip(PARTS, parts, strict=True) if part.poll() is not None]
    for part in parts:
        part.terminate()
    for part in parts:
        try:
            part.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(part.pid, signal.SIGKILL)
    if ended and not stop.is_set():
        sys.stderr.write(f"airflow {ended[0]} ended by itself; its last lines above say why.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
