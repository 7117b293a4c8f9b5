from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from gateway.auth.denial import Denial
from gateway.auth.key_set import KeySet, parse_key_set
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.auth.token_verifier import MAX_CHARACTERS
from gateway.config.policies import Shoppers
from tests.issuer import AUDIENCE, ISSUER, NOW, Issuer, bearer, claims_of, new_rsa, signed

SECRET = b"a secret that is longer than the hash of HS256"
SHOPPERS = Shoppers(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://id.shop.example/jwks.json", leeway_s=30.0)
WITH_SECRET = Shoppers(issuer=ISSUER, audience=AUDIENCE, algorithms=("HS256",))


class Keys:
    """An issuer's keys; a test sets whether a refresh may find more."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.keys = KeySet()
        self.is_unavailable = False
        self.may_renew = False
        self.asked: list[asyncio.Future[None]] = []
        self._changed: list[Callable[[], None]] = []
        self.show()

    def show(self) -> None:
        self.keys = parse_key_set(self.issuer.document())
        for call in self._changed:
            call()

    def refresh(self) -> asyncio.Future[None] | None:
        if not self.may_renew:
            return None
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def on_change(self, call: Callable[[], None]) -> None:
        self._changed.append(call)


class Desk:
    """Tokens verified on a clock that the test moves."""

    def __init__(self, shoppers: Shoppers = SHOPPERS, **options: Any) -> None:
        self.now = NOW
        self.issuer = Issuer()
        self.keys = Keys(self.issuer)
        self.tokens = ShopperTokens(shoppers, self.keys, now=lambda: self.now, **options)

    def verify(self, token: str) -> str | Denial:
        result = self.tokens.verify(bearer(token))
        assert not isinstance(result, asyncio.Future)
        return result

    @property
    def verified(self) -> int:
        return int(self.tokens.snapshot()["verified"])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def segment(content: bytes | dict[str, Any]) -> str:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unsigned(header: bytes | dict[str, Any], signature: bytes = b"", **claims: Any) -> str:
    return f"{segment(header)}.{segment(claims_of(**claims))}.{segment(signature)}"


@pytest.mark.parametrize("kid", ["rsa-1", "ec-1", "ed-1"])
def test_a_good_token_gives_its_shopper(desk: Desk, kid: str) -> None:
    assert desk.verify(desk.issuer.token(kid, sub="auth0|5f7c")) == "auth0|5f7c"


def test_the_scheme_has_no_case(desk: Desk) -> None:
    token = desk.issuer.token()
    for scheme in ("bearer ", "BEARER ", "Bearer  "):
        assert desk.tokens.verify(scheme + token) == "ada"


def test_a_token_without_a_key_name_is_verified_by_the_only_key_for_its_algorithm(desk: Desk) -> None:
    assert desk.verify(desk.issuer.token(headers={"kid": None})) == "ada"
    desk.issuer.keys["ec-2"] = ("ES256", ec.generate_private_key(ec.SECP256R1()))
    desk.keys.show()
    assert desk.verify(desk.issuer.token(headers={"kid": None}, sub="bob")) is Denial.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://elsewhere.example"}, Denial.ISSUER),
        ({"iss": ISSUER + "/"}, Denial.ISSUER),
        ({"iss": None}, Denial.CLAIMS),
        ({"aud": "another"}, Denial.AUDIENCE),
        ({"aud": ["another", "third"]}, Denial.AUDIENCE),
        ({"aud": None}, Denial.CLAIMS),
        ({"exp": None}, Denial.CLAIMS),
        ({"exp": True}, Denial.CLAIMS),
        ({"exp": "1795762800"}, Denial.CLAIMS),
        ({"exp": math.nan}, Denial.CLAIMS),
        ({"exp": math.inf}, Denial.CLAIMS),
        ({"exp": 10**400}, Denial.CLAIMS),
        ({"nbf": "tomorrow"}, Denial.CLAIMS),
        ({"iat": math.nan}, Denial.CLAIMS),
        ({"iat": math.nan, "nbf": NOW}, Denial.CLAIMS),
        ({"iat": NOW, "nbf": math.nan}, Denial.CLAIMS),
        ({"exp": NOW - 31}, Denial.EXPIRED),
        ({"exp": -1}, Denial.EXPIRED),
        ({"nbf": NOW + 31}, Denial.NOT_YET),
        ({"iat": NOW + 31}, Denial.NOT_YET),
        ({"sub": None}, Denial.CLAIMS),
        ({"sub": ""}, Denial.CLAIMS),
        ({"sub": "a" * 256}, Denial.CLAIMS),
        ({"sub": "ada\r\nX: y"}, Denial.CLAIMS),
        ({"sub": "ada\n"}, Denial.CLAIMS),
        ({"sub": "zoë"}, Denial.CLAIMS),
    ],
    ids=str,
)
def test_an_invalid_claim_is_denied(desk: Desk, claims: dict[str, Any], why: Denial) -> None:
    assert desk.verify(desk.issuer.token(**claims)) is why


def test_a_subject_is_text(desk: Desk) -> None:
    _, key = desk.issuer.keys["ec-1"]
    for subject in (7, ["ada"], {"ada": 1}, True):
        body = segment({**claims_of(), "sub": subject})
        head = segment({"alg": "ES256", "kid": "ec-1"})
        algorithm = ECAlgorithm(ECAlgorithm.SHA256)
        token = f"{head}.{body}.{segment(algorithm.sign(f'{head}.{body}'.encode(), key))}"
        assert desk.verify(token) is Denial.CLAIMS


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["another", AUDIENCE]},
        {"exp": NOW - 29},
        {"exp": NOW + 0.5},
        {"nbf": NOW + 29},
        {"iat": NOW + 29},
        {"nbf": NOW + 30},
        {"iat": NOW + 30},
        {"iat": None},
        {"sub": "a" * 255},
    ],
    ids=str,
)
def test_claims_within_bounds_and_leeway_are_accepted(desk: Desk, claims: dict[str, Any]) -> None:
    assert desk.verify(desk.issuer.token(**claims)) == claims.get("sub", "ada")


def test_without_a_configured_issuer_or_audience_any_is_accepted() -> None:
    desk = Desk(Shoppers(jwks_url=SHOPPERS.jwks_url))
    assert desk.verify(desk.issuer.token(iss="https://other.example", aud="another")) == "ada"
    assert desk.verify(desk.issuer.token(iss=None, aud=None)) == "ada"


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "HS256", "HS512", "RS512", "PS256", "ES384", "ES256K", ""]
)
def test_no_other_algorithm_is_accepted(desk: Desk, algorithm: str) -> None:
    assert desk.verify(unsigned({"alg": algorithm, "kid": "rsa-1"})) is Denial.ALGORITHM


def test_a_token_signed_with_a_public_key_as_secret_is_denied() -> None:
    """The confusion of RS256 with HS256 (RFC 8725, 2.1), also where both are configured."""
    both = msgspec.structs.replace(SHOPPERS, algorithms=(*SHOPPERS.algorithms, "HS256"))
    encoding, pem_format = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    public = new_rsa("rsa-1").public_key()
    for desk, why in ((Desk(), Denial.ALGORITHM), (Desk(both, secret=SECRET), Denial.SIGNATURE)):
        for known in (public.public_bytes(encoding.PEM, pem_format), public.public_bytes(encoding.DER, pem_format)):
            signing = f"{segment({'alg': 'HS256', 'kid': 'rsa-1'})}.{segment(claims_of())}"
            forged = f"{signing}.{segment(hmac.digest(known, signing.encode(), hashlib.sha256))}"
            assert desk.verify(forged) is why


def test_a_key_verifies_no_other_algorithm_than_its_own(desk: Desk) -> None:
    for kid, (algorithm, key) in desk.issuer.keys.items():
        for other in {"rsa-1", "ec-1", "ed-1"} - {kid}:
            assert desk.verify(signed(key, algorithm, {"kid": other})) is Denial.UNKNOWN_KEY


def test_hs256_is_accepted_only_where_it_is_configured(desk: Desk) -> None:
    token = signed(SECRET, "HS256")
    assert desk.verify(token) is Denial.ALGORITHM
    with_secret = Desk(WITH_SECRET, secret=SECRET)
    assert with_secret.verify(token) == "ada"
    assert with_secret.verify(signed(SECRET[::-1], "HS256")) is Denial.SIGNATURE
    assert with_secret.verify(with_secret.issuer.token()) is Denial.ALGORITHM


def test_a_secret_that_the_policy_does_not_name_is_not_used() -> None:
    desk = Desk(SHOPPERS, secret=SECRET)
    assert desk.verify(signed(SECRET, "HS256")) is Denial.ALGORITHM


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (None, "needs a secret"),
        (b"short", "at least 32"),
        (
            new_rsa("rsa-1")
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
            "nobody else knows",
        ),
    ],
    ids=["none", "short", "public key"],
)
def test_hs256_without_a_good_secret_is_an_error_at_the_start(secret: bytes | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Desk(WITH_SECRET, secret=secret)


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer ",
        "Bearer x",
        "Bearer a.b",
        "Bearer a.b.c.d.e",
        "Bearer ..",
        "Bearer a.b.c d.e.f",
        "Bearer \udcff.b.c",
        "Bearer a.b.c",
        "Bearer ſ.b.c",
        "Bearer " + "a" * 2000 + "." + "b" * 2100 + ".c",
        bearer(f"{segment(b'[' * 2000)}.e30.AAAA"),
        bearer(f"{segment(b'null')}.e30.AAAA"),
        bearer(f"{segment(b'{}')}.e30.AAAA"),
        bearer(f"{segment({'alg': 7})}.e30.AAAA"),
        bearer(f"{segment({'alg': 'ES256', 'kid': ['ec-1']})}.e30.AAAA"),
        bearer(f"{segment({'alg': 'ES256', 'kid': 'ec-1', 'crit': ['exp']})}.e30.AAAA"),
        bearer(f"{segment({'alg': 'ES256', 'kid': 'ec-1', 'b64': False, 'crit': ['b64']})}.e30.AAAA"),
    ],
    ids=lambda text: text[:40],
)
def test_a_malformed_token_is_denied(desk: Desk, authorization: str) -> None:
    assert desk.tokens.verify(authorization) is Denial.MALFORMED


def test_a_longer_token_is_not_even_parsed(desk: Desk) -> None:
    token = desk.issuer.token(more="x" * MAX_CHARACTERS)
    assert desk.verify(token) is Denial.MALFORMED


@pytest.mark.parametrize(
    "authorization", ["Basic YWRhOmFkYQ==", "Bearer", "", "Digest x", "Token a.b.c", "Bearera.b.c"]
)
def test_other_schemes_are_denied(desk: Desk, authorization: str) -> None:
    assert desk.tokens.verify(authorization) is Denial.SCHEME


def test_a_changed_token_is_denied(desk: Desk) -> None:
    head, body, signature = desk.issuer.token("rsa-1").split(".")
    changed = segment({**claims_of(), "sub": "bob"})
    assert desk.verify(f"{head}.{changed}.{signature}") is Denial.SIGNATURE
    assert desk.verify(f"{head}.{body}.{segment(b'x' * 256)}") is Denial.SIGNATURE
    assert desk.verify(f"{head}.{body}.") is Denial.SIGNATURE


def test_a_token_is_verified_once(desk: Desk) -> None:
    token = desk.issuer.token()
    assert desk.tokens.cached_shopper(bearer(token)) is None
    for _ in range(10):
        assert desk.verify(token) == "ada"
    assert desk.tokens.cached_shopper(bearer(token)) == "ada"
    assert desk.verified == 1


def test_a_token_is_not_cached_beyond_its_expiry(desk: Desk) -> None:
    token = desk.issuer.token(exp=NOW + 60)
    assert desk.verify(token) == "ada"
    desk.now = NOW + 60
    assert desk.tokens.cached_shopper(bearer(token)) is None
    assert desk.verify(token) == "ada"  # within the leeway, verified anew
    assert desk.tokens.cached_shopper(bearer(token)) is None
    assert desk.verified == 2
    desk.now = NOW + 90
    assert desk.verify(token) is Denial.EXPIRED


def test_a_token_not_valid_yet_is_accepted_once_it_is() -> None:
    desk = Desk(denied_s=5.0)
    token = desk.issuer.token(nbf=NOW + 33)
    assert desk.verify(token) is Denial.NOT_YET
    desk.now = NOW + 5
    assert desk.verify(token) == "ada"


def test_a_denied_token_is_not_verified_again_at_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    token = desk.issuer.token("rsa-1")[:-6] + "AAAAAA"
    assert desk.verify(token) is Denial.SIGNATURE
    monkeypatch.setattr(desk.tokens._verifier, "verify", lambda *_args, **_more: pytest.fail("verified again"))
    assert desk.verify(token) is Denial.SIGNATURE
    assert desk.tokens.snapshot()["denied"] == {"signature": 2}


def test_the_caches_are_bounded() -> None:
    desk = Desk(memory_bytes=20_000, denied_bytes=20_000)
    for number in range(100):
        assert desk.verify(desk.issuer.token("ed-1", sub=f"shopper {number}")) == f"shopper {number}"
        assert desk.verify(desk.issuer.token("ed-1", aud=f"audience {number}")) is Denial.AUDIENCE
    assert 0 < len(desk.tokens._verified) < 50
    assert 0 < len(desk.tokens._denied) < 50


def test_tokens_of_a_withdrawn_key_are_denied(desk: Desk) -> None:
    old, other = desk.issuer.token("rsa-1"), desk.issuer.token("ec-1", sub="bob")
    assert (desk.verify(old), desk.verify(other)) == ("ada", "bob")
    del desk.issuer.keys["rsa-1"]
    desk.keys.show()
    assert desk.tokens.cached_shopper(bearer(old)) is None
    assert desk.verify(old) is Denial.UNKNOWN_KEY
    assert desk.tokens.cached_shopper(bearer(other)) == "bob"


def test_a_key_that_changed_under_its_name_is_another_key(desk: Desk) -> None:
    old = desk.issuer.token("ec-1")
    assert desk.verify(old) == "ada"
    desk.issuer.keys["ec-1"] = ("ES256", ec.generate_private_key(ec.SECP256R1()))
    desk.keys.show()
    assert desk.verify(old) is Denial.SIGNATURE


def test_tokens_denied_for_their_key_are_verified_again_when_the_keys_change(desk: Desk) -> None:
    issuer = Issuer()
    issuer.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    token = issuer.token("ec-2")
    assert desk.verify(token) is Denial.UNKNOWN_KEY
    desk.issuer.keys.update(issuer.keys)
    desk.keys.show()
    assert desk.verify(token) == "ada"


def test_new_policies_empty_the_caches(desk: Desk) -> None:
    token = desk.issuer.token()
    assert desk.verify(token) == "ada"
    desk.tokens.update(SHOPPERS)
    assert desk.tokens.cached_shopper(bearer(token)) == "ada"
    stricter = Shoppers(issuer=ISSUER, audience="the back office", jwks_url=SHOPPERS.jwks_url)
    desk.tokens.update(stricter)
    assert desk.verify(token) is Denial.AUDIENCE
    with pytest.raises(ValueError, match="needs a secret"):
        desk.tokens.update(WITH_SECRET)
    assert desk.verify(token) is Denial.AUDIENCE


@pytest.mark.parametrize(
    ("shoppers", "secret", "is_enabled"),
    [
        (Shoppers(), None, False),
        (Shoppers(issuer=ISSUER), None, False),
        (SHOPPERS, None, True),
        (WITH_SECRET, SECRET, True),
    ],
)
def test_it_is_on_where_tokens_can_be_verified(shoppers: Shoppers, secret: bytes | None, is_enabled: bool) -> None:
    assert Desk(shoppers, secret=secret).tokens.is_enabled == is_enabled


async def test_a_token_of_an_unknown_key_waits_for_the_keys_once(desk: Desk) -> None:
    desk.keys.may_renew = True
    issuer = Issuer()
    issuer.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    authorization = bearer(issuer.token("ec-2"))
    result = desk.tokens.verify(authorization)
    assert result is desk.keys.asked[0]
    assert desk.tokens.verify(authorization, may_wait=False) is Denial.UNKNOWN_KEY
    assert len(desk.keys.asked) == 1


def test_an_unknown_key_of_an_unavailable_issuer_is_no_fault_of_the_token(desk: Desk) -> None:
    stranger = Issuer()
    stranger.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    token = stranger.token("ec-2")
    desk.keys.is_unavailable = True
    assert desk.verify(token) is Denial.ISSUER_UNAVAILABLE
    assert desk.verify(desk.issuer.token()) == "ada"  # by the known keys
    desk.keys.is_unavailable = False
    assert desk.verify(token) is Denial.UNKNOWN_KEY


def test_its_snapshot_and_metrics(desk: Desk) -> None:
    desk.verify(desk.issuer.token())
    desk.verify(desk.issuer.token(aud="another"))
    assert desk.tokens.snapshot() == {"enabled": True, "cached": 1, "verified": 1, "denied": {"audience": 1}}
    verified, denied, cached = desk.tokens.metrics()
    assert [sample.value for sample in (*verified.samples, *cached.samples)] == [1, 1]
    by_reason = {sample.labels["reason"]: sample.value for sample in denied.samples}
    assert by_reason["audience"] == 1
    assert set(by_reason) == {why.reason for why in Denial}
