"""Calls on orders whose home is another Region: the gateway there answers them."""

from __future__ import annotations

from typing import Final, Protocol

from checkout.errors import HomeUnavailable, OrderElsewhere
from checkout.order import Order
from gateway.api.binding import MarkDegraded
from gateway.http.message import PROBLEM_JSON, Request, Response, StreamedResponse

# Of an upstream that is unavailable, and of a request that is not forwarded.
_OUTAGES: Final = frozenset({501, 502, 503, 504})
# The request had been sent.
_SENT: Final = frozenset({502, 504})


class RegionGateways(Protocol):
    """The gateways of other Regions."""

    def can_forward(self, request: Request, region: str) -> bool:
        """Whether the request can be forwarded to that Region."""
        ...

    async def forward(self, request: Request, region: str) -> Response:
        """The response from there; one with a `problem` is that of the forwarding itself."""
        ...


class HomeCalls:
    """Forwards calls to the home of an order. `mark` gets responses from a copy of the order as degraded."""

    def __init__(self, gateways: RegionGateways, mark: MarkDegraded) -> None:
        self._gateways = gateways
        self._mark = mark

    async def read(self, request: Request, order: Order) -> Response | None:
        """The response of the order's home to this read; None if this gateway is to answer, from the order as it has it."""
        if order.home is None or not self._gateways.can_forward(request, order.home):
            return None
        response = await self._gateways.forward(request, order.home)
        if response.status not in _OUTAGES:
            return response
        if isinstance(response, StreamedResponse):
            await response.chunks.aclose()
        self._mark(request, "orders")
        return None

    async def change(self, request: Request, elsewhere: OrderElsewhere) -> Response:
        """The response of the order's home to this change. Raises `elsewhere`, or `HomeUnavailable`."""
        if not self._gateways.can_forward(request, elsewhere.home):
            raise elsewhere
        response = await self._gateways.forward(request, elsewhere.home)
        # A balancer in front of that gateway has other content.
        if response.status not in _OUTAGES or (response.problem is None and response.content_type == PROBLEM_JSON):
            return response
        if isinstance(response, StreamedResponse):
            await response.chunks.aclose()
        raise HomeUnavailable(may_have_run=response.problem is None or response.status in _SENT)


class _NoGateways:
    """The gateways of no Region."""

    def can_forward(self, _request: Request, _region: str) -> bool:
        """See `RegionGateways`."""
        return False

    async def forward(self, _request: Request, region: str) -> Response:
        """See `RegionGateways`."""
        raise KeyError(region)


# Every call is answered here.
ANSWERED_HERE: Final = HomeCalls(_NoGateways(), lambda _request, _part: None)
