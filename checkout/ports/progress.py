"""The progress of orders through their workers: leases, failures, and the orders that need a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

from cart.model import OrderId
from checkout.order import Order
from checkout.order_status import OrderStatus
from checkout.ports.outbox import OutboxEntry

# An order whose workers died so often while they worked on it runs alone from then on.
SUSPECT_DEATHS: Final = 3
# No order that was put back is delayed for longer.
MAX_DELAY_MS: Final = 300_000


class Taken(msgspec.Struct, frozen=True):
    """The order is leased to this holder, in its current state.

    `failures` counts those of the order itself, `deaths` the workers that died or hung while they worked on it.
    `unanswered_runs` counts its runs since `unanswered_ms` ago in which a service gave no response; zero, both, after the
    order has changed its status.
    """

    order: Order
    failures: int = 0
    deaths: int = 0
    unanswered_runs: int = 0
    unanswered_ms: int = 0


class Tally(msgspec.Struct, frozen=True):
    """The account of an order that was put back in `status`; the other members are those of `Taken`."""

    failures: int = 0
    unanswered_runs: int = 0
    unanswered_ms: int = 0
    status: OrderStatus | None = None


class Busy(msgspec.Struct, frozen=True):
    """Another worker has the lease, for `retry_after_ms` unless it is renewed."""

    retry_after_ms: int


class Early(msgspec.Struct, frozen=True):
    """The order was put back, and may run again in `retry_after_ms`."""

    retry_after_ms: int


class SetAside(msgspec.Struct, frozen=True):
    """The order needs a person: no worker continues it."""


class Attention(msgspec.Struct, frozen=True):
    """An order that needs a person, since `at` (Unix milliseconds)."""

    order_id: OrderId
    at: int
    reason: str


class Progress(Protocol):
    """A record for each order that is worked on. Each call is one atomic change, and may be repeated.

    `holder` names one process, for its lifetime. All calls raise the errors of the store.
    """

    async def take(self, order_id: OrderId, holder: str) -> Taken | Busy | Early | SetAside | None:
        """Lease the order to `holder`, or lease it to the same holder again; None if there is no such order.

        A lease that ended without `put_back` counts a death. From `SUSPECT_DEATHS` on it counts a failure of the order as
        well, because the order ran alone. A completed order needs no lease,
        unless it has facts. An order that was set aside is taken when it has changed its status since, because it was
        cancelled, or has facts.
        """
        ...

    async def renew(self, order_id: OrderId, holder: str) -> bool:
        """Renew the lease; False if another holder has it."""
        ...

    async def put_back(
        self, order_id: OrderId, holder: str, *, failed: bool = False, unanswered: bool = False
    ) -> Tally | None:
        """End the lease; `failed` counts a failure of the order, `unanswered` a run without a response.

        None, and nothing is counted, if another holder has the lease.
        """
        ...

    async def delay(self, order_id: OrderId, delay_ms: int) -> None:
        """Have `take` refuse an order that was put back for so long, unless it changes or gets a fact meanwhile.

        The queue may deliver its message sooner: a second one, or one that it has lost and was sent again.
        """
        ...

    async def set_aside(self, order_id: OrderId, holder: str, *, reason: str) -> bool:
        """End the lease: the order needs a person. False, without a change, if another holder has the lease."""
        ...

    async def resume(self, order_id: OrderId, *, message: bytes) -> OutboxEntry | None:
        """Forget the failures of an order that was set aside, and append `message` to the outbox; None if it was not."""
        ...

    async def needing_attention(self) -> Sequence[Attention]:
        """The orders that were set aside, the oldest first."""
        ...

    async def count_needing_attention(self) -> int:
        """Their number."""
        ...
