"""`sendopt evaluate`: is personal timing worth it on this log? Reads any log by its mapping, without Spark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sendopt.config.schema import Ingest
from sendopt.ingest import load_mapping
from sendopt.ingest.counts import reasons_in_words
from sendopt.lake.files import both_or_neither
from sendopt.report.timing import page
from sendopt.timing import verdict as words
from sendopt.timing.gain import REFUSED, Evaluation, evaluate
from sendopt.timing.log import LIMITS, Log, read_log
from sendopt.timing.refusals import NO_PSCORE

SCHEMA = 2


RESULT, PAGE = "evaluation.json", "evaluation.html"


def evaluate_log(
    source: Path, mapping_file: Path, label: str, window_hours: float, limits: Ingest = LIMITS
) -> dict[str, Any]:
    """What `evaluation.json` holds for the log of `source`; the same log gives the same content.

    Raises ConfigError, ContractError or InputNotReady where mapping or log cannot be used; a log that can be read but
    carries no claim gives a verdict of kind `refused` with its reason. `limits`: the shares of rows and outcomes that
    may be unreadable.
    """
    mapping = load_mapping(mapping_file)
    log = read_log(source, mapping, label, window_hours, limits)
    found = Evaluation(REFUSED, words.NO_PSCORE, reason=NO_PSCORE) if log.decisions is None else evaluate(log.decisions)
    return as_json(found, log, mapping.source)


def as_json(found: Evaluation, log: Log, source: str) -> dict[str, Any]:
    """The evaluation and its data, JSON-ready; no user id is in it."""
    kind = log.decisions.kind if log.decisions else None
    policies = [
        {
            "policy": p.name,
            "name": words.NAMES[p.name],
            "agrees_with_common": p.agrees,
            **{name: asdict(e) for name, e in p.by.items()},
            "minus_uniform": {name: asdict(e) for name, e in p.minus_uniform.items()},
            "minus_common": {name: asdict(e) for name, e in p.minus_common.items()},
            "not_sent": p.not_sent and asdict(p.not_sent),
            "sent_minus_not_sent": p.effect and asdict(p.effect),
            "not_sent_minus_common": p.not_sent_minus_common and asdict(p.not_sent_minus_common),
        }
        for p in found.policies
    ]
    return {
        "schema": SCHEMA,
        "source": source,
        "verdict": {
            "kind": found.kind,
            "sentence": words.verdict(found),
            "placebo": words.placebo(found),
            "used_part": words.used_part(found),
            "refusal": found.refusal,
            "reason": found.reason,
            "common_policy": found.common,
            "personal_minus_common": found.difference and asdict(found.difference),
            "times_as_many_people": found.more,
            "detectable_gain": found.detectable,
            "sends_that_differ": found.apart,
            "common": found.common_time and {"sentence": words.common(found), **asdict(found.common_time)},
        },
        "data": {
            "rows_in": log.rows_in,
            "used": log.used - found.certain - found.no_overlap,
            "dropped": _dropped(found, log),
            "people": log.people,
            "first_day": log.first_day,
            "last_day": log.last_day,
            "decision_kind": kind,
            "slots": list(log.decisions.slots) if log.decisions else [],
            "segments": list(log.decisions.segments) if log.decisions else [],
            "outcome": log.outcome,
            "slot_from": log.slot_from,
            "fitted_on": found.first,
            "evaluated_on": found.rest,
            "people_evaluated": found.users,
            "people_with_a_slot_of_their_own": found.moved,
            "mean_weight_of_uniform": found.mean_weight,
            "outcomes": _outcomes(log),
            "overlap_share": found.overlap_share,
            "people_without_a_past": found.whole_people,
        },
        "policies": policies,
        "log_loss": {"rows": found.loss_rows, **found.loss},
        "no_model": found.no_model,
        "shrinkage": {"kappa": found.kappa, "unsent_decisions_learned_from": found.pooled},
        "curves": [asdict(c) for c in found.curves],
        "assumptions": words.assumptions(found, log, kind),
    }


def _dropped(found: Evaluation, log: Log) -> dict[str, int]:
    more = {"probability_1": found.certain, "no_overlap": found.no_overlap}
    return dict(sorted({**log.dropped, **{reason: rows for reason, rows in more.items() if rows}}.items()))


def _outcomes(log: Log) -> dict[str, Any]:
    """Outcomes of sends as they were read: their number, how many are successes, and rows of outcomes not used."""
    read = {"read": 0, "successes": 0, "rows_in": 0, "not_used": {}, "examples": {}, **log.outcomes}
    if log.decisions is not None:
        outcome = log.decisions.success[log.decisions.acted]
        read |= {"read": len(outcome), "successes": int(outcome.sum())}
    return {**read, "sentence": _outcomes_in_words(read)}


def _outcomes_in_words(outcomes: Mapping[str, Any]) -> str:
    """One line: how many sends are a success, and what of the outcomes was not used, and why."""
    sends, successes = outcomes["read"], outcomes["successes"]
    share = f" ({successes / sends:.1%})" if sends else ""
    line = f"outcomes: {successes:,} of {sends:,} sends are a success{share}"
    if outcomes["not_used"]:
        lost = sum(outcomes["not_used"].values())
        line += f"; {lost:,} not used: {reasons_in_words(outcomes['not_used'], outcomes['examples'])}"
    return line


def in_words(result: dict[str, Any], folder: Path) -> Iterator[str]:
    """The outcome of `sendopt evaluate` in a few lines."""
    said, data = result["verdict"], result["data"]
    yield said["sentence"]
    if said["placebo"]:
        yield said["placebo"]
    if said["common"] and said["kind"] != REFUSED:
        yield said["common"]["sentence"][:1].upper() + said["common"]["sentence"][1:]
    if said["used_part"]:
        yield said["used_part"]
    for policy in result["policies"]:
        value = policy["snips"]
        rate = policy["snips"]["refusal"] or f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"
        yield f"  {policy['name']:<28} {rate}"
    lost = ", ".join(f"{n:,} {reason}" for reason, n in sorted(data["dropped"].items(), key=lambda pair: -pair[1])[:4])
    yield f"  {data['outcomes']['sentence']}"
    yield f"  {data['rows_in']:,} rows in, {data['used']:,} used" + (f"; left out: {lost}" if lost else "")
    yield f"  Report: {folder / PAGE}"


def write(result: dict[str, Any], folder: Path) -> None:
    """The result and its page in `folder`, both or neither."""
    with both_or_neither(folder, RESULT, [PAGE]) as staged:
        (staged / RESULT).write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
        (staged / PAGE).write_text(page.render(result), "utf-8")
