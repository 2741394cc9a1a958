"""The catalogue of a night's stages: the tables that each one reads and writes. It imports no engine.

A test compares it with what nights record of themselves (`runs.delta_versions`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Stage:
    """A stage: the function `run` of `sendopt.spark.FAMILY.NAME`, and the job `jobs/NAME.py`.

    `reads` names the tables whose rows the stage works from, without tables that it only reads back after writing them
    or that a merge compares with. `may_read` and `may_write` name tables that depend on settings or data (goals, a
    champion, an alert).
    """

    name: str
    family: str  # the package below `sendopt.spark`; the package of the pure code has the same name
    story: str  # shown in the terminal while the stage runs
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    may_read: tuple[str, ...] = ()
    may_write: tuple[str, ...] = ()
    plans: bool = False  # writes tables of one plan; refused for a plan date that is over

    @property
    def module(self) -> str:
        """Name of the module that holds `run(night)`; it is imported when the stage runs."""
        return f"sendopt.spark.{self.family}.{self.name}"


_LOG = ("sends", "interactions", "sessions", "users")
# The people that a message may reach, and their past.
_PEOPLE = ("users", "consents", "sends", "interactions", "user_features", "send_plan")

CATALOGUE: tuple[Stage, ...] = (
    Stage(
        "ingest",
        "ingest",
        "reading raw logs",
        reads=(),
        may_read=("sends", "interactions", "users", "consents"),
        writes=(),
        may_write=(*_LOG, "messages", "consents", "quarantine"),
    ),
    Stage(
        "build_features",
        "features",
        "building features as of the decision",
        reads=_LOG,
        writes=("user_features", "slot_features", "group_features"),
    ),
    Stage(
        "train_propensity",
        "propensity",
        "learning who opens when",
        reads=(),
        may_read=(*_LOG, "user_features", "send_plan"),
        writes=(),
        may_write=("training_rows", "goal_training_rows", "alerts"),
    ),
    Stage(
        "score_slots",
        "propensity",
        "scoring every person × slot",
        reads=(*_LOG, "consents", "user_features", "slot_features", "group_features", "messages", "send_plan"),
        writes=("slot_scores",),
        plans=True,
    ),
    Stage(
        "build_candidates",
        "candidates",
        "applying every rule of eligibility",
        reads=("runs", "slot_scores", "messages", *_PEOPLE, "slot_features"),
        writes=("messages", "candidates"),
        plans=True,
    ),
    Stage(
        "allocate",
        "allocation",
        "planning under all limits, with a proof",
        reads=("runs", "slot_scores", "candidates", *_PEOPLE),
        writes=("allocation", "suppressed", "shadow_prices", "certificate"),
        plans=True,
    ),
    Stage(
        "publish_schedule",
        "delivery",
        "publishing the audited plan",
        reads=(
            *("runs", "slot_scores", "candidates", "allocation", "suppressed", "shadow_prices", "certificate"),
            *("messages", *_PEOPLE, "slot_features"),
        ),
        writes=("suppressed", "send_plan"),
        plans=True,
    ),
    Stage(
        "measure",
        "measurement",
        "measuring the last mature night",
        reads=("send_plan", "sends", "interactions", "shadow_prices"),
        may_read=("candidates", "allocation", "user_features"),
        writes=(),
        may_write=("outcomes", "lift", "goal_outcomes", "alerts"),
    ),
)
STAGES: dict[str, Stage] = {stage.name: stage for stage in CATALOGUE}
NAMES: tuple[str, ...] = tuple(STAGES)


def writers(table: str) -> tuple[str, ...]:
    """Return the names of the stages that write a table, in the order of a night.

    The runtime writes `runs` after every stage, so all stages write it.

    >>> writers("suppressed")
    ('allocate', 'publish_schedule')
    """
    return NAMES if table == "runs" else tuple(s.name for s in CATALOGUE if table in (*s.writes, *s.may_write))
