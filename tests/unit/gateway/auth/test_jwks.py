from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448

from gateway.auth.jwks import MOST_BYTES, MOST_KEYS, BadKeySet, Jwks, parse_key_set
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


def test_a_private_key_shown_by_mistake_is_used_as_the_public_one() -> None:
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
def test_a_key_that_can_not_verify_here_is_passed_over(jwk: dict[str, Any]) -> None:
    keys = parse_key_set(key_set(jwk, GOOD))
    assert len(keys) == 1
    assert keys.find("RS256", "good") is not None
    with pytest.raises(BadKeySet, match="none of the keys"):
        parse_key_set(key_set(jwk))


@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b"null", b"[]", b"{}", b'{"keys":{}}', b'{"keys":"x"}', b"\xff", b"<html>", b"[" * 100_000),
        b'{"keys":[]}',
        key_set(*[GOOD] * (MOST_KEYS + 1)),
        b'{"keys":[],"more":"%b"}' % (b"x" * MOST_BYTES),
        b'{"keys":[' + b"[" * 20_000,
    ],
    ids=lambda document: repr(document[:20]),
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(BadKeySet):
        parse_key_set(document)


class Shown:
    """What a test has the issuer answer, and when it was asked."""

    def __init__(self, *, takes_s: float = 0.1) -> None:
        self.issuer = Issuer()
        self.answer: bytes | Exception | None = None
        self.takes_s = takes_s
        self.asked_at: list[float] = []

    async def fetch(self, url: str) -> bytes:
        self.asked_at.append(loop_time())
        await asyncio.sleep(self.takes_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer if self.answer is not None else self.issuer.document()


@asynccontextmanager
async def running(issuer: Shown, url: str | None = URL, **options: Any) -> AsyncIterator[Jwks]:
    jwks = Jwks(url, fetch=issuer.fetch, clock=loop_time, rng=lambda: 1.0, **{"refresh_s": 300.0, **options})
    task = asyncio.create_task(jwks.run())
    try:
        yield jwks
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def renewed(jwks: Jwks) -> None:
    renewal = jwks.renewal()
    assert renewal is not None
    await renewal


@in_virtual_time
async def test_keys_are_fetched_at_once_and_then_each_refresh() -> None:
    issuer = Shown(takes_s=0.0)
    async with running(issuer) as jwks:
        await renewed(jwks)
        assert len(jwks.keys) == 3
        await asyncio.sleep(901)
        assert issuer.asked_at == pytest.approx([0, 300, 600, 900])


@in_virtual_time
async def test_refreshes_are_spread() -> None:
    issuer = Shown(takes_s=0.0)
    chances = iter([0.0, 0.5, 1.0])
    jwks = Jwks(URL, fetch=issuer.fetch, clock=loop_time, rng=lambda: next(chances, 1.0), refresh_s=100.0)
    task = asyncio.create_task(jwks.run())
    await asyncio.sleep(271)
    assert issuer.asked_at == pytest.approx([0, 80, 170, 270])
    task.cancel()


@in_virtual_time
async def test_an_issuer_that_is_away_keeps_its_keys_and_is_asked_again_less_and_less_often() -> None:
    issuer = Shown(takes_s=0.0)
    async with running(issuer) as jwks:
        await renewed(jwks)
        keys = jwks.keys
        issuer.answer = ConnectionRefusedError("connection refused")
        await asyncio.sleep(316)
        assert issuer.asked_at == pytest.approx([0, 300, 301, 303, 307, 315])
        assert jwks.keys is keys
        assert jwks.is_away
        assert jwks.age_s == pytest.approx(316)
        assert jwks.snapshot()["last_error"] == "connection refused"
        assert jwks.snapshot()["failures_in_row"] == 5
        issuer.answer = None
        await asyncio.sleep(20)
        assert (jwks.snapshot()["failures_in_row"], jwks.snapshot()["last_error"]) == (0, None)


@pytest.mark.parametrize(
    "answer", [b"<html>", key_set(), b"x" * (MOST_BYTES + 1), TimeoutError(), ValueError("no URL")]
)
def test_nonsense_keeps_the_keys_there_are(answer: bytes | Exception) -> None:
    @in_virtual_time
    async def play() -> None:
        issuer = Shown()
        async with running(issuer) as jwks:
            await renewed(jwks)
            keys = jwks.keys
            issuer.answer = answer
            await renewed(jwks)
            assert jwks.keys is keys
            assert jwks.is_away
            assert jwks.snapshot()["last_error"]

    play()


@in_virtual_time
async def test_an_issuer_that_hangs_is_given_up_on() -> None:
    issuer = Shown(takes_s=1e6)
    async with running(issuer, timeout_s=3.0) as jwks:
        await renewed(jwks)
        assert loop_time() == pytest.approx(3.0)
        assert jwks.is_away


@in_virtual_time
async def test_all_who_ask_share_one_fetch() -> None:
    issuer = Shown()
    async with running(issuer) as jwks:
        await renewed(jwks)
        renewals = [jwks.renewal() for _ in range(50)]
        await asyncio.gather(*[renewal for renewal in renewals if renewal is not None])
        assert None not in renewals
        assert len(issuer.asked_at) == 2


@in_virtual_time
async def test_made_up_key_names_do_not_hammer_the_issuer() -> None:
    issuer = Shown(takes_s=0.0)
    async with running(issuer, asked_s=5.0) as jwks:
        await renewed(jwks)
        while loop_time() < 21:
            if (renewal := jwks.renewal()) is not None:
                await renewal
            await asyncio.sleep(0.01)
        assert len(issuer.asked_at) == 1 + 5


@in_virtual_time
async def test_one_who_stops_waiting_does_not_stop_the_others() -> None:
    async with running(Shown()) as jwks:
        first, second = jwks.renewal(), jwks.renewal()
        assert first is not None
        assert second is not None
        first.cancel()
        await second
        assert len(jwks.keys) == 3


@in_virtual_time
async def test_those_who_listen_are_told_of_other_keys_and_of_nothing_else() -> None:
    issuer, told = Shown(takes_s=0.0), []
    async with running(issuer) as jwks:
        jwks.on_change(lambda: told.append(len(jwks.keys)))
        await renewed(jwks)
        await asyncio.sleep(1000)
        assert told == [3]
        del issuer.issuer.keys["rsa-1"]
        await asyncio.sleep(300)
        assert told == [3, 2]


@in_virtual_time
async def test_another_url_begins_without_keys() -> None:
    issuer = Shown()
    async with running(issuer) as jwks:
        await renewed(jwks)
        jwks.update(URL, 100.0)
        assert len(jwks.keys) == 3
        jwks.update(URL + "?other", 100.0)
        assert len(jwks.keys) == 0
        await renewed(jwks)
        assert len(jwks.keys) == 3
        jwks.update(None, 100.0)
        assert len(jwks.keys) == 0
        assert jwks.renewal() is None
        jwks.update(URL, 100.0)
        await renewed(jwks)
        assert len(jwks.keys) == 3


@in_virtual_time
async def test_keys_that_come_from_a_url_that_was_left_meanwhile_are_not_taken() -> None:
    first, second = Shown(takes_s=1.0), Shown(takes_s=1.0)

    async def fetch(url: str) -> bytes:
        return await (first if url == URL else second).fetch(url)

    del second.issuer.keys["rsa-1"], second.issuer.keys["ec-1"]
    jwks = Jwks(URL, fetch=fetch, clock=loop_time)
    task = asyncio.create_task(jwks.run())
    renewal = jwks.renewal()
    assert renewal is not None
    await asyncio.sleep(0.5)
    jwks.update(URL + "?other", 300.0)
    await renewal
    assert len(jwks.keys) == 1
    task.cancel()


@in_virtual_time
async def test_nobody_waits_for_keys_when_all_ends() -> None:
    issuer = Shown(takes_s=1e6)
    async with running(issuer, timeout_s=1e5) as jwks:
        renewal = jwks.renewal()
        await asyncio.sleep(1)
    assert renewal is not None
    await renewal
    assert jwks.renewal() is None


def test_without_a_url_there_is_nothing_to_wait_for() -> None:
    @in_virtual_time
    async def play() -> None:
        async with running(Shown(), url=None) as jwks:
            assert jwks.renewal() is None
            assert not jwks.is_away

    play()


@in_virtual_time
async def test_what_is_seen_of_it() -> None:
    issuer = Shown(takes_s=0.0)
    value: Callable[[Metric], float] = lambda metric: metric.samples[0].value  # noqa: E731
    async with running(issuer) as jwks:
        assert [metric.name for metric in jwks.metrics()] == ["peakgate_jwks_fetches_total", "peakgate_jwks_keys"]
        await renewed(jwks)
        await asyncio.sleep(7)
        assert [(metric.name, value(metric)) for metric in jwks.metrics()] == [
            ("peakgate_jwks_fetches_total", 1),
            ("peakgate_jwks_keys", 3),
            ("peakgate_jwks_age_seconds", 7),
        ]
        assert jwks.snapshot() == {"url": URL, "keys": 3, "age_s": 7.0, "failures_in_row": 0, "last_error": None}
        jwks.update("https://peakgate:sesame@issuer.example:8443/keys?token=sesame", 300.0)
        assert jwks.snapshot()["url"] == "https://issuer.example:8443/keys"
