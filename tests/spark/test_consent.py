"""Consent has a time, and what is not understood forbids: by raw logs, over several ingests of one lake."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from tiny_nights import night_of, settings

from sendopt.config.schema import Ingest
from sendopt.errors import ContractError
from sendopt.ingest import SourceMapping, TableMapping
from sendopt.spark.ingest.ingest import ingest
from sendopt.spark.people import current_users

pytestmark = pytest.mark.slow
ANY_SHARE = Ingest(max_refused_fraction=1.0, max_unread_outcomes=1.0, max_unmatched_interactions=1.0)
SETTINGS = settings(ingest=ANY_SHARE)
CONSTANTS = {"channel": "push", "category": "deals", "campaign_id": "sale", "available": True, "sent": True}
SENDS = {"user_id": "u", "notification_id": "id", "sent_at_utc": "at"}
REACTIONS = {
    "user_id": "u",
    "notification_id": "id",
    "kind": "kind",
    "at_utc": "at",
    "channel": "ch",
    "category": "cat",
}
USERS = {"user_id": "u", "channels": "ch", "opted_out_categories": "out", "created_at": "made", "timezone": "tz"}
SENT, LATER = "2026-03-01T10:00:00Z", "2026-03-02T10:00:00Z"


def interaction(notification_id, kind, at=LATER, channel="", category=""):
    """Return a row of the file of interactions, without its user. The send `gone` is in no log."""
    return (notification_id, kind, at, channel, category)


class Stated(NamedTuple):
    """The interactions of a user, and what they forbid."""

    interactions: list[tuple[str, ...]]
    channels_off: tuple[str, ...] = ()
    categories_refused: tuple[str, ...] = ()


# by user
STATEMENTS = {
    "silent": Stated(interactions=[]),
    "opener": Stated(interactions=[interaction("n-opener", "open", at="2026-03-01T11:00:00Z")]),
    "a second before its send": Stated(
        interactions=[interaction("n-a second before its send", "opt_out", at="2026-03-01T09:59:59Z")],
        channels_off=("push",),
    ),
    "an hour before its send": Stated(
        interactions=[interaction("n-an hour before its send", "opt_out", at="2026-03-01T09:00:00Z")],
        channels_off=("push",),
    ),
    "of an unknown send": Stated(interactions=[interaction("gone", "opt_out")], channels_off=("email", "push")),
    "of a channel": Stated(interactions=[interaction("gone", "opt_out", channel="EMAIL")], channels_off=("email",)),
    "of a category": Stated(
        interactions=[interaction("gone", "opt_out", category="News")], categories_refused=("news",)
    ),
    "spelt OPT_OUT": Stated(interactions=[interaction("n-spelt OPT_OUT", "OPT_OUT")], channels_off=("push",)),
    "spelt unsubscribe": Stated(
        interactions=[interaction("n-spelt unsubscribe", "unsubscribe")], channels_off=("push",)
    ),
    "without a time": Stated(interactions=[interaction("n-without a time", "opt_out", at="")], channels_off=("push",)),
    "with a bad time": Stated(
        interactions=[interaction("n-with a bad time", "opt_out", at="soon")], channels_off=("push",)
    ),
    "of a strange channel": Stated(
        interactions=[interaction("gone", "opt_out", channel="e-mail")], channels_off=("email", "push")
    ),
    "of a strange category": Stated(
        interactions=[interaction("gone", "opt_out", category="dealz")], categories_refused=("*",)
    ),
    "back": Stated(
        interactions=[
            interaction("n-back", "opt_out", at="2026-02-01T10:00:00Z"),
            interaction("gone", "opt_in", at="2026-02-05T10:00:00Z", channel="push"),
        ],
    ),
    "out again": Stated(
        interactions=[
            interaction("gone", "opt_in", at="2026-02-05T10:00:00Z", channel="push"),
            interaction("n-out again", "opt_out"),
        ],
        channels_off=("push",),
    ),
    "both at once": Stated(
        interactions=[
            interaction("gone", "opt_in", channel="push"),
            interaction("n-both at once", "opt_out"),
        ],
        channels_off=("push",),
    ),
    "back without a time": Stated(
        interactions=[
            interaction("n-back without a time", "opt_out"),
            interaction("gone", "opt_in", at="", channel="push"),
        ],
        channels_off=("push",),
    ),
    "back to a strange category": Stated(
        interactions=[
            interaction("gone", "opt_out", category="deals"),
            interaction("gone", "opt_in", at="2026-03-03T10:00:00Z", category="dealz"),
        ],
        categories_refused=("deals",),
    ),
}


def csv(path, columns, rows):
    path.write_text("\n".join([",".join(columns), *(",".join(row) for row in rows)]) + "\n")


def source(**users):
    return SourceMapping(
        source="app",
        tables={
            "sends": TableMapping(files="sends.csv", format="csv", columns=SENDS, constants=CONSTANTS),
            "interactions": TableMapping(files="reactions.csv", format="csv", columns=REACTIONS),
            "users": TableMapping(files="users*.csv", format="csv", columns=USERS, **users),
        },
    )


def of_users(**users):
    every = source(**users)
    return SourceMapping(source="app", tables={"users": every.tables["users"]})


def person(user, channels="push|email", out="", made="2026-01-01T00:00:00Z", zone="Europe/Berlin"):
    """Return a row of the file of users."""
    return (user, channels, out, made, zone)


def allowed(lake, day=10):
    """Return the channels and the refused categories of each user on that day of March 2026."""
    at = datetime(2026, 3, day, 23, tzinfo=UTC)
    return {
        r["user_id"]: (
            tuple(sorted({*r["channels"]} - {*(r["opted_out_channels"] or ())})),
            tuple(r["opted_out_categories"]),
        )
        for r in current_users(night_of(lake, SETTINGS), at).collect()
    }


def test_every_way_to_opt_out_forbids_and_only_a_later_sound_opt_in_allows(lake, tmp_path):
    csv(tmp_path / "sends.csv", ["u", "id", "at"], [(u, f"n-{u}", SENT) for u in STATEMENTS])
    rows = [(user, *columns) for user, stated in STATEMENTS.items() for columns in stated.interactions]
    csv(tmp_path / "reactions.csv", ["u", "id", "kind", "at", "ch", "cat"], rows)
    csv(tmp_path / "users.csv", ["u", "ch", "out", "made", "tz"], [person(u) for u in STATEMENTS])
    done = ingest(lake, source(), tmp_path, SETTINGS, datetime(2026, 3, 9, tzinfo=UTC))
    every = {"email", "push"}
    assert allowed(lake) == {
        user: (tuple(sorted(every - {*stated.channels_off})), stated.categories_refused)
        for user, stated in STATEMENTS.items()
    }
    counts = done.facts["tables"]["interactions"]
    assert counts["rows_in"] == len(rows)
    assert counts["lost"] == {"unknown_name:category": 2, "unknown_name:channel": 1}
    # an opt-out without a time counts from ingestion on, and in nights of the past as well
    assert allowed(lake, 1)["without a time"] == (("email",), ())
    again = ingest(lake, source(), tmp_path, SETTINGS, datetime(2026, 3, 9, tzinfo=UTC))
    assert again.rows_out == done.rows_out

    # What people's rows say after that. Users whose rows hold no date of their own: as of the ingestion.
    people = {
        "silent": person("silent", channels="", zone="Mars/Base"),  # withdraws all; its zone is lost, not the row
        "opener": person("opener", made="soon"),  # refused: grants nothing, withdraws nothing that it lists
        "back": person("back", channels="email"),  # came back by an event; now its row takes push away
        "of a channel": person("of a channel", channels="push|sms"),  # a name that nobody knows
        "of a category": person("of a category", out="Deals"),
        "of an unknown send": person("of an unknown send", out='"deals,news"'),  # parts of another separator
        "spelt OPT_OUT": person("spelt OPT_OUT", made="", channels=""),  # refused, and withdraws all the same
    }
    csv(tmp_path / "users.csv", ["u", "ch", "out", "made", "tz"], list(people.values()))
    done = ingest(lake, of_users(), tmp_path, SETTINGS, datetime(2026, 3, 12, tzinfo=UTC))
    now = allowed(lake, 13)
    assert now["silent"] == ((), ())
    assert now["opener"] == (("email", "push"), ())
    assert now["back"] == (("email",), ())
    assert now["of a channel"] == (("push",), ())
    assert now["of a category"][1] == ("deals", "news")
    assert now["of an unknown send"] == ((), ("deals", "news"))
    assert now["spelt OPT_OUT"] == ((), ())
    assert done.facts["tables"]["users"]["lost"] == {"unknown_name:channels": 1, "unknown_zone": 1}


def test_of_daily_snapshots_the_latest_wins_and_who_is_missing_from_a_full_one_has_left(lake, tmp_path):
    columns = ["u", "ch", "out", "made", "tz"]
    csv(tmp_path / "users_2026-03-01.csv", columns, [person(u) for u in ("a", "b", "z", "y")])
    # the same created_at: the date of the file says which is news, whatever the text of the rows
    csv(tmp_path / "users_2026-03-02.csv", columns, [person("a", "email"), person("b"), person("z", "push|email|push")])
    full = of_users(snapshot="full")
    done = ingest(lake, full, tmp_path, SETTINGS, datetime(2026, 3, 3, tzinfo=UTC))
    assert allowed(lake, 4) == {"a": (("email",), ()), "b": (("email", "push"), ()), "z": (("email", "push"), ())}
    assert done.facts["tables"]["users"]["left"] == 0  # y was never known before

    later = tmp_path / "later"
    later.mkdir()
    # a snapshot in two parts of one date
    csv(later / "users-2026-03-05-part-0.csv", columns, [person("a")])
    csv(later / "users-2026-03-05-part-1.csv", columns, [person("b"), person("y")])
    done = ingest(lake, full, later, SETTINGS, datetime(2026, 3, 6, tzinfo=UTC))
    assert set(allowed(lake, 7)) == {"a", "b", "y"}
    assert done.facts["tables"]["users"]["left"] == 1

    cut = tmp_path / "cut"
    cut.mkdir()
    csv(cut / "users_2026-03-08.csv", columns, [person("a")])
    with pytest.raises(ContractError, match=r"2 of 3 people known before are not in it .*ingest\.max_left_fraction"):
        ingest(lake, full, cut, SETTINGS, datetime(2026, 3, 9, tzinfo=UTC))
    assert set(allowed(lake, 9)) == {"a", "b", "y"}

    # a row without a date is not older than one with: it withdraws, and an old dated one grants nothing after it
    csv(tmp_path / "users.csv", columns, [person("a", "")])
    changes = SourceMapping(
        source="app", tables={"users": TableMapping(files="users.csv", format="csv", columns=USERS)}
    )
    ingest(lake, changes, tmp_path, SETTINGS, datetime(2026, 3, 10, tzinfo=UTC))
    assert allowed(lake, 11)["a"] == ((), ())
    ingest(lake, of_users(), later, SETTINGS, datetime(2026, 3, 11, tzinfo=UTC))
    assert allowed(lake, 12)["a"] == ((), ())
