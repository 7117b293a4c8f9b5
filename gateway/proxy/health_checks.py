"""Asks a target how it is, for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.config.policies import HealthCheck
from gateway.http.message import StreamedResponse
from gateway.proxy.errors import AllBusy, HungUp, UpstreamFault
from gateway.proxy.target import Target

# Workers and gateways that were started together do not ask together.
_JITTER = 0.2


async def check_for_ever(target: Target, check: HealthCheck, *, rng: Callable[[], float]) -> None:
    """Ask every `interval_s`, beginning at once, and tell the target's health."""
    while True:
        fault = await fault_of(target, check)
        target.health.checked(fault, healthy_after=check.healthy_after, unhealthy_after=check.unhealthy_after)
        await asyncio.sleep(check.interval_s * (1 + _JITTER * (rng() - 0.5)))


async def fault_of(target: Target, check: HealthCheck) -> str | None:
    """What is wrong with the target, None if nothing: it must answer 2xx or 3xx in time."""
    try:
        async with asyncio.timeout(check.timeout_s):
            try:
                status = await _ask(target, check)
            except HungUp as fault:
                if not fault.was_kept:
                    raise
                status = await _ask(target, check)
    except AllBusy:
        return None  # it serves as much as it may
    except TimeoutError:
        return "the check timed out"
    except UpstreamFault as fault:
        return f"the check failed: {fault}"
    return None if 200 <= status < 400 else f"the check answered {status}"


async def _ask(target: Target, check: HealthCheck) -> int:
    place = target.place
    request = f"GET {place.base}{check.path} HTTP/1.1\r\nHost: {place.authority}\r\nUser-Agent: peakgate-health\r\n\r\n"
    deadline = asyncio.get_running_loop().time() + check.timeout_s
    connection = await target.obtain(deadline)
    try:
        answer = await connection.ask(
            request.encode(), bodiless=False, deadline=deadline, idle_timeout_s=check.timeout_s
        )
    except asyncio.CancelledError:
        # Whatever cut the wait short, the connection must not be asked again.
        connection.abort()
        raise
    if isinstance(answer, StreamedResponse):
        await answer.chunks.aclose()
    return answer.status
