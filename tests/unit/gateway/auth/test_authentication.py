from __future__ import annotations

import asyncio
import re

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.auth.authentication import authentication
from gateway.auth.denial import Denial
from gateway.auth.jwks import Jwks
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.config.policies import Shoppers
from gateway.http.message import Handler, Request, Response, ResponseOrAwaitable, resolve
from tests.issuer import AUDIENCE, ISSUER, NOW, Issuer, bearer
from tests.virtual_time import in_virtual_time, loop_time

URL = "https://id.shop.example/jwks.json"
SHOPPERS = Shoppers(issuer=ISSUER, audience=AUDIENCE, jwks_url=URL)
CHALLENGE = re.compile(
    rb'WWW-Authenticate: Bearer realm="peakgate"(, error="invalid_token", error_description="[^"\\]+")?\r\n'
)


class Door:
    """The layer, the keys of an issuer behind it, and a handler that records shoppers."""

    def __init__(self, shoppers: Shoppers = SHOPPERS) -> None:
        self.issuer = Issuer()
        self.is_unavailable = False
        self.fetches = 0
        self.jwks = Jwks(URL, fetch=self._fetch, clock=self._time)
        self.tokens = ShopperTokens(shoppers, self.jwks, now=lambda: NOW)
        self.came: list[str | None] = []
        self.handler: Handler = authentication(self.tokens)(self._let_in)

    @staticmethod
    def _time() -> float:
        try:
            return loop_time()
        except RuntimeError:
            return 0.0

    async def _fetch(self, _url: str) -> bytes:
        self.fetches += 1
        await asyncio.sleep(0.1)
        if self.is_unavailable:
            raise ConnectionRefusedError("away")
        return self.issuer.document()

    def _let_in(self, request: Request) -> ResponseOrAwaitable:
        self.came.append(request.shopper)
        return Response(200)

    def ask(self, authorization: str | None, *, shopper: str | None = None) -> ResponseOrAwaitable:
        headers = {} if authorization is None else {"Authorization": authorization}
        request = Request("GET", "/", "", headers, b"", "id", ())
        request.shopper = shopper
        return self.handler(request)


async def ready(door: Door) -> asyncio.Task[None]:
    """Run the keys until the first fetch is done. The caller ends the task."""
    task = asyncio.create_task(door.jwks.run())
    refresh = door.jwks.refresh()
    assert refresh is not None
    await refresh
    return task


def test_a_request_without_the_header_is_anonymous() -> None:
    door = Door()
    assert isinstance(door.ask(None), Response)
    assert door.came == [None]


def test_a_request_with_a_known_shopper_is_not_verified_again() -> None:
    door = Door()
    assert isinstance(door.ask("Bearer x", shopper="ada"), Response)
    assert door.came == ["ada"]


def test_without_configured_tokens_the_layer_is_the_handler() -> None:
    door = Door(Shoppers())
    assert door.handler == door._let_in
    assert isinstance(door.ask("Basic x"), Response)
    assert door.came == [None]


@in_virtual_time
async def test_a_good_token_is_accepted_without_waiting() -> None:
    door = Door()
    keys = await ready(door)
    for _ in range(2):
        response = door.ask(bearer(door.issuer.token()))
        assert isinstance(response, Response)
        assert response.status == 200
    assert door.came == ["ada", "ada"]
    keys.cancel()


@pytest.mark.parametrize("why", [why for why in Denial if why is not Denial.ISSUER_UNAVAILABLE])
def test_each_denial_says_why_and_how_to_sign_in(why: Denial, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door()
    monkeypatch.setattr(door.tokens._verifier, "verify", lambda *_args, **_more: why)
    response = door.ask("Bearer x")
    assert isinstance(response, Response)
    body = orjson.loads(response.body)
    assert (response.status, body["type"], body["detail"]) == (401, "/problems/unauthenticated", f"{why.value}.")
    found = CHALLENGE.fullmatch(response.header_block)
    assert found is not None
    # RFC 6750, 3.1: no error for one who did not try with a token.
    assert (found[1] is None) == (why is Denial.SCHEME)
    assert door.came == []


@in_virtual_time
async def test_fifty_tokens_of_a_new_key_share_one_fetch_and_are_all_accepted() -> None:
    door = Door()
    keys = await ready(door)
    door.issuer.keys["ec-2"] = ("ES256", ec.generate_private_key(ec.SECP256R1()))
    asked = [door.ask(bearer(door.issuer.token("ec-2", sub=f"shopper-{number}"))) for number in range(50)]
    responses = await asyncio.gather(*map(resolve, asked))
    assert {response.status for response in responses} == {200}
    assert sorted(map(str, door.came)) == sorted(f"shopper-{number}" for number in range(50))
    assert door.fetches == 2
    keys.cancel()


@in_virtual_time
async def test_a_made_up_key_is_denied_after_one_fetch_and_then_at_once() -> None:
    door = Door()
    keys = await ready(door)
    stranger = Issuer()
    stranger.keys = {"made-up": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    assert (await resolve(door.ask(bearer(stranger.token("made-up"))))).status == 401
    for number in range(20):
        response = door.ask(bearer(stranger.token("made-up", sub=f"shopper-{number}")))
        assert isinstance(response, Response)
        assert response.status == 401
    assert door.fetches == 2
    keys.cancel()


@in_virtual_time
async def test_before_the_first_fetch_a_token_waits_for_the_keys() -> None:
    door = Door()
    keys = asyncio.create_task(door.jwks.run())
    assert (await resolve(door.ask(bearer(door.issuer.token())))).status == 200
    assert door.fetches == 1
    keys.cancel()


@in_virtual_time
async def test_an_issuer_that_was_never_reachable_gives_503() -> None:
    door = Door()
    door.is_unavailable = True
    keys = asyncio.create_task(door.jwks.run())
    response = await resolve(door.ask(bearer(door.issuer.token())))
    body = orjson.loads(response.body)
    assert (response.status, body["type"]) == (503, "/problems/dependency-unavailable")
    assert b"Retry-After" in response.header_block
    door.is_unavailable = False
    await asyncio.sleep(2)
    assert (await resolve(door.ask(bearer(door.issuer.token())))).status == 200
    keys.cancel()


@in_virtual_time
async def test_stale_keys_verify_while_the_issuer_is_unavailable() -> None:
    door = Door()
    keys = await ready(door)
    door.is_unavailable = True
    await asyncio.sleep(3000)
    assert door.jwks.is_unavailable
    assert (await resolve(door.ask(bearer(door.issuer.token())))).status == 200
    keys.cancel()


@in_virtual_time
async def test_a_rotation_ends_the_tokens_of_the_withdrawn_key() -> None:
    door = Door()
    keys = await ready(door)
    old = bearer(door.issuer.token("ec-1"))
    assert (await resolve(door.ask(old))).status == 200
    door.issuer.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    assert (await resolve(door.ask(bearer(door.issuer.token("ec-2"))))).status == 200
    assert (await resolve(door.ask(old))).status == 401
    keys.cancel()
