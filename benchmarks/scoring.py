"""Scoring users × slots beside its peers, in one run (`make bench-scoring`): CPU time, and whether the bits are equal.

All methods score the same cells with the same trees, one thread each, inputs in memory; they take turns, so that a
busy machine slows all of them. What counts is CPU time of this process: medians of five rounds, with the range. The
forest gets user, slot and user × slot values apart and its binning counts; the others get the flat matrix for free.
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import lightgbm as lgb
import numpy as np
from llvmlite import binding

from sendopt.propensity.forest import Forest

TREES, LEAVES = 300, 63
PEERS = Path(__file__).parent.parent / ".venv-bench/lib/python3.11/site-packages"
SIZES = ((4_000, 24), (600, 168))  # users, slots
ROUNDS = 5
USER = (
    "channel",
    "category",
    "channel_rate",
    "category_rate",
    "rate_7d",
    "rate_30d",
    "rate_90d",
    "sends_7d",
    "sends_30d",
    "mature_30d",
    "mature_90d",
    "sessions_7d",
    "sessions_30d",
    "days_since_send",
    "days_since_open",
    "days_since_session",
    "fatigue_points",
)
SLOT = ("local_hour", "weekday", "weekend", "hour_rate")
BOTH = ("user_hour_mature", "user_hour_rate", "user_daypart_rate", "user_hour_activity", "user_weekpart_activity")
KINDS = {**dict.fromkeys(USER, "user"), **dict.fromkeys(SLOT, "slot"), **dict.fromkeys(BOTH, "user_slot")}


def world(n_users: int, n_slots: int, seed: int):
    """(user (U, 17), slot (S, 4), both (U, S, 5), p (U, S)): features as a night has them, and the chance to open."""
    draw = np.random.default_rng(seed)
    hour, day = np.arange(n_slots) % 24, (np.arange(n_slots) // 24 + 2) % 7
    hour_rate = 0.1 + 0.05 * np.sin(hour / 24 * 2 * np.pi) + 0.02 * (day >= 5)
    slot = np.column_stack([hour, day, day >= 5, hour_rate]).astype(np.float64)
    level, favourite = draw.beta(1, 6, n_users), draw.integers(6, 23, n_users)
    n90 = draw.poisson(20, n_users)
    n30 = draw.binomial(n90, 0.4)
    n7 = draw.binomial(n30, 0.3)
    channel, category = draw.integers(0, 3, n_users), draw.integers(0, 6, n_users)
    rates = [(draw.binomial(n, level) + 20 * 0.12) / (n + 20) for n in (n7, n30, n90)]
    since = [
        np.where(draw.random(n_users) < known, draw.exponential(mean, n_users), np.nan)
        for known, mean in ((0.9, 3), (0.7, 9), (0.8, 2))
    ]
    user = np.column_stack(
        [
            channel,
            category,
            0.1 + 0.02 * channel,
            0.05 + 0.03 * category,
            *rates,
            n7 + draw.poisson(1, n_users),
            n30 + draw.poisson(1, n_users),
            n30,
            n90,
            draw.poisson(50 * level),
            draw.poisson(200 * level),
            *since,
            draw.exponential(0.7, n_users),
        ]
    ).astype(np.float64)
    apart = np.minimum((hour - favourite[:, None]) % 24, (favourite[:, None] - hour) % 24)
    p = np.clip(1.8 * level[:, None] * np.exp(-apart / 4), 0.001, 0.95)
    seen = draw.poisson(1.2, p.shape)
    near = seen + draw.poisson(2.0, p.shape)
    opened = draw.binomial(seen, p)
    prior = 4 * level[:, None]
    both = np.stack(
        [
            seen,
            (opened + prior) / (seen + 4),
            (opened + draw.binomial(near - seen, p) + prior) / (near + 4),
            (draw.poisson(20 * p) + 0.8) / (200 * level[:, None] + 20),
            (draw.poisson(10 * p) + 0.8) / (5 * prior + 20),
        ],
        axis=2,
    )
    p = p * (1 + 0.2 * channel[:, None]) * (0.6 + 0.1 * category[:, None]) * np.exp(-0.2 * user[:, -1:])
    return user, slot, both.astype(np.float64), np.clip(p, 0, 1)


def model() -> lgb.Booster:
    """300 trees of 63 leaves, learned from 200,000 of the world's cells."""
    user, slot, both, p = world(20_000, 168, seed=5)
    draw = np.random.default_rng(3)
    u, s = draw.integers(0, len(user), 200_000), draw.integers(0, len(slot), 200_000)
    x = np.concatenate([user[u], slot[s], both[u, s]], axis=1)
    settings = {
        "objective": "binary",
        "num_leaves": LEAVES,
        "learning_rate": 0.05,
        "min_data_in_leaf": 50,
        "num_threads": 1,
        "verbosity": -1,
        "seed": 1,
    }
    data = lgb.Dataset(x, draw.random(len(u)) < p[u, s], feature_name=list(KINDS), categorical_feature=[0, 1])
    return lgb.train(settings, data, TREES)


def compiled_trees(booster: lgb.Booster, x):
    """The trees as C, compiled by treelite and tl2cgen, as a function of nothing for the flat matrix x."""
    sys.path.append(str(PEERS))  # after our own packages: only what is not there comes from it
    import tl2cgen
    import treelite

    folder = (
        Path(tempfile.gettempdir()) / f"trees-{hashlib.sha256(booster.model_to_string().encode()).hexdigest()[:16]}"
    )
    folder.mkdir(exist_ok=True)
    library = folder / "trees.so"
    if not library.exists():
        booster.save_model(str(folder / "model.txt"))
        trees = treelite.frontend.load_lightgbm_model(str(folder / "model.txt"))
        tl2cgen.export_lib(trees, toolchain="gcc", libpath=str(library))
    predictor = tl2cgen.Predictor(str(library), nthread=1)
    matrix = tl2cgen.DMatrix(x, dtype="float64")
    return lambda: predictor.predict(matrix, pred_margin=True).ravel()


def main() -> None:
    """Print what the machine is, what the model is, and a line for each size and method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    booster = model()
    clock = time.process_time()
    forest = Forest.from_booster(booster, KINDS)
    made = time.process_time() - clock
    say(machine())
    say(about(booster))
    say(f"Made ready once: the forest's tables, {made:.1f} s")
    say("")
    say("| users × slots | method | µs/user (CPU) | rows/s | faster than Booster.predict | equal bits |")
    say("|---|---|---|---|---|---|")
    for n_users, n_slots in SIZES:
        user, slot, both, _ = world(n_users, n_slots, seed=9)
        x = forest.matrix(user, slot, both)
        methods = {
            "Booster.predict": lambda x=x: booster.predict(x, raw_score=True, num_threads=1),
            "forest": lambda parts=(user, slot, both): forest.raw_score(*parts).ravel(),
        }
        methods["treelite, compiled C"] = compiled_trees(booster, x)
        for line in compare(methods, rounds, n_users, n_slots):
            say(line)


def compare(methods, rounds: int, n_users: int, n_slots: int) -> list[str]:
    """The lines of one size; each method runs once before, so that nothing is compiled while the clock runs."""
    found = {name: np.asarray(method()) for name, method in methods.items()}
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(rounds):
        for name, method in methods.items():
            clock = time.process_time()
            method()
            seconds[name].append(time.process_time() - clock)
    base = next(iter(methods))
    lines = []
    for name, mine in seconds.items():
        each = sorted(s / n_users * 1e6 for s in mine)
        times = sorted(b / s for b, s in zip(seconds[base], mine, strict=True))
        rate = n_users * n_slots / statistics.median(mine)
        equal = found[name].tobytes() == found[base].tobytes()
        off = "" if equal else f", off by at most {np.abs(found[name] - found[base]).max():.0e}"
        lines.append(
            f"| {n_users:,} × {n_slots} | {name} | {statistics.median(each):.1f} ({each[0]:.1f}–{each[-1]:.1f}) "
            f"| {rate:,.0f} | {statistics.median(times):.1f} ({times[0]:.1f}–{times[-1]:.1f}) "
            f"| {'yes' if equal else 'no'}{off} |"
        )
    return lines


def about(booster: lgb.Booster) -> str:
    """The model's size, and where its splits are."""
    counts = dict(zip(booster.feature_name(), booster.feature_importance(), strict=True))
    total = sum(counts.values())
    shares = ", ".join(
        f"{sum(counts[n] for n in names) / total:.0%} {word}"
        for word, names in (("of the user", USER), ("of the slot", SLOT), ("of both", BOTH))
    )
    return f"{TREES} trees × {LEAVES} leaves, {len(KINDS)} features; splits: {shares}"


def machine() -> str:
    """Processor, its vector units and versions."""
    wanted = ("avx2", "avx512f", "avx512cd", "avx512bw", "avx512vl", "bmi", "neon", "sve")
    features = binding.get_host_cpu_features()
    vectors = ", ".join(v for v in wanted if features.get(v)) or "no vector units known"
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "numba", "lightgbm"))
    name = f"{platform.machine()} {binding.get_host_cpu_name()}"
    return f"{name} ({vectors}), Python {platform.python_version()}, {packages}"


def say(text: str) -> None:
    """One line, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
