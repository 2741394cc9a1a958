"""A model's evaluation with types, read from the JSON that training wrote; what is incomplete there is left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sendopt.report.kit import words

SHUFFLED = "model_shuffled_slots"


class Verdict(StrEnum):
    """What the interval of a gain shows, in the order of the page."""

    BETTER = "better"
    NOT_SHOWN = "not shown"
    WORSE = "worse"


@dataclass(frozen=True)
class Gain:
    """Log loss that the model saves against a baseline, with its 95 % interval; None where a number is missing."""

    baseline: str
    gain: float | None
    low: float | None
    high: float | None

    @property
    def name(self) -> str:
        return words.BASELINES.get(self.baseline, self.baseline)

    @property
    def verdict(self) -> Verdict:
        """Better or worse where the interval leaves out 0; not shown where it holds 0 or is unknown.

        >>> Gain("slot", 0.02, 0.01, 0.03).verdict.value, Gain("slot", 0.02, -0.01, 0.03).verdict.value
        ('better', 'not shown')
        """
        if self.low is not None and self.low > 0:
            return Verdict.BETTER
        if self.high is not None and self.high < 0:
            return Verdict.WORSE
        return Verdict.NOT_SHOWN


@dataclass(frozen=True)
class Rate:
    """Observed and expected success rate of `sends` sends."""

    observed: float
    expected: float
    sends: float


@dataclass(frozen=True)
class HourRate(Rate):
    """Rates of the sends in one local hour, 0 to 23."""

    hour: float


@dataclass(frozen=True)
class PlaceboRate:
    """Success rates in a slot where something was sent and where nothing was, with the decisions of each."""

    slot: str
    sent: float
    not_sent: float
    sent_count: float
    not_sent_count: float


@dataclass(frozen=True)
class Placebo:
    """Rates by slot and what training notes about them."""

    rates: tuple[PlaceboRate, ...]
    note: str


@dataclass(frozen=True)
class Gate:
    """The gate's decision; `promoted` is None where it is missing."""

    promoted: bool | None
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """Numbers of sends in the two parts, and the days of the test part; None where missing."""

    train: float | None
    test: float | None
    test_from: str | None
    test_to: str | None


@dataclass(frozen=True)
class ModelEvaluation:
    """What training measured of a model; `ratio` is observed over expected successes on the test days."""

    kind: str
    model_version: str | None
    label: str | None
    ratio: float | None
    split: Split | None
    gains: tuple[Gain, ...]
    losses: Mapping[str, float]
    calibration: tuple[Rate, ...]
    hours: tuple[HourRate, ...]
    importance: tuple[tuple[str, float], ...]
    placebo: Placebo | None
    gate: Gate | None


def read(evaluation: Mapping[str, object]) -> ModelEvaluation:
    """Return the evaluation; a number that is missing or not finite is None, and a row that needs it is left out."""
    losses = _mapping(evaluation.get("log_loss")) or {}
    numbers = {name: words.number(value) for name, value in losses.items()}
    return ModelEvaluation(
        kind=str(evaluation.get("kind", "of unknown kind")),
        model_version=_text(evaluation.get("model_version")),
        label=_text(evaluation.get("label")),
        ratio=words.number(evaluation.get("observed_over_expected")),
        split=_split(evaluation.get("split")),
        gains=tuple(_gain(row) for row in _rows(evaluation.get("gains"))),
        losses={name: value for name, value in numbers.items() if value is not None},
        calibration=tuple(Rate(*rate) for rate in _numbers(evaluation.get("calibration"), *_RATE)),
        hours=_hours(evaluation.get("slot_lift")),
        importance=_importance(evaluation.get("importance")),
        placebo=_placebo(evaluation.get("placebo")),
        gate=_gate(evaluation.get("gate")),
    )


_RATE = ("observed", "expected", "n")


def _hours(rows: object) -> tuple[HourRate, ...]:
    """Return the hours that have sends, in the order of the day."""
    rates = [HourRate(*rate) for rate in _numbers(rows, *_RATE, "local_hour") if rate[2] > 0]
    return tuple(sorted(rates, key=lambda rate: rate.hour))


def _gain(row: Mapping[str, object]) -> Gain:
    gain, low, high = (words.number(row.get(name)) for name in ("gain", "low", "high"))
    return Gain(str(row.get("baseline")), gain, low, high)


def _importance(rows: object) -> tuple[tuple[str, float], ...]:
    """Return pairs (feature, share above 0), the largest share first."""
    pairs = [(str(row.get("feature")), words.number(row.get("share"))) for row in _rows(rows)]
    shares = [(name, share) for name, share in pairs if share is not None and share > 0]
    return tuple(sorted(shares, key=lambda pair: -pair[1]))


def _placebo(value: object) -> Placebo | None:
    placebo = _mapping(value)
    if placebo is None:
        return None
    rates = []
    for row in _rows(placebo.get("rows")):
        sent, not_sent = words.number(row.get("sent")), words.number(row.get("not_sent"))
        if sent is not None and not_sent is not None:
            counts = (words.number(row.get(name)) or 0.0 for name in ("n_sent", "n_not_sent"))
            rates.append(PlaceboRate(str(row.get("slot")), sent, not_sent, *counts))
    return Placebo(tuple(rates), _text(placebo.get("note")) or "")


def _gate(value: object) -> Gate | None:
    gate = _mapping(value)
    if gate is None:
        return None
    promoted, reasons = gate.get("promoted"), gate.get("reasons")
    return Gate(
        promoted=None if promoted is None else bool(promoted),
        reasons=tuple(str(reason) for reason in reasons) if isinstance(reasons, list) else (),
    )


def _split(value: object) -> Split | None:
    split = _mapping(value)
    if split is None:
        return None
    return Split(
        train=words.number(split.get("train")),
        test=words.number(split.get("test")),
        test_from=_text(split.get("test_from")),
        test_to=_text(split.get("test_to")),
    )


def _mapping(value: object) -> Mapping[str, object] | None:
    return value if isinstance(value, Mapping) else None


def _rows(value: object) -> list[Mapping[str, object]]:
    """Return the mappings of a list; none where `value` is no list."""
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _numbers(rows: object, *names: str) -> list[list[float]]:
    """Return the numbers `names` of each row that has them all."""
    read_rows = [[words.number(row.get(name)) for name in names] for row in _rows(rows)]
    return [[number for number in row if number is not None] for row in read_rows if None not in row]


def _text(value: object) -> str | None:
    return str(value) if value else None
