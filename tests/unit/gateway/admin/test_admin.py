"""The admin API: access, commands and errors."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import BasicAuth
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from gateway.admin.admin import Admin
from gateway.admin.console.sampler import Sampler
from gateway.admin.reloader import Reloader
from gateway.admin.status import Status
from gateway.admin.workers import Workers
from gateway.control.runtime_directory import RuntimeDirectory
from tests.unit.gateway.admin.small_workers import Fleet, write

TOKEN = "a-token-of-the-tests"
EVENT: dict[str, Any] = {
    "from": "2026-11-27T06:00Z",
    "until": "2026-11-28T06:00Z",
    "prices": [{"sku": "85123A", "price": 199}],
}
SWITCH = '[[switches]]\nname = "search"\n'


class Told(NamedTuple):
    status: int
    headers: Any
    body: Any


class Desk:
    """The API, and a client of it that knows the token."""

    def __init__(self, client: TestClient[Any, Any], replaced: list[str]) -> None:
        self.client = client
        self.replaced = replaced

    async def call(self, method: str, path: str, body: object = None, **headers: str) -> Told:
        headers = headers or {"Authorization": f"Bearer {TOKEN}"}
        async with self.client.request(method, path, json=body, headers=headers) as response:
            is_json = "json" in response.content_type
            return Told(
                response.status,
                response.headers,
                await (response.json(content_type=None) if is_json else response.text()),
            )


def admin_of(file: Path, workers: Workers, runtime: RuntimeDirectory, *, replaced: list[str], **more: Any) -> Admin:
    reloader = Reloader(file, workers, runtime, started_with={})
    status = Status(workers, runtime, reloader, version="1.2.3")
    return Admin(status, workers, runtime, TOKEN, lambda: replaced.append("asked"), Sampler(status), **more)


@pytest.fixture
async def desk(file: Path, workers: Workers, runtime: RuntimeDirectory, fleet: Fleet) -> AsyncIterator[Desk]:
    replaced: list[str] = []
    admin = admin_of(file, workers, runtime, replaced=replaced)
    async with TestClient(TestServer(admin.application())) as client:
        yield Desk(client, replaced)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


EVERYTHING = [
    *(
        ("GET", path)
        for path in (
            "/",
            "/plain",
            "/console/history",
            "/console/stream",
            "/metrics",
            "/admin/v1/status",
            "/admin/v1/acts",
            "/admin/v1/reload/preview",
            "/admin/v1/orders/attention",
            "/admin/v1/orders/7KQ3M-XP4RT",
            "/no-such",
        )
    ),
    *(
        ("POST", f"/admin/v1/{path}")
        for path in (
            "reload",
            "purge",
            "switches/search",
            "drills/store",
            "rooms/drop",
            "events/sale",
            "acts/1/undo",
            "workers/replace",
            "orders/7f/retry",
            "orders/7f/cancel",
            "orders/7f/mark",
        )
    ),
]


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"bearer{TOKEN}", TOKEN, "Basic %%", basic("wrong")],
)
async def test_every_call_needs_the_token(desk: Desk, method: str, path: str, authorization: str) -> None:
    told = await desk.call(method, path, Authorization=authorization)
    assert told.status == 401
    assert told.body["type"] == "/problems/unauthenticated"
    assert told.headers["Content-Type"] == "application/problem+json"
    assert {each.split()[0] for each in told.headers.getall("WWW-Authenticate")} == {"Bearer", "Basic"}
    assert desk.replaced == []


async def test_a_browser_may_look_with_the_token_as_its_password_but_change_nothing(desk: Desk) -> None:
    assert (await desk.call("GET", "/", Authorization=basic(TOKEN))).status == 200
    assert (await desk.call("GET", "/admin/v1/status", Authorization=basic(TOKEN))).status == 200
    assert (await desk.call("POST", "/admin/v1/workers/replace", Authorization=basic(TOKEN))).status == 401
    assert BasicAuth.decode(basic(TOKEN)).password == TOKEN


async def test_metrics_may_be_open_to_all_and_nothing_else_is(
    file: Path, workers: Workers, runtime: RuntimeDirectory
) -> None:
    admin = admin_of(file, workers, runtime, replaced=[], expose_metrics=True)
    async with TestClient(TestServer(admin.application())) as client:
        assert [(await client.get(path)).status for path in ("/metrics", "/", "/metrics/")] == [200, 401, 401]
        assert (await client.post("/metrics")).status == 401


@pytest.mark.parametrize("authorization", ["Bearer metrics-only-token", basic("metrics-only-token")])
async def test_the_metrics_token_reads_metrics_and_nothing_else(
    file: Path, workers: Workers, runtime: RuntimeDirectory, authorization: str
) -> None:
    replaced: list[str] = []
    admin = admin_of(file, workers, runtime, replaced=replaced, metrics_token="metrics-only-token")
    async with TestClient(TestServer(admin.application())) as client:
        desk = Desk(client, replaced)
        statuses = {call: (await desk.call(*call, Authorization=authorization)).status for call in EVERYTHING}
        assert statuses == {call: 200 if call == ("GET", "/metrics") else 401 for call in EVERYTHING}
        assert (await desk.call("POST", "/metrics", Authorization=authorization)).status == 401
        assert (await desk.call("GET", "/metrics", Authorization=f"Bearer {TOKEN}")).status == 200
        assert (await desk.call("GET", "/metrics", Authorization="Bearer ")).status == 401
    assert replaced == []


async def test_status_has_every_worker(desk: Desk, fleet: Fleet) -> None:
    worker = await fleet.start("0a")
    told = (await desk.call("GET", "/admin/v1/status")).body
    assert (told["version"], told["last_reload"], told["policies"]["digest"]) == ("1.2.3", None, worker.digest)
    (shown,) = told["workers"]
    assert (shown["name"], shown["responds"], shown["digest"], shown["state"]) == ("0a", True, worker.digest, "ready")
    assert shown["parts"]["shedding"] == {"enabled": True, "level": 0.5}


async def test_a_worker_that_does_not_reply_is_shown_and_delays_no_other(
    file: Path, runtime: RuntimeDirectory, fleet: Fleet
) -> None:
    await fleet.start("0a")
    (await fleet.start("1a")).stuck_in = "vitals"
    admin = admin_of(file, Workers(runtime, reply_timeout_s=1.0, act_timeout_s=1.0), runtime, replaced=[])
    async with TestClient(TestServer(admin.application())) as client:
        desk = Desk(client, [])
        well, stuck = (await desk.call("GET", "/admin/v1/status")).body["workers"]
        assert (well["responds"], stuck["responds"], stuck["no_reply_because"]) == (
            True,
            False,
            "did not reply within 1 s",
        )
        assert "did not reply within 1 s" in (await desk.call("GET", "/plain")).body
        assert 'peakgate_up{worker="1a"} 0.0' in (await desk.call("GET", "/metrics")).body


async def test_many_readers_at_once_cost_a_worker_one_snapshot(desk: Desk, fleet: Fleet) -> None:
    worker = await fleet.start("0a")
    paths = ("/", "/metrics", "/admin/v1/status") * 5
    assert {told.status for told in await asyncio.gather(*(desk.call("GET", path) for path in paths))} == {200}
    assert worker.part.looks == 1


async def test_a_reload_responds_with_its_outcome(desk: Desk, fleet: Fleet, file: Path) -> None:
    worker = await fleet.start("0a")
    before = worker.digest
    await desk.call("GET", "/admin/v1/status")
    write(file, SWITCH)
    applied = await desk.call("POST", "/admin/v1/reload")
    assert (applied.status, applied.body["outcome"], applied.body["digest"]) == (200, "applied", worker.digest)
    assert worker.digest != before
    assert (await desk.call("GET", "/admin/v1/status")).body["workers"][0]["digest"] == worker.digest


async def test_a_bad_file_is_a_problem_with_all_faults_and_stays_visible(desk: Desk, file: Path) -> None:
    write(file, "limit = 1\nroom = 2\n")
    refused = await desk.call("POST", "/admin/v1/reload")
    assert (refused.status, refused.body["type"]) == (422, "/problems/configuration-rejected")
    assert len(refused.body["errors"]) == 2
    last = (await desk.call("GET", "/admin/v1/status")).body["last_reload"]
    assert (last["outcome"], last["errors"]) == ("rejected", refused.body["errors"])
    page = (await desk.call("GET", "/plain")).body
    assert "The last reload was rejected" in page
    assert "did you mean limits?" in page
    assert "peakgate_last_reload_rejected 1.0" in (await desk.call("GET", "/metrics")).body


@pytest.mark.parametrize("what", [{"url": "https://shop.example/a"}, {"prefix": "/v1/products"}, {"tag": "sale"}])
async def test_a_purge_reaches_every_worker(desk: Desk, fleet: Fleet, what: dict[str, str]) -> None:
    workers = [await fleet.start("0a"), await fleet.start("1a")]
    told = await desk.call("POST", "/admin/v1/purge", {**what, "soft": True})
    assert (told.status, told.body) == (200, {"purged": 6, "workers": {"0a": {"done": 3}, "1a": {"done": 3}}})
    assert [worker.told for worker in workers] == [[{**what, "soft": True}]] * 2


@pytest.mark.parametrize("body", [{}, {"soft": True}, {"url": "a", "tag": "b"}, {"url": 1}, {"no": "such"}, [], "x"])
async def test_a_purge_needs_exactly_one_selector(desk: Desk, fleet: Fleet, body: object) -> None:
    worker = await fleet.start("0a")
    told = await desk.call("POST", "/admin/v1/purge", body)
    assert (told.status, told.body["type"], worker.told) == (422, "/problems/invalid-body", [])


@pytest.mark.parametrize(
    "body", [{"url": ""}, {"url": "shoes"}, {"prefix": " "}, {"url": "ftp://shop.example/"}, {"url": "http://[::1"}]
)
async def test_a_malformed_purge_reaches_no_worker(desk: Desk, fleet: Fleet, body: object) -> None:
    worker = await fleet.start("0a")
    told = await desk.call("POST", "/admin/v1/purge", body)
    assert (told.status, told.body["type"], worker.told) == (422, "/problems/invalid-body", [])


async def test_a_switch_turned_by_hand_is_turned_everywhere_and_remembered(
    desk: Desk, fleet: Fleet, file: Path, runtime: RuntimeDirectory
) -> None:
    worker = await fleet.start("0a")
    write(file, SWITCH)
    await desk.call("POST", "/admin/v1/reload")
    told = await desk.call("POST", "/admin/v1/switches/search", {"enabled": False})
    assert (told.status, told.body["enabled"], told.body["workers"]) == (200, False, {"0a": {"done": 3}})
    assert worker.told == [{"name": "search", "enabled": False, "percent": None}]
    assert runtime.switch_overrides == {"search": {"enabled": False, "percent": None}}
    await desk.call("POST", "/admin/v1/switches/search", {})
    assert worker.told[-1] == {"name": "search", "enabled": None, "percent": None}
    assert runtime.switch_overrides == {}


async def test_an_unknown_switch_or_an_invalid_override_is_a_problem(
    desk: Desk, fleet: Fleet, file: Path, runtime: RuntimeDirectory
) -> None:
    worker = await fleet.start("0a")
    write(file, SWITCH)
    await desk.call("POST", "/admin/v1/reload")
    unknown = await desk.call("POST", "/admin/v1/switches/serach", {"enabled": False})
    assert (unknown.status, unknown.body["switches"]) == (404, ["search"])
    assert (await desk.call("POST", "/admin/v1/switches/search", {"percent": 101})).status == 422
    worker.refuses_because = "broken"
    refused = await desk.call("POST", "/admin/v1/switches/search", {"enabled": False})
    assert (refused.status, refused.body["workers"]) == (422, {"0a": "broken"})
    assert runtime.switch_overrides == {}


async def test_a_dependency_is_cut_off_on_purpose_and_let_back_in(desk: Desk, fleet: Fleet) -> None:
    worker = await fleet.start("0a")
    told = await desk.call("POST", "/admin/v1/drills/payment", {"reason": "game day"})
    assert (told.status, told.body["tripped"], told.body["workers"]) == (200, True, {"0a": {"done": 3}})
    await desk.call("POST", "/admin/v1/drills/payment", {"tripped": False})
    assert [each["tripped"] for each in worker.told] == [True, False]
    assert worker.told[0] == {"name": "payment", "tripped": True, "reason": "game day"}
    for reason in ("game\nday", "game\u2028day", "\x1b[2J", "d" * 201):
        assert (await desk.call("POST", "/admin/v1/drills/payment", {"reason": reason})).status == 422


async def test_the_fault_of_one_worker_is_listed_beside_the_results_of_others(desk: Desk, fleet: Fleet) -> None:
    await fleet.start("0a")
    (await fleet.start("1a")).refuses_because = "no cache here"
    told = await desk.call("POST", "/admin/v1/purge", {"tag": "sale"})
    assert told.body["workers"] == {"0a": {"done": 3}, "1a": {"error": "no cache here"}}


async def test_workers_are_replaced_on_request(desk: Desk) -> None:
    assert (await desk.call("POST", "/admin/v1/workers/replace")).status == 202
    assert desk.replaced == ["asked"]


async def test_an_unknown_path_is_a_problem_too(desk: Desk) -> None:
    assert (await desk.call("GET", "/no-such")).body["type"] == "/problems/not-found"
    wrong = await desk.call("GET", "/admin/v1/reload")
    assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
    too_large = await desk.call("POST", "/admin/v1/purge", {"tag": "x" * 70_000})
    assert (too_large.status, too_large.headers["Content-Type"]) == (413, "application/problem+json")


async def test_malformed_json_is_a_problem(desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with desk.client.post("/admin/v1/purge", data=b"{", headers=headers) as response:
        assert (response.status, (await response.json(content_type=None))["type"]) == (400, "/problems/malformed-json")


@pytest.mark.parametrize("path", ["/plain", "/metrics", "/admin/v1/status"])
async def test_responses_are_neither_cached_nor_framed(desk: Desk, path: str) -> None:
    headers = (await desk.call("GET", path)).headers
    assert headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "script" not in headers["Content-Security-Policy"]


async def test_metrics_of_all_workers_are_families_that_prometheus_reads(desk: Desk, fleet: Fleet) -> None:
    await fleet.start("0a")
    await fleet.start("1a")
    fleet.list("0a", "1a", restarts=2)
    told = await desk.call("GET", "/metrics")
    assert told.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(told.body)}
    assert told.body.count("# TYPE peakgate_things_total counter") == 1
    things = families["peakgate_things"]
    assert (things.type, things.documentation) == ("counter", "Things.")
    assert [(each.labels, each.value) for each in things.samples] == [
        ({"kind": "a", "worker": "0a"}, 3.0),
        ({"kind": "a", "worker": "1a"}, 3.0),
    ]
    waits = {(each.name, each.labels.get("le")): each.value for each in families["peakgate_wait_seconds"].samples}
    assert waits == {
        ("peakgate_wait_seconds_bucket", "0.1"): 1.0,
        ("peakgate_wait_seconds_bucket", "+Inf"): 4.0,
        ("peakgate_wait_seconds_count", None): 4.0,
        ("peakgate_wait_seconds_sum", None): 2.5,
    }
    assert families["peakgate_wait_seconds"].type == "histogram"
    assert {each.labels["worker"] for each in families["peakgate_up"].samples} == {"0a", "1a"}
    assert {each.labels["process"]: each.value for each in families["peakgate_restarts"].samples} == {
        "0": 2.0,
        "1": 2.0,
        "control": 0.0,
    }
    assert families["peakgate_build_info"].samples[0].labels["version"] == "1.2.3"


async def test_openmetrics_is_sent_where_it_is_accepted(desk: Desk) -> None:
    told = await desk.call(
        "GET",
        "/metrics",
        Authorization=f"Bearer {TOKEN}",
        Accept="application/openmetrics-text; version=1.0.0,text/plain;q=0.5",
    )
    assert told.headers["Content-Type"].startswith("application/openmetrics-text")
    assert told.body.endswith("# EOF\n")


async def test_orders_that_need_attention_are_read_from_any_worker(desk: Desk, fleet: Fleet) -> None:
    (await fleet.start("0a")).stuck_in = "attention"
    worker = await fleet.start("1a")
    told = await desk.call("GET", "/admin/v1/orders/attention")
    assert (told.status, told.body) == (200, {"orders": 3})
    assert worker.told == [{}]


async def test_an_order_is_looked_up_by_its_number_in_any_worker(desk: Desk, fleet: Fleet) -> None:
    worker = await fleet.start("0a")
    told = await desk.call("GET", "/admin/v1/orders/7KQ3M-XP4RT")
    assert (told.status, told.body) == (200, {"orders": 3})
    assert worker.told == [{"order": "7KQ3M-XP4RT", "personal": False}]


@pytest.mark.parametrize("act", ["retry", "cancel"])
async def test_an_act_on_an_order_is_carried_out_by_one_worker(desk: Desk, fleet: Fleet, act: str) -> None:
    workers = [await fleet.start("0a"), await fleet.start("1a")]
    told = await desk.call("POST", f"/admin/v1/orders/7fmzxw6ytcmfwgk3dpobsw2zlt/{act}")
    assert told.status == 202
    assert [worker.told for worker in workers] == [[{"order": "7fmzxw6ytcmfwgk3dpobsw2zlt"}], []]


async def test_an_order_is_marked_by_one_worker(desk: Desk, fleet: Fleet) -> None:
    worker = await fleet.start("0a")
    told = await desk.call("POST", "/admin/v1/orders/7f/mark", {"status": "returned", "restock": True})
    assert told.status == 202
    (arguments,) = worker.told
    assert {name: arguments[name] for name in ("order", "status", "restock")} == {
        "order": "7f",
        "status": "returned",
        "restock": True,
    }


@pytest.mark.parametrize(
    "mark",
    [
        {},
        {"status": "completed"},
        {"status": "shipped", "restock": True},
        {"status": "shipped", "tracking_url": "x"},
        {"status": "returned", "lines": [{"sku": "mug", "quantity": 1}]},
        {"status": "returned", "return_id": "1", "lines": [{"sku": "mug", "quantity": 0}]},
    ],
)
async def test_what_is_no_report_on_a_shipment_is_invalid(desk: Desk, fleet: Fleet, mark: dict[str, Any]) -> None:
    worker = await fleet.start("0a")
    told = await desk.call("POST", "/admin/v1/orders/7f/mark", mark)
    assert told.status == 422
    assert not worker.told


async def test_an_act_on_an_order_that_is_refused_has_its_reason(desk: Desk, fleet: Fleet) -> None:
    (await fleet.start("0a")).refuses_because = "there is no such order"
    told = await desk.call("POST", "/admin/v1/orders/7f/retry")
    assert (told.status, told.body["detail"]) == (422, "there is no such order")


async def test_an_act_while_the_store_is_away_is_503_and_may_be_repeated(desk: Desk, fleet: Fleet) -> None:
    worker = await fleet.start("0a")
    worker.store_is_away = True
    told = await desk.call("POST", "/admin/v1/orders/7f/cancel")
    assert (told.status, told.body["detail"]) == (503, "the store is away")
    assert (await desk.call("POST", "/admin/v1/purge", {"tag": "sale"})).status == 503
    worker.store_is_away = False
    assert (await desk.call("POST", "/admin/v1/orders/7f/cancel")).status == 202


async def test_an_act_on_an_order_without_a_worker_is_503(desk: Desk) -> None:
    assert (await desk.call("POST", "/admin/v1/orders/7f/retry")).status == 503


@pytest.mark.parametrize(
    ("method", "path", "body", "told"),
    [
        (
            "GET",
            "orders?state=completed&older_s=60&limit=5&newest_first=yes",
            None,
            {"state": "completed", "older_s": 60},
        ),
        ("POST", "orders/search", {"email": "ada@example.com"}, {"email": "ada@example.com", "limit": 20}),
        ("GET", "orders/7f?personal=yes", None, {"order": "7f", "personal": True}),
        ("POST", "orders/7f/retry", {"from": "notify"}, {"order": "7f", "step": "notify"}),
        ("POST", "orders/7f/refund", {"amount": 495}, {"order": "7f", "key": "k1", "amount": 495}),
        ("GET", "dead-letters?limit=5&cursor=1-1", None, {"limit": 5, "cursor": "1-1"}),
        ("GET", "dead-letters/1-1", None, {"letter": "1-1"}),
        ("POST", "dead-letters/redrive", {"all": True}, {"act": "redrive", "ids": None}),
        ("POST", "dead-letters/drop", {"ids": ["1-1"]}, {"act": "drop", "ids": ["1-1"]}),
        ("GET", "stock/BANK%20CHARGES", None, {"sku": "BANK CHARGES"}),
        ("GET", "stock/A%2FB/holds?limit=5&cursor=7", None, {"sku": "A/B", "limit": 5, "cursor": "7"}),
        ("POST", "stock/85123A", {"set": 0}, {"sku": "85123A", "units": 0, "key": "k1"}),
        ("POST", "stock/85123A", {"add": -3}, {"sku": "85123A", "units": -3, "key": "k1"}),
        ("GET", "prices/BANK%20CHARGES", None, {"sku": "BANK CHARGES"}),
        ("PUT", "prices/85123A", {"price": 0}, {"sku": "85123A", "price": 0}),
        ("DELETE", "prices/85123A/scheduled", None, {"sku": "85123A"}),
        ("POST", "prices", EVENT, {"prices": [["85123A", 199]], "from": EVENT["from"], "replace": False}),
    ],
)
async def test_orders_stock_and_dead_letters_are_the_affair_of_any_worker(
    desk: Desk, fleet: Fleet, method: str, path: str, body: Any, told: dict[str, Any]
) -> None:
    worker = await fleet.start("0a")
    headers = {"Authorization": f"Bearer {TOKEN}", "Idempotency-Key": "k1"}
    answer = await desk.call(method, f"/admin/v1/{path}", body, **headers)
    assert answer.status in {200, 202}, answer.body
    (given,) = worker.told
    assert told.items() <= given.items()


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "orders?limit=many", None, 422),
        ("GET", "orders?colour=red", None, 422),
        ("GET", "dead-letters?limit=x", None, 422),
        ("POST", "orders/search", {}, 422),
        ("POST", "orders/7f/refund", {"amount": 495}, 400),
        ("POST", "dead-letters/drop", {}, 422),
        ("POST", "dead-letters/drop", {"ids": ["1-1"], "all": True}, 422),
        ("GET", "stock/85123A/holds?limit=0", None, 422),
        ("GET", "stock/85123A/holds?limit=many", None, 422),
        ("POST", "stock/85123A", {"add": 1}, 400),
        ("POST", "stock/85123A", {}, 422),
        ("POST", "stock/85123A", {"set": 1, "add": 1}, 422),
        ("POST", "stock/85123A", {"set": -1}, 422),
        ("POST", "stock/85123A", {"add": 1.5}, 422),
        ("POST", "stock/85123A", {"add": 0}, 422),
        ("PUT", "prices/85123A", {"price": -1}, 422),
        ("PUT", "prices/85123A", {"price": 1.99}, 422),
        ("POST", "prices", {**EVENT, "prices": []}, 422),
        ("POST", "prices", {**EVENT, "prices": [{"sku": "A", "price": 1}] * 1001}, 422),
        ("POST", "prices", {"prices": EVENT["prices"], "from": EVENT["from"]}, 422),
    ],
)
async def test_a_wrong_request_reaches_no_worker(
    desk: Desk, fleet: Fleet, method: str, path: str, body: Any, status: int
) -> None:
    worker = await fleet.start("0a")
    assert (await desk.call(method, f"/admin/v1/{path}", body)).status == status
    assert worker.told == []


async def test_an_address_that_is_searched_for_is_not_logged(
    desk: Desk, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await fleet.start("0a")
    with caplog.at_level("INFO"):
        await desk.call("POST", "/admin/v1/orders/search", {"email": "ada@example.com"})
    assert "orders/search" in caplog.text
    assert "ada@" not in caplog.text
