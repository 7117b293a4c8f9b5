"""Faults after which a request is sent again, and faults that count against the upstream."""

from __future__ import annotations

import pytest

from gateway.proxy.errors import (
    BadResponse,
    ConnectFailed,
    ConnectionClosed,
    PoolFull,
    ResponseTimeout,
    Truncated,
    UpstreamFault,
)
from gateway.proxy.retry import is_retryable, is_stale_connection, is_upstream_failure

CLOSED = ConnectionClosed("closed", was_reused=False)
STALE = ConnectionClosed("closed", was_reused=True)


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("fault", [ConnectFailed("refused"), CLOSED, STALE])
def test_an_idempotent_request_without_any_response_is_retryable(method: str, fault: UpstreamFault) -> None:
    assert is_retryable(method, fault)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("fault", [ConnectFailed("refused"), CLOSED, STALE])
def test_a_request_that_is_not_idempotent_is_not_retryable(method: str, fault: UpstreamFault) -> None:
    assert not is_retryable(method, fault)


@pytest.mark.parametrize("fault", [ResponseTimeout("late"), Truncated("cut"), BadResponse("bad"), PoolFull("full")])
def test_a_request_that_may_have_a_response_is_not_retryable(fault: UpstreamFault) -> None:
    assert not is_retryable("GET", fault)


def test_only_the_close_of_a_reused_connection_is_stale() -> None:
    assert is_stale_connection(STALE)
    assert not is_stale_connection(CLOSED)
    assert not is_stale_connection(ConnectFailed("refused"))


@pytest.mark.parametrize(
    ("fault", "timeout_s", "counts"),
    [
        (ResponseTimeout("late"), 1.0, True),
        (ResponseTimeout("late"), 0.9, False),
        (PoolFull("full"), 1.0, False),
        (ConnectFailed("refused"), 0.9, True),
        (CLOSED, 0.9, True),
        (BadResponse("bad"), 0.9, True),
    ],
)
def test_limits_of_the_gateway_and_shorter_timeouts_of_clients_do_not_count_against_the_upstream(
    fault: UpstreamFault, timeout_s: float, counts: bool
) -> None:
    assert is_upstream_failure(fault, timeout_s, rule_timeout_s=1.0) is counts
