"""`sendopt evaluate`: is personal timing worth it on this log? It reads any log by its mapping, without Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sendopt.config.schema import Ingest
from sendopt.ingest import load_mapping
from sendopt.ingest.counts import reasons_in_words
from sendopt.lake.files import both_or_neither
from sendopt.report.timing import page
from sendopt.timing import verdict as words
from sendopt.timing.gain import Evaluation, Kind, evaluate
from sendopt.timing.log import LIMITS, Log, Outcomes, read_log
from sendopt.timing.policy_values import PolicyValue
from sendopt.timing.refusals import Reason

SCHEMA = 2
RESULT, PAGE = "evaluation.json", "evaluation.html"


def evaluate_log(
    source: Path, mapping_file: Path, label: str, window_hours: float, limits: Ingest = LIMITS
) -> dict[str, Any]:
    """Return the content of `evaluation.json` for the log of `source`; the same log gives the same content.

    `limits`: the shares of rows and outcomes that may be unreadable. A readable log that supports no claim gives a
    verdict of kind `refused` with its reason. Raises ConfigError, ContractError or InputNotReady where mapping or log
    cannot be used.
    """
    mapping = load_mapping(mapping_file)
    log = read_log(source, mapping, label, window_hours, limits)
    if log.decisions is None:
        evaluation = Evaluation(Kind.REFUSED, words.NO_PSCORE, reason=Reason.NO_PSCORE)
    else:
        evaluation = evaluate(log.decisions)
    return as_json(evaluation, log, mapping.source)


def as_json(evaluation: Evaluation, log: Log, source: str) -> dict[str, Any]:
    """Return the evaluation and the facts of its log, JSON-ready; it holds no user id."""
    return {
        "schema": SCHEMA,
        "source": source,
        "verdict": _verdict(evaluation),
        "data": _data(evaluation, log),
        "policies": [_policy(value) for value in evaluation.policies],
        "log_loss": {"rows": evaluation.loss_rows, **evaluation.loss},
        "no_model": evaluation.no_model,
        "shrinkage": {"kappa": dict(evaluation.kappa), "unsent_decisions_learned_from": evaluation.pooled},
        "curves": [asdict(curve) for curve in evaluation.curves],
        "assumptions": words.assumptions(evaluation, log),
    }


def _verdict(evaluation: Evaluation) -> dict[str, Any]:
    time = evaluation.common_time
    return {
        "kind": str(evaluation.kind),
        "sentence": words.verdict(evaluation),
        "placebo": words.placebo(evaluation),
        "used_part": words.used_part(evaluation),
        "refusal": evaluation.refusal,
        "reason": None if evaluation.reason is None else str(evaluation.reason),
        "common_policy": evaluation.common,
        "personal_minus_common": evaluation.difference and asdict(evaluation.difference),
        "times_as_many_people": evaluation.more,
        "detectable_gain": evaluation.detectable,
        "sends_that_differ": evaluation.apart,
        "common": time and {"sentence": words.common(evaluation), **asdict(time)},
    }


def _data(evaluation: Evaluation, log: Log) -> dict[str, Any]:
    decisions = log.decisions
    return {
        "rows_in": log.rows_in,
        "used": log.used - evaluation.certain - evaluation.no_overlap,
        "dropped": _dropped(evaluation, log),
        "people": log.people,
        "first_day": log.first_day,
        "last_day": log.last_day,
        "decision_kind": str(decisions.kind) if decisions else None,
        "slots": list(decisions.slots) if decisions else [],
        "segments": list(decisions.segments) if decisions else [],
        "outcome": log.outcome,
        "slot_from": log.slot_from,
        "fitted_on": evaluation.first,
        "evaluated_on": evaluation.rest,
        "people_evaluated": evaluation.users,
        "people_with_a_slot_of_their_own": evaluation.moved,
        "mean_weight_of_uniform": evaluation.mean_weight,
        "outcomes": _outcomes(log),
        "overlap_share": evaluation.overlap_share,
        "people_without_a_past": evaluation.whole_people,
    }


def _policy(value: PolicyValue) -> dict[str, Any]:
    return {
        "policy": value.name,
        "name": words.NAMES[value.name],
        "agrees_with_common": value.agrees,
        **{name: asdict(e) for name, e in value.by.items()},
        "minus_uniform": {name: asdict(e) for name, e in value.minus_uniform.items()},
        "minus_common": {name: asdict(e) for name, e in value.minus_common.items()},
        "not_sent": value.not_sent and asdict(value.not_sent),
        "sent_minus_not_sent": value.effect and asdict(value.effect),
        "not_sent_minus_common": value.not_sent_minus_common and asdict(value.not_sent_minus_common),
    }


def _dropped(evaluation: Evaluation, log: Log) -> dict[str, int]:
    """Return the number of dropped rows by reason, in alphabetical order."""
    unusable = {"probability_1": evaluation.certain, "no_overlap": evaluation.no_overlap}
    return dict(sorted({**log.dropped, **{reason: rows for reason, rows in unusable.items() if rows}}.items()))


def _outcomes(log: Log) -> dict[str, Any]:
    """Return the outcomes of sends: their number, successes, and rows of outcomes not used."""
    outcomes = log.outcomes
    if log.decisions is not None:
        success = log.decisions.success[log.decisions.acted]
        outcomes = replace(outcomes, read=len(success), successes=int(success.sum()))
    return {**asdict(outcomes), "sentence": _outcomes_in_words(outcomes)}


def _outcomes_in_words(outcomes: Outcomes) -> str:
    """Return one line: how many sends are a success, and which outcomes were not used and why."""
    share = f" ({outcomes.successes / outcomes.read:.1%})" if outcomes.read else ""
    line = f"outcomes: {outcomes.successes:,} of {outcomes.read:,} sends are a success{share}"
    if outcomes.not_used:
        examples = {reason: tuple(texts) for reason, texts in outcomes.examples.items()}
        lost = sum(outcomes.not_used.values())
        line += f"; {lost:,} not used: {reasons_in_words(outcomes.not_used, examples)}"
    return line


def in_words(result: dict[str, Any], folder: Path) -> Iterator[str]:
    """Yield the lines that `sendopt evaluate` prints."""
    verdict, data = result["verdict"], result["data"]
    yield verdict["sentence"]
    if verdict["placebo"]:
        yield verdict["placebo"]
    if verdict["common"] and verdict["kind"] != Kind.REFUSED:
        yield verdict["common"]["sentence"][:1].upper() + verdict["common"]["sentence"][1:]
    if verdict["used_part"]:
        yield verdict["used_part"]
    for policy in result["policies"]:
        value = policy["snips"]
        rate = policy["snips"]["refusal"] or f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        yield f"  {policy['name']:<28} {rate}"
    lost = ", ".join(f"{n:,} {reason}" for reason, n in sorted(data["dropped"].items(), key=lambda pair: -pair[1])[:4])
    yield f"  {data['outcomes']['sentence']}"
    yield f"  {data['rows_in']:,} rows in, {data['used']:,} used" + (f"; left out: {lost}" if lost else "")
    yield f"  Report: {folder / PAGE}"


def write(result: dict[str, Any], folder: Path) -> None:
    """Write the result and its page into `folder`, both or neither."""
    with both_or_neither(folder, RESULT, [PAGE]) as staged:
        (staged / RESULT).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (staged / PAGE).write_text(page.render(result), "utf-8")
