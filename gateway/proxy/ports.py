"""The port of forwarding: the circuit breaker around an upstream."""

from __future__ import annotations

from typing import Final, Protocol


class Guard(Protocol):
    """A circuit breaker. After `try_enter` returned True, exactly one of the other methods is called.

    Failures are: no connection, no valid response in time, and 502, 503 and 504. Any other status is a response of the
    upstream, 500 too.
    """

    def try_enter(self) -> bool:
        """Whether a request may be sent now."""
        ...

    def succeeded(self, elapsed_s: float) -> None:
        """The head of the response arrived this long after the request was sent."""
        ...

    def failed(self, reason: str) -> None:
        """The request failed."""
        ...

    def abandoned(self) -> None:
        """The client left before there was a response, which says nothing about the upstream."""
        ...


class NoGuard:
    """A guard that is always closed."""

    def try_enter(self) -> bool:
        """See `Guard`."""
        return True

    def succeeded(self, elapsed_s: float) -> None:
        """See `Guard`."""

    def failed(self, reason: str) -> None:
        """See `Guard`."""

    def abandoned(self) -> None:
        """See `Guard`."""


NO_GUARD: Final = NoGuard()
