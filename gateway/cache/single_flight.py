"""Single flight: requests for the same response wait for the one request that fetches it."""

from __future__ import annotations

import asyncio
from typing import Final

from gateway.cache.model import Selection
from gateway.cache.recorded_response import RecordedResponse

# How a flight ended.
STORED: Final = 1
NOT_STORED: Final = 2
FAILED: Final = 3
# Its leader was cancelled, and another request leads.
ABANDONED: Final = 4
# Its response is being received; it can be read meanwhile, and is stored at its end.
RECORDING: Final = 5

FlightKey = tuple[str, Selection]


class Flight:
    """One fetch. Each follower waits on a future of its own, so that the cancellation of one affects no other."""

    __slots__ = ("_followers", "recorded")

    def __init__(self) -> None:
        # Set while the response is being received.
        self.recorded: RecordedResponse | None = None
        self._followers: list[asyncio.Future[int]] = []

    def join(self) -> asyncio.Future[int]:
        """Wait for the end of the flight; the result is how it ended."""
        follower: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._followers.append(follower)
        return follower

    def land(self, end: int) -> None:
        """Wake all followers."""
        for follower in self._followers:
            if not follower.done():
                follower.set_result(end)
