"""Two gateways over one store are one gate: they count together, keep one queue, and tell each other of purges."""

import itertools
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from store.embedded import EmbeddedServer
from tests.e2e.running_shop import RunningShop, eventually
from tests.e2e.surroundings import Page, count, crowd, open_shop, policies_of, reload

# Long enough for the calls of a busy machine: each of a paused store takes it.
STORE_TIMEOUT_S = "1"
POLICIES = """
gateways = 2

[identity]
trusted_proxies = ["127.0.0.1"]

[cache]
shared = true

[[limits]]
name = "together"
by = "address"
quota = 50
window_s = 3600
routes = ["GET /openapi.json"]

[[limits]]
name = "local"
by = "address"
quota = 40
window_s = 3600
routes = ["GET /docs"]

[[rooms]]
name = "drop"
routes = ["GET /v1/products/{sku}"]
admissions_per_s = 100
max_active = 1
"""
OPEN = POLICIES[: POLICIES.index("[[rooms]]")]
SKU = "/v1/products/85123A"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A store that belongs to neither of them."""
    server = EmbeddedServer(tmp_path_factory.mktemp("store"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def gateways(
    tmp_path_factory: pytest.TempPathFactory, store: EmbeddedServer
) -> Iterator[tuple[RunningShop, RunningShop]]:
    keys = tmp_path_factory.getbasetemp() / "shared-keys.toml"
    with ExitStack() as stack:
        one, other = (
            stack.enter_context(
                open_shop(
                    tmp_path_factory.mktemp(name),
                    POLICIES,
                    "--store-url",
                    store.url,
                    "--store-timeout",
                    STORE_TIMEOUT_S,
                    "--key-file",
                    str(keys),
                    workers=2,
                )
            )
            for name in ("one", "other")
        )
        yield one, other


def test_a_quota_is_exact_over_both(gateways: tuple[RunningShop, RunningShop]) -> None:
    clients = (f"198.51.100.{number}" for number in itertools.count(1))

    def at_both() -> list[Page]:
        """All that a client who has not been seen before is told."""
        client = {"X-Forwarded-For": next(clients)}
        return [response for gateway in gateways for response in crowd(gateway, 40, "GET", "/openapi.json", client)]

    # On a machine that is too busy the store may be given up for a moment, and the responses say so.
    together = eventually(at_both, lambda responses: all("degraded" not in response.headers for response in responses))
    assert Counter(response.status for response in together) == {200: 50, 429: 30}


def test_a_queue_is_one_and_survives_the_end_of_a_gateway(
    gateways: tuple[RunningShop, RunningShop], store: EmbeddedServer
) -> None:
    one, other = gateways
    inside = one.call("GET", SKU)
    assert inside.status == 200
    places = [gateway.call("GET", SKU).body for gateway in (one, other, one, other)]
    assert [place["position"] for place in places] == [1, 2, 3, 4]
    one.kill()
    for position, place in enumerate(places, start=1):
        assert other.call("GET", SKU, Waiting_Room_Token=place["token"]).body["position"] == position
    assert other.call("GET", SKU, Waiting_Room_Token=inside.headers["Waiting-Room-Token"]).status == 200
    keys = str(one.data_dir.parent.parent / "shared-keys.toml")
    one.start("--workers", "2", "--config", str(policies_of(one)), "--store-url", store.url, "--key-file", keys)
    assert one.call("GET", SKU, Waiting_Room_Token=places[3]["token"]).body["position"] == 4
    for gateway in gateways:
        assert reload(gateway, OPEN).status == 200


def test_gateways_share_cached_responses_and_purges(
    gateways: tuple[RunningShop, RunningShop],
) -> None:
    one, other = gateways
    path = "/v1/products?limit=9"

    def hits() -> float:
        one.call("GET", path)
        other.call("GET", path)
        return count(other, "peakgate_cache_shared_total", result="hits")

    eventually(hits)
    purged = count(other, "peakgate_cache_purged_total")

    def is_told() -> bool:
        other.call("GET", path)
        assert one.admin("POST", "/admin/v1/purge", {"url": path}).status == 200
        return count(other, "peakgate_cache_purged_total") > purged

    eventually(is_told)


def test_without_the_store_each_grants_its_share_and_stays_in_the_balancer(
    gateways: tuple[RunningShop, RunningShop], store: EmbeddedServer
) -> None:
    assert store.pid is not None
    os.kill(store.pid, signal.SIGSTOP)
    try:
        granted = [response.status for gateway in gateways for response in crowd(gateway, 100, "GET", "/docs")]
        assert Counter(granted) == {200: 40, 429: 160}, "a quarter by each of four workers"
        for gateway in gateways:
            away = eventually(
                partial(gateway.call, "GET", "/readyz"), lambda told: told.body["checks"]["store"] != "ok"
            )
            # What all gateways share must not empty the balancer.
            assert (away.status, away.body["status"]) == (200, "degraded")
    finally:
        os.kill(store.pid, signal.SIGCONT)
    for gateway in gateways:
        made = partial(crowd, gateway, 16, "POST", "/v1/carts")
        eventually(made, lambda responses: {response.status for response in responses} == {201})
        eventually(partial(gateway.call, "GET", "/readyz"), lambda told: told.body["status"] == "ready")
