"""What can go wrong with an upstream, and what the shopper is told then."""

from __future__ import annotations

from typing import ClassVar, Final

from gateway.http import problems
from gateway.http.problems import Problem

_OVERLOADED: Final = Problem("overloaded", 503, "Too much is going on; try again", retry_after_s=problems.RETRY_AFTER_S)


class UpstreamFault(Exception):
    """An upstream did not serve a request. `outcome` is what it is counted as, `problem` what the shopper gets."""

    outcome: ClassVar[str] = "fault"
    problem: ClassVar[Problem] = problems.BAD_GATEWAY


class NotReached(UpstreamFault):
    """No connection could be had: refused, no route, no such name, no TLS, or not in time. Nothing was sent."""

    outcome = "not_reached"


class HungUp(UpstreamFault):
    """The connection was closed before anything of an answer came.

    `was_kept`: it had served others before, so that the upstream may just have been tired of keeping it.
    """

    outcome = "hung_up"

    def __init__(self, message: str, *, was_kept: bool) -> None:
        super().__init__(message)
        self.was_kept = was_kept


class CutOff(UpstreamFault):
    """The connection was closed in the middle of an answer."""

    outcome = "cut_off"


class BadAnswer(UpstreamFault):
    """What came is no HTTP answer, or can be read in more than one way."""

    outcome = "bad_answer"


class TimedOut(UpstreamFault):
    """The answer, or a further piece of it, did not come in time."""

    outcome = "timed_out"
    problem = problems.GATEWAY_TIMEOUT


class AllBusy(UpstreamFault):
    """All connections that may be open are in use, and enough requests wait for one already. Nothing was sent."""

    outcome = "all_busy"
    problem = _OVERLOADED
