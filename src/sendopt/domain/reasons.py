"""The registry of reasons for which a row, a message or a decision is left out.

Tables hold codes. The report, `sendopt explain`, the terminal and docs/reasons.md take names and sentences from this
registry. A code may end in `:PLACE`, the column or setting concerned (`bad_time:sent_at_utc`); the part before the
colon names its entry. The column `detail` of a table says which rule refused, how full it was and at what price: JSON
text with sorted keys.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Reason:
    """An entry of the registry. `stages` (or commands) give it; `place` names what follows the colon of its code."""

    code: str
    name: str  # a few words, for labels of charts
    sentence: str  # the meaning, for people
    stages: tuple[str, ...]
    place: str = ""


def _entries(stages: str, text: str) -> tuple[Reason, ...]:
    """Return the entries of a text of two lines each: code (or `code:PLACE`) and short name, then the sentence."""
    entries = []
    for head, sentence in zip(*[iter(text.strip().splitlines())] * 2, strict=True):
        code, name = head.split(None, 1)
        bare, _, place = code.partition(":")
        entries.append(Reason(bare, name, sentence.strip(), tuple(stages.split()), place))
    return tuple(entries)


_ENTRIES = (
    *_entries(
        "build_candidates",
        """
        unknown_user Person not known
            The message names a person that the table of users does not hold.
        unknown_campaign Campaign not known
            The message names a campaign that the settings do not hold.
        holdout Hold-out group
            The person is in the arm that gets nothing, so that the effect can be measured.
        no_channel Channel not available
            The person has no address or device for the campaign's channel.
        channel_opted_out Opted out of the channel
            The person turned this channel off.
        category_opted_out Opted out of the category
            The person turned this kind of message off.
        quiet_hours Quiet hours
            Every slot left falls into quiet hours: legal, the channel's or the person's own.
        window Outside the campaign's hours
            No slot left lies inside the campaign's local hours.
        earliest Too early
            The message may only go out after this plan's day.
        expiry Expired
            The message runs out before the end of any slot it could have had.
        no_support Hours never tried
            The log has too few sends at these local hours to plan there responsibly.
        """,
    ),
    *_entries(
        "build_candidates evaluate",
        """
        zone_unknown Time zone unknown
            No slot left is allowed in every zone the person may live in.
        """,
    ),
    *_entries(
        "build_candidates allocate",
        """
        already_sent Sent before
            The log holds a send of this very message.
        """,
    ),
    *_entries(
        "allocate",
        """
        not_eligible No slot passes all rules
            Each slot is refused by some rule; no single rule refuses them all.
        negative_value Costs more than it gives
            In every slot the expected opt-outs outweigh the expected gain.
        user_cap Frequency cap
            With this message the person would get more than a cap allows.
        min_gap Too close to another send
            It would come sooner before or after another send than the minimum gap.
        fatigue Fatigue budget
            Recent and planned messages leave too few of the person's fatigue points.
        capacity Channel full
            Other messages make better use of the channel in the slots it could have.
        campaign_budget Campaign at its maximum
            Other people gain more from the campaign's limited sends.
        opt_out_budget Not worth its part of the opt-out budget
            The plan's expected opt-outs are limited, and other messages gain more for each.
        cost_budget Not worth its part of the money
            The plan's cost is limited, and other messages gain more for the money.
        displaced Left out by the plan
            No rule forbids it: the plan found more value in other messages, or stopped before it was placed.
        uniform_full No random time left
            The person's times are drawn at random, and the draws before left this message no slot.
        planned_unsent Drawn, but did not fit
            A random-time message whose drawn slot was full, in plans of earlier versions.
        """,
    ),
    *_entries(
        "publish_schedule",
        """
        campaign_killed Campaign stopped
            Someone stopped this campaign.
        duplicate Duplicate
            The same message is already planned or sent.
        slot_past Slot already begun
            The plan was published after the slot of this message had begun.
        withdrawn Message withdrawn
            The message was offered when the night was planned, and is no longer.
        """,
    ),
    *_entries(
        "ingest evaluate",
        """
        malformed_row No readable row
            There is no row that can be read: its parts do not fit the columns of its file.
        missing_value:COLUMN Value missing
            A value that the table needs is empty.
        bad_value:COLUMN Value not known
            The value is none of those that the column may have.
        bad_number:COLUMN No number
            The text cannot be read as a number.
        not_a_number:COLUMN Not a finite number
            The number is NaN or infinite.
        bad_boolean:COLUMN Neither true nor false
            The text cannot be read as true or false.
        bad_time:COLUMN No time
            The text cannot be read as a time in the mapping's format.
        bad_local_time:COLUMN No time of day
            The text cannot be read as a local time of day, HH:MM.
        bad_date:COLUMN No date
            The text cannot be read as a date.
        bad_list:COLUMN No list
            The text cannot be read as a list.
        bad_bytes:COLUMN No text of its encoding
            The value holds bytes that are no text in the file's encoding.
        unknown_name:COLUMN Name not configured
            A channel or category that the settings do not hold; what it may forbid is forbidden.
        unknown_kind Kind not known
            The interaction is of a kind that the table does not have.
        unknown_zone Time zone not known
            The text names no time zone.
        time_before_2000 Time before 2000
            The time is before 2000: its unit is probably not the mapping's.
        time_in_future Time in the future
            The time is later than the ingestion.
        local_time_without_zone Local time without a zone
            The time is local, and the row names no time zone.
        nonexistent_local_time Time that the clock jumped over
            The local time does not exist: the clock was put forward over it.
        pscore_out_of_range Probability out of range
            The logged probability lies outside (0, 1].
        interaction_before_send Interaction before its send
            The interaction is earlier than the send it belongs to, by more than two clocks may differ.
        interaction_without_send Interaction without a send
            No send has the interaction's key, or several have its id.
        duplicate_send Same send again
            Another row holds the same send; the earliest stays.
        duplicate_interaction Same interaction again
            Another row holds the same interaction; the earliest stays.
        duplicate_session Same session again
            Another row holds the same session.
        duplicate_user Older row of a user
            A newer row describes the same user.
        duplicate_message Same message again
            Another row holds the same message.
        """,
    ),
    *_entries(
        "evaluate",
        """
        not_available Not available
            The person was not available: nothing was drawn.
        probability_1 Probability 1
            Nothing was drawn: only one choice was possible.
        no_overlap No other time in its campaign
            The campaign or day had one slot only, or one more often than its probability allows.
        suspected_machine Probably a machine
            The open or click came so soon, or so many at once, that no person made it.
        immature Outcome still open
            The outcome's window is not over.
        other_decision_kind Another kind of decision
            The decision is of another kind than most in the log.
        """,
    ),
)

REASONS: dict[str, Reason] = {r.code: r for r in _ENTRIES}


def entry(code: str) -> Reason | None:
    """Return the entry of a code, with or without `:PLACE`, or None for a code that the registry does not hold."""
    return REASONS.get(code) or REASONS.get(code.partition(":")[0])


def name(code: str) -> str:
    """Return a reason's short name with the place that its code names; an unknown code is returned as it is.

    >>> name("quiet_hours"), name("bad_time:sent_at_utc")
    ('Quiet hours', 'No time: sent_at_utc')
    """
    known, place = entry(code), code.partition(":")[2]
    if known is None:
        return code
    return f"{known.name}: {place}" if place else known.name


def sentence(code: str) -> str:
    """Return the meaning of a reason, for people; for an unknown code, a sentence that says so."""
    known = entry(code)
    return known.sentence if known else "A reason code that this report has no explanation for."


def unknown(codes: Iterable[str]) -> list[str]:
    """Return the codes that the registry does not hold, sorted."""
    return sorted({code for code in codes if entry(code) is None})


def as_detail(facts: Mapping[str, object]) -> str | None:
    """Return the facts as JSON text for `detail`: keys sorted, floats with 6 digits; None where there are no facts.

    >>> as_detail({"used": 3, "rule": "cap:day"})
    '{"rule":"cap:day","used":3}'
    """
    if not facts:
        return None
    return json.dumps({k: _plain(v) for k, v in facts.items()}, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_detail(text: object) -> dict[str, object]:
    """Return the facts of a `detail`; empty where it is missing."""
    return dict(json.loads(text)) if isinstance(text, str) and text else {}


def as_markdown() -> str:
    """Return the registry as the table of docs/reasons.md."""
    head = "| code | name | meaning | given by |\n|---|---|---|---|\n"
    rows = (
        f"| `{r.code}{':' + r.place if r.place else ''}` | {r.name} | {r.sentence} | {', '.join(r.stages)} |\n"
        for r in _ENTRIES
    )
    return head + "".join(rows)


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, bool | str) or value is None:
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        rounded = float(f"{value:.6g}")
        return int(rounded) if math.isfinite(rounded) and rounded == int(rounded) else rounded
    return value
