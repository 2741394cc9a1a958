"""An invented night in Delta tables: 2,000 people, 12 campaigns, 3 channels, 24 slots, all drawn from one seed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from deltalake import write_deltalake
from lake_rows import ARROW

from sendopt.domain.tables import TABLES

PLAN_DATE = date(2026, 3, 5)
MEASURED = date(2026, 3, 3)
VERSIONS = {"plan_version": "9f3c1e77ab20d4c1", "config_hash": "51d0c7a9e2b84f36", "model_version": "7"}
CHANNEL = {
    "weekend_sale": "push",
    "cart_reminder": "push",
    "price_drop": "push",
    "new_arrivals": "push",
    "weekly_digest": "email",
    "season_preview": "email",
    "loyalty_points": "email",
    "how_to_guides": "email",
    "back_in_stock": "push",
    "order_review": "email",
    "birthday_gift": "sms",
    "flash_hour": "sms",
}
REASONS = (
    ("capacity", 0.30),
    ("user_cap", 0.19),
    ("displaced", 0.13),
    ("campaign_budget", 0.11),
    ("min_gap", 0.07),
    ("fatigue", 0.06),
    ("quiet_hours", 0.04),
    ("channel_opted_out", 0.03),
    ("no_channel", 0.03),
    ("holdout", 0.02),
    ("opt_out_budget", 0.01),
    ("zone_unknown", 0.005),
    ("planned_unsent", 0.005),
)


def put(root: Path, name: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as the Delta table of that contract; a column left out is null."""
    contract = TABLES[name]
    schema = pa.schema([(c.name, ARROW[c.type]) for c in contract.columns])
    full = [{c.name: row.get(c.name) for c in contract.columns} for row in rows]
    partition = list(contract.partition_by) or None
    write_deltalake(str(root / name), pa.Table.from_pylist(full, schema), mode="append", partition_by=partition)


def write_night(root: Path, users: int = 2000, seed: int = 4) -> None:
    """Write a whole night with its measurement below `root`."""
    rng = np.random.default_rng(seed)
    plan, suppressed = _candidates(rng, users)
    put(root, "send_plan", plan)
    put(root, "suppressed", suppressed)
    put(root, "shadow_prices", _prices(rng, plan))
    put(root, "certificate", [_certificate(plan, suppressed)])
    put(root, "outcomes", _outcomes())
    put(root, "lift", _lift())
    put(root, "quarantine", _quarantine())
    put(root, "runs", _runs(plan, suppressed))


def _candidates(rng: np.random.Generator, users: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    start = datetime(PLAN_DATE.year, PLAN_DATE.month, PLAN_DATE.day, tzinfo=UTC)
    by_hour = np.array([0, 0, 0, 0, 0, 0, 0, 3, 7, 9, 6, 5, 8, 7, 4, 4, 5, 9, 14, 15, 12, 6, 0, 0], float)
    names, weights = [r for r, _ in REASONS], np.array([w for _, w in REASONS])
    popular = np.array([9, 7, 7, 6, 8, 4, 4, 3, 5, 3, 1, 2], float)
    plan, suppressed = [], []
    for user in range(users):
        offset = int(rng.choice([-5, 0, 1, 2, 9], p=[0.25, 0.2, 0.35, 0.1, 0.1]))
        arm = str(rng.choice(["treatment", "uniform_time", "holdout"], p=[0.93, 0.05, 0.02]))
        chosen = rng.choice(len(CHANNEL), size=rng.integers(1, 8), replace=False, p=popular / popular.sum())
        for i, index in enumerate(chosen):
            campaign = list(CHANNEL)[index]
            row = {
                "plan_date": PLAN_DATE,
                "user_id": f"person-{user}",
                "notification_id": f"n-{user}-{i}",
                "campaign_id": campaign,
                "arm": arm,
                **VERSIONS,
            }
            if arm == "holdout" or i > 1 or rng.random() < 0.32:
                reason = "holdout" if arm == "holdout" else str(rng.choice(names, p=weights / weights.sum()))
                suppressed.append({**row, "reason": reason})
                continue
            weights_now = by_hour if arm == "treatment" else (by_hour > 0).astype(float)
            hour = int(rng.choice(24, p=weights_now / weights_now.sum()))
            at = start + timedelta(hours=(hour - offset) % 24)
            p_open = float(rng.beta(2, 16) + 0.02 * (hour in (18, 19)))
            plan.append(
                {
                    **row,
                    "send_key": f"k-{user}-{i}",
                    "channel": CHANNEL[campaign],
                    "category": "offers",
                    "send_at_utc": at,
                    "slot_end_utc": at + timedelta(hours=1),
                    "timezone": "Etc/UTC",
                    "send_at_local": (at + timedelta(hours=offset)).strftime("%Y-%m-%dT%H:%M:%S"),
                    "pscore": 1.0 if arm == "treatment" else 1 / 15,
                    "p_open": p_open,
                    "p_opt_out": 0.0012,
                    "value": p_open - 3 * 0.0012,
                }
            )
    return plan, suppressed


def _prices(rng: np.random.Generator, plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for channel, limit in (("push", 70), ("email", 60), ("sms", 12)):
        for slot in range(24):
            used = min(limit, sum(r["channel"] == channel and r["send_at_utc"].hour == slot for r in plan))
            price = float(rng.uniform(0.002, 0.06)) if used == limit else 0.0
            kept = 2.0 if channel == "email" and used <= limit - 2 else 0.0
            rows.append((f"capacity:{channel}:{slot}", "capacity", limit, used, price, kept))
    sent = {name: sum(r["campaign_id"] == name for r in plan) for name in CHANNEL}
    for name, planned in sent.items():
        full = name in ("weekend_sale", "price_drop", "flash_hour")
        limit = planned if full else int(planned * rng.uniform(1.1, 1.8))
        rows.append((f"campaign_max:{name}", "campaign_max", limit, planned, 0.031 if full else 0.0))
    rows.append(("campaign_min:order_review", "campaign_min", 60, sent["order_review"], 0.0))
    rows.append(("campaign_min:birthday_gift", "campaign_min", sent["birthday_gift"] + 9, sent["birthday_gift"], 0.012))
    rows.append(("opt_outs", "opt_outs", 2.6, 2.6, 0.71))
    rows.append(("cost", "cost", 40.0, 11.2, 0.0))
    return [
        {
            "plan_date": PLAN_DATE,
            "row": row,
            "kind": kind,
            "limit": float(limit),
            "used": float(used),
            "price": price,
            "kept_free": sum(kept),
            **VERSIONS,
        }
        for row, kind, limit, used, price, *kept in rows
    ]


def _certificate(plan: list[dict[str, Any]], suppressed: list[dict[str, Any]]) -> dict[str, Any]:
    value = sum(r["value"] for r in plan)
    return {
        "plan_date": PLAN_DATE,
        "value": value,
        "penalty": 0.11,
        "objective": value - 0.11,
        "bound": value - 0.11 + 0.0002 * value,
        "gap": 0.0002,
        "method": "prices",
        "termination": "gap_reached",
        "users": 1956,
        "messages": len(plan) + len(suppressed),
        "cells": 61204,
        "sends": len(plan),
        **VERSIONS,
    }


def _outcomes() -> list[dict[str, Any]]:
    cells = [
        ("treatment", "push", 1102, 1094, 131, 2, 124.0),
        ("treatment", "email", 700, 700, 71, 1, 77.4),
        ("treatment", "sms", 88, 87, 15, 0, 12.2),
        ("uniform_time", "push", 62, 62, 5, 0, 5.9),
        ("uniform_time", "email", 39, 39, 3, 0, 3.1),
    ]
    old = [
        {
            "plan_date": MEASURED - timedelta(days=1),
            "arm": "treatment",
            "channel": "push",
            "planned": 1,
            "sent": 1,
            "successes": 0,
            "opt_outs": 0,
            "expected_successes": 0.1,
            "expected_opt_outs": 0.0,
        }
    ]
    return old + [
        {
            "plan_date": MEASURED,
            "arm": arm,
            "channel": channel,
            "planned": planned,
            "sent": sent,
            "successes": wins,
            "opt_outs": outs,
            "expected_successes": expected,
            "expected_opt_outs": 0.0012 * sent,
        }
        for arm, channel, planned, sent, wins, outs, expected in cells
    ]


def _lift() -> list[dict[str, Any]]:
    row = {"plan_date": MEASURED, "users": 1604, "sends": 1982}
    return [
        {**row, "metric": "treatment_minus_uniform_time", "estimate": 0.0361, "low": -0.0124, "high": 0.0846},
        {**row, "metric": "off_policy_uniform", "estimate": 0.1121, "low": 0.0907, "high": 0.1335},
        {**row, "metric": "off_policy_best_slot", "note": "refused: no overlap"},
    ]


def _quarantine() -> list[dict[str, Any]]:
    found = [
        ("sends", "duplicate", 31),
        ("interactions", "no_send", 12),
        ("users", "bad_timezone", 7),
        ("sends", "time_in_future", 3),
        ("sessions", "malformed", 2),
    ]
    return [
        {
            "source": "demo",
            "table_name": table,
            "reason": reason,
            "row_hash": f"{i:032x}",
            "raw": "{}",
            "occurrences": n,
        }
        for i, (table, reason, n) in enumerate(found)
    ]


def _runs(plan: list[dict[str, Any]], suppressed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    total = len(plan) + len(suppressed)
    stages = [
        ("allocate", total, total, {}, 21.3),
        ("ingest", 128401, 128346, {"duplicate": 31, "no_send": 12}, 17.9),
        ("build_features", 128346, 50000, {}, 14.2),
        ("score_slots", 2000, 192000, {}, 6.6),
        ("build_candidates", total * 24, total * 24, {"quiet_hours": 61000}, 7.0),
        ("publish_schedule", total, len(plan), {"capacity": 1500}, 5.1),
    ]
    return [
        {
            "plan_date": PLAN_DATE,
            "stage": stage,
            "plan_version": VERSIONS["plan_version"],
            "rows_in": rows_in,
            "rows_out": rows_out,
            "delta_versions": json.dumps({"sends": 3, "users": 1}),
            "seconds": seconds,
            "dropped_by_reason": json.dumps(dropped),
            "started_utc": datetime(2026, 3, 4, 23, tzinfo=UTC),
        }
        for stage, rows_in, rows_out, dropped, seconds in stages
    ]


def evaluation(placebo: bool = False) -> dict[str, Any]:
    """A model's evaluation as training writes it."""
    rng = np.random.default_rng(1)
    expected = np.array([0.021, 0.038, 0.053, 0.068, 0.083, 0.099, 0.118, 0.142, 0.178, 0.26])
    hours = range(7, 22)
    shape = {h: 0.08 + 0.045 * np.exp(-((h - 18.5) ** 2) / 6) + 0.015 * (h == 9) for h in hours}
    found: dict[str, Any] = {
        "model_version": "7",
        "kind": "lightgbm",
        "label": "open",
        "split": {
            "train": 61211,
            "valid": 9120,
            "test": 12877,
            "train_from": "2026-01-18",
            "test_from": "2026-02-26",
            "test_to": "2026-03-03",
        },
        "log_loss": {
            "model": 0.3187,
            "global_rate": 0.3391,
            "slot": 0.3352,
            "user": 0.3246,
            "user_slot": 0.3195,
            "model_shuffled_slots": 0.3238,
        },
        "gains": [
            {"baseline": "global_rate", "gain": 0.0204, "low": 0.0171, "high": 0.0238},
            {"baseline": "slot", "gain": 0.0165, "low": 0.0136, "high": 0.0197},
            {"baseline": "user", "gain": 0.0059, "low": 0.0034, "high": 0.0083},
            {"baseline": "user_slot", "gain": 0.0008, "low": -0.0009, "high": 0.0026},
            {"baseline": "model_shuffled_slots", "gain": 0.0051, "low": 0.0029, "high": 0.0074},
        ],
        "calibration": [
            {"bin": i, "expected": float(e), "observed": float(e * rng.normal(1.02, 0.05)), "n": 1287}
            for i, e in enumerate(expected)
        ],
        "observed_over_expected": 1.018,
        "slot_lift": [
            {
                "local_hour": h,
                "observed": float(shape[h] + rng.normal(0, 0.006)),
                "expected": float(shape[h]),
                "n": int(400 + 90 * (h in (18, 19))),
            }
            for h in hours
        ],
        "importance": [
            {"feature": name, "share": gain / 29270.0}
            for name, gain in (
                ("rate_30d", 9120.0),
                ("user_hour_rate", 5210.0),
                ("days_since_open", 3900.0),
                ("fatigue_points", 3300.0),
                ("hour_rate", 2150.0),
                ("campaign_rate", 1800.0),
                ("user_hour_activity", 1450.0),
                ("sends_7d", 900.0),
                ("tenure_days", 610.0),
                ("user_weekpart_activity", 420.0),
                ("channel", 300.0),
                ("weekend", 110.0),
            )
        ],
        "placebo": None,
        "gate": {"promoted": True, "reasons": ["no champion yet", "calibration 1.02 within 0.9 to 1.1"]},
    }
    if placebo:
        rates = [(1, 0.260, 0.244), (2, 0.495, 0.466), (3, 0.466, 0.430), (4, 0.477, 0.452), (5, 0.429, 0.440)]
        found["placebo"] = {
            "note": "Each person has five decision points a day; at about 40 % of them nothing was sent.",
            "rows": [{"slot": str(s), "sent": a, "not_sent": b, "n_sent": 640, "n_not_sent": 910} for s, a, b in rates],
        }
    return found
