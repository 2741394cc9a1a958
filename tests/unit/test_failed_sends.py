"""A send that a later row says was not delivered is no decision, in `evaluate` as in nights."""

from __future__ import annotations

from sendopt.ingest import load_mapping
from sendopt.timing.log import read_log

MAPPING = """\
source: shop
tables:
  sends:
    format: csv
    columns: {user_id: who, notification_id: id, sent_at_utc: at, sent: event, available: event}
    values: {sent: {sent: true, bounced: false}, available: {sent: true, bounced: false}}
    constants: {campaign_id: c, channel: push, category: k, timezone: UTC}
    outcome: {column: opened, kind: open}
"""
ROWS = """\
who,id,at,event,opened
a,1,2026-03-01T09:00:00Z,sent,no
a,1,2026-03-01T09:00:05Z,bounced,no
b,1,2026-03-01T09:00:00Z,sent,yes
b,1,2026-03-01T09:00:00Z,sent,yes
"""


def test_of_the_rows_of_one_send_the_one_that_says_not_sent_is_kept(tmp_path):
    (tmp_path / "shop.yaml").write_text(MAPPING)
    (tmp_path / "log.csv").write_text(ROWS)
    log = read_log(tmp_path / "log.csv", load_mapping(tmp_path / "shop.yaml"), "open", 24.0)
    assert log.dropped == {"duplicate_send": 2, "not_available": 1}
    assert (log.used, log.people) == (1, 1)
