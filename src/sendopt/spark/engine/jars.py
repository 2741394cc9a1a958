"""Delta's jars: resolved once by Spark, and checked at every start against the checksums below.

The jars are part of the installation, so they are stored below `sys.prefix`, beside the Python packages. `install` also
writes Spark's defaults, so that a plain `spark-submit jobs/NAME.py` finds Delta and the local tuning.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pyspark
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from sendopt.errors import ConfigError
from sendopt.process import jvm_log
from sendopt.process.private import UMASK

JAVA_VERSIONS = (17, 21)
JAVA_SECONDS = 20.0  # time limit of `java -version`
HOME = Path(sys.prefix) / "share" / "sendopt" / "jars"
CHECKED_LIST = HOME / "jars.json"
DELTA = "4.4.0"
COORDINATE = f"io.delta:delta-spark_4.2_2.13:{DELTA}"
INSTALL = "run `make install` (without make: python -m sendopt.spark.engine.jars)"


@dataclass(frozen=True)
class Jar:
    """One jar of Delta, as its publisher released it."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        """The Maven coordinate, `group:artifact:version`."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def name(self) -> str:
        """The file name that Spark gives the resolved jar."""
        return f"{self.group}_{self.artifact}-{self.version}.jar"


JARS = (
    Jar("io.delta", "delta-kernel-api", DELTA, "ee9b5a14ac3b7efdff4d61a58478fe8eb0e5a3fbca43889dca7290795fe79a11"),
    Jar("io.delta", "delta-kernel-defaults", DELTA, "225c975199e4718b38ee5b7e6da7f19e9585024262b2cec2656b32151a856b0b"),
    Jar(
        "io.delta",
        "delta-kernel-unitycatalog",
        DELTA,
        "cea22dfb4ac562b3cd27bf652697750e8336009d73fb06631363aaaad5345ffa",
    ),
    Jar("io.delta", "delta-spark_4.2_2.13", DELTA, "27d4fd8b1f879535c573ed1c718177d6a27f24d3e626ba02e216369725721ead"),
    Jar("io.delta", "delta-storage", DELTA, "c46735481fa8e326b0957be02b4420cbcab4b325bb08009b7f2045a95133f1cc"),
    Jar(
        "io.unitycatalog",
        "unitycatalog-client",
        "0.6.0",
        "48257499a86b801a3e2372cec55ac226ca1c1c7eabe5c118e7302f29a1fdbc19",
    ),
    Jar(
        "io.unitycatalog",
        "unitycatalog-hadoop",
        "0.6.0",
        "c47b63c961c87102b9e1d63809a0915ba4c86b7652f57c8d39ca3a05b441a150",
    ),
)
# Spark's class path already holds the dependencies of those jars: none of them is resolved or downloaded.
ON_SPARKS_PATH = "org.*:*,com.*:*,net.*:*,jakarta*:*,javax*:*,commons-*:*,software.*:*"

# Settings of every session (spark-submit reads them from the file, an embedded session sets them itself).
DELTA_CONF = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
}
# Hadoop sets the mode of every file itself and ignores the umask of the process.
PRIVATE_CONF = {"spark.hadoop.fs.permissions.umask-mode": f"{UMASK:03o}"}
# With a smaller code cache the JVM discards compiled code and compiles it again and again.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -Duser.timezone=UTC"


def require_java() -> None:
    """Raise ConfigError unless the `java` that Spark will start has a version that this Spark supports."""
    need = f"sendopt needs Java {' or '.join(map(str, JAVA_VERSIONS))}"
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else "java"
    remedy = "install OpenJDK 17 and put it on PATH, or set JAVA_HOME to it"
    if home and shutil.which(java) is None:
        raise ConfigError(f"{need}, and JAVA_HOME is {home}, which holds no bin/java: correct or unset JAVA_HOME")
    try:
        run = subprocess.run(
            [java, "-version"], stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=JAVA_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise ConfigError(f"{need}, and `{java} -version` gave no answer in {JAVA_SECONDS:g} s: {remedy}") from None
    except subprocess.CalledProcessError as error:
        raise ConfigError(f"{need}, and `{java} -version` ended with {error.returncode}: {remedy}") from None
    except (OSError, ValueError, subprocess.SubprocessError):
        raise ConfigError(f"{need}, and no `{java}` could be started here: {remedy}") from None
    shown = (run.stderr + b"\n" + run.stdout).decode("utf-8", errors="replace")
    stated = re.search(r'version "([0-9]{1,4})', shown)
    if stated is None:
        lines = shown.strip().splitlines()
        answer = repr(lines[0][:80]) if lines else "nothing"
        raise ConfigError(f"{need}, and `{java} -version` printed {answer}, expected a version: {remedy}")
    if int(stated.group(1)) not in JAVA_VERSIONS:
        raise ConfigError(f"{need}, and `{java}` here is version {stated.group(1)}: {remedy}")


def checked_jars() -> list[str]:
    """Return the paths of Delta's jars, each with the publisher's checksum.

    Raise ConfigError naming the jars that are missing or differ.
    """
    if version("delta-spark") != DELTA:
        raise ConfigError(f"delta-spark {version('delta-spark')} is installed, expected {DELTA}: {INSTALL}")
    _require_list()
    bad = [jar.name for jar in JARS if not _is_intact(HOME / jar.name, jar.sha256)]
    if bad:
        raise ConfigError(
            f"Delta jars missing, cut short or changed in {HOME}: {', '.join(bad)}: their SHA-256 is not the "
            f"publisher's; {INSTALL}"
        )
    return [str(HOME / jar.name) for jar in JARS]


def _require_list() -> None:
    """Raise ConfigError unless the checked list names `JARS`; it is written last, when an installation is complete."""
    try:
        listed = json.loads(CHECKED_LIST.read_bytes())
        coordinate, sums = listed["coordinate"], {jar["name"]: jar["sha256"] for jar in listed["jars"]}
    except FileNotFoundError:
        raise ConfigError(f"Delta's jars are not installed ({CHECKED_LIST} is missing): {INSTALL}") from None
    except OSError as error:
        raise ConfigError(f"{CHECKED_LIST} cannot be read ({error.strerror}): {INSTALL}") from None
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ConfigError(f"{CHECKED_LIST} is no list of jars with their SHA-256: {INSTALL}") from None
    if coordinate != COORDINATE:
        raise ConfigError(f"Delta's jars are of {coordinate!s:.80}, expected {COORDINATE}: {INSTALL}")
    if sums != {jar.name: jar.sha256 for jar in JARS}:
        raise ConfigError(f"{CHECKED_LIST} names other jars than those of {COORDINATE}: {INSTALL}")


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as jar:
            return hashlib.file_digest(jar, "sha256").hexdigest() == sha256
    except OSError:
        return False


def install() -> list[str]:
    """Resolve the jars (once), write the checked list and Spark's defaults; return the jars' paths."""
    require_java()
    try:
        jars = checked_jars()
    except ConfigError:
        jars = _resolve()
    _write_spark_defaults(jars)
    return jars


def _resolve() -> list[str]:
    from sendopt.spark.engine.session import start_jvm

    ivy = HOME.parent / "ivy"
    conf = {
        "spark.jars": "",  # instead of the jars in Spark's defaults that an earlier installation wrote
        "spark.jars.packages": ",".join(jar.coordinate for jar in JARS),
        "spark.jars.excludes": ON_SPARKS_PATH,
        "spark.jars.ivy": str(ivy),
        "spark.ui.enabled": "false",
    }
    try:
        start_jvm(conf, jvm_log.opened())
    except (ConfigError, Py4JError, PySparkException, RuntimeError):
        raise ConfigError(f"Spark could not resolve {COORDINATE}; is a Maven repository reachable?") from None
    changed = [jar.name for jar in JARS if not _is_intact(ivy / "jars" / jar.name, jar.sha256)]
    if changed:
        raise ConfigError(
            f"the repository gave other jars than Delta's publisher released, or none ({', '.join(changed)}: SHA-256 "
            f"differs): nothing was installed; remove {ivy}, look at your Maven mirror and {INSTALL}"
        )
    HOME.mkdir(parents=True, exist_ok=True)
    for jar in JARS:
        shutil.copyfile(ivy / "jars" / jar.name, HOME / jar.name)
    shutil.rmtree(ivy)
    listed = [{"name": jar.name, "sha256": jar.sha256} for jar in JARS]
    CHECKED_LIST.write_text(json.dumps({"coordinate": COORDINATE, "jars": listed}, indent=1), encoding="utf-8")
    jvm_log.remove()
    return [str(HOME / jar.name) for jar in JARS]


def _write_spark_defaults(jars: list[str]) -> None:
    conf = {"spark.jars": ",".join(jars), "spark.driver.extraJavaOptions": JVM_OPTIONS, **DELTA_CONF, **PRIVATE_CONF}
    folder = Path(pyspark.__file__).parent / "conf"
    folder.mkdir(exist_ok=True)
    text = "".join(f"{key} {value}\n" for key, value in conf.items())
    (folder / "spark-defaults.conf").write_text(f"# written by `make install`\n{text}")


def main() -> None:
    """Install the jars; entry point of `python -m sendopt.spark.engine.jars`."""
    try:
        count = len(install())
    except ConfigError as error:
        sys.stderr.write("".join(f"{line}\n" for line in (*jvm_log.lines(), f"sendopt: {error.message}")))
        sys.exit(error.exit_code)
    sys.stdout.write(f"{count} Delta jars ready\n")


if __name__ == "__main__":
    main()
