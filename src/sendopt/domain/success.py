"""The definition of a send's success, for features, labels, outcomes and `sendopt evaluate`.

The rules are arithmetic on times in microseconds, so that numpy arrays and Spark columns take the same expressions.

    belongs    the interaction came after its send, or before it by no more than `tolerance_seconds` (two clocks may
               differ)
    machine    a mail server made the interaction, not a person: it is flagged as such, or it came within
               `machine_seconds` after the send, or it is one of BURST or more of its user and kind in one second. An
               interaction before its send is not suspected by its time: its delay is not known
    success    an interaction of one of `kinds` that belongs, at most `window` after the send
    suspected  machines made such interactions, and no person did within the window: what the person did is not known
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

BURST = 3  # interactions of one user and kind in one second, too many for a person
MILLION = 1_000_000


@dataclass(frozen=True)
class SuccessRule:
    """The `kinds` of interactions that count, and the times after their send at which they count."""

    kinds: tuple[str, ...]
    window_hours: float
    tolerance_seconds: float = 0.0
    machine_seconds: float = 0.0  # 0: no interaction is suspected by its time

    @property
    def window(self) -> int:
        """The window in microseconds."""
        return round(self.window_hours * 3600 * MILLION)

    @property
    def suspects_machines(self) -> bool:
        """Whether a machine can make interactions of these kinds: it can open and click, and nothing else."""
        return bool({"open", "click"} & set(self.kinds))

    def belongs(self, sent: Any, at: Any) -> Any:
        """Return whether interactions at `at` belong to their sends at `sent` (arrays or columns, microseconds)."""
        return at >= sent - round(self.tolerance_seconds * MILLION)

    def in_window(self, sent: Any, at: Any) -> Any:
        """Return whether interactions belong to their sends and came within the window."""
        return self.belongs(sent, at) & (at <= sent + self.window)

    def machine(self, sent: Any, at: Any, alike: Any, flagged: Any) -> Any:
        """Return whether machines made the interactions.

        `alike` counts the interactions of the same user and kind in the same second; `flagged` is what the log says.
        """
        if not self.suspects_machines:
            return flagged & False
        if self.machine_seconds <= 0:
            return flagged
        early = (at >= sent) & (at - sent <= round(self.machine_seconds * MILLION))
        return flagged | early | (alike >= BURST)


def rule_of(
    kind: str,
    window_hours: float,
    implies: Mapping[Any, Sequence[Any]],
    tolerance_seconds: float,
    machine_seconds: float,
) -> SuccessRule:
    """Return the rule of a kind and of the stronger kinds that imply it."""
    kinds = (kind, *(k for k in implies.get(kind, ()) if k != kind))
    return SuccessRule(kinds, window_hours, tolerance_seconds, machine_seconds if kind != "goal" else 0.0)


def judge(sends: pd.DataFrame, interactions: pd.DataFrame, rule: SuccessRule) -> pd.DataFrame:
    """Return the columns success and suspected (bool), one row per send, in the order of `sends`.

    `sends` has send_key, user_id, at (microseconds). `interactions` has send_key, kind, at (microseconds), machine
    (bool). Of the interactions of a send and kind that belong to it, only the earliest counts, as in the table
    `interactions`.
    """
    reactions = interactions[interactions["kind"].isin(rule.kinds)].merge(
        sends.rename(columns={"at": "sent"}), on="send_key", how="inner"
    )
    reactions = reactions[rule.belongs(reactions["sent"], reactions["at"])]
    reactions = reactions.sort_values("at", kind="stable").drop_duplicates(["send_key", "kind"])
    second = reactions["at"] // MILLION
    alike = reactions.groupby([reactions["user_id"], reactions["kind"], second])["at"].transform("size")
    machine = rule.machine(reactions["sent"], reactions["at"], alike, reactions["machine"].astype(bool))
    within = rule.in_window(reactions["sent"], reactions["at"])
    by_person = set(reactions.loc[within & ~machine, "send_key"])
    success = sends["send_key"].isin(set(reactions.loc[within, "send_key"])).to_numpy(bool)
    suspected = sends["send_key"].isin(set(reactions.loc[machine, "send_key"]) - by_person).to_numpy(bool)
    return pd.DataFrame({"success": success, "suspected": suspected}, index=np.arange(len(sends)))
