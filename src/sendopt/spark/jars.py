"""Delta's jars: resolved once by Spark's own resolution, checked at every start.

They are part of the installation, so they live below `sys.prefix`, beside the Python packages. `install` also writes
Spark's defaults there, so that a plain `spark-submit jobs/NAME.py` finds Delta and the local tuning.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyspark
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from sendopt.errors import ConfigError

JAVA_VERSIONS = (17, 21)
HOME = Path(sys.prefix) / "share" / "sendopt" / "jars"
CHECKED_LIST = HOME / "jars.json"
COORDINATE = f"io.delta:delta-spark_4.2_2.13:{version('delta-spark')}"
INSTALL = "run `make install`"

GROUPS = ("io.delta", "io.unitycatalog")  # the rest of what resolves is on Spark's class path already

# What every session needs (spark-submit reads them from the file, an embedded session sets them itself).
DELTA_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# Without the larger code cache the sweeper throws compiled code out and compiles it again, for ever.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -Duser.timezone=UTC"


def require_java() -> None:
    """Raise ConfigError unless a Java that this Spark runs on is on the path."""
    need = f"sendopt needs Java {' or '.join(map(str, JAVA_VERSIONS))}"
    remedy = "install OpenJDK 17 and put it on PATH, or set JAVA_HOME"
    try:
        shown = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True, timeout=60).stderr
    except (OSError, subprocess.SubprocessError):
        raise ConfigError(f"{need}, and no `java` could be started here: {remedy}") from None
    found = re.search(r'version "(\d+)', shown)
    if not found or int(found.group(1)) not in JAVA_VERSIONS:
        got = found.group(1) if found else shown.strip().splitlines()[0]
        raise ConfigError(f"{need}, and `java` here is version {got}: {remedy}")


def checked_jars() -> list[str]:
    """Paths of Delta's jars, each of the size it was installed with; raises ConfigError naming what is missing."""
    if not CHECKED_LIST.is_file():
        raise ConfigError(f"Delta's jars are not installed ({CHECKED_LIST} is missing): {INSTALL}")
    listed = json.loads(CHECKED_LIST.read_text())
    if listed["coordinate"] != COORDINATE:
        raise ConfigError(f"Delta's jars are of {listed['coordinate']}, expected {COORDINATE}: {INSTALL}")
    bad = [j["name"] for j in listed["jars"] if not _is_intact(HOME / j["name"], j["bytes"])]
    if bad:
        raise ConfigError(f"Delta jars missing or cut short in {HOME}: {', '.join(bad)}: {INSTALL}")
    return [str(HOME / j["name"]) for j in listed["jars"]]


def _is_intact(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def install() -> list[str]:
    """Resolve the jars (once), write the checked list and Spark's defaults; returns the jars' paths."""
    require_java()
    try:
        jars = checked_jars()
    except ConfigError:
        jars = _resolve()
    _write_spark_defaults(jars)
    return jars


def _resolve() -> list[str]:
    from pyspark.sql import SparkSession

    ivy = HOME.parent / "ivy"
    try:
        SparkSession.builder.master("local[1]").config("spark.jars.packages", COORDINATE).config(
            "spark.jars.ivy", str(ivy)
        ).config("spark.ui.enabled", "false").getOrCreate().stop()
    except (Py4JError, PySparkException, RuntimeError) as error:
        raise ConfigError(
            f"Spark could not resolve {COORDINATE}; is a Maven repository reachable? ({error!s:.200})"
        ) from None
    HOME.mkdir(parents=True, exist_ok=True)
    entries: list[dict[str, str | int]] = []
    for jar in sorted((ivy / "jars").glob("*.jar")):
        if not jar.name.startswith(GROUPS):
            continue
        shutil.copy2(jar, HOME / jar.name)
        digest = hashlib.sha256(jar.read_bytes()).hexdigest()
        entries.append({"name": jar.name, "bytes": jar.stat().st_size, "sha256": digest})
    if not entries:
        raise ConfigError(f"Spark resolved {COORDINATE} to no jars in {ivy}: remove that folder and {INSTALL}")
    shutil.rmtree(ivy)
    CHECKED_LIST.write_text(json.dumps({"coordinate": COORDINATE, "jars": entries}, indent=1))
    return [str(HOME / str(e["name"])) for e in entries]


def _write_spark_defaults(jars: list[str]) -> None:
    conf = {"spark.jars": ",".join(jars), "spark.driver.extraJavaOptions": JVM_OPTIONS, **DELTA_CONF}
    folder = Path(pyspark.__file__).parent / "conf"
    folder.mkdir(exist_ok=True)
    text = "".join(f"{key} {value}\n" for key, value in conf.items())
    (folder / "spark-defaults.conf").write_text(f"# written by `make install`\n{text}")


if __name__ == "__main__":
    try:
        count = len(install())
    except ConfigError as error:
        sys.exit(f"sendopt: {error.message}")
    sys.stdout.write(f"{count} Delta jars ready\n")
