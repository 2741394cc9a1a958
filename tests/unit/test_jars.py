"""Java and Delta's jars as a machine may have them: each fault is one sentence before any JVM starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sendopt.errors import ConfigError
from sendopt.spark.engine import jars


@pytest.fixture
def java(tmp_path, monkeypatch):
    """Puts a `java` of one's own making first on the path."""
    monkeypatch.delenv("JAVA_HOME", raising=False)

    def make(script: str, folder: str = "bin") -> Path:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        path = tmp_path / folder / "java"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
        return path

    return make


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 0", "printed nothing, expected a version"),
        ("echo >&2; echo >&2", "printed nothing, expected a version"),
        ("echo 'Segmentation fault'", "printed 'Segmentation fault', expected a version"),
        (r"printf '\377\376\200' >&2", "expected a version"),
        ("yes version | head -c 100000", "printed 'version', expected a version"),
        (f"echo 'openjdk version \"{'9' * 5000}\"'", "is version 9999"),
        ("echo 'openjdk version \"11.0.2\" 2019' >&2", "is version 11"),
        ("echo 'java version \"1.8.0_202\"' >&2", "is version 1"),
        ("echo broken >&2; exit 3", "ended with 3"),
        ("exec sleep 60", "gave no answer in 0.5 s"),
        ("sleep 60 & wait", "gave no answer in 0.5 s"),
        ("kill -9 $$", "ended with -9"),
    ],
)
def test_a_java_that_is_none_is_named(java, monkeypatch, script, said):
    monkeypatch.setattr(jars, "JAVA_SECONDS", 0.5)
    java(script)
    with pytest.raises(ConfigError) as caught:
        jars.require_java()
    assert said in caught.value.message
    assert caught.value.message.startswith("sendopt needs Java 17 or 21, and ")
    assert "install OpenJDK 17" in caught.value.message
    assert len(caught.value.message) < 300
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("script", ["echo 'openjdk version \"17.0.9\"' >&2", "echo 'openjdk version \"21\" 2023'"])
def test_a_java_that_fits_passes(java, script):
    java(script)
    jars.require_java()


@pytest.mark.parametrize("place", ["nowhere", "file"])
def test_a_wrong_java_home_is_named_though_a_java_is_on_the_path(java, tmp_path, monkeypatch, place):
    """Spark starts the `java` of JAVA_HOME, whatever the path says."""
    java("echo 'openjdk version \"17.0.9\"' >&2")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / place))
    with pytest.raises(ConfigError, match=rf"JAVA_HOME is {tmp_path / place}, which holds no bin/java"):
        jars.require_java()


def test_the_java_of_java_home_is_the_one_that_counts(java, tmp_path, monkeypatch):
    java("echo 'openjdk version \"8\"' >&2", "old/bin")
    java("echo 'openjdk version \"17.0.9\"' >&2")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "old"))
    with pytest.raises(ConfigError, match=r"old/bin/java` here is version 8"):
        jars.require_java()


def test_no_java_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no `java` could be started here"):
        jars.require_java()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A whole installation of jars that anybody may damage, as small files with checksums of their own."""
    small = tuple(
        jars.Jar(jar.group, jar.artifact, jar.version, jars.hashlib.sha256(jar.name.encode()).hexdigest())
        for jar in jars.JARS
    )
    for jar in small:
        (tmp_path / jar.name).write_bytes(jar.name.encode())
    listed = [{"name": jar.name, "bytes": len(jar.name), "sha256": jar.sha256} for jar in small]
    (tmp_path / "jars.json").write_text(json.dumps({"coordinate": jars.COORDINATE, "jars": listed}))
    monkeypatch.setattr(jars, "JARS", small)
    monkeypatch.setattr(jars, "HOME", tmp_path)
    monkeypatch.setattr(jars, "CHECKED_LIST", tmp_path / "jars.json")
    return tmp_path


def test_whole_jars_pass(installed):
    assert [Path(path).name for path in jars.checked_jars()] == [jar.name for jar in jars.JARS]


def test_a_jar_of_the_same_size_with_other_bytes_is_refused(installed):
    jar = installed / jars.JARS[3].name
    jar.write_bytes(jar.read_bytes().swapcase())
    with pytest.raises(ConfigError, match=f"changed in .*: {jars.JARS[3].name}: their SHA-256"):
        jars.checked_jars()


@pytest.mark.parametrize("fault", ["cut", "missing", "folder"])
def test_a_damaged_jar_is_refused(installed, fault):
    jar = installed / jars.JARS[0].name
    data = jar.read_bytes()
    jar.unlink()
    if fault == "cut":
        jar.write_bytes(data[:-1])
    elif fault == "folder":
        jar.mkdir()
    with pytest.raises(ConfigError, match=jars.JARS[0].name):
        jars.checked_jars()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"garbage",
        b"[]",
        b"null",
        b"7",
        b'"jars"',
        b"{}",
        b'{"coordinate": 1}',
        b'{"coordinate": "x", "jars": 3}',
        b'{"coordinate": "x", "jars": [1]}',
        b'{"coordinate": "x", "jars": [{}]}',
        b'{"coordinate": [], "jars": []}',
        b'{"coordinate": "x", "jars": [{"name": [], "sha256": 1}]}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"9" * 5000,
    ],
    ids=lambda text: repr(text[:40]),
)
def test_a_garbage_list_of_jars_is_named(installed, text):
    (installed / "jars.json").write_bytes(text)
    with pytest.raises(ConfigError) as caught:
        jars.checked_jars()
    assert jars.INSTALL in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_a_list_that_blesses_other_jars_blesses_none(installed):
    """Whoever can write the list could write the jars: the checksums that count are in the source."""
    planted = installed / jars.JARS[0].name
    planted.write_bytes(b"planted")
    listed = json.loads((installed / "jars.json").read_text())
    listed["jars"][0]["sha256"] = jars.hashlib.sha256(b"planted").hexdigest()
    (installed / "jars.json").write_text(json.dumps(listed))
    with pytest.raises(ConfigError, match="names other jars"):
        jars.checked_jars()


def test_a_list_that_is_a_folder_is_named(installed):
    (installed / "jars.json").unlink()
    (installed / "jars.json").mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        jars.checked_jars()


def test_no_list_means_that_no_installation_came_to_its_end(installed):
    (installed / "jars.json").unlink()
    with pytest.raises(ConfigError, match=r"are not installed .*jars.json is missing"):
        jars.checked_jars()


def test_jars_of_another_delta_than_the_package_are_refused(installed, monkeypatch):
    monkeypatch.setattr(jars, "version", lambda _: "5.0.0")
    with pytest.raises(ConfigError, match=rf"delta-spark 5.0.0 is installed, expected {jars.DELTA}"):
        jars.checked_jars()


@pytest.mark.parametrize("served", ["other bytes", "nothing"])
def test_a_first_download_is_checked_too(installed, monkeypatch, served):
    """A mirror may serve anything: what does not have the publisher's bytes is not installed."""
    for path in installed.iterdir():
        path.unlink()

    def resolve(conf, _):
        folder = Path(conf["spark.jars.ivy"]) / "jars"
        folder.mkdir(parents=True, exist_ok=True)
        assert {c.split(":")[1] for c in conf["spark.jars.packages"].split(",")} == {j.artifact for j in jars.JARS}
        for jar in jars.JARS:
            if served != "nothing":
                (folder / jar.name).write_bytes(jar.name.encode() if jar is not jars.JARS[2] else b"planted")

    monkeypatch.setattr("sendopt.spark.engine.session.start_jvm", resolve)
    monkeypatch.setattr(jars, "HOME", installed / "jars")
    monkeypatch.setattr(jars, "require_java", lambda: None)
    with pytest.raises(ConfigError, match="nothing was installed") as caught:
        jars.install()
    assert jars.JARS[2].name in caught.value.message
    assert not (installed / "jars").exists()


def test_a_plain_spark_submit_finds_delta_and_writes_private_files(tmp_path, monkeypatch):
    monkeypatch.setattr(jars.pyspark, "__file__", str(tmp_path / "__init__.py"))
    jars._write_spark_defaults(["a.jar", "b.jar"])
    lines = (tmp_path / "conf/spark-defaults.conf").read_text().splitlines()
    conf = dict(line.split(" ", 1) for line in lines if not line.startswith("#"))
    assert conf["spark.jars"] == "a.jar,b.jar"
    assert conf["spark.hadoop.fs.permissions.umask-mode"] == "077"
    assert conf["spark.sql.extensions"] == "io.delta.sql.DeltaSparkSessionExtension"


@pytest.mark.slow
def test_a_download_that_fails_is_one_sentence_with_what_the_resolution_said(tmp_path):
    """No repository is reachable: a proxy that is none, in a JVM of its own."""
    script = (
        "from pathlib import Path; from sendopt.spark.engine import jars;"
        "jars.HOME = Path('share/jars').absolute(); jars.CHECKED_LIST = jars.HOME / 'jars.json'; jars.main()"
    )
    environment = {**os.environ, "DEFAULT_ARTIFACT_REPOSITORY": "http://127.0.0.1:9/", "HOME": str(tmp_path)}
    environment["JAVA_TOOL_OPTIONS"] = "-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=9 -Duser.home=" + str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) <= 8, done.stderr
    assert lines[0].startswith("Spark's own output is in ")
    assert "is a Maven repository reachable?" in lines[-1]
