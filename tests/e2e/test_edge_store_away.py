"""The store of a running gateway is paused or killed: what shoppers get meanwhile, and that all comes back by itself."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from store.embedded import socket_path
from tests.e2e.running_shop import Response, RunningShop, eventually, peakgate
from tests.e2e.surroundings import Kept, Page, count, crowd, open_shop, part, reload

# Long enough for the calls of a busy machine: each of a paused store takes it.
STORE_TIMEOUT_S = "1"
POLICIES = """
[[limits]]
name = "per-client"
by = "address"
quota = 1000000
window_s = 3600
routes = ["GET /v1/products/{sku}", "GET /v1/carts/{cart_id}", "GET /openapi.json"]

[[limits]]
name = "few"
by = "address"
quota = 20
window_s = 3600
routes = ["GET /docs"]

[breaker.payment]
open_s = 0.2
max_open_s = 0.5
ramp_s = 0.001

[breaker.shipping]
open_s = 0.2
max_open_s = 0.5
ramp_s = 0.001
"""
SKU = "/v1/products/85123A"


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    with open_shop(tmp_path_factory.mktemp("store"), POLICIES, "--store-timeout", STORE_TIMEOUT_S) as shop:
        yield shop


@contextmanager
def paused(gate: RunningShop) -> Iterator[None]:
    """The store is there, takes bytes, and says nothing."""
    pid = gate.store_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def degraded(page: Page) -> set[str]:
    return {each.strip() for each in page.headers.get("degraded", "").split(",") if each.strip()}


def all_well(gate: RunningShop, cart_id: str) -> None:
    """Wait until each worker serves as if nothing had been."""

    def statuses() -> set[tuple[int, str | None]]:
        responses: list[Response] = []
        for path in (f"/v1/carts/{cart_id}", SKU, "/openapi.json"):
            responses += [gate.call("GET", path) for _ in range(16)]
        return {(response.status, response.headers["Degraded"]) for response in responses}

    eventually(statuses, lambda seen: seen == {(200, None)})
    eventually(lambda: gate.call("GET", "/readyz").body["status"], lambda status: status == "ready")


def test_while_the_store_is_paused_limits_go_on_and_products_are_shown(gate: RunningShop) -> None:
    cart_id = gate.cart_of(_85123A=2)
    with Kept(gate) as shopper:
        # A busy machine may be too slow for the quota of a request or two.
        fresh, shared = (
            eventually(partial(shopper.get, path), lambda told: (told.status, degraded(told)) == (200, set()))
            for path in (SKU, "/openapi.json")
        )
        with paused(gate):
            # Nobody waits for it: the response comes, decided here, and the headers still speak.
            local = shopper.get("/openapi.json")
            assert (local.status, degraded(local)) == (200, {"limits"})
            assert local.headers["ratelimit-policy"] == shared.headers["ratelimit-policy"]
            assert local.headers["ratelimit"].startswith('"per-client";r=')
            cart = eventually(lambda: shopper.get(f"/v1/carts/{cart_id}"), lambda told: told.status == 503)
            assert cart.body["type"] == "/problems/dependency-unavailable"
            assert int(cart.headers["retry-after"]) >= 1
            stale = eventually(lambda: shopper.get(SKU), lambda told: "products" in degraded(told))
            assert (stale.status, stale.body["name"]) == (200, fresh.body["name"])
            unready = eventually(lambda: gate.call("GET", "/readyz"), lambda told: told.body["checks"]["store"] != "ok")
            assert (unready.status, unready.body["status"]) == (503, "unavailable"), "nobody else has what is embedded"
            assert gate.call("GET", "/healthz").status == 200
            # The operator sees it, though his page needs no store.
            eventually(lambda: count(gate, "peakgate_limit_local"), lambda found: found >= 1)
            eventually(
                lambda: count(gate, "peakgate_degraded_responses_total", part="limits"), lambda found: found >= 1
            )
            assert gate.admin("GET", "/").status == 200
        all_well(gate, cart_id)
    eventually(lambda: count(gate, "peakgate_limit_local"), lambda local: local == 0)
    assert gate.call("GET", f"/v1/carts/{cart_id}").body["item_count"] == 2


def test_under_load_the_breaker_cuts_a_paused_store_off_and_lets_it_back(gate: RunningShop) -> None:
    cart_id = gate.cart_of(_85123A=2)
    path = f"/v1/carts/{cart_id}"

    def states() -> list[str]:
        return [breakers["store"]["state"] for breakers in part(gate, "breakers")]

    with paused(gate):
        assert {response.status for response in crowd(gate, 200, "GET", path)} == {503}
        eventually(states, lambda states: states and "closed" not in states)
        cut_off = crowd(gate, 20, "GET", path)
        assert {(response.status, response.body["type"]) for response in cut_off} == {
            (503, "/problems/dependency-unavailable")
        }
        assert all(int(response.headers["retry-after"]) >= 1 for response in cut_off)
        eventually(lambda: count(gate, "peakgate_breaker_changes_total"), lambda found: found >= 2)
    all_well(gate, cart_id)
    # Its first calls succeed a moment before it is closed.
    eventually(states, lambda states: states == ["closed", "closed"])


def test_each_worker_grants_its_share_of_a_quota_while_the_store_is_paused(gate: RunningShop) -> None:
    cart_id = gate.cart_of()
    with paused(gate):
        responses = crowd(gate, 120, "GET", "/docs")
        granted = [response for response in responses if response.status == 200]
        refused = [response for response in responses if response.status == 429]
        assert (len(granted), len(refused)) == (20, 100), "half of twenty by each of two"
        assert all("limits" in degraded(response) for response in responses)
        assert all(response.headers["ratelimit"].startswith('"few";r=') for response in responses)
    all_well(gate, cart_id)


def test_a_reload_goes_through_while_the_store_is_paused(gate: RunningShop) -> None:
    cart_id = gate.cart_of()
    with paused(gate):
        assert (
            reload(gate, POLICIES + '[[switches]]\nname = "all"\nroutes = ["/v1/*"]\nenabled = false\n').status == 200
        )
        assert {gate.call("GET", SKU).status for _ in range(16)} == {503}
        assert gate.call("GET", SKU).body["type"] == "/problems/disabled"
        assert reload(gate, POLICIES).status == 200
    all_well(gate, cart_id)


def test_a_killed_store_restarts_with_all_acknowledged_writes(gate: RunningShop) -> None:
    cart_id = gate.cart_of(_22423=3)
    placed = gate.check_out(gate.cart_of(_22423=1), key="before-the-kill")
    assert placed.status == 202
    # One that is being worked on goes on when its delivery is due again, which takes half a minute.
    eventually(lambda: gate.order(placed.body["id"])["status"], lambda status: status == "completed")
    before, workers = gate.store_pid(), gate.worker_pids()
    os.kill(before, signal.SIGKILL)
    statuses = {gate.call("GET", SKU).status for _ in range(16)}
    assert statuses <= {200, 503}
    eventually(lambda: _store_of(gate), lambda pid: pid not in {None, before})
    all_well(gate, cart_id)
    assert gate.call("GET", f"/v1/carts/{cart_id}").body["item_count"] == 3
    assert gate.order(placed.body["id"])["status"] == "completed"
    again = gate.check_out(placed.body["cart_id"], key="before-the-kill")
    assert (again.status, again.body["id"]) == (202, placed.body["id"])
    assert gate.worker_pids() == workers, "no worker had to be started again for it"


def _store_of(gate: RunningShop) -> int | None:
    try:
        return gate.store_pid()
    except (IndexError, OSError):
        return None


def test_a_checkout_that_met_a_paused_store_may_be_tried_again_and_is_one_order(gate: RunningShop) -> None:
    cart_id = gate.cart_of(_22423=2)
    with paused(gate):
        refused = gate.check_out(cart_id, key="while-paused")
        assert (refused.status, refused.body["type"]) == (503, "/problems/dependency-unavailable")
        assert refused.headers["Retry-After"] is not None
    all_well(gate, cart_id)
    placed = eventually(
        lambda: gate.check_out(cart_id, key="while-paused"), lambda response: response.status not in {503, 409}
    )
    assert placed.status == 202
    assert gate.check_out(cart_id, key="another").body["order_id"] == placed.body["id"]
    order = eventually(lambda: gate.order(placed.body["id"]), lambda order: order["status"] == "completed")
    assert order["lines"][0]["quantity"] == 2


def test_a_store_that_is_full_refuses_writes_and_limits_go_on(gate: RunningShop) -> None:
    cart_id = gate.cart_of(_22423=1)
    with redis.Redis(unix_socket_path=str(socket_path(gate.data_dir))) as operator, Kept(gate) as shopper:
        operator.config_set("maxmemory", "1mb")
        try:
            local = eventually(lambda: shopper.get("/openapi.json"), lambda told: "limits" in degraded(told))
            assert (local.status, local.headers["ratelimit"].startswith('"per-client";r=')) == (200, True)
            assert gate.call("POST", "/v1/carts").status == 503
        finally:
            operator.config_set("maxmemory", "0")
    all_well(gate, cart_id)


# Drills of what orders depend on


def drill(gate: RunningShop, name: str, *, tripped: bool = True) -> None:
    assert gate.admin("POST", f"/admin/v1/drills/{name}", {"tripped": tripped}).status == 200


def test_without_the_queue_orders_are_accepted_and_processed_later(gate: RunningShop) -> None:
    drill(gate, "queue")
    try:
        placed = gate.check_out(gate.cart_of(_22423=1), key="no-queue")
        assert (placed.status, placed.headers["Degraded"]) == (202, "queue")
        assert gate.order(placed.body["id"])["status"] == "accepted"
    finally:
        drill(gate, "queue", tripped=False)
    eventually(lambda: gate.order(placed.body["id"])["status"], lambda status: status == "completed")


@pytest.mark.parametrize(("name", "before"), [("payment", "stock_confirmed"), ("shipping", "payment_authorised")])
def test_without_a_service_orders_wait_for_it_and_none_is_cancelled(gate: RunningShop, name: str, before: str) -> None:
    drill(gate, name)
    try:
        placed = gate.check_out(gate.cart_of(_22423=1), key=f"no-{name}")
        assert placed.status == 202
        eventually(lambda: gate.order(placed.body["id"])["status"], lambda status: status == before)
    finally:
        drill(gate, name, tripped=False)
    eventually(lambda: gate.order(placed.body["id"])["status"], lambda status: status == "completed")


# Starting and stopping


def test_all_faults_are_reported_before_the_start(tmp_path: Path) -> None:
    file = tmp_path / "peakgate.toml"
    file.write_text(
        'hots = "0.0.0.0"\n[[limits]]\nname = "a"\nby = "adress"\nquota = 0\n[[routes]]\nprefix = "/web/"\nupstream = "wbe"\n'
    )
    refused = peakgate("serve", "--config", str(file), "--data-dir", str(tmp_path / "data"), "--workers", "0")
    assert refused.returncode == 64
    told = refused.stderr.splitlines()
    assert len(told) == 5
    for wrong in ("--workers", "hots", "adress", "quota", "wbe"):
        assert any(wrong in line for line in told), wrong
    assert all(line.startswith("peakgate: ") for line in told)
    assert not (tmp_path / "data").exists()


def test_an_interrupt_ends_it_though_shoppers_keep_their_connections(tmp_path: Path) -> None:
    with open_shop(tmp_path, POLICIES, "--store-timeout", STORE_TIMEOUT_S) as shop, Kept(shop) as idle:
        assert idle.get("/healthz").status == 200
        store = shop.store_pid()
        assert shop.stop(signal.SIGINT) == 0
    assert not Path(f"/proc/{store}").exists()


def test_an_outage_of_the_store_is_two_lines_of_the_log(tmp_path: Path) -> None:
    with open_shop(tmp_path, POLICIES, "--store-timeout", STORE_TIMEOUT_S) as shop:
        before = len(shop.log.splitlines())
        with paused(shop):
            eventually(lambda: "the store is away" in shop.log)
            crowd(shop, 50, "POST", "/v1/carts")
        eventually(lambda: "the store is back" in shop.log)
        # The breakers of the workers close a moment later.
        eventually(lambda: shop.call("POST", "/v1/carts").status, lambda status: status == 201)
        lines = shop.log.splitlines()[before:]
        assert [line.split(": ", 1)[1].split(":")[0].split(" after")[0] for line in lines] == [
            "the store is away",
            "the store is back",
        ]
