"""What forwarding asks of others."""

from __future__ import annotations

from typing import Final, Protocol


class Guard(Protocol):
    """A circuit breaker around an upstream. After `try_enter` said yes, exactly one of the other three is called.

    What counts as failed: no connection, no or no proper answer in time, and 502, 503 and 504; any other status is the
    upstream's word, 500 too.
    """

    def try_enter(self) -> bool:
        """Whether the upstream may be asked now."""
        ...

    def succeeded(self, elapsed_s: float) -> None:
        """It answered; this long after it was asked the head of its answer had come."""
        ...

    def failed(self, reason: str) -> None:
        """It did not answer, or said that it cannot."""
        ...

    def abandoned(self) -> None:
        """The shopper left before there was an answer, which says nothing about the upstream."""
        ...


class NoGuard:
    """Lets everything through."""

    def try_enter(self) -> bool:
        """Yes."""
        return True

    def succeeded(self, elapsed_s: float) -> None:
        """Nothing to note."""

    def failed(self, reason: str) -> None:
        """Nothing to note."""

    def abandoned(self) -> None:
        """Nothing to note."""


NO_GUARD: Final = NoGuard()
