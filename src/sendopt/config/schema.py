"""The schema of all settings: default, unit, range and effect of each.

One file owns each section: `growth.yaml` owns `GROWTH_SECTIONS`, `env/NAME.yaml` owns `ENV_SECTIONS`. `defaults.yaml`
may hold all of them. A function takes the section that it needs, not all settings.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sendopt.domain.limits import (
    CampaignLimits,
    Cap,
    Capacity,
    CostBudget,
    Fatigue,
    Limits,
    NonNegative,
    OptOutBudget,
    Positive,
    Strict,
)

Fraction = Annotated[float, Field(ge=0, le=1)]
LocalTime = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]


Reaction = Literal["open", "click", "goal"]


class LocalWindow(Strict):
    """Local wall-clock window [start, end); it may span midnight. The whole slot must lie inside."""

    start: LocalTime = Field(description="first minute inside")
    end: LocalTime = Field(description="first minute outside")

    @model_validator(mode="after")
    def _not_empty(self) -> LocalWindow:
        if self.start == self.end:
            raise ValueError("start and end are equal; leave the window out to allow the whole day")
        return self


class Grid(Strict):
    slot_minutes: Literal[15, 30, 60, 120, 240] = Field(60, description="minutes; length of a slot")
    horizon_hours: Annotated[int, Field(ge=1, le=168)] = Field(24, description="hours; only 24 is built so far")
    lead_minutes: Annotated[int, Field(ge=0, le=1440)] = Field(
        60, description="minutes; as_of = plan_date 00:00Z - lead: nothing later is seen"
    )


class Label(Strict):
    kind: Literal["open", "click", "goal"] = Field("open", description="the interaction that counts as success")
    window_hours: Annotated[float, Field(gt=0, le=168)] = Field(24.0, description="hours after a send")
    machine_open_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        1.0, description="seconds after a send in which an open or click is taken for a machine's; 0 suspects none"
    )
    clock_tolerance_seconds: Annotated[float, Field(ge=0, le=3600)] = Field(
        60.0, description="seconds that an interaction may seem to come before its send: clocks and precisions differ"
    )
    implies: dict[Reaction, tuple[Reaction, ...]] = Field(
        {"open": ("click",)}, description="kind -> stronger kinds that show it happened"
    )


class Ingest(Strict):
    max_refused_fraction: Fraction = Field(
        0.1, description="share of a table's rows that may be refused; duplicates do not count"
    )
    max_unread_outcomes: Fraction = Field(
        0.02, description="share of outcomes that may be unreadable or before their send"
    )
    max_unmatched_interactions: Fraction = Field(0.5, description="share of interactions that may find no send")
    max_left_fraction: Fraction = Field(
        0.5, description="share of a source's people who may be missing from a full snapshot of users"
    )


class Support(Strict):
    min_sends: Annotated[int, Field(ge=0)] = Field(
        50, description="sends; a local hour with fewer in the log is not eligible (no_support)"
    )


class Zones(Strict):
    plausible: tuple[str, ...] = Field(
        (), description="IANA zones that a user of unknown zone may live in; empty: every zone of the other users"
    )


class Arms(Strict):
    salt: Annotated[str, Field(min_length=1)] = Field("sendopt-1", description="text; key of the hash that draws arms")
    holdout_fraction: Fraction = Field(0.02, description="share of users that get no sends")
    uniform_time_fraction: Fraction = Field(0.05, description="share of users whose slots are drawn uniformly")

    @model_validator(mode="after")
    def _leave_room(self) -> Arms:
        if self.holdout_fraction + self.uniform_time_fraction > 0.95 + 1e-9:  # 0.9 + 0.05 is above 0.95
            raise ValueError("holdout_fraction + uniform_time_fraction must stay <= 0.95, or nobody is treated")
        return self


class Goal(Strict):
    """One more thing that a send is worth, beside the label."""

    kind: Literal["goal", "click", "open"] = Field("goal", description="the interaction that counts")
    window_hours: Annotated[float, Field(gt=0, le=168)] = Field(72.0, description="hours after a send")
    weight: Positive = Field(description="opens that one of them is worth")


class Objective(Strict):
    kind: Literal["open", "incremental"] = Field("open", description="a success, or what sending adds to its chance")
    goals: dict[Name, Goal] = Field(default_factory=dict, description="name -> what else a send is worth, in opens")
    opt_out_cost: NonNegative = Field(3.0, description="opens that one opt-out is worth")


class Allocation(Strict):
    exact_max_users: Annotated[int, Field(ge=0)] = Field(500, description="users; up to here one integer program")
    relative_gap: Annotated[float, Field(ge=0, le=0.1)] = Field(1e-4, description="relative gap where a solve stops")
    exact_work: Positive = Field(
        2.0, description="work of one integer program, about a second a unit; where it is not enough, prices plan"
    )


class FeatureSettings(Strict):
    prior_sends: Positive = Field(20.0, description="sends; weight of the prior in shrunk rates (kappa)")
    prior_sessions: Positive = Field(5.0, description="sessions; weight of everyone's hours in a user's own")
    history_days: Annotated[int, Field(ge=7, le=400)] = Field(90, description="days of log that features look back on")
    segment_edges: tuple[Positive, ...] = Field(
        (1.0, 10.0, 25.0, 45.0),
        description="sessions in 30 days; where the segments begin that new users are taken for",
    )


class Training(Strict):
    seed: Annotated[int, Field(ge=0, le=1_000_000_000)] = Field(7, description="random seed")
    days: Annotated[int, Field(ge=1, le=400)] = Field(45, description="days of sends before as_of to learn from")
    learning_rate: Positive = Field(0.05, description="LightGBM learning rate")
    num_leaves: Annotated[int, Field(ge=2, le=255)] = Field(31, description="leaves per tree")
    min_data_in_leaf: Annotated[int, Field(ge=1, le=1_000_000_000)] = Field(100, description="rows per leaf")
    max_trees: Annotated[int, Field(ge=1, le=5000)] = Field(
        400, description="trees at most; early stopping may use fewer"
    )
    early_stopping_rounds: Annotated[int, Field(ge=1, le=5000)] = Field(
        30, description="trees without gain before stopping"
    )
    folds: Annotated[int, Field(ge=2, le=20)] = Field(
        4, description="folds of users; each is scored by trees of the others, to stop and to calibrate"
    )
    negative_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="share of failures to learn from, by hash; the prior is corrected"
    )
    max_evaluation_rows: Annotated[int, Field(ge=1000)] = Field(
        500_000, description="sends that baselines, shuffles and intervals are worked out on; above, a hash of users"
    )
    bootstrap_samples: Annotated[int, Field(ge=50, le=10000)] = Field(
        400, description="resamples of users per interval"
    )


class Gate(Strict):
    min_calibration_ratio: Positive = Field(0.9, description="lowest observed / expected on the test days")
    max_calibration_ratio: Positive = Field(1.1, description="highest observed / expected on the test days")
    max_log_loss_increase: NonNegative = Field(
        0.01, description="relative log loss a challenger may lose to the champion, at the interval's upper end"
    )
    max_policy_loss: NonNegative = Field(
        0.05, description="relative off-policy value it may lose to the champion, at the interval's lower end"
    )
    policy_estimator: Literal["dr", "snips"] = Field("dr", description="estimator whose interval decides")
    max_policy_sends: Annotated[int, Field(ge=100)] = Field(
        20_000, description="sends with drawn slots that policies are valued on; above, a hash of users"
    )
    without_policy_evidence: Literal["log_loss", "keep"] = Field(
        "log_loss", description="what holds where drawn slots say too little: the log loss alone, or the champion"
    )


class Drift(Strict):
    max_psi: Positive = Field(0.25, description="population stability index of a feature, above what chance explains")
    min_importance: Fraction = Field(
        0.01, description="share of what moves the log-odds below which a feature is not watched"
    )
    max_users: Annotated[int, Field(ge=100)] = Field(20_000, description="users whose features are looked at, by hash")
    nights: Annotated[int, Field(ge=1, le=60)] = Field(7, description="nights before that labels and prices are from")
    min_label_ratio: Positive = Field(0.8, description="lowest observed / expected successes of delivered plans")
    max_label_ratio: Positive = Field(1.25, description="highest observed / expected successes of delivered plans")
    max_price_factor: Annotated[float, Field(gt=1)] = Field(
        5.0, description="times that a price may differ from the median of the nights before"
    )
    min_price: Positive = Field(0.05, description="opens; prices that stay below are not compared")
    hold_promotion: bool = Field(True, description="whether no challenger is promoted while inputs or labels drift")


class OptOut(Strict):
    prior_sends: Positive = Field(500.0, description="sends; weight of the channel's rate in a fatigue bin's rate")
    fatigue_edges: tuple[Positive, ...] = Field((0.5, 1.0, 2.0, 3.0), description="points; edges of the fatigue bins")


class SparkSettings(Strict):
    master: str = Field("local[*]", description="Spark master URL")
    driver_memory: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[gm]$")] = Field(
        "3g", description="JVM heap of the driver"
    )
    shuffle_partitions: Annotated[int, Field(ge=1, le=100_000)] = Field(4, description="partitions after a shuffle")
    conf: dict[str, str] = Field(default_factory=dict, description="further Spark properties, passed on as they are")


class Paths(Strict):
    data: str = Field("data", description="folder or URL of the Delta tables")
    out: str = Field("out", description="folder of the report and other results")


class Mlflow(Strict):
    tracking_uri: str = Field("sqlite:///out/mlflow.db", description="MLflow store or server")
    experiment: str = Field("sendopt", description="MLflow experiment")
    model_name: Name = Field("sendopt-p-open", description="registered model")


class Source(Strict):
    mapping: str = Field(
        description="column mapping, a YAML file; from the working directory, like conf/sources/demo.yaml"
    )
    input: str = Field(description="file or folder of raw logs")


class ClockSettings(Strict):
    """Which time a night takes for now. `--now` goes before it."""

    now: Annotated[str, Field(pattern=r"^(machine|as_of|[0-9]{4}(-[0-9]{2}){2}T[0-9]{2}(:[0-9]{2}){1,2}Z)$")] = Field(
        "machine",
        description="machine: the real time; for historic or simulated logs as_of (each night's own) or a time in UTC",
    )


class QuietHours(Strict):
    """Hours without sends: the legal pack for everyone, more by channel; users add their own in `users`."""

    everyone: LocalWindow | None = Field(None, description="local hours without any send")
    channels: dict[str, LocalWindow] = Field(default_factory=dict, description="more local hours, by channel")


class Channel(Strict):
    cost_per_send: NonNegative = Field(0.0, description="money per send")


class AudienceAll(Strict):
    kind: Literal["all"]


class AudienceShare(Strict):
    kind: Literal["share"]
    fraction: Fraction = Field(description="share of users, drawn anew each night by keyed hash")


class AudienceActive(Strict):
    kind: Literal["active"]
    within_days: Annotated[int, Field(ge=1, le=400)] = Field(description="days since the last session or open")
    fraction: Fraction = Field(1.0, description="share of those users, drawn anew each night by keyed hash")


class AudienceIngested(Strict):
    """Only the rows of `messages` that an upstream system wrote."""

    kind: Literal["ingested"]


Audience = Annotated[AudienceAll | AudienceShare | AudienceActive | AudienceIngested, Field(discriminator="kind")]


class Campaign(CampaignLimits):
    """A campaign: what it is worth, who may get it, when, and how many."""

    channel: Name = Field(description="one of `channels`")
    category: Name = Field(description="what it is about; users opt out by category")
    value: Positive = Field(1.0, description="weight of one open, in opens")
    audience: Audience = Field(description="who is offered its messages")
    messages_per_user: Annotated[int, Field(ge=1, le=20)] = Field(1, description="messages offered per user and night")
    window: LocalWindow | None = Field(None, description="local hours of the campaign")
    first_date: str | None = Field(
        None, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="first plan_date, YYYY-MM-DD"
    )
    last_date: str | None = Field(
        None, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="last plan_date, YYYY-MM-DD"
    )
    tier: int = Field(1, description="only 1 is built so far")
    half_life_hours: Positive | None = Field(None, description="not built yet")
    exclusive_group: str | None = Field(None, description="not built yet")
    novelty: NonNegative | None = Field(None, description="not built yet")
    opening_hours: dict[str, LocalWindow] | None = Field(None, description="not built yet")


class Settings(Strict):
    """The resolved configuration of one night."""

    # growth.yaml
    campaigns: dict[Name, Campaign] = Field(default_factory=dict, description="campaign id -> what it is and may do")
    channels: dict[Name, Channel] = Field(default_factory=dict, description="channel id -> its price")
    quiet_hours: QuietHours = QuietHours()
    caps: dict[str, Cap] = Field(default_factory=dict, description="any name -> a limit of sends per user")
    min_gap_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 7)] = Field(0, description="minutes between two sends")
    fatigue: Fatigue | None = None
    capacity: dict[str, Capacity] = Field(
        default_factory=dict, description="sends per slot by channel, or a map slot index -> sends"
    )
    opt_outs: OptOutBudget | None = None
    cost: CostBudget | None = None
    # how a night works
    grid: Grid = Grid()
    ingest: Ingest = Ingest()
    label: Label = Label()
    support: Support = Support()
    zones: Zones = Zones()
    arms: Arms = Arms()
    objective: Objective = Objective()
    allocation: Allocation = Allocation()
    features: FeatureSettings = FeatureSettings()
    training: Training = Training()
    gate: Gate = Gate()
    drift: Drift = Drift()
    opt_out: OptOut = OptOut()
    # where it runs
    sources: dict[Name, Source] = Field(default_factory=dict, description="raw logs to ingest, by name")
    clock: ClockSettings = ClockSettings()
    paths: Paths = Paths()
    spark: SparkSettings = SparkSettings()
    mlflow: Mlflow = Mlflow()

    def limits(self) -> Limits:
        """Return the limits of a plan, the same as those of `sendopt solve`."""
        return Limits(
            caps=self.caps,
            min_gap_minutes=self.min_gap_minutes,
            fatigue=self.fatigue,
            capacity=self.capacity,
            campaigns={
                name: CampaignLimits(max_sends=c.max_sends, min_sends=c.min_sends, shortfall_price=c.shortfall_price)
                for name, c in self.campaigns.items()
            },
            opt_outs=self.opt_outs,
            cost=self.cost,
        )


GROWTH_SECTIONS = frozenset(
    {"campaigns", "channels", "quiet_hours", "caps", "min_gap_minutes", "fatigue", "capacity", "opt_outs", "cost"}
)
ENV_SECTIONS = frozenset({"sources", "clock", "paths", "spark", "mlflow"})
NIGHT_SECTIONS = frozenset(Settings.model_fields) - GROWTH_SECTIONS - ENV_SECTIONS
