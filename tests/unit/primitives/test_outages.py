"""Whether a failed call may have taken effect."""

from __future__ import annotations

import pytest

from primitives.outages import is_outage, may_have_run
from store import ReplyError, StoreOverloaded, StoreTimeout, StoreUnavailable


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreOverloaded("full")])
def test_a_call_that_was_never_sent_has_not_run(error: Exception) -> None:
    assert is_outage(error)
    assert not may_have_run(error)


def test_a_call_without_a_reply_may_have_run() -> None:
    late = StoreTimeout("late", may_have_run=True)
    assert is_outage(late)
    assert may_have_run(late)


@pytest.mark.parametrize("error", [ReplyError("WRONGTYPE"), RuntimeError("a bug")])
def test_a_call_that_failed_for_another_reason_may_have_run_and_is_no_outage(error: Exception) -> None:
    assert not is_outage(error)
    assert may_have_run(error)
