"""A response of the home that nobody gets releases its connection."""

from __future__ import annotations

import msgspec
import pytest

from checkout.errors import HomeUnavailable, OrderElsewhere
from gateway.api.home_calls import HomeCalls
from gateway.http.chunks import Chunks
from gateway.http.message import Request, Response, StreamedResponse
from tests.unit.checkout.fake_services import an_order


class Body(Chunks):
    """The body of a long page of a balancer."""

    is_closed = False

    async def asend(self, _value: None) -> bytes:
        return b"<html>"

    async def aclose(self) -> None:
        self.is_closed = True


class Balancer:
    """Responds in place of a gateway that is away."""

    def __init__(self) -> None:
        self.body = Body()

    def can_forward(self, _request: Request, _region: str) -> bool:
        return True

    async def forward(self, _request: Request, _region: str) -> Response:
        return StreamedResponse(503, self.body, content_type=b"text/html")


@pytest.fixture
def balancer() -> Balancer:
    return Balancer()


@pytest.fixture
def marked() -> list[str]:
    return []


@pytest.fixture
def calls(balancer: Balancer, marked: list[str]) -> HomeCalls:
    return HomeCalls(balancer, lambda _request, part: marked.append(part))


@pytest.fixture
def request_() -> Request:
    return Request("GET", "/v1/orders/1", "", {}, b"", "0123456789abcdef", ("1",))


async def test_of_a_read(calls: HomeCalls, balancer: Balancer, marked: list[str], request_: Request) -> None:
    copy = msgspec.structs.replace(an_order(), home="us-east-1")
    assert await calls.read(request_, copy) is None
    assert (balancer.body.is_closed, marked) == (True, ["orders"])


async def test_of_a_change(calls: HomeCalls, balancer: Balancer, marked: list[str], request_: Request) -> None:
    with pytest.raises(HomeUnavailable) as refused:
        await calls.change(request_, OrderElsewhere("us-east-1"))
    assert (refused.value.may_have_run, balancer.body.is_closed, marked) == (True, True, [])
