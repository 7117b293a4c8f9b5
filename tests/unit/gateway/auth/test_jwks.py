from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from gateway.auth.jwks import Jwks
from gateway.auth.key_set import MAX_BYTES, MAX_KEYS, InvalidKeySet, parse_key_set
from gateway.metrics import Metric
from tests.issuer import Issuer, new_rsa, shown
from tests.virtual_time import in_virtual_time, loop_time

URL = "https://id.shop.example/jwks.json"


def key_set(*jwks: dict[str, Any]) -> bytes:
    return json.dumps({"keys": jwks}).encode()


def test_each_kind_of_key_verifies_its_own_algorithm_only() -> None:
    keys = parse_key_set(Issuer().document())
    for algorithm, kid in (("RS256", "rsa-1"), ("ES256", "ec-1"), ("EdDSA", "ed-1")):
        found = keys.find(algorithm, kid)
        assert found is not None
        assert (found.algorithm, found.kid) == (algorithm, kid)
        for other in {"RS256", "ES256", "EdDSA", "HS256", "none"} - {algorithm}:
            assert keys.find(other, kid) is None


def test_a_document_may_begin_with_a_byte_order_mark() -> None:
    document = Issuer().document()
    assert parse_key_set(b"\xef\xbb\xbf" + document).identities == parse_key_set(document).identities


def test_ed448_verifies_eddsa() -> None:
    keys = parse_key_set(key_set(shown(ed448.Ed448PrivateKey.generate(), kid="1")))
    assert keys.find("EdDSA", "1") is not None


def test_without_a_name_the_only_key_for_the_algorithm_is_found() -> None:
    issuer = Issuer()
    keys = parse_key_set(issuer.document())
    assert keys.find("ES256", None) is keys.find("ES256", "ec-1")
    issuer.keys["ec-2"] = ("ES256", ec.generate_private_key(ec.SECP256R1()))
    assert parse_key_set(issuer.document()).find("ES256", None) is None


def test_of_two_keys_with_one_name_the_first_counts() -> None:
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    found = parse_key_set(key_set(shown(first, kid="1"), shown(second, kid="1"))).find("ES256", "1")
    assert found is not None
    assert found.public.public_numbers() == first.public_key().public_numbers()


def test_a_key_under_another_name_is_another_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    one, other = (parse_key_set(key_set(shown(key, kid=kid))) for kid in ("1", "2"))
    again = parse_key_set(key_set({**shown(key, kid="1"), "x5t": "AAAA"}))
    assert one.identities != other.identities
    assert one.identities == again.identities


def test_a_private_key_published_by_mistake_is_used_as_the_public_one() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private = {**shown(key, kid="1"), "d": "AAAA"}
    found = parse_key_set(key_set(private)).find("ES256", "1")
    assert found is not None
    assert isinstance(found.public, ec.EllipticCurvePublicKey)


GOOD = shown(new_rsa("rsa-1"), kid="good")
P384 = ec.generate_private_key(ec.SECP384R1())


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "bad", "alg": "HS256"},
        {**GOOD, "kid": "bad", "use": "enc"},
        {**GOOD, "kid": "bad", "key_ops": ["sign"]},
        {**GOOD, "kid": "bad", "alg": "RS512"},
        {**GOOD, "kid": "bad", "alg": "HS256"},
        {**GOOD, "kid": "bad", "n": ""},
        {**GOOD, "kid": "bad", "n": None},
        {**GOOD, "kid": "bad", "n": "!!"},
        {**GOOD, "kid": ["bad"]},
        {**GOOD, "kid": "bad", "n": urlsafe_b64encode(((1 << 8192) + 1).to_bytes(1025, "big")).decode().rstrip("=")},
        shown(new_rsa("weak", 1024), kid="bad"),
        shown(P384, kid="bad"),
        {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "bad"},
        {"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "bad"},
        {"kty": "OKP", "kid": "bad"},
        {"kty": "AKP", "kid": "bad"},
        {},
    ],
    # Without the keys themselves, which differ in every process.
    ids=lambda jwk: " ".join(f"{name}={value}" for name, value in jwk.items() if len(str(value)) < 10),
)
def test_a_key_that_cannot_verify_here_is_skipped(jwk: dict[str, Any]) -> None:
    keys = parse_key_set(key_set(jwk, GOOD))
    assert len(keys) == 1
    assert keys.find("RS256", "good") is not None
    with pytest.raises(InvalidKeySet, match="none of the keys"):
        parse_key_set(key_set(jwk))


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"keys":{}}',
        b'{"keys":"x"}',
        b"\xff",
        b"<html>",
        b"[" * 100_000,
        b'{"keys":[]}',
        key_set(*[GOOD] * (MAX_KEYS + 1)),
        b'{"keys":[],"more":"%b"}' % (b"x" * MAX_BYTES),
        b'{"keys":[' + b"[" * 20_000,
    ],
    ids=lambda document: repr(document[:20]),
)
def test_a_document_that_is_not_a_key_set_is_an_error(document: bytes) -> None:
    with pytest.raises(InvalidKeySet):
        parse_key_set(document)


class FakeIssuer:
    """An issuer whose responses a test sets; it records when it is fetched."""

    def __init__(self, *, takes_s: float = 0.1) -> None:
        self.issuer = Issuer()
        self.response: bytes | Exception | None = None
        self.takes_s = takes_s
        self.fetched_at: list[float] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched_at.append(loop_time())
        await asyncio.sleep(self.takes_s)
        if isinstance(self.response, Exception):
            raise self.response
        return self.response if self.response is not None else self.issuer.document()


@asynccontextmanager
async def running(issuer: FakeIssuer, url: str | None = URL, **options: Any) -> AsyncIterator[Jwks]:
    jwks = Jwks(url, fetch=issuer.fetch, clock=loop_time, rng=lambda: 1.0, **{"refresh_s": 300.0, **options})
    task = asyncio.create_task(jwks.run())
    try:
        yield jwks
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def refreshed(jwks: Jwks) -> None:
    refresh = jwks.refresh()
    assert refresh is not None
    await refresh


@in_virtual_time
async def test_keys_are_fetched_at_once_and_then_each_refresh() -> None:
    issuer = FakeIssuer(takes_s=0.0)
    async with running(issuer) as jwks:
        await refreshed(jwks)
        assert len(jwks.keys) == 3
        await asyncio.sleep(901)
        assert issuer.fetched_at == pytest.approx([0, 300, 600, 900])


@in_virtual_time
async def test_refreshes_are_spread() -> None:
    issuer = FakeIssuer(takes_s=0.0)
    chances = iter([0.0, 0.5, 1.0])
    jwks = Jwks(URL, fetch=issuer.fetch, clock=loop_time, rng=lambda: next(chances, 1.0), refresh_s=100.0)
    task = asyncio.create_task(jwks.run())
    await asyncio.sleep(271)
    assert issuer.fetched_at == pytest.approx([0, 80, 170, 270])
    task.cancel()


@in_virtual_time
async def test_keys_stay_while_the_issuer_fails_and_fetches_back_off() -> None:
    issuer = FakeIssuer(takes_s=0.0)
    async with running(issuer) as jwks:
        await refreshed(jwks)
        keys = jwks.keys
        issuer.response = ConnectionRefusedError("connection refused")
        await asyncio.sleep(316)
        assert issuer.fetched_at == pytest.approx([0, 300, 301, 303, 307, 315])
        assert jwks.keys is keys
        assert jwks.is_unavailable
        assert jwks.age_s == pytest.approx(316)
        assert jwks.snapshot()["last_error"] == "connection refused"
        assert jwks.snapshot()["failures_in_row"] == 5
        issuer.response = None
        await asyncio.sleep(20)
        assert (jwks.snapshot()["failures_in_row"], jwks.snapshot()["last_error"]) == (0, None)


@pytest.mark.parametrize(
    "response", [b"<html>", key_set(), b"x" * (MAX_BYTES + 1), TimeoutError(), ValueError("no URL")]
)
def test_an_invalid_response_keeps_the_keys(response: bytes | Exception) -> None:
    @in_virtual_time
    async def play() -> None:
        issuer = FakeIssuer()
        async with running(issuer) as jwks:
            await refreshed(jwks)
            keys = jwks.keys
            issuer.response = response
            await refreshed(jwks)
            assert jwks.keys is keys
            assert jwks.is_unavailable
            assert jwks.snapshot()["last_error"]

    play()


@in_virtual_time
async def test_a_fetch_that_hangs_times_out() -> None:
    issuer = FakeIssuer(takes_s=1e6)
    async with running(issuer, timeout_s=3.0) as jwks:
        await refreshed(jwks)
        assert loop_time() == pytest.approx(3.0)
        assert jwks.is_unavailable


@in_virtual_time
async def test_all_waiters_share_one_fetch() -> None:
    issuer = FakeIssuer()
    async with running(issuer) as jwks:
        await refreshed(jwks)
        refreshes = [jwks.refresh() for _ in range(50)]
        await asyncio.gather(*[refresh for refresh in refreshes if refresh is not None])
        assert None not in refreshes
        assert len(issuer.fetched_at) == 2


@in_virtual_time
async def test_made_up_key_names_do_not_flood_the_issuer() -> None:
    issuer = FakeIssuer(takes_s=0.0)
    async with running(issuer, min_requested_s=5.0) as jwks:
        await refreshed(jwks)
        while loop_time() < 21:
            if (refresh := jwks.refresh()) is not None:
                await refresh
            await asyncio.sleep(0.01)
        assert len(issuer.fetched_at) == 1 + 5


@in_virtual_time
async def test_a_cancelled_waiter_does_not_cancel_the_others() -> None:
    async with running(FakeIssuer()) as jwks:
        first, second = jwks.refresh(), jwks.refresh()
        assert first is not None
        assert second is not None
        first.cancel()
        await second
        assert len(jwks.keys) == 3


@in_virtual_time
async def test_listeners_are_called_for_changed_keys_only() -> None:
    issuer, calls = FakeIssuer(takes_s=0.0), []
    async with running(issuer) as jwks:
        jwks.on_change(lambda: calls.append(len(jwks.keys)))
        await refreshed(jwks)
        await asyncio.sleep(1000)
        assert calls == [3]
        del issuer.issuer.keys["rsa-1"]
        await asyncio.sleep(300)
        assert calls == [3, 2]


@in_virtual_time
async def test_another_url_begins_without_keys() -> None:
    issuer = FakeIssuer()
    async with running(issuer) as jwks:
        await refreshed(jwks)
        jwks.update(URL, 100.0)
        assert len(jwks.keys) == 3
        jwks.update(URL + "?other", 100.0)
        assert len(jwks.keys) == 0
        await refreshed(jwks)
        assert len(jwks.keys) == 3
        jwks.update(None, 100.0)
        assert len(jwks.keys) == 0
        assert jwks.refresh() is None
        jwks.update(URL, 100.0)
        await refreshed(jwks)
        assert len(jwks.keys) == 3


@in_virtual_time
async def test_keys_of_a_url_replaced_during_the_fetch_are_dropped() -> None:
    first, second = FakeIssuer(takes_s=1.0), FakeIssuer(takes_s=1.0)

    async def fetch(url: str) -> bytes:
        return await (first if url == URL else second).fetch(url)

    del second.issuer.keys["rsa-1"], second.issuer.keys["ec-1"]
    jwks = Jwks(URL, fetch=fetch, clock=loop_time)
    task = asyncio.create_task(jwks.run())
    refresh = jwks.refresh()
    assert refresh is not None
    await asyncio.sleep(0.5)
    jwks.update(URL + "?other", 300.0)
    await refresh
    assert len(jwks.keys) == 1
    task.cancel()


@in_virtual_time
async def test_shutdown_wakes_all_waiters() -> None:
    issuer = FakeIssuer(takes_s=1e6)
    async with running(issuer, timeout_s=1e5) as jwks:
        refresh = jwks.refresh()
        await asyncio.sleep(1)
    assert refresh is not None
    await refresh
    assert jwks.refresh() is None


def test_without_a_url_there_is_nothing_to_wait_for() -> None:
    @in_virtual_time
    async def play() -> None:
        async with running(FakeIssuer(), url=None) as jwks:
            assert jwks.refresh() is None
            assert not jwks.is_unavailable

    play()


@in_virtual_time
async def test_its_snapshot_and_metrics() -> None:
    issuer = FakeIssuer(takes_s=0.0)
    value: Callable[[Metric], float] = lambda metric: metric.samples[0].value  # noqa: E731
    async with running(issuer) as jwks:
        assert [metric.name for metric in jwks.metrics()] == ["peakgate_jwks_fetches_total", "peakgate_jwks_keys"]
        await refreshed(jwks)
        await asyncio.sleep(7)
        assert [(metric.name, value(metric)) for metric in jwks.metrics()] == [
            ("peakgate_jwks_fetches_total", 1),
            ("peakgate_jwks_keys", 3),
            ("peakgate_jwks_age_seconds", 7),
        ]
        assert jwks.snapshot() == {"url": URL, "keys": 3, "age_s": 7.0, "failures_in_row": 0, "last_error": None}
        jwks.update("https://peakgate:sesame@issuer.example:8443/keys?token=sesame", 300.0)
        assert jwks.snapshot()["url"] == "https://issuer.example:8443/keys"


@in_virtual_time
async def test_fetching_goes_on_after_a_restart() -> None:
    issuer = FakeIssuer(takes_s=0.0)
    async with running(issuer) as jwks:
        await refreshed(jwks)
    assert jwks.refresh() is None, "nobody fetches, and a waiter would wait for ever"
    again = asyncio.create_task(jwks.run())
    await asyncio.sleep(301.0)
    assert len(issuer.fetched_at) == 3
    assert len(jwks.keys) == 3
    again.cancel()
