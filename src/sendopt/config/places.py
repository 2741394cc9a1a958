"""Rules for where a night runs: paths, sources, Spark properties and MLflow, checked before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from sendopt.config.presets import PREFIX, preset_names
from sendopt.config.schema import Settings
from sendopt.config.secret_text import is_secret_key, secret_in
from sendopt.config.yaml_tree import KeyPath, shown

Finding: TypeAlias = tuple[KeyPath, str]  # the path of a faulty setting, and the sentence

MASTER = re.compile(
    r"local|local\[(\*|[1-9][0-9]{0,3})(,[0-9]+)?\]|local-cluster\[[0-9, ]+\]|yarn"
    r"|spark://[\w.-]+:[0-9]+(,[\w.-]+:[0-9]+)*|k8s://\S+"
)
# Spark properties that settings may not set; the first pattern that matches a name gives the reason.
_CODE = "it runs other code in the night; the cluster's administrator may set it in spark-defaults.conf"
_MEANING = "it changes what the same rows mean; sendopt sets it"
REFUSED_PROPERTIES: tuple[tuple[str, str], ...] = (
    (r"spark\.sql\.session\.timezone", "nights are planned in UTC; sendopt sets it"),
    (r"spark\.sql\.(ansi\..*|casesensitive|legacy\..*|storeassignmentpolicy)", _MEANING),
    (r"spark\.sql\.(sources\.partitionoverwritemode|execution\.arrow\.pyspark\.enabled)", _MEANING),
    (r"spark\.driver\.memory", "set spark.driver_memory instead"),
    (r"spark\.sql\.shuffle\.partitions", "set spark.shuffle_partitions instead"),
    (r"spark\.(master|remote|api\.mode|submit\.deploymode)", "set spark.master instead"),
    (r"spark\.app\.name", "sendopt sets it"),
    (r".*javaoptions", f"options of the JVM are not settings: {_CODE}"),
    (r".*(extraclasspath|extralibrarypath|userclasspathfirst|appmasterenv\..*|executorenv\..*)", _CODE),
    (r"spark\.(jars|plugins|files|archives|extralisteners|kryo\.registrator|r|ui\.filters)(\..*)?", _CODE),
    (r"spark\.(submit\.pyfiles|pyspark\..*|python\..*(command|module).*|driver\.defaultsession.*)", _CODE),
    (r"spark\.sql\.(extensions|catalog|hive|queryexecutionlisteners|streaming\.\w*listeners)(\..*)?", _CODE),
    (r"spark\.(serializer|closure\.serializer|shuffle\.manager|shuffle\.sort\.io\.plugin\.class)", _CODE),
    (r".*(discoveryscript|discoveryplugin|connect\.extensions.*|connect\.\w+plugin.*|pluginclass)", _CODE),
    (r"spark\.(metrics|kubernetes)\..*(conf|podtemplatefile|podtemplatecontainername|sink.*)", _CODE),
    (r"spark\.redaction\..*", "it decides which secrets Spark hides from its logs"),
)
_STORES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "file", "databricks")


def findings(settings: Settings) -> Iterator[Finding]:
    """Yield every fault of where a night runs. The value of a secret is never repeated."""
    yield from _paths(settings)
    yield from _sources(settings)
    yield from _spark(settings)
    yield from _mlflow(settings)


def is_file(path: str) -> bool:
    """Return True for a file that exists; False also for a path that the system does not accept."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def _place(path: KeyPath, value: str) -> Iterator[Finding]:
    """Yield why a text is no path or address, whatever it is for."""
    secret = secret_in(value)
    if secret:
        yield path, f"holds {secret}; take it out and let the environment of the program that needs it hold it"
    elif not value.strip():
        yield path, f"empty; got {shown(value)}; expected a path or an address"
    elif value != value.strip() or "\n" in value or "\t" in value:
        yield path, f"starts, ends or breaks with white space; got {shown(value)}; write it without"
    elif value.startswith("~"):
        yield path, f"~ is not replaced by a home folder here; got {shown(value)}; write the whole path"


def _paths(settings: Settings) -> Iterator[Finding]:
    for key, value in (("data", settings.paths.data), ("out", settings.paths.out)):
        faults = list(_place(("paths", key), value))
        yield from faults
        if not faults and is_file(value):
            yield ("paths", key), f"a file; got {shown(value)}; expected a folder"
    if settings.paths.data.rstrip("/") == settings.paths.out.rstrip("/"):
        yield ("paths", "out"), f"the folder of paths.data too; got {shown(settings.paths.out)}; give each its own"


def _sources(settings: Settings) -> Iterator[Finding]:
    for name, source in settings.sources.items():
        yield from _place(("sources", name, "input"), source.input)
        if source.mapping.startswith(PREFIX):
            if source.mapping.removeprefix(PREFIX) not in preset_names():
                known = ", ".join(preset_names())
                yield (
                    ("sources", name, "mapping"),
                    f"unknown preset; got {shown(source.mapping)}; expected one of {known}",
                )
            continue
        faults = list(_place(("sources", name, "mapping"), source.mapping))
        yield from faults
        if not faults and not is_file(source.mapping):
            yield (
                ("sources", name, "mapping"),
                f"no such file; got {shown(source.mapping)}; "
                "expected a path from the working directory, like conf/sources/demo.yaml",
            )


def _spark(settings: Settings) -> Iterator[Finding]:
    master = settings.spark.master
    if secret_in(master):
        yield ("spark", "master"), f"holds {secret_in(master)}; take it out"
    elif not MASTER.fullmatch(master):
        yield (
            ("spark", "master"),
            f"no Spark master; got {shown(master)}; expected local[*], local[4], spark://HOST:PORT, yarn or k8s://HOST",
        )
    for key, value in settings.spark.conf.items():
        yield from ((("spark", "conf", key), text) for text in _property(key, value))


def _property(key: str, value: str) -> Iterator[str]:
    """Yield why a Spark property may not stand in settings."""
    secret = secret_in(value)
    refused = next((why for pattern, why in REFUSED_PROPERTIES if re.fullmatch(pattern, key, re.IGNORECASE)), None)
    if is_secret_key(key) and value.lower() not in ("true", "false"):
        yield "looks like a secret; take it out and let the cluster's own settings hold it"
    elif secret:
        yield f"holds {secret}; take it out and let the cluster's own settings hold it"
    elif refused:
        yield f"not allowed in settings: {refused}"
    elif not re.fullmatch(r"spark\.\S+", key):
        yield "no Spark property; expected a name that starts with spark., as spark.executor.memory"


def _mlflow(settings: Settings) -> Iterator[Finding]:
    place, uri = ("mlflow", "tracking_uri"), settings.mlflow.tracking_uri
    if not settings.mlflow.experiment.strip():
        yield ("mlflow", "experiment"), f"empty; got {shown(settings.mlflow.experiment)}; expected a name"
    if secret_in(uri):
        yield (
            place,
            f"holds {secret_in(uri)}; take it out and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD",
        )
        return
    faults = list(_place(place, uri))
    yield from faults
    scheme = re.match(r"([A-Za-z][\w.+-]*):", uri)
    if faults or scheme is None:
        return
    if scheme[1].partition("+")[0].lower() not in _STORES:
        yield place, f"unknown kind of store; got {shown(uri)}; expected one of {', '.join(s + ':' for s in _STORES)}"
    elif re.match(r"sqlite:(?!///)", uri):
        yield place, f"sqlite needs three slashes before its file; got {shown(uri)}; expected sqlite:///FILE"
