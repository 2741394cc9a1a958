"""`sendopt evaluate`: whether personal timing is worth it, from a log of decisions."""

from __future__ import annotations

from pathlib import Path

from sendopt.commands.printing import print_lines
from sendopt.config.schema import Ingest
from sendopt.errors import ConfigError
from sendopt.process import output


def evaluate(
    decisions: Path,
    source: Path,
    out: Path,
    label: str,
    window_hours: float,
    shares: dict[str, float],
    as_json: bool = False,
) -> None:
    """Evaluate a log of decisions, write `evaluation.json` and `evaluation.html` to `out`, and print the verdict.

    `shares` are the limits of `Ingest` on refused rows, by name. Raises ConfigError for a value out of its range.
    """
    from sendopt.timing import evaluation

    if label not in ("open", "click", "goal"):
        raise ConfigError(f"--label: got {label!r}, expected open, click or goal")
    if not 0 < window_hours <= 24 * 90:
        raise ConfigError(f"--window-hours: got {window_hours:g}, expected more than 0 and at most {24 * 90}")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"--{name.replace('_', '-')}: got {share:g}, expected a share from 0 to 1")
    result = evaluation.evaluate_log(decisions, source, label, window_hours, Ingest(**shares))
    evaluation.write(result, out)
    if as_json:
        output.document(result)
        return
    print_lines(evaluation.in_words(result, out))
