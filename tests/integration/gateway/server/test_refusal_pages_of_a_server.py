"""Browsers get refusals as pages, all other clients as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.http.endpoint import EarlyRejection
from gateway.http.message import header
from gateway.http.page_set import PageOptions, PageSet
from gateway.http.refusal_pages import RefusalPages
from gateway.server.early_reject import EarlyReject
from tests.integration.gateway.small_server import SMALL, Small, get, post, small_server
from tests.raw_http import RawClient, RawResponse

BROWSER = ("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "Accept-Language: de-AT,de;q=0.9")


@pytest.fixture
async def server() -> AsyncIterator[Small]:
    async with small_server() as server:
        server.edge.refusal_pages = RefusalPages(PageSet(PageOptions()))
        yield server


async def answer(server: Small, message: bytes) -> RawResponse:
    async with await server.client() as client:
        return await client.request(message)


def assert_is_page(response: RawResponse, status: int) -> None:
    assert response.status == status
    assert response["Content-Type"] == "text/html; charset=utf-8"
    assert response["Content-Language"] == "de"
    assert response["Cache-Control"] == "no-store"
    assert response["Vary"] == "Accept, Accept-Language"
    assert response["X-Request-Id"].encode() in response.body
    assert b"<main>" in response.body


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (get("/nowhere", *BROWSER), 404),
        (get("/plain", *BROWSER, method="DELETE"), 405),
        (get("/refused", *BROWSER), 404),
        (get("/broken", *BROWSER), 500),
        (get("/slow-broken", *BROWSER), 500),
        (get("/overloaded", *BROWSER), 503),
        (get("/away", *BROWSER), 503),
        (post("/small", b"x" * (SMALL + 1), *BROWSER), 413),
        (post("/echo", b"x", "Content-Encoding: gzip", *BROWSER), 415),
        (get("/plain", "Host: other", *BROWSER), 400),
        (get("/a/../b", *BROWSER), 400),
        (get("/plain", *BROWSER, f"Cookie: {'x' * 40_000}"), 431),
        (get("/plain", *BROWSER, "Broken line"), 400),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_browser_gets_a_page(server: Small, message: bytes, status: int) -> None:
    assert_is_page(await answer(server, message), status)


@pytest.mark.parametrize(
    "accept", [(), ("Accept: */*",), ("Accept: application/json",), ("Accept: text/css,*/*;q=0.1",)]
)
async def test_other_clients_get_json_that_caches_do_not_mix_up_with_the_page(
    server: Small, accept: tuple[str, ...]
) -> None:
    response = await answer(server, get("/nowhere", *accept))

    assert (response.status, response.problem) == (404, "not-found")
    assert response["Vary"] == "Accept"


async def test_without_pages_a_browser_gets_json(server: Small) -> None:
    server.edge.refusal_pages = None
    response = await answer(server, get("/nowhere", *BROWSER))

    assert response.problem == "not-found"
    assert "Vary" not in response


async def test_a_head_request_gets_the_fields_of_the_page(server: Small) -> None:
    async with await server.client() as client:
        whole = await client.request(get("/nowhere", *BROWSER))
        head = await client.request(get("/nowhere", *BROWSER, method="HEAD"))
    assert head.body == b""
    assert head["Content-Length"] == whole["Content-Length"]
    assert head["Content-Type"] == whole["Content-Type"]


async def test_an_answer_of_success_is_no_page(server: Small) -> None:
    response = await answer(server, get("/plain", *BROWSER))

    assert response.status == 200
    assert response["Content-Type"] != "text/html; charset=utf-8"


class _ShedAll:
    shed = [0] * 5

    def sheds_all(self, criticality: int) -> bool:
        return criticality > 0

    def retry_after(self, _client: str) -> bytes:
        return header("Retry-After", 7)


async def test_a_browser_is_not_rejected_unparsed(server: Small) -> None:
    server.edge.router.find("GET", "/plain")[0].early_reject = EarlyRejection(3, b"")
    async with await server.client() as client:
        await _warm_up(client)
        server.edge.early_rejecter = EarlyReject(server.edge, _ShedAll())
        rejected = await client.request(get("/plain"))
        parsed = await client.request(get("/plain", *BROWSER))
    assert (rejected.problem, rejected["Vary"]) == ("overloaded", "Accept")
    assert parsed.status == 200


async def _warm_up(client: RawClient) -> None:
    for _ in range(2):
        assert (await client.request(get("/plain"))).status == 200
