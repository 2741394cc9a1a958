"""The inputs of a plan and of a model: hashes of all inputs, and the lineage that a training records."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from importlib.metadata import version as installed
from types import MappingProxyType, ModuleType

import pandas as pd
from pydantic import BaseModel
from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F

from sendopt.domain.stages import STAGES, writers
from sendopt.errors import InputNotReady
from sendopt.experiment import arms
from sendopt.experiment.arms import FALLBACK, TREATMENT
from sendopt.spark.night import Night
from sendopt.tracking import Lineage

BASELINE = arms.BASELINE
LEARNT_FROM = STAGES["build_features"].reads  # the log, which features and labels are computed from


def plan_version(night: Night, model_version: str) -> str:
    """Return 16 hex digits of inputs, configuration and model.

    Row order, partitions and Delta versions do not change it (docs/adr/0003).
    """
    as_of = F.lit(night.as_of)
    seen = {
        "sends": F.col("sent_at_utc") < as_of,
        "interactions": F.col("at_utc") < as_of,
        "sessions": F.col("at_utc") < as_of,
        "users": F.col("created_at") < as_of,
        "consents": (F.col("at_utc") < as_of) | F.col("at_imputed"),
        "messages": (F.col("plan_date") == F.lit(night.plan_date)) & F.col("origin").isNull(),
        "send_plan": F.col("plan_date") < F.lit(night.plan_date),
    }
    inputs = {name: _content(night.lake.read(name), condition) for name, condition in seen.items()}
    text = json.dumps([str(night.plan_date), inputs, night.config_hash, model_version], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _content(rows: DataFrame, condition: Column) -> list[str]:
    """Return the number of rows that meet the condition, and the sum of their hashes."""
    digest = F.xxhash64(*rows.columns).cast("decimal(38,0)")
    sums = rows.where(condition).agg(F.count("*"), F.coalesce(F.sum(digest), F.lit(0))).head()
    assert sums is not None
    return [str(sums[0]), str(sums[1])]


@dataclass(frozen=True)
class Versions:
    """The versions that every row of a plan carries."""

    plan_version: str
    config_hash: str
    model_version: str

    @property
    def treated(self) -> str:
        """The arm of the users whose sends are planned."""
        return FALLBACK if self.model_version == BASELINE else TREATMENT

    def on(self, rows: DataFrame) -> DataFrame:
        """Return the rows with one column per version."""
        for name, value in vars(self).items():
            rows = rows.withColumn(name, F.lit(value))
        return rows


def of_scores(night: Night) -> Versions:
    """Return the versions that score_slots recorded for this plan_date.

    Raise InputNotReady where score_slots has not run, or where the settings changed since.
    """
    run = _run_of(night, "score_slots")
    if run is None:
        raise InputNotReady(f"no slot scores for {night.plan_date}: run score_slots first")
    facts = json.loads(run["facts"])
    if facts["config_hash"] != night.config_hash:
        raise InputNotReady(
            f"the slot scores of {night.plan_date} were made under other settings "
            f"(config {facts['config_hash']}, now {night.config_hash}): run score_slots again"
        )
    return Versions(run["plan_version"], night.config_hash, facts["model_version"])


def facts_of(night: Night, stage: str) -> dict[str, object]:
    """Return the facts that the last run of a stage on this plan date recorded; empty where it has not run."""
    run = _run_of(night, stage)
    return {} if run is None else dict(json.loads(run["facts"]))


def _run_of(night: Night, stage: str) -> Row | None:
    rows = night.lake.read("runs", night.plan_date).where(F.col("stage") == stage)
    return rows.select("plan_version", "facts").head()


def require_version(night: Night, plan_version: str, *tables: str) -> None:
    """Raise InputNotReady where rows of the night in one of `tables` belong to another plan version.

    A stage that was stopped, or run again alone, leaves tables of two versions. No later stage may mix them.
    """
    is_other = F.col("plan_version") != F.lit(plan_version)
    rows = [
        night.lake.read(name, night.plan_date).where(is_other).select(F.lit(name).alias("name"), "plan_version")
        for name in tables
    ]
    stranger = reduce(DataFrame.unionByName, rows).head()
    if stranger is not None:
        name, stage = stranger["name"], writers(stranger["name"])[0]
        raise InputNotReady(
            f"table {name} of {night.plan_date} holds rows of plan version {stranger['plan_version']}, the scores of "
            f"the night are of {plan_version}: run {stage} and the stages after it again",
            table=name,
            stage=stage,
        )


def fingerprint(rows: Iterable[pd.DataFrame], settings: Mapping[str, BaseModel], code: Sequence[ModuleType]) -> str:
    """Return 32 hex digits of a training's rows, settings and code; equal digits mean an equal model."""
    digest = hashlib.sha256()
    for frame in rows:
        digest.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    sections = {name: section.model_dump(mode="json") for name, section in settings.items()}
    texts = [inspect.getsource(module) for module in code]
    digest.update(json.dumps([sections, texts, installed("lightgbm")], sort_keys=True).encode())
    return digest.hexdigest()[:32]


def of_training(
    night: Night,
    mark: str,
    label: str,
    parameters: Mapping[str, str | float],
    tags: Mapping[str, str] = MappingProxyType({}),
    tables: Sequence[str] = LEARNT_FROM,
) -> Lineage:
    """Return the lineage of a training on this night; `mark` is its fingerprint, `label` the kind that it predicts.

    `parameters` and `tags` are added to those of every training; the Delta versions of `tables` are recorded.
    """
    versions = {name: night.lake.version_used(name) for name in tables}
    return Lineage(
        fingerprint=mark,
        tags={
            "plan_date": str(night.plan_date),
            "config_hash": night.config_hash,
            "delta_versions": json.dumps(versions, sort_keys=True),
            **tags,
        },
        parameters={**night.settings.training.model_dump(mode="json"), "label": label, **parameters},
    )
