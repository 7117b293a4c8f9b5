"""Who is asking, and how much each may: identity, sign-in and rate limits of a running gateway."""

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from gateway.auth.client_identifier import api_key_digest
from tests.e2e.running_shop import RunningShop, eventually
from tests.e2e.surroundings import Kept, Neighbour, Page, count, crowd, open_shop, part
from tests.issuer import AUDIENCE, ISSUER, Issuer, bearer

PARTNER, RESELLER = "partner-key-0123456789", "reseller-key-012345678"
POLICIES = f"""
[identity]
trusted_proxies = ["127.0.0.0/8", "10.9.0.0/16"]
deny = ["203.0.113.66", "2001:db8:bad::/48"]
[[identity.api_keys]]
name = "partner"
sha256 = "{api_key_digest(PARTNER)}"
[[identity.api_keys]]
name = "reseller"
sha256 = "{api_key_digest(RESELLER)}"

[shoppers]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
jwks_url = "ISSUER_URL/jwks.json"

[[limits]]
name = "per-address"
by = "address"
quota = 50
window_s = 3600
routes = ["GET /v1/products"]

[[limits]]
name = "per-key"
by = "api_key"
quota = 3
window_s = 3600
routes = ["GET /v1/products/{{sku}}"]

[[limits]]
name = "per-shopper"
by = "shopper"
quota = 2
window_s = 3600
routes = ["POST /v1/carts/{{cart_id}}/merge"]

[[limits]]
name = "on-trial"
by = "address"
quota = 1
window_s = 3600
routes = ["GET /openapi.json"]
shadow = true
"""


class Signing:
    """The issuer, and the server that shows its keys."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self.fetches = 0
        self.server = Neighbour(self._build)

    def _build(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/jwks.json", self._show)
        return app

    async def _show(self, _request: web.Request) -> web.Response:
        self.fetches += 1
        return web.Response(body=self.issuer.document(), content_type="application/json")

    def token(self, shopper: str, kid: str = "ec-1", **claims: Any) -> str:
        """What a shopper sends who has just signed in."""
        now = int(time.time())
        usual: dict[str, Any] = {"sub": shopper, "iat": now, "exp": now + 3600}
        return bearer(self.issuer.token(kid, headers=None, **(usual | claims)))


@pytest.fixture(scope="module")
def signing() -> Iterator[Signing]:
    signing = Signing()
    with signing.server:
        yield signing


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, signing: Signing) -> Iterator[RunningShop]:
    policies = POLICIES.replace("ISSUER_URL", signing.server.url)
    with open_shop(tmp_path_factory.mktemp("callers"), policies) as shop:
        yield shop


# Rate limits


def test_of_two_hundred_at_once_a_quota_of_fifty_lets_fifty_through(gate: RunningShop) -> None:
    clients = itertools.count(1)

    def at_once() -> list[Page]:
        """All that a client who has not been seen before is told."""
        return crowd(gate, 200, "GET", "/v1/products", {"X-Forwarded-For": f"192.0.2.{next(clients)}"})

    # On a machine that is too busy the store may be given up for a moment, and the responses say so.
    responses = eventually(at_once, lambda responses: all("degraded" not in response.headers for response in responses))
    assert Counter(response.status for response in responses) == {200: 50, 429: 150}
    assert {response.headers["ratelimit-policy"] for response in responses} == {'"per-address";q=50;w=3600'}
    left = [re.fullmatch(r'"per-address";r=(\d+);t=(\d+)', response.headers["ratelimit"]) for response in responses]
    assert all(left)
    refused = [response for response in responses if response.status == 429]
    for response in refused:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.body["type"] == "/problems/quota-exceeded"
        assert response.body["status"] == 429
        assert response.body["violated-policies"] == ["per-address"]
        assert response.body["instance"] == response.headers["x-request-id"]
        assert response.headers["ratelimit"].startswith('"per-address";r=0;t=')
        until = int(response.headers["ratelimit"].rpartition("=")[2])
        # Not before there is a unit, and spread over at most half a minute.
        assert 1 <= until <= int(response.headers["retry-after"]) <= until + 30
    # Whichever worker they reached: the kernel spreads connections over both.
    served_by = eventually(
        lambda: [worker.get("GET /v1/products", {}) for worker in part(gate, "requests")],
        lambda served_by: sum(sum(served.values()) for served in served_by) >= 200,
    )
    assert all(served_by)
    eventually(
        lambda: count(gate, "peakgate_limit_decisions_total", limit="per-address", outcome="granted"),
        lambda taken: taken >= 50,
    )


def test_each_client_behind_the_proxies_has_its_own_quota(gate: RunningShop) -> None:
    with Kept(gate) as proxy:

        def left(forwarded_for: str) -> int:
            told = proxy.get("/v1/products", X_Forwarded_For=forwarded_for).headers["ratelimit"]
            return int(told.split("r=")[1].split(";")[0])

        assert left("198.51.100.2") == 49
        assert left("198.51.100.3") == 49
        # Whatever a client writes himself stands to the left of what our proxies have added.
        assert left("198.51.100.9, 198.51.100.2") == 48
        assert left("198.51.100.2, 10.9.3.4") == 47
        # One household of IPv6 is one client.
        assert left("2001:db8:1:2::1") == 49
        assert left("2001:db8:1:2:ffff::9") == 48
        assert left("2001:db8:1:3::1") == 49


def test_each_api_key_has_a_quota_and_requests_without_one_have_none(gate: RunningShop) -> None:
    def status(**headers: str) -> int:
        return gate.call("GET", "/v1/products/85123A", **headers).status

    assert [status(X_Api_Key=PARTNER) for _ in range(5)] == [200, 200, 200, 429, 429]
    assert status(X_Api_Key=RESELLER) == 200
    free = gate.call("GET", "/v1/products/85123A")
    assert (free.status, free.headers["RateLimit"]) == (200, None)


def test_each_shopper_has_a_quota_over_all_devices(gate: RunningShop, signing: Signing) -> None:
    def status(shopper: str, device: str) -> int:
        body = {"from": "A" * 26, "strategy": "sum"}
        told = gate.call(
            "POST", "/v1/carts/no-such/merge", body, Authorization=signing.token(shopper), User_Agent=device
        )
        return told.status

    assert [status("grace", device) for device in ("phone", "desk", "phone")] == [404, 404, 429]
    assert status("edsger", "phone") == 404


def test_a_shadow_limit_rejects_no_request_and_counts_rejections(gate: RunningShop) -> None:
    told = [gate.call("GET", "/openapi.json", X_Forwarded_For="198.51.100.4") for _ in range(4)]
    assert {response.status for response in told} == {200}
    assert {response.headers["RateLimit-Policy"] for response in told} == {None}
    eventually(
        lambda: count(gate, "peakgate_limit_decisions_total", limit="on-trial", outcome="shadow-rejected"),
        lambda would_refuse: would_refuse == 3,
    )


# Addresses and keys


@pytest.mark.parametrize("address", ["203.0.113.66", "2001:db8:bad::7", "198.51.100.5, 203.0.113.66"])
def test_an_address_on_the_deny_list_is_denied(gate: RunningShop, address: str) -> None:
    refused = gate.call("GET", "/v1/products/22423", X_Forwarded_For=address)
    assert (refused.status, refused.body["type"]) == (403, "/problems/forbidden")


def test_a_client_cannot_put_another_on_the_deny_list(gate: RunningShop) -> None:
    served = gate.call("GET", "/v1/products/22423", X_Forwarded_For="203.0.113.66, 198.51.100.5")
    assert served.status == 200


def test_an_unknown_api_key_is_refused(gate: RunningShop) -> None:
    refused = gate.call("GET", "/v1/products/22423", X_Api_Key="made-up-key-0123456789")
    assert (refused.status, refused.body["type"]) == (401, "/problems/unauthenticated")
    assert refused.headers["WWW-Authenticate"] == 'ApiKey realm="peakgate"'


# Signing in


@pytest.mark.parametrize("kid", ["ec-1", "rsa-1", "ed-1"])
def test_the_cart_of_a_signed_in_shopper_is_theirs_alone(gate: RunningShop, signing: Signing, kid: str) -> None:
    ada, mallory = signing.token("ada", kid), signing.token("mallory", kid)
    made = gate.call("POST", "/v1/carts", Authorization=ada)
    assert made.status == 201
    cart = f"/v1/carts/{made.body['id']}"
    line = {"sku": "22423", "quantity": 1}
    for method, path, body in (("GET", cart, None), ("POST", f"{cart}/lines", line), ("DELETE", cart, None)):
        for headers in ({"Authorization": mallory}, {}):
            refused = gate.call(method, path, body, **headers)
            assert (refused.status, refused.body["type"]) == (404, "/problems/cart-not-found"), (method, headers)
    assert gate.call("POST", f"{cart}/lines", line, Authorization=ada).body["item_count"] == 1
    # She is the same on another device, with another token.
    assert gate.call("GET", cart, Authorization=signing.token("ada", kid)).body["item_count"] == 1


def test_an_anonymous_cart_is_open_to_every_client_with_its_id(gate: RunningShop) -> None:
    cart_id = gate.cart_of(_22423=2)
    assert gate.call("GET", f"/v1/carts/{cart_id}").body["item_count"] == 2


def test_invalid_tokens_are_denied_with_the_reason(gate: RunningShop, signing: Signing) -> None:
    now = int(time.time())
    other = Issuer()
    for token in (
        signing.token("ada", exp=now - 600),
        signing.token("ada", iss="https://elsewhere.example"),
        signing.token("ada", aud="another-shop"),
        bearer(other.token("ec-1", sub="ada", iat=now, exp=now + 3600)),
        bearer("no.token.atall"),
    ):
        refused = gate.call("POST", "/v1/carts", Authorization=token)
        assert (refused.status, refused.body["type"]) == (401, "/problems/unauthenticated")
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]
    assert gate.call("POST", "/v1/carts", Authorization="Basic YWRhOmFkYQ==").status == 401


def test_known_keys_remain_valid_while_the_issuer_is_away(gate: RunningShop, signing: Signing) -> None:
    signing.server.stop()
    try:
        assert {gate.call("POST", "/v1/carts", Authorization=signing.token("alan")).status for _ in range(8)} == {201}
    finally:
        signing.server.start()


def test_a_new_key_of_the_issuer_is_fetched_for_its_first_token(gate: RunningShop, signing: Signing) -> None:
    signing.issuer.keys["ed-2"] = signing.issuer.keys["ed-1"]
    before, token = signing.fetches, signing.token("barbara", "ed-2")
    responses = crowd(gate, 40, "POST", "/v1/carts", {"Authorization": token})
    assert {response.status for response in responses} == {201}
    assert signing.fetches - before <= 2, "each worker has asked once"
