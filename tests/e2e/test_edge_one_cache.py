"""The workers of a running gateway have one cache."""

import os
import signal
from collections import Counter
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.e2e.running_shop import RunningShop
from tests.e2e.surroundings import Neighbour, crowd, open_shop, part, restarted

POLICIES = """
[[upstreams]]
name = "web"
targets = ["WEB_URL"]

[[routes]]
prefix = "/"
upstream = "web"
cache = true
"""
# Connections are spread over workers by chance: so many reach both.
MANY = 24


class Web:
    """Pages with the number of their request."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.server = Neighbour(self._build)

    def _build(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{page:.*}", self._page)
        app.router.add_post("/{page:.*}", self._changed)
        return app

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = request.match_info["page"]
        self.asked[page] += 1
        headers = {"Cache-Control": "max-age=600", "Surrogate-Key": "all"}
        body = f"{page} {self.asked[page]} ".encode().ljust(int(request.query.get("size", "20")))
        if "chunked" not in request.query:
            return web.Response(body=body, headers=headers)
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        for start in range(0, len(body), 7_000):
            await response.write(body[start : start + 7_000])
        return response

    async def _changed(self, _request: web.Request) -> web.Response:
        return web.Response()


@pytest.fixture(scope="module")
def front() -> Iterator[Web]:
    front = Web()
    with front.server:
        yield front


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, front: Web) -> Iterator[RunningShop]:
    folder = tmp_path_factory.mktemp("one-cache")
    with open_shop(folder, POLICIES.replace("WEB_URL", front.server.url)) as shop:
        yield shop


def bodies(gate: RunningShop, path: str) -> set[bytes]:
    """What many clients get, each on a connection of its own."""
    pages = crowd(gate, MANY, "GET", path)
    assert {page.status for page in pages} == {200}
    return {page.content.strip() for page in pages}


@pytest.mark.parametrize("query", ["size=1000", "size=200000", "size=200000&chunked", "size=900000"])
def test_cold_clients_of_all_workers_are_one_fetch_or_one_for_each_worker(
    gate: RunningShop, front: Web, query: str
) -> None:
    page = f"cold-{query}".replace("=", "").replace("&", "")
    pages = crowd(gate, 50, "GET", f"/{page}?{query}")
    assert {(page.status, len(page.content)) for page in pages} == {(200, int(query.split("&", maxsplit=1)[0][5:]))}
    assert 1 <= front.asked[page] <= 2
    asked = front.asked[page]
    assert len(bodies(gate, f"/{page}?{query}")) == 1
    assert front.asked[page] == asked


def test_an_unsafe_request_changes_what_every_worker_serves(gate: RunningShop) -> None:
    assert bodies(gate, "/changing") == {b"changing 1"}
    for number in range(2, 6):
        assert gate.call("POST", "/changing").status == 200
        assert bodies(gate, "/changing") == {b"changing %d" % number}


@pytest.mark.parametrize("what", [{"url": "/purged-url"}, {"prefix": "/purged-pre"}, {"tag": "all"}])
def test_a_purge_changes_what_every_worker_serves_before_it_is_answered(
    gate: RunningShop, what: dict[str, str]
) -> None:
    page = {"url": "purged-url", "prefix": "purged-prefix", "tag": "purged-tag"}[next(iter(what))]
    assert bodies(gate, f"/{page}") == {f"{page} 1".encode()}
    for number in range(2, 6):
        answered = gate.admin("POST", "/admin/v1/purge", what)
        assert answered.status == 200
        assert answered.body["purged"] >= 1
        assert bodies(gate, f"/{page}") == {f"{page} {number}".encode()}


def test_workers_that_are_started_again_find_the_responses(gate: RunningShop) -> None:
    assert bodies(gate, "/lasting") == {b"lasting 1"}
    workers = gate.worker_pids()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    restarted(gate, workers)
    assert bodies(gate, "/lasting") == {b"lasting 1"}
    assert all(cache["host"]["responses"] >= 1 for cache in part(gate, "cache"))
