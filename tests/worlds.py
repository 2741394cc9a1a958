"""Small simulated worlds for tests that run whole nights."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

from few_rows import FEW_ROWS

from sendopt.config.loader import load
from sendopt.demo import prepare

REPO = Path(__file__).resolve().parents[1]
PLAN_DATE = date(2026, 3, 29)

# Limits of the demo's 2,000 people, less a few settings that a small world cannot carry.
ENV = """\
paths: {{data: {home}/data, out: {home}/out}}
spark: {{master: "local[2]", shuffle_partitions: 2, driver_memory: 2g, conf: {few_rows}}}
mlflow: {{tracking_uri: "sqlite:///{home}/out/mlflow.db"}}
clock: {{now: as_of}}
sources:
  demo: {{mapping: {home}/conf/sources/demo.yaml, input: {home}/world/raw}}
"""


def make_world(home: Path, users: int, days: int = 30) -> date:
    """Write the history of a new world and its settings (`home`/conf). Return the plan date that follows the history.

    All paths are below `home`.
    """
    shutil.copytree(REPO / "conf", home / "conf", ignore=shutil.ignore_patterns("heartsteps"))
    for environment in (home / "conf" / "env").glob("*.yaml"):
        environment.unlink()
    (home / "conf" / "env" / "local.yaml").write_text(ENV.format(home=home, few_rows=json.dumps(FEW_ROWS)))
    prepare(home / "world" / "raw", load(home / "conf"), users, PLAN_DATE, days)
    return PLAN_DATE
