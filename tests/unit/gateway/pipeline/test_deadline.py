"""The deadline of a route, stacks of layers, and responses to errors."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from cart.errors import Interrupted, QuantityLimit
from checkout.errors import CheckoutInterrupted
from gateway.http.error_responses import error_response
from gateway.http.message import Handler, Layer, Request, Response, resolve, stack
from gateway.pipeline.deadline import deadline
from store import StoreOverloaded, StoreTimeout, StoreUnavailable
from tests.virtual_time import in_virtual_time, loop_time


def a_request() -> Request:
    return Request("POST", "/v1/checkout", "q=secret", {}, b"4111111111111111", "0123abcd", ())


async def at_once(_request: Request) -> Response:
    return Response(200, b"done")


async def after_an_hour(_request: Request) -> Response:
    await asyncio.sleep(3600)
    return Response(200)


async def with_a_timeout_of_its_own(_request: Request) -> Response:
    async with asyncio.timeout(1):
        await asyncio.sleep(3600)
    return Response(200)


@in_virtual_time
async def test_a_response_in_time_is_unchanged() -> None:
    assert (await resolve(deadline(10)(at_once)(a_request()))).body == b"done"


@in_virtual_time
async def test_a_response_after_the_deadline_becomes_503() -> None:
    response = await resolve(deadline(10)(after_an_hour)(a_request()))
    assert loop_time() == pytest.approx(10)
    assert response.status == 503
    assert b"Retry-After" in response.header_block
    assert orjson.loads(response.body)["type"] == "/problems/dependency-unavailable"


@in_virtual_time
async def test_a_timeout_of_the_handler_is_not_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        await resolve(deadline(10)(with_a_timeout_of_its_own)(a_request()))


def naming(name: str, seen: list[str]) -> Layer:
    def layer(handler: Handler) -> Handler:
        async def named(request: Request) -> Response:
            seen.append(name)
            return await resolve(handler(request))

        return named

    return layer


@in_virtual_time
async def test_the_first_layer_named_is_the_outermost() -> None:
    seen: list[str] = []
    await resolve(stack(naming("outer", seen), naming("inner", seen))(at_once)(a_request()))
    assert seen == ["outer", "inner"]


def test_an_empty_stack_is_the_handler() -> None:
    assert stack()(at_once) is at_once


def test_an_expected_error_gets_its_problem_and_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    refused = error_response(QuantityLimit(7), a_request(), "/v1/checkout")
    assert refused.status == 422
    assert orjson.loads(refused.body)["limit"] == 7
    assert error_response(StoreUnavailable("away"), a_request(), "/v1/checkout").status == 503
    assert not caplog.records


def facts_of(error: Exception, method: str = "POST") -> dict[str, Any]:
    request = Request(method, "/v1/carts/x/lines", "", {}, b"", "0123abcd", ())
    facts: dict[str, Any] = orjson.loads(error_response(error, request, "/v1/carts/{cart_id}/lines").body)
    return facts


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("lost", may_have_run=True),
        StoreTimeout("late", may_have_run=True),
        Interrupted(may_have_run=True),
        CheckoutInterrupted(may_have_run=True),
    ],
)
def test_a_write_that_may_have_run_says_so(error: Exception) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        facts = facts_of(error, method)
        assert (facts["type"], facts["may_have_run"]) == ("/problems/dependency-unavailable", True)
        assert "may have been" in facts["detail"]


@pytest.mark.parametrize(
    "error",
    [
        StoreUnavailable("away"),
        StoreOverloaded("full"),
        Interrupted(may_have_run=False),
        CheckoutInterrupted(may_have_run=False),
    ],
)
def test_a_write_that_has_not_run_does_not(error: Exception) -> None:
    assert "may_have_run" not in facts_of(error)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_read_changes_nothing_although_its_call_may_have_run(method: str) -> None:
    facts = facts_of(StoreTimeout("late", may_have_run=True), method)
    assert "may_have_run" not in facts
    assert facts["detail"] == facts_of(StoreTimeout("late"))["detail"]


@in_virtual_time
async def test_a_write_cut_off_by_the_deadline_may_have_run() -> None:
    read = Request("GET", "/v1/orders/x", "", {}, b"", "0123abcd", ())
    assert orjson.loads((await resolve(deadline(10)(after_an_hour)(a_request()))).body)["may_have_run"] is True
    assert "may_have_run" not in orjson.loads((await resolve(deadline(10)(after_an_hour)(read))).body)


def test_an_unexpected_error_is_a_500_without_details_and_is_logged_with_the_request_id(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = error_response(RuntimeError("the inside of the shop"), a_request(), "/v1/checkout")
    assert failed.status == 500
    assert b"inside of the shop" not in failed.body
    assert orjson.loads(failed.body)["instance"] == "0123abcd"
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "POST /v1/checkout" in record.getMessage()
    assert "0123abcd" in record.getMessage()
    assert record.exc_info is not None
    # Neither the body nor the query, which may hold card data.
    assert "4111" not in caplog.text
    assert "secret" not in caplog.text
