"""What a running gateway forwards, and what it keeps of the responses."""

import hashlib
import http.client
import re
import threading
from collections import Counter
from collections.abc import Iterator

import pytest
from aiohttp import web

from tests.e2e.running_shop import PATIENCE_S, RunningShop, eventually
from tests.e2e.surroundings import Kept, Neighbour, count, crowd, open_shop, told

POLICIES = """
[[upstreams]]
name = "web"
targets = ["WEB_URL"]

[[upstreams]]
name = "fragile"
targets = ["FRAGILE_URL"]

[[upstreams]]
name = "nobody"
targets = ["http://127.0.0.1:1"]

[breaker.web]
open_s = 0.2
ramp_s = 0.1

[breaker.fragile]
min_calls = 3
open_s = 0.5
max_open_s = 0.5
ramp_s = 0.1

[[routes]]
prefix = "/web/"
upstream = "web"
strip_prefix = true

[[routes]]
prefix = "/hasty/"
upstream = "web"
timeout_s = 0.2
strip_prefix = true

[[routes]]
prefix = "/nobody/"
upstream = "nobody"

[[routes]]
prefix = "/kept/"
upstream = "web"
strip_prefix = true
cache = true

[[routes]]
prefix = "/fragile/"
upstream = "fragile"
cache = true
"""
MB = 1024 * 1024


class Web:
    """A small shop front behind the gateway, and what it has seen."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.received = 0
        self.go_on = threading.Event()
        self.server = Neighbour(self._build)

    def _build(self) -> web.Application:
        app = web.Application(client_max_size=64 * MB)
        app.router.add_route("*", "/echo", self._echo)
        app.router.add_post("/upload", self._upload)
        app.router.add_get("/download", self._download)
        app.router.add_get("/silent", self._silent)
        app.router.add_route("*", "/moody", self._moody)
        app.router.add_get("/slow", self._slow)
        app.router.add_get("/{page:.*}", self._page)
        app.router.add_put("/{page:.*}", self._page)
        return app

    async def _echo(self, request: web.Request) -> web.Response:
        seen = [[name.lower(), value] for name, value in request.headers.items()]
        headers = {"X-Shown": "yes", "Connection": "X-Hop", "X-Hop": "1", "Keep-Alive": "timeout=9"}
        return web.json_response(
            {"method": request.method, "target": request.raw_path, "headers": dict(seen)}, headers=headers
        )

    async def _upload(self, request: web.Request) -> web.Response:
        digest = hashlib.sha256()
        self.received = 0
        async for piece in request.content.iter_any():
            digest.update(piece)
            self.received += len(piece)
        return web.json_response({"bytes": self.received, "sha256": digest.hexdigest()})

    async def _download(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a" * MB)
        await told(self.go_on)
        for _ in range(3):
            await response.write(b"b" * MB)
        return response

    async def _silent(self, _request: web.Request) -> web.Response:
        await told(self.go_on)
        return web.Response(text="at last")

    async def _moody(self, request: web.Request) -> web.Response:
        """Hangs up on the first who asks, and answers the second."""
        self.asked["moody"] += 1
        if self.asked["moody"] % 2 == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.Response(text="served")

    async def _slow(self, _request: web.Request) -> web.Response:
        self.asked["slow"] += 1
        await told(self.go_on)
        return web.Response(text="the same for all", headers={"Cache-Control": "max-age=60"})

    async def _page(self, request: web.Request) -> web.Response:
        page = request.match_info["page"]
        self.asked[page] += 1
        headers = {
            "Cache-Control": request.query.get("cc", "max-age=600"),
            "Surrogate-Key": request.query.get("tag", ""),
        }
        return web.Response(text=f"{page} {self.asked[page]}", headers=headers)


@pytest.fixture(scope="module")
def front() -> Iterator[Web]:
    front = Web()
    with front.server:
        yield front


@pytest.fixture(scope="module")
def fragile() -> Iterator[Web]:
    fragile = Web()
    with fragile.server:
        yield fragile


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, front: Web, fragile: Web) -> Iterator[RunningShop]:
    policies = POLICIES.replace("WEB_URL", front.server.url).replace("FRAGILE_URL", fragile.server.url)
    with open_shop(tmp_path_factory.mktemp("upstreams"), policies) as shop:
        yield shop


# Forwarding


def test_forwarding_fields_are_rewritten_for_the_upstream(gate: RunningShop) -> None:
    with Kept(gate) as shopper:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        response = shopper.get(
            "/web/echo?b=2&a=%20x",
            Cookie="a=1; peakgate_drop=secret",
            X_Forwarded_For="203.0.113.9",
            X_Forwarded_Proto="https",
            X_Real_IP="203.0.113.9",
            X_Api_Key="secret-key-0123456789",
            Connection="keep-alive, X-Private",
            X_Private="hop",
            TE="trailers",
            Authorization="Bearer of-the-upstream",
            traceparent=trace,
        )
    assert response.status == 200
    seen = response.body
    assert (seen["method"], seen["target"]) == ("GET", "/echo?b=2&a=%20x")
    headers = seen["headers"]
    assert headers["x-forwarded-for"] == "127.0.0.1", "nobody has said that this peer may speak for others"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["host"] == headers["x-forwarded-host"] == f"127.0.0.1:{gate.port}"
    assert headers["forwarded"]
    assert headers["via"] == "1.1 peakgate"
    assert headers["cookie"] == "a=1"
    assert headers["authorization"] == "Bearer of-the-upstream"
    assert headers["x-request-id"] == response.headers["x-request-id"]
    assert headers["traceparent"].split("-")[1] == trace.split("-")[1]
    assert headers["traceparent"] != trace
    assert 0 < int(headers["request-timeout-ms"]) <= 10_000
    assert not {"x-real-ip", "x-api-key", "x-private", "te", "keep-alive"} & set(headers)


def test_responses_have_no_hop_by_hop_fields(gate: RunningShop) -> None:
    response = gate.call("POST", "/web/echo", {"any": "thing"})
    assert response.body["method"] == "POST"
    assert response.headers["X-Shown"] == "yes"
    assert (response.headers["X-Hop"], response.headers["Keep-Alive"]) == (None, None)


def test_a_long_upload_reaches_the_upstream_while_it_still_comes(gate: RunningShop, front: Web) -> None:
    pieces = [bytes([number]) * MB for number in range(4)]
    front.received = 0
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=PATIENCE_S)
    connection.putrequest("POST", "/web/upload")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    connection.send(b"%x\r\n%b\r\n" % (MB, pieces[0]))
    eventually(lambda: front.received, lambda received: received == MB)
    for piece in pieces[1:]:
        connection.send(b"%x\r\n%b\r\n" % (MB, piece))
    connection.send(b"0\r\n\r\n")
    response = connection.getresponse()
    got = response.read()
    connection.close()
    expected = hashlib.sha256(b"".join(pieces)).hexdigest()
    assert (response.status, expected in got.decode()) == (200, True)


def test_a_long_download_reaches_the_shopper_while_it_still_comes(gate: RunningShop, front: Web) -> None:
    front.go_on.clear()
    connection = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=PATIENCE_S)
    connection.request("GET", "/web/download")
    response = connection.getresponse()
    assert response.read(MB) == b"a" * MB
    # Only now does the upstream send the rest.
    front.go_on.set()
    assert response.read() == b"b" * 3 * MB
    connection.close()


def test_a_reading_request_that_was_hung_up_on_is_tried_again_and_a_writing_one_is_not(
    gate: RunningShop, front: Web
) -> None:
    front.asked["moody"] = 0
    with Kept(gate) as shopper:
        assert (shopper.get("/web/moody").content, front.asked["moody"]) == (b"served", 2)
        lost = shopper.call("POST", "/web/moody", b"once")
        assert (lost.status, lost.body["type"], front.asked["moody"]) == (502, "/problems/bad-gateway", 3)


def test_an_upstream_that_is_not_there_is_502_and_one_that_is_silent_504(gate: RunningShop, front: Web) -> None:
    front.go_on.clear()
    away = gate.call("GET", "/nobody/at-home")
    assert (away.status, away.body["type"]) == (502, "/problems/bad-gateway")
    silent = gate.call("GET", "/hasty/silent")
    assert (silent.status, silent.body["type"]) == (504, "/problems/gateway-timeout")
    assert "127.0.0.1:1" not in str(away.body)
    front.go_on.set()
    eventually(lambda: count(gate, "peakgate_upstream_requests_total", upstream="nobody", outcome="connect_failed"))
    eventually(lambda: count(gate, "peakgate_upstream_requests_total", upstream="web", outcome="timeout"))


def test_a_websocket_is_refused_clearly(gate: RunningShop) -> None:
    with Kept(gate) as shopper:
        refused = shopper.get(
            "/web/echo",
            Upgrade="websocket",
            Connection="Upgrade",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="a" * 24,
        )
    assert (refused.status, refused.body["type"]) == (501, "/problems/not-implemented")


@pytest.mark.parametrize("path", ["/web/../v1/carts", "/web/%2e%2e/x", "/web/%00", "/web/a%2fb", "/web//x/..;/y"])
def test_ambiguous_requests_are_not_forwarded(gate: RunningShop, front: Web, path: str) -> None:
    before = front.asked.copy()
    with Kept(gate) as attacker:
        refused = attacker.get(path)
        with pytest.raises((http.client.HTTPException, OSError)):
            attacker.get("/healthz")
    assert (refused.status, refused.body["type"]) == (400, "/problems/ambiguous-request")
    assert front.asked == before


# The cache


def test_a_response_is_cached_and_says_so(gate: RunningShop, front: Web) -> None:
    with Kept(gate) as shopper:
        first, second = shopper.get("/kept/a"), shopper.get("/kept/a")
    assert first.headers["cache-status"] == "peakgate; fwd=uri-miss; fwd-status=200; stored"
    assert re.fullmatch(r"peakgate; hit; ttl=\d+", second.headers["cache-status"])
    assert int(second.headers["age"]) >= 0
    assert (first.content, second.content) == (b"a 1", b"a 1")
    assert "surrogate-key" not in second.headers


def test_concurrent_requests_are_one_fetch_in_each_worker(gate: RunningShop, front: Web) -> None:
    front.go_on.clear()

    def release_when_asked() -> None:
        eventually(lambda: front.asked["slow"])
        front.go_on.set()

    release = threading.Thread(target=release_when_asked)
    release.start()
    responses = crowd(gate, 50, "GET", "/kept/slow")
    release.join()
    assert {(response.status, response.content) for response in responses} == {(200, b"the same for all")}
    assert front.asked["slow"] <= 2


@pytest.mark.parametrize("what", [{"url": "/kept/shoes/1?tag=shoe"}, {"prefix": "/kept/shoes/"}, {"tag": "shoe"}])
def test_a_purge_removes_a_response_from_every_worker(gate: RunningShop, front: Web, what: dict[str, str]) -> None:
    path, other = "/kept/shoes/1?tag=shoe", "/kept/hats/1?tag=hat"
    for _ in range(24):
        gate.call("GET", path)
        gate.call("GET", other)
    before, hats = front.asked["shoes/1"], front.asked["hats/1"]
    gate.call("GET", path)
    assert front.asked["shoes/1"] == before
    purged = gate.admin("POST", "/admin/v1/purge", what)
    assert (purged.status, purged.body["purged"]) == (200, 1)
    told_again = {gate.call("GET", path).body for _ in range(24)}
    assert told_again == {f"shoes/1 {before + 1}"}
    gate.call("GET", other)
    assert front.asked["hats/1"] == hats


def test_a_write_through_the_gateway_invalidates_cached_responses(gate: RunningShop) -> None:
    with Kept(gate) as shopper:
        shopper.get("/kept/b")
        assert "hit" in shopper.get("/kept/b").headers["cache-status"]
        assert shopper.call("POST", "/kept/b", b"").status == 405, "an error changes nothing"
        assert "hit" in shopper.get("/kept/b").headers["cache-status"]
        assert shopper.call("PUT", "/kept/b", b"").status == 200
        assert "hit" not in shopper.get("/kept/b").headers["cache-status"]


def test_personal_responses_are_never_cached(gate: RunningShop, front: Web) -> None:
    with Kept(gate) as shopper:
        for path, headers in (
            ("/kept/mine?cc=private,max-age=60", {}),
            ("/kept/never?cc=no-store", {}),
            ("/kept/account", {"Authorization": "Bearer x"}),
        ):
            responses = [shopper.get(path, **headers) for _ in range(2)]
            assert len({response.content for response in responses}) == 2, path
            assert all("hit" not in response.headers["cache-status"] for response in responses)


def test_an_upstream_that_is_gone_is_served_stale_at_once_once_it_is_cut_off(gate: RunningShop, fragile: Web) -> None:
    with Kept(gate) as shopper:
        assert shopper.get("/fragile/page").status == 200
        fragile.server.stop()
        soft = gate.admin("POST", "/admin/v1/purge", {"prefix": "/fragile/", "soft": True})
        assert (soft.status, soft.body["purged"]) == (200, 1)
        stale = shopper.get("/fragile/page")
        assert (stale.status, stale.content, stale.headers["degraded"]) == (200, b"fragile/page 1", "cache")
        assert "fwd=stale" in stale.headers["cache-status"]
        cut_off = eventually(lambda: shopper.get("/fragile/not-kept"), lambda told: told.status == 503)
        assert (cut_off.body["type"], cut_off.headers["retry-after"] != "") == (
            "/problems/dependency-unavailable",
            True,
        )
        at_once = eventually(
            lambda: shopper.get("/fragile/page"), lambda told: "detail=tripped" in told.headers["cache-status"]
        )
        assert (at_once.status, at_once.content, at_once.headers["degraded"]) == (200, b"fragile/page 1", "cache")
        fragile.server.start()
        back = eventually(lambda: shopper.get("/fragile/page"), lambda told: told.content != b"fragile/page 1")
        assert (back.status, "degraded" in back.headers) == (200, False)
        eventually(lambda: shopper.get("/fragile/not-kept").status, lambda status: status == 200)


def test_products_come_through_the_cache(gate: RunningShop) -> None:
    with Kept(gate) as shopper:
        for path in ("/v1/products/85123A", "/v1/products?limit=5"):
            first, second = shopper.get(path), shopper.get(path)
            assert first.status == second.status == 200
            assert "hit" in second.headers["cache-status"], path
            assert (second.content, second.headers["etag"]) == (first.content, first.headers["etag"])
            assert shopper.get(path, If_None_Match=second.headers["etag"]).status == 304


def test_a_drill_shows_the_responses_that_shoppers_would_get(gate: RunningShop) -> None:
    assert gate.call("GET", "/web/drilled").status == 200
    assert gate.admin("POST", "/admin/v1/drills/web", {"reason": "a quiet day"}).status == 200
    try:
        assert {gate.call("GET", "/web/drilled").status for _ in range(16)} == {503}
    finally:
        assert gate.admin("POST", "/admin/v1/drills/web", {"tripped": False}).status == 200
    eventually(lambda: {gate.call("GET", "/web/drilled").status for _ in range(16)}, lambda seen: seen == {200})
