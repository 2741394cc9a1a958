"""What a plan and a model were made from: hashes of every input, and what a training's run says of itself (night.md,
dates and identity)."""

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

from sendopt.domain.stages import writers
from sendopt.errors import InputNotReady
from sendopt.experiment import arms
from sendopt.experiment.arms import FALLBACK, TREATMENT
from sendopt.spark.night import Night
from sendopt.tracking import Lineage

BASELINE = arms.BASELINE
LEARNT_FROM = ("sends", "interactions", "sessions", "users")


def plan_version(night: Night, model_version: str) -> str:
    """16 hex digits of inputs, configuration and model; independent of row order, partitions and Delta versions."""
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
    digest = F.xxhash64(*rows.columns).cast("decimal(38,0)")
    found = rows.where(condition).agg(F.count("*"), F.coalesce(F.sum(digest), F.lit(0))).head()
    assert found is not None
    return [str(found[0]), str(found[1])]


@dataclass(frozen=True)
class Versions:
    """What every row of a plan carries."""

    plan_version: str
    config_hash: str
    model_version: str

    @property
    def treated(self) -> str:
        """The arm of the users that are planned for."""
        return FALLBACK if self.model_version == BASELINE else TREATMENT

    def on(self, rows: DataFrame) -> DataFrame:
        for name, value in vars(self).items():
            rows = rows.withColumn(name, F.lit(value))
        return rows


def of_scores(night: Night) -> Versions:
    """The versions that score_slots settled for this plan_date.

    Raises InputNotReady where it has not run, ConfigError where the settings changed since.
    """
    found = _run_of(night, "score_slots")
    if found is None:
        raise InputNotReady(f"no slot scores for {night.plan_date}: run score_slots first")
    facts = json.loads(found["facts"])
    if facts["config_hash"] != night.config_hash:
        raise InputNotReady(
            f"the slot scores of {night.plan_date} were made under other settings "
            f"(config {facts['config_hash']}, now {night.config_hash}): run score_slots again"
        )
    return Versions(found["plan_version"], night.config_hash, facts["model_version"])


def facts_of(night: Night, stage: str) -> dict[str, object]:
    """What the last run of a stage on this plan date says of itself; empty where it has not run."""
    found = _run_of(night, stage)
    return {} if found is None else dict(json.loads(found["facts"]))


def _run_of(night: Night, stage: str) -> Row | None:
    rows = night.lake.read("runs", night.plan_date).where(F.col("stage") == stage)
    return rows.select("plan_version", "facts").head()


def require_version(night: Night, plan_version: str, *tables: str) -> None:
    """Raises InputNotReady where rows of the night in one of `tables` belong to another plan version.

    A stage that was stopped, or run again alone, leaves a night half old: no later stage mixes the halves.
    """
    other = F.col("plan_version") != F.lit(plan_version)
    rows = [
        night.lake.read(name, night.plan_date).where(other).select(F.lit(name).alias("name"), "plan_version")
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
    """32 hex digits of a training's rows, sections of the settings and code; equal ones give the same model."""
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
    """What the run of a training on this night says of itself: `mark` is its fingerprint, `label` what it predicts.

    `parameters` and `tags` are added to those that every training has; `tables` are named with their Delta versions.
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
