from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import pytest

from gateway.config.policies import Event, Policies
from gateway.policies.event_log import EventLog

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def test_an_event_is_logged_when_it_begins_and_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "peakgate")
    policies = Policies(events=(Event(name="drop", start=NOON, end=NOON + timedelta(hours=1)),))
    log = EventLog()
    for minutes in (-1, 0, 1, 30, 60, 61):
        log.update(policies, NOON + timedelta(minutes=minutes))
    assert [record.getMessage() for record in caplog.records] == [
        "the event drop has begun; it ends at 2026-11-27T13:00:00+00:00",
        "the event drop has ended; its changes of limits, rooms and switches are reverted",
    ]
