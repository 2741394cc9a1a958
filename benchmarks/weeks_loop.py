"""A simulated world and the real stages, night after night, in one Spark session; what its log may lose on the way.

The world lives on unharmed whatever the log loses: a breach is made where the logs are handed over, not in the world.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from hashlib import blake2b
from pathlib import Path

import pandas as pd
from pyspark.sql import SparkSession

from sendopt.config.loader import load
from sendopt.config.schema import Settings
from sendopt.lake.tables import read_table
from sendopt.night.runtime import StageReport, run_in
from sendopt.simulation.clock import seconds_of
from sendopt.simulation.delivery import deliver, offers_of, simulate_history
from sendopt.simulation.nature import react
from sendopt.simulation.raw import FOLDERS, remember, written
from sendopt.simulation.world import World, world_file

CONF = Path(__file__).resolve().parents[1] / "conf"
START = date(2026, 3, 29)
HISTORY_DAYS, DEMO_USERS = 30, 2000
Loss = Callable[[str, str], str]  # (folder of raw logs, text of one file) -> what of it arrives


@dataclass(frozen=True)
class Loop:
    """One world below `home`; nights are run and played in order."""

    home: Path
    settings: Settings
    spark: SparkSession

    @classmethod
    def new(cls, home: Path, users: int, seed: int, spark: SparkSession, base: Settings) -> Loop:
        """A world with its history handed over; limits of the demo's 2,000 people, scaled to `users`."""
        loop = cls(home, scaled(located(base, home), users / DEMO_USERS), spark)
        world = World.create(users, seed, base.campaigns, base.channels, START, base.grid)
        simulate_history(world, loop.raw, HISTORY_DAYS)
        shutil.copytree(loop.raw, loop.landing)
        return loop

    @property
    def raw(self) -> Path:
        return self.home / "world" / "raw"

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    def branch(self, home: Path) -> Loop:
        """A copy that goes on by itself."""
        shutil.copytree(self.home, home)
        return replace(self, home=home, settings=located(self.settings, home))

    def with_capacity(self, share: float) -> Loop:
        """The same with every slot of every channel at that share of its capacity."""
        capacity = {name: most_of(c, share) for name, c in self.settings.capacity.items()}
        return replace(self, settings=self.settings.model_copy(update={"capacity": capacity}))

    def night(self, day: date, train: bool) -> dict[str, StageReport]:
        """Every stage of the night, by name."""
        return {r.stage: r for r in run_in(self.spark, day, self.settings, CONF, retrain=train)}

    def play(self, day: date, loss: Loss | None = None) -> pd.Series:
        """Deliver the plan of `day` and hand over its logs, less what `loss` takes; the true p_open by send_key."""
        world = World.load(world_file(self.raw), self.settings.campaigns)
        plan = read_table(self.settings.paths.data, "send_plan", day)
        truth = true_p_open(world, self.raw, day, plan)
        deliver(world, self.raw, day, plan)
        shutil.rmtree(self.landing)
        for folder in FOLDERS:
            (self.landing / folder).mkdir(parents=True)
            for path, _, owner in written(self.raw, folder):
                if owner == day.isoformat():
                    text = path.read_text()
                    (self.landing / folder / path.name).write_text(loss(folder, text) if loss else text)
        shutil.copy(self.raw / "users.csv", self.landing)
        return truth


def located(settings: Settings, home: Path) -> Settings:
    """The settings with everything that a night writes below `home`."""
    source = settings.sources["demo"].model_copy(update={"input": str(home / "landing")})
    return settings.model_copy(
        update={
            "paths": settings.paths.model_copy(update={"data": str(home / "data"), "out": str(home / "out")}),
            "mlflow": settings.mlflow.model_copy(update={"tracking_uri": f"sqlite:///{home}/out/mlflow.db"}),
            "sources": {"demo": source},
        }
    )


def scaled(settings: Settings, factor: float) -> Settings:
    """The settings with what all users share `factor` times as large."""
    campaigns = {}
    for name, campaign in settings.campaigns.items():
        most = None if campaign.max_sends is None else round(campaign.max_sends * factor)
        update = {"max_sends": most, "min_sends": round(campaign.min_sends * factor)}
        campaigns[name] = campaign.model_copy(update=update)
    assert settings.opt_outs is not None
    assert settings.cost is not None
    return settings.model_copy(
        update={
            "campaigns": campaigns,
            "capacity": {name: most_of(c, factor) for name, c in settings.capacity.items()},
            "opt_outs": settings.opt_outs.model_copy(update={"max_expected": settings.opt_outs.max_expected * factor}),
            "cost": settings.cost.model_copy(update={"max_total": settings.cost.max_total * factor}),
        }
    )


def most_of(capacity: int | dict[int, int], factor: float) -> int | dict[int, int]:
    if isinstance(capacity, dict):
        return {slot: max(1, round(n * factor)) for slot, n in capacity.items()}
    return max(1, round(capacity * factor))


def true_p_open(world: World, raw: Path, day: date, plan: pd.DataFrame) -> pd.Series:
    """The world's own p_open of each planned send, by send_key; 0 where it will not be sent."""
    second = seconds_of(plan["send_at_utc"].dt.strftime("%Y-%m-%dT%H:%M:%S"))
    plan = plan.assign(second=second).sort_values(["second", "user_id", "notification_id"], kind="stable")
    found = react(world, day, offers_of(world, plan), remember(world, raw, day), live_consent=True)
    return pd.Series(found.p_open, index=plan["send_key"].to_numpy())


def without_half_of_the_opens(folder: str, text: str) -> str:
    """Opens and clicks of every second message are lost."""
    return text if folder != "interactions" else _lines(line for line in text.splitlines() if not _open_lost(line))


def without_sessions_of_some(folder: str, text: str) -> str:
    """The app of 40 % of the people no longer logs sessions."""
    if folder != "sessions":
        return text
    header, *lines = text.splitlines()
    user = header.split(",").index("user")
    return _lines((header, *(line for line in lines if _share(line.split(",")[user]) >= 0.4)))


def _open_lost(line: str) -> bool:
    row = json.loads(line)
    return row["kind"] in ("open", "click") and _share(row["id"]) < 0.5


def _share(text: str) -> float:
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def _lines(lines: Iterator[str] | tuple[str, ...]) -> str:
    return "".join(f"{line}\n" for line in lines)


def days(first: date, count: int) -> list[date]:
    return [first + timedelta(days=n) for n in range(count)]


def base_settings() -> Settings:
    """The demo's own, on Spark of one core: the worlds are small."""
    settings = load(CONF)
    small = {"master": "local[1]", "shuffle_partitions": 1, "driver_memory": "2g"}
    return settings.model_copy(update={"spark": settings.spark.model_copy(update=small)})
