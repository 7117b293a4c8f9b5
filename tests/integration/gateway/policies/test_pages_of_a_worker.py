"""The pages of a worker follow its policies; a broken file of the operator leaves the shipped page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from multidict import CIMultiDict

from gateway import compose
from gateway.compose import Gateway
from gateway.config.policies import AccessLog, Pages, Policies, Room
from gateway.http import problems
from gateway.http.message import Request, resolve
from gateway.prerequisites import StoreAddress
from gateway.settings import Settings
from store import Client


@pytest.fixture
async def gateway(store: Client, store_url: str, tmp_path: Path) -> AsyncIterator[Gateway]:
    settings = Settings(data_dir=tmp_path, policies=Policies(access_log=AccessLog(enabled=False)), store_timeout=5.0)
    async with AsyncExitStack() as stack:
        yield await compose.gateway(settings, StoreAddress(store_url, is_embedded=False), stack, worker_name="shop:0a")


def page(gateway: Gateway) -> bytes:
    assert gateway.edge.refusal_pages is not None
    request = Request("GET", "/", "", CIMultiDict(), b"", "id", ())
    return gateway.edge.refusal_pages.page_of(problems.response(problems.NOT_FOUND, "id"), request).body


async def test_pages_follow_a_reload_and_its_folder(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "404.html").write_text("<p>first $message</p>")
    policies = Policies(pages=Pages(folder=str(tmp_path)))
    (await gateway.prepare(policies))()
    assert page(gateway).startswith(b"<p>first ")

    (tmp_path / "404.html").write_text("<p>second $message</p>")
    (await gateway.prepare(policies))()
    assert page(gateway).startswith(b"<p>second ")

    (await gateway.prepare(Policies(pages=Pages(enabled=False))))()
    assert gateway.edge.refusal_pages is None


async def test_a_broken_template_is_logged_and_the_shipped_page_is_served(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "404.html").write_text("$nothing")
    (await gateway.prepare(Policies(pages=Pages(folder=str(tmp_path)))))()

    assert b"<h1>Page not found</h1>" in page(gateway)
    assert "404.html: there is no $nothing here" in caplog.text


async def test_a_waiting_room_has_the_pages_of_the_policies(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "waiting-room.html").write_text("<p>our room: $heading</p>")
    room = Room(name="drop", routes=("GET /v1/products",), admissions_per_s=0.001, max_active=1)
    (await gateway.prepare(Policies(rooms=(room,), pages=Pages(folder=str(tmp_path)))))()

    endpoint, params = gateway.edge.router.find("GET", "/v1/products")
    bodies = []
    for _ in range(3):
        headers = CIMultiDict({"Host": "shop", "Accept": "text/html"})
        request = Request("GET", "/v1/products", "", headers, b"", "id", params, "127.0.0.1")
        bodies.append((await resolve(endpoint.handler(request))).body)
    assert b"<p>our room: You are in the queue</p>" in bodies[-1]
