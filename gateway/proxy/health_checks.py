"""Health checks of a target: a request at intervals, whose result changes the target's health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from gateway.config.policies import HealthCheck
from gateway.http.message import StreamedResponse
from gateway.proxy.errors import ConnectionClosed, PoolFull, UpstreamFault
from gateway.proxy.target import Target

# Workers and gateways that started together do not check together.
_JITTER: Final = 0.2


async def check_repeatedly(target: Target, check: HealthCheck, *, chance: Callable[[], float]) -> None:
    """Check at once and then every `interval_s`, until cancelled."""
    while True:
        fault = await fault_of(target, check)
        target.health.checked(
            fault, healthy_threshold=check.healthy_threshold, unhealthy_threshold=check.unhealthy_threshold
        )
        await asyncio.sleep(check.interval_s * (1 + _JITTER * (chance() - 0.5)))


async def fault_of(target: Target, check: HealthCheck) -> str | None:
    """The failure of a check, None for success: a 2xx or 3xx in time."""
    try:
        async with asyncio.timeout(check.timeout_s):
            try:
                status = await _status_of(target, check)
            except ConnectionClosed as fault:
                if not fault.was_reused:
                    raise
                status = await _status_of(target, check)
    except PoolFull:
        return None  # it serves as many requests as it may
    except TimeoutError:
        return "the health check timed out"
    except UpstreamFault as fault:
        return f"the health check failed: {fault}"
    return None if 200 <= status < 400 else f"the health check returned {status}"


async def _status_of(target: Target, check: HealthCheck) -> int:
    address = target.address
    request = (
        f"GET {address.base}{check.path} HTTP/1.1\r\nHost: {address.authority}\r\nUser-Agent: peakgate-health\r\n\r\n"
    )
    deadline = asyncio.get_running_loop().time() + check.timeout_s
    connection = await target.pool.obtain(deadline)
    try:
        response = await connection.request(
            request.encode(), is_bodiless=False, deadline=deadline, idle_timeout_s=check.timeout_s
        )
    except asyncio.CancelledError:
        # Its response may still arrive, so the connection cannot be used again.
        connection.abort()
        raise
    if isinstance(response, StreamedResponse):
        await response.chunks.aclose()
    return response.status
