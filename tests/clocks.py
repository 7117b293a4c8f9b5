"""The clock of a process that differs from those of the machines it talks to."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

MINUTES_S = 60.0


@pytest.fixture(params=[-10 * MINUTES_S, 10 * MINUTES_S], ids=["ten minutes behind", "ten minutes ahead"])
def wrong_clock(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The wall clock of this thread is wrong; its monotonic clock and those of servers in other threads are right."""
    right, right_ns = time.time, time.time_ns
    test = threading.get_ident()

    def offset_s() -> float:
        return float(request.param) if threading.get_ident() == test else 0.0

    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: right() + offset_s())
        patch.setattr(time, "time_ns", lambda: right_ns() + int(offset_s() * 1e9))
        yield
