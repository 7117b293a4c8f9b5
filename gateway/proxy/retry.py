"""Whether a request that an upstream did not serve is sent again. Pure."""

from __future__ import annotations

from typing import Final

from gateway.proxy.errors import ConnectFailed, ConnectionClosed, PoolFull, ResponseTimeout, UpstreamFault

# RFC 9110, 9.2.2.
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def is_retryable(method: str, fault: UpstreamFault) -> bool:
    """Whether a second request has the same effect, and nothing of a response to the first has arrived."""
    return method in _IDEMPOTENT and isinstance(fault, (ConnectFailed, ConnectionClosed))


def is_stale_connection(fault: UpstreamFault) -> bool:
    """Whether the upstream closed a reused connection as it was taken, which is not a failure of the upstream."""
    return isinstance(fault, ConnectionClosed) and fault.was_reused


def is_upstream_failure(fault: UpstreamFault, timeout_s: float, rule_timeout_s: float) -> bool:
    """Whether a fault counts against the upstream: not a limit of the gateway, nor a shorter timeout of the client.

    Otherwise a client that asks for a response within a millisecond could open the breaker for all.
    """
    if isinstance(fault, PoolFull):
        return False
    return not (isinstance(fault, ResponseTimeout) and timeout_s < rule_timeout_s)
