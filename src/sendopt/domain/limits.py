"""Limits of a plan, as `growth.yaml` and `sendopt solve --limits` write them (model ¶9).

Times are slot starts. Windows are half open, so two sends exactly a window apart are allowed. A limit counts the sends
of the plan and of the history together; only a window that holds a planned send can break it. A limit that is absent
does not bind.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sendopt.domain.outside_text import nearest

SCOPE = re.compile(r"all|(channel|category|campaign):\S+")
SCOPES = "all, channel:NAME, category:NAME or campaign:NAME"


class Strict(BaseModel):
    """Immutable settings: no unknown keys, no coercion, no NaN."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


Count = Annotated[int, Field(ge=0)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Capacity = Count | dict[int, Count]  # sends per slot, or a map slot index -> sends


class Cap(Strict):
    """At most `max` sends per user and window; `scope` says which sends count."""

    scope: str = Field("all", description="all | channel:NAME | category:NAME | campaign:NAME")
    window_minutes: Annotated[int, Field(ge=1, le=60 * 24 * 366)] | None = Field(
        None, description="rolling window, minutes"
    )
    calendar: Literal["day", "week"] | None = Field(None, description="the user's local calendar day or ISO week")
    max: Count = Field(description="sends")

    @field_validator("scope")
    @classmethod
    def _known_scope(cls, scope: str) -> str:
        if not SCOPE.fullmatch(scope):
            kind, colon, name = scope.strip().partition(":")
            close = nearest(kind, ("all", "channel", "category", "campaign"))
            suggestion = f"{close}:{name.strip() or 'NAME'}" if close != "all" else "all"
            advice = f", did you mean {suggestion}?" if close and (colon or close == "all") else f"; use {SCOPES}"
            raise ValueError(f"unknown scope {scope[:80]!r}{advice}")
        return scope

    @model_validator(mode="after")
    def _one_window(self) -> Cap:
        if (self.window_minutes is None) == (self.calendar is None):
            raise ValueError("give exactly one of window_minutes and calendar")
        return self


class Fatigue(Strict):
    """Decaying points per user: each send adds its channel's points, which halve every `half_life_hours` (¶9d)."""

    half_life_hours: Annotated[float, Field(ge=6, le=24 * 90)] = Field(72.0, description="hours, 6 to 2160")
    points_per_send: dict[str, NonNegative] = Field(description="points by channel; a channel left out costs 0")
    max_points: Positive = Field(description="points")


class CampaignLimits(Strict):
    """Volume of one campaign per plan; a missing minimum costs `shortfall_price` a send (¶9f)."""

    max_sends: Count | None = Field(None, description="sends per plan")
    min_sends: Count = Field(0, description="sends per plan, soft")
    shortfall_price: NonNegative | None = Field(
        None, description="value lost per missing send; default: the campaign's largest candidate value"
    )


class OptOutBudget(Strict):
    max_expected: NonNegative = Field(description="expected opt-outs per plan")


class CostBudget(Strict):
    max_total: NonNegative = Field(description="money per plan")


class Limits(Strict):
    """Everything that bounds a plan (¶9b to ¶9h)."""

    caps: dict[str, Cap] = Field(default_factory=dict)
    min_gap_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 7)] = Field(0, description="minutes; 0 = off")
    fatigue: Fatigue | None = None
    capacity: dict[str, Capacity] = Field(
        default_factory=dict, description="sends per slot by channel, or a map slot index -> sends"
    )
    campaigns: dict[str, CampaignLimits] = Field(default_factory=dict)
    opt_outs: OptOutBudget | None = None
    cost: CostBudget | None = None


class SolveLimits(Limits):
    """The limits file of `sendopt solve`: the same limits and the grid that slots are numbered on."""

    slot_minutes: Literal[15, 30, 60, 120, 240] = Field(60, description="minutes per slot")

    @field_validator("capacity")
    @classmethod
    def _slots_from_0(cls, capacity: dict[str, Capacity]) -> dict[str, Capacity]:
        for channel, by_slot in capacity.items():
            if isinstance(by_slot, dict) and min(by_slot, default=0) < 0:
                raise ValueError(f"no such slot; got {min(by_slot)} of {channel}; slots count from 0")
        return capacity
