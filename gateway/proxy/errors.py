"""Faults of an upstream with the problem that the client gets for each, and requests that are not forwarded."""

from __future__ import annotations

from typing import ClassVar, Final

from gateway.http import problems
from gateway.http.problems import Problem

_OVERLOADED: Final = Problem(
    "overloaded",
    503,
    problems.OVERLOADED.title,
    "All connections to the upstream of this path are in use. Retry after the time in Retry-After.",
    retry_after_s=problems.RETRY_AFTER_S,
)

_STREAMS_FULL: Final = Problem(
    "overloaded",
    503,
    problems.OVERLOADED.title,
    "Too many long transfers to or from the upstream of this path are in progress, in all or for this client. Retry after "
    "the time in Retry-After.",
    retry_after_s=problems.RETRY_AFTER_S,
)


class UpstreamFault(Exception):
    """An upstream did not serve a request. `outcome` is its label in metrics, `problem` the response to the client."""

    outcome: ClassVar[str] = "fault"
    problem: ClassVar[Problem] = problems.BAD_GATEWAY


class ConnectFailed(UpstreamFault):
    """No connection: refused, no route, unknown name, TLS failure, or too late. Nothing was sent."""

    outcome = "connect_failed"


class ConnectionClosed(UpstreamFault):
    """The upstream closed the connection before any byte of a response.

    `was_reused`: the connection had served other requests, so the upstream may have closed it for being idle.
    """

    outcome = "closed"

    def __init__(self, message: str, *, was_reused: bool) -> None:
        super().__init__(message)
        self.was_reused = was_reused


class Truncated(UpstreamFault):
    """The connection was closed in the middle of a response, or of the request."""

    outcome = "truncated"


class BadResponse(UpstreamFault):
    """The bytes are not an HTTP response, or are ambiguous."""

    outcome = "bad_response"


class ResponseTimeout(UpstreamFault):
    """The response, or the next part of it, was not received in time."""

    outcome = "timeout"
    problem = problems.GATEWAY_TIMEOUT


class PoolFull(UpstreamFault):
    """All connections are in use, and too many requests wait for one, or one waited too long. Nothing was sent."""

    outcome = "pool_full"
    problem = _OVERLOADED


class StreamsFull(PoolFull):
    """Streams hold as many connections as they may, in all or for this client."""

    outcome = "streams_full"
    problem = _STREAMS_FULL


class AmbiguousRequest(Exception):
    """The request could be read in more than one way."""


class NotForwarded(Exception):
    """A kind of request that is not forwarded."""
