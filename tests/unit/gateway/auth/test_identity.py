from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.auth.client_identifier import UNKNOWN, ClientIdentifier, api_key_digest
from gateway.auth.identity import identity
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.config.policies import ApiKey, Identity, Shoppers
from gateway.http.message import Request, Response
from tests.issuer import AUDIENCE, ISSUER, NOW, bearer, signed

SECRET = b"a secret that is longer than the hash of HS256"
BEHIND_PROXIES = Identity(trusted_proxies=("10.0.0.0/8",))


class NoKeys:
    keys = None
    is_unavailable = False

    def refresh(self) -> None:
        return None

    def on_change(self, call: object) -> None:
        pass


def tokens() -> ShopperTokens:
    shoppers = Shoppers(issuer=ISSUER, audience=AUDIENCE, algorithms=("HS256",))
    return ShopperTokens(shoppers, NoKeys(), secret=SECRET, now=lambda: NOW)  # type: ignore[arg-type]


def a_request(peer: str, *lines: tuple[str, str]) -> Request:
    return Request("GET", "/", "", CIMultiDictProxy(CIMultiDict(lines)), b"", "id", (), peer)


class Door:
    """The layer before a handler that records requests."""

    def __init__(self, policy: Identity | ClientIdentifier, tokens: ShopperTokens | None = None) -> None:
        self.clients = policy if isinstance(policy, ClientIdentifier) else ClientIdentifier(policy)
        self.came: list[Request] = []
        self._handler = identity(self.clients, tokens)(self._let_in)

    def _let_in(self, request: Request) -> Response:
        self.came.append(request)
        return Response(200)

    def ask(self, peer: str, *lines: tuple[str, str]) -> Response:
        response = self._handler(a_request(peer, *lines))
        assert isinstance(response, Response)
        return response

    def client(self, peer: str, *lines: tuple[str, str]) -> str:
        assert self.ask(peer, *lines).status == 200
        return self.came[-1].client


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", UNKNOWN),
    ],
)
def test_without_proxies_the_peer_is_the_client(peer: str, client: str) -> None:
    door = Door(Identity())
    for _ in range(2):
        assert door.client(peer, ("X-Forwarded-For", "198.51.100.1")) == client
        assert door.came[-1].peer == peer
        assert (door.came[-1].api_key, door.came[-1].shopper) == (None, None)


def test_behind_proxies_the_client_is_the_forwarded_address() -> None:
    door = Door(BEHIND_PROXIES)
    for _ in range(2):
        assert door.client("10.0.0.1", ("X-Forwarded-For", "192.0.2.7")) == "192.0.2.7"
        assert door.client("10.0.0.1", ("x-forwarded-for", "2001:db8::7, 10.0.0.2")) == "2001:db8::/64"
        assert door.client("10.0.0.2", ("X-Forwarded-For", "192.0.2.8")) == "192.0.2.8"
        assert door.client("10.0.0.1") == "10.0.0.1"
        assert door.client("192.0.2.9", ("X-Forwarded-For", "192.0.2.7")) == "192.0.2.9"
        assert door.client("10.0.0.1", ("Forwarded", "for=192.0.2.7")) == "10.0.0.1"


def test_several_lines_are_one_list_in_their_order() -> None:
    door = Door(BEHIND_PROXIES)
    lines = [("X-Forwarded-For", "203.0.113.1"), ("X-Forwarded-For", "192.0.2.7"), ("X-Forwarded-For", "10.0.0.2")]
    assert door.client("10.0.0.1", *lines) == "192.0.2.7"
    assert door.client("10.0.0.1", *lines[::-1]) == "203.0.113.1"


def test_a_denied_address_gets_403_directly_and_behind_proxies() -> None:
    door = Door(Identity(trusted_proxies=("10.0.0.0/8",), deny=("192.0.2.0/24", "2001:db8::7")))
    for _ in range(2):
        for peer, lines in [
            ("192.0.2.7", []),
            ("10.0.0.1", [("X-Forwarded-For", "192.0.2.7")]),
            ("::ffff:192.0.2.7", []),
            ("2001:db8::7", []),
        ]:
            response = door.ask(peer, *lines)
            assert (response.status, orjson.loads(response.body)["type"]) == (403, "/problems/forbidden")
        assert door.client("2001:db8::8") == "2001:db8::/64"
        assert door.client("192.0.3.1") == "192.0.3.1"
    assert door.clients.denied == 8


def test_with_an_allow_list_all_others_are_denied() -> None:
    door = Door(Identity(trusted_proxies=("10.0.0.0/8",), allow=("192.0.2.0/24",)))
    assert door.client("192.0.2.7") == "192.0.2.7"
    assert door.client("10.0.0.1", ("X-Forwarded-For", "192.0.2.7")) == "192.0.2.7"
    for peer in ("198.51.100.1", "10.0.0.1", "2001:db8::1", ""):
        assert door.ask(peer).status == 403


KEYS = Identity(
    api_keys=(ApiKey(name="app", sha256=api_key_digest("s3cret-of-the-app")), ApiKey(name="pos", sha256="0" * 64))
)


def test_a_known_key_gives_its_name() -> None:
    door = Door(KEYS)
    for _ in range(2):
        assert door.ask("192.0.2.7", ("x-api-key", "s3cret-of-the-app")).status == 200
        assert door.came[-1].api_key == "app"
    assert door.ask("192.0.2.7").status == 200
    assert door.came[-1].api_key is None


@pytest.mark.parametrize(
    "key", ["", "wrong", "s3cret-of-the-app ", "0" * 64, api_key_digest("s3cret-of-the-app"), "x" * 9000, "\udcff"]
)
def test_an_unknown_key_gets_401(key: str) -> None:
    door = Door(KEYS)
    for _ in range(2):
        response = door.ask("192.0.2.7", ("X-Api-Key", key))
        assert (response.status, orjson.loads(response.body)["type"]) == (401, "/problems/unauthenticated")
        assert b"WWW-Authenticate: ApiKey" in response.header_block
    assert door.clients.unknown_keys == 2
    assert len(door.clients.names_by_key) == 0


def test_without_configured_keys_the_header_is_ignored() -> None:
    assert Door(Identity()).ask("192.0.2.7", ("X-Api-Key", "of another system")).status == 200


def test_a_cached_token_gives_its_shopper_and_any_other_is_left_to_authentication() -> None:
    verifying = tokens()
    door = Door(Identity(), verifying)
    authorization = bearer(signed(SECRET, "HS256"))
    for value in (authorization, "Bearer garbage", "Basic x"):
        assert door.ask("192.0.2.7", ("Authorization", value)).status == 200
        assert door.came[-1].shopper is None
    assert verifying.verify(authorization) == "ada"
    door.ask("192.0.2.7", ("Authorization", authorization))
    assert door.came[-1].shopper == "ada"


def test_new_policies_apply_to_new_layers_and_counts_go_on() -> None:
    door = Door(Identity(deny=("192.0.2.7",)))
    assert door.ask("192.0.2.7").status == 403
    with pytest.raises(ValueError, match="neither an address"):
        door.clients.update(Identity(deny=("the office",)))
    door.clients.update(Identity(deny=("192.0.2.8",)))
    after = Door(door.clients)
    assert after.ask("192.0.2.7").status == 200
    assert after.ask("192.0.2.8").status == 403
    assert door.clients.denied == 2


def test_cached_clients_are_bounded() -> None:
    door = Door(ClientIdentifier(BEHIND_PROXIES, max_clients=10))
    for number in range(100):
        door.client(f"192.0.2.{number}")
        door.client("10.0.0.1", ("X-Forwarded-For", f"192.0.2.{number}"))
    assert door.clients.snapshot()["cached_clients"] <= 20


def test_the_cache_of_clients_is_bounded_by_size() -> None:
    door = Door(ClientIdentifier(BEHIND_PROXIES, max_clients=100))
    for number in range(100):
        made_up = "x" * 8_000 + f", 192.0.2.{number}"
        assert door.client("10.0.0.1", ("X-Forwarded-For", made_up)) == f"192.0.2.{number}"
    assert door.clients.snapshot()["cached_clients"] <= 4


def test_its_snapshot_and_metrics() -> None:
    door = Door(Identity(trusted_proxies=("10.0.0.0/8",), deny=("192.0.2.7",), api_keys=KEYS.api_keys))
    door.ask("192.0.2.7")
    door.ask("192.0.2.8", ("X-Api-Key", "wrong"))
    (denied,) = door.clients.metrics()
    assert [(sample.labels["reason"], sample.value) for sample in denied.samples] == [("address", 1), ("api-key", 1)]
    assert door.clients.snapshot() == {
        "trusted_proxies": 1,
        "allow": 0,
        "deny": 1,
        "api_keys": ["app", "pos"],
        "cached_clients": 2,
        "denied": 1,
        "unknown_keys": 1,
    }
