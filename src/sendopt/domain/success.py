"""What counts as a success of a send: the one definition, for features, labels, outcomes and `sendopt evaluate`.

Arithmetic only, on times in microseconds, so that numpy arrays and Spark columns take the same expressions.

    belongs    the interaction came after its send, or so little before it that two clocks may differ
    machine    a mail server's and no person's: flagged as such, or within `machine_seconds` after the send, or one of
               BURST or more of its user and kind in one second. An interaction before its send is never suspected: its
               delay is not known
    success    an interaction of one of `kinds` that belongs, at most `window` after the send
    suspected  such interactions exist, but no person's within the window: nobody knows what the person did
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

BURST = 3  # interactions of one user and kind in one second that no person makes
MILLION = 1_000_000


@dataclass(frozen=True)
class SuccessRule:
    """`kinds` of interactions that count, and how near their send they must be."""

    kinds: tuple[str, ...]
    window_hours: float
    tolerance_seconds: float = 0.0
    machine_seconds: float = 0.0  # 0: none is suspected by its time

    @property
    def window(self) -> int:
        """Microseconds."""
        return round(self.window_hours * 3600 * MILLION)

    @property
    def suspects_machines(self) -> bool:
        """Opens and clicks can be a machine's; what is no reaction to a mail cannot."""
        return bool({"open", "click"} & set(self.kinds))

    def belongs(self, sent: Any, at: Any) -> Any:
        return at >= sent - round(self.tolerance_seconds * MILLION)

    def in_window(self, sent: Any, at: Any) -> Any:
        return self.belongs(sent, at) & (at <= sent + self.window)

    def machine(self, sent: Any, at: Any, alike: Any, flagged: Any) -> Any:
        """`alike`: interactions of the same user and kind in the same second."""
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
    """The rule of a kind with the stronger kinds that imply it."""
    kinds = (kind, *(k for k in implies.get(kind, ()) if k != kind))
    return SuccessRule(kinds, window_hours, tolerance_seconds, machine_seconds if kind != "goal" else 0.0)


def judge(sends: pd.DataFrame, interactions: pd.DataFrame, rule: SuccessRule) -> pd.DataFrame:
    """success and suspected (bool) of each send, in the order of `sends`.

    `sends`: send_key, user_id, at (microseconds). `interactions`: send_key, kind, at (microseconds), machine (bool).
    Of a send and kind only the earliest that belongs counts, as the table of interactions keeps it.
    """
    wanted = interactions[interactions["kind"].isin(rule.kinds)].merge(
        sends.rename(columns={"at": "sent"}), on="send_key", how="inner"
    )
    wanted = wanted[rule.belongs(wanted["sent"], wanted["at"])]
    wanted = wanted.sort_values("at", kind="stable").drop_duplicates(["send_key", "kind"])
    second = wanted["at"] // MILLION
    alike = wanted.groupby([wanted["user_id"], wanted["kind"], second])["at"].transform("size")
    machine = rule.machine(wanted["sent"], wanted["at"], alike, wanted["machine"].astype(bool))
    within = rule.in_window(wanted["sent"], wanted["at"])
    by_person = set(wanted.loc[within & ~machine, "send_key"])
    success = sends["send_key"].isin(set(wanted.loc[within, "send_key"])).to_numpy(bool)
    suspected = sends["send_key"].isin(set(wanted.loc[machine, "send_key"]) - by_person).to_numpy(bool)
    return pd.DataFrame({"success": success, "suspected": suspected}, index=np.arange(len(sends)))
