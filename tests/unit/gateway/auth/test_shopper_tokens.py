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

from gateway.auth.jwks import KeySet, parse_key_set
from gateway.auth.shopper_tokens import MOST_CHARACTERS, Refused, ShopperTokens
from gateway.config.policies import Shoppers
from tests.issuer import AUDIENCE, ISSUER, NOW, Issuer, bearer, claims_of, new_rsa, signed

SECRET = b"a secret that is longer than the hash of HS256"
SHOPPERS = Shoppers(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://id.shop.example/jwks.json", leeway_s=30.0)
WITH_SECRET = Shoppers(issuer=ISSUER, audience=AUDIENCE, algorithms=("HS256",))


class Keys:
    """An issuer's keys as they are here; a test says whether asking for more is of use."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.keys = KeySet()
        self.is_away = False
        self.may_renew = False
        self.asked: list[asyncio.Future[None]] = []
        self._changed: list[Callable[[], None]] = []
        self.show()

    def show(self) -> None:
        self.keys = parse_key_set(self.issuer.document())
        for call in self._changed:
            call()

    def renewal(self) -> asyncio.Future[None] | None:
        if not self.may_renew:
            return None
        self.asked.append(asyncio.get_running_loop().create_future())
        return self.asked[-1]

    def on_change(self, call: Callable[[], None]) -> None:
        self._changed.append(call)


class Desk:
    """What verifies, on a clock that the test moves."""

    def __init__(self, shoppers: Shoppers = SHOPPERS, **options: Any) -> None:
        self.now = NOW
        self.issuer = Issuer()
        self.keys = Keys(self.issuer)
        self.tokens = ShopperTokens(shoppers, self.keys, now=lambda: self.now, **options)

    def judge(self, token: str) -> str | Refused:
        verdict = self.tokens.judge(bearer(token))
        assert not isinstance(verdict, asyncio.Future)
        return verdict

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
def test_a_good_token_tells_its_shopper(desk: Desk, kid: str) -> None:
    assert desk.judge(desk.issuer.token(kid, sub="auth0|5f7c")) == "auth0|5f7c"


def test_the_scheme_has_no_case(desk: Desk) -> None:
    token = desk.issuer.token()
    for scheme in ("bearer ", "BEARER ", "Bearer  "):
        assert desk.tokens.judge(scheme + token) == "ada"


def test_a_token_without_a_key_name_is_verified_by_the_only_key_for_its_algorithm(desk: Desk) -> None:
    assert desk.judge(desk.issuer.token(headers={"kid": None})) == "ada"
    desk.issuer.keys["ec-2"] = ("ES256", ec.generate_private_key(ec.SECP256R1()))
    desk.keys.show()
    assert desk.judge(desk.issuer.token(headers={"kid": None}, sub="bob")) is Refused.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"iss": "https://elsewhere.example"}, Refused.ISSUER),
        ({"iss": ISSUER + "/"}, Refused.ISSUER),
        ({"iss": None}, Refused.CLAIMS),
        ({"aud": "another"}, Refused.AUDIENCE),
        ({"aud": ["another", "third"]}, Refused.AUDIENCE),
        ({"aud": None}, Refused.CLAIMS),
        ({"exp": None}, Refused.CLAIMS),
        ({"exp": True}, Refused.CLAIMS),
        ({"exp": "1795762800"}, Refused.CLAIMS),
        ({"exp": math.nan}, Refused.CLAIMS),
        ({"exp": math.inf}, Refused.CLAIMS),
        ({"exp": 10**400}, Refused.CLAIMS),
        ({"nbf": "tomorrow"}, Refused.CLAIMS),
        ({"iat": math.nan}, Refused.CLAIMS),
        ({"iat": math.nan, "nbf": NOW}, Refused.CLAIMS),
        ({"iat": NOW, "nbf": math.nan}, Refused.CLAIMS),
        ({"exp": NOW - 31}, Refused.EXPIRED),
        ({"exp": -1}, Refused.EXPIRED),
        ({"nbf": NOW + 31}, Refused.NOT_YET),
        ({"iat": NOW + 31}, Refused.NOT_YET),
        ({"sub": None}, Refused.CLAIMS),
        ({"sub": ""}, Refused.CLAIMS),
        ({"sub": "a" * 256}, Refused.CLAIMS),
        ({"sub": "ada\r\nX: y"}, Refused.CLAIMS),
        ({"sub": "ada\n"}, Refused.CLAIMS),
        ({"sub": "zoë"}, Refused.CLAIMS),
    ],
    ids=str,
)
def test_a_claim_that_is_not_as_it_must_be_is_refused(desk: Desk, claims: dict[str, Any], why: Refused) -> None:
    assert desk.judge(desk.issuer.token(**claims)) is why


def test_a_subject_is_text(desk: Desk) -> None:
    _, key = desk.issuer.keys["ec-1"]
    for subject in (7, ["ada"], {"ada": 1}, True):
        body = segment({**claims_of(), "sub": subject})
        head = segment({"alg": "ES256", "kid": "ec-1"})
        algorithm = ECAlgorithm(ECAlgorithm.SHA256)
        token = f"{head}.{body}.{segment(algorithm.sign(f'{head}.{body}'.encode(), key))}"
        assert desk.judge(token) is Refused.CLAIMS


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": ["another", AUDIENCE]},
        {"exp": NOW - 29},
        {"exp": NOW + 0.5},
        {"nbf": NOW + 29},
        {"iat": NOW + 29},
        {"iat": None},
        {"sub": "a" * 255},
    ],
    ids=str,
)
def test_what_is_within_bounds_and_leeway_is_taken(desk: Desk, claims: dict[str, Any]) -> None:
    assert desk.judge(desk.issuer.token(**claims)) == claims.get("sub", "ada")


def test_without_an_issuer_or_audience_configured_any_will_do() -> None:
    desk = Desk(Shoppers(jwks_url=SHOPPERS.jwks_url))
    assert desk.judge(desk.issuer.token(iss="whoever", aud="whatever")) == "ada"
    assert desk.judge(desk.issuer.token(iss=None, aud=None)) == "ada"


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "HS256", "HS512", "RS512", "PS256", "ES384", "ES256K", ""]
)
def test_no_other_algorithm_is_taken(desk: Desk, algorithm: str) -> None:
    assert desk.judge(unsigned({"alg": algorithm, "kid": "rsa-1"})) is Refused.ALGORITHM


def test_a_token_signed_with_a_public_key_as_secret_is_refused() -> None:
    """The confusion of RS256 with HS256 (RFC 8725, 2.1), also where both are configured."""
    both = msgspec.structs.replace(SHOPPERS, algorithms=(*SHOPPERS.algorithms, "HS256"))
    encoding, pem_format = serialization.Encoding, serialization.PublicFormat.SubjectPublicKeyInfo
    public = new_rsa("rsa-1").public_key()
    for desk, why in ((Desk(), Refused.ALGORITHM), (Desk(both, secret=SECRET), Refused.SIGNATURE)):
        for known in (public.public_bytes(encoding.PEM, pem_format), public.public_bytes(encoding.DER, pem_format)):
            signing = f"{segment({'alg': 'HS256', 'kid': 'rsa-1'})}.{segment(claims_of())}"
            forged = f"{signing}.{segment(hmac.digest(known, signing.encode(), hashlib.sha256))}"
            assert desk.judge(forged) is why


def test_a_key_verifies_no_other_algorithm_than_its_own(desk: Desk) -> None:
    for kid, (algorithm, key) in desk.issuer.keys.items():
        for other in {"rsa-1", "ec-1", "ed-1"} - {kid}:
            assert desk.judge(signed(key, algorithm, {"kid": other})) is Refused.UNKNOWN_KEY


def test_hs256_is_taken_only_where_it_is_configured(desk: Desk) -> None:
    token = signed(SECRET, "HS256")
    assert desk.judge(token) is Refused.ALGORITHM
    with_secret = Desk(WITH_SECRET, secret=SECRET)
    assert with_secret.judge(token) == "ada"
    assert with_secret.judge(signed(SECRET[::-1], "HS256")) is Refused.SIGNATURE
    assert with_secret.judge(with_secret.issuer.token()) is Refused.ALGORITHM


def test_a_secret_that_the_policy_does_not_name_is_not_used() -> None:
    desk = Desk(SHOPPERS, secret=SECRET)
    assert desk.judge(signed(SECRET, "HS256")) is Refused.ALGORITHM


@pytest.mark.parametrize(
    ("secret", "told"),
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
def test_hs256_without_a_good_secret_is_refused_at_the_start(secret: bytes | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Desk(WITH_SECRET, secret=secret)


@pytest.mark.parametrize(
    "authorization",
    [
        *(
            "Bearer ",
            "Bearer x",
            "Bearer a.b",
            "Bearer a.b.c.d.e",
            "Bearer ..",
            "Bearer a.b.c d.e.f",
            "Bearer \udcff.b.c",
        ),
        *("Bearer a.b.c", "Bearer ſ.b.c", "Bearer " + "a" * 2000 + "." + "b" * 2100 + ".c"),
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
def test_what_is_no_token_is_refused(desk: Desk, authorization: str) -> None:
    assert desk.tokens.judge(authorization) is Refused.MALFORMED


def test_a_longer_token_is_not_even_read(desk: Desk) -> None:
    token = desk.issuer.token(more="x" * MOST_CHARACTERS)
    assert desk.judge(token) is Refused.MALFORMED


@pytest.mark.parametrize(
    "authorization", ["Basic YWRhOmFkYQ==", "Bearer", "", "Digest x", "Token a.b.c", "Bearera.b.c"]
)
def test_other_schemes_are_told_so(desk: Desk, authorization: str) -> None:
    assert desk.tokens.judge(authorization) is Refused.SCHEME


def test_a_changed_token_is_refused(desk: Desk) -> None:
    head, body, signature = desk.issuer.token("rsa-1").split(".")
    changed = segment({**claims_of(), "sub": "bob"})
    assert desk.judge(f"{head}.{changed}.{signature}") is Refused.SIGNATURE
    assert desk.judge(f"{head}.{body}.{segment(b'x' * 256)}") is Refused.SIGNATURE
    assert desk.judge(f"{head}.{body}.") is Refused.SIGNATURE


def test_a_token_is_verified_once(desk: Desk) -> None:
    token = desk.issuer.token()
    assert desk.tokens.known(bearer(token)) is None
    for _ in range(10):
        assert desk.judge(token) == "ada"
    assert desk.tokens.known(bearer(token)) == "ada"
    assert desk.verified == 1


def test_a_token_is_not_remembered_beyond_its_end(desk: Desk) -> None:
    token = desk.issuer.token(exp=NOW + 60)
    assert desk.judge(token) == "ada"
    desk.now = NOW + 60
    assert desk.tokens.known(bearer(token)) is None
    assert desk.judge(token) == "ada"  # within the leeway, verified anew
    assert desk.tokens.known(bearer(token)) is None
    assert desk.verified == 2
    desk.now = NOW + 90
    assert desk.judge(token) is Refused.EXPIRED


def test_a_token_not_valid_yet_is_taken_once_it_is() -> None:
    desk = Desk(refused_s=5.0)
    token = desk.issuer.token(nbf=NOW + 33)
    assert desk.judge(token) is Refused.NOT_YET
    desk.now = NOW + 5
    assert desk.judge(token) == "ada"


def test_garbage_that_comes_again_is_not_verified_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    token = desk.issuer.token("rsa-1")[:-6] + "AAAAAA"
    assert desk.judge(token) is Refused.SIGNATURE
    monkeypatch.setattr(desk.tokens, "_verify", lambda *_args, **_more: pytest.fail("verified again"))
    assert desk.judge(token) is Refused.SIGNATURE
    assert desk.tokens.snapshot()["refused"] == {"signature": 2}


def test_what_is_remembered_is_bounded() -> None:
    desk = Desk(memory_bytes=20_000, refused_bytes=20_000)
    for number in range(100):
        assert desk.judge(desk.issuer.token("ed-1", sub=f"shopper {number}")) == f"shopper {number}"
        assert desk.judge(desk.issuer.token("ed-1", aud=f"audience {number}")) is Refused.AUDIENCE
    assert 0 < len(desk.tokens._believed) < 50
    assert 0 < len(desk.tokens._disbelieved) < 50


def test_tokens_of_a_key_taken_back_are_believed_no_more(desk: Desk) -> None:
    old, other = desk.issuer.token("rsa-1"), desk.issuer.token("ec-1", sub="bob")
    assert (desk.judge(old), desk.judge(other)) == ("ada", "bob")
    del desk.issuer.keys["rsa-1"]
    desk.keys.show()
    assert desk.tokens.known(bearer(old)) is None
    assert desk.judge(old) is Refused.UNKNOWN_KEY
    assert desk.tokens.known(bearer(other)) == "bob"


def test_a_key_that_changed_under_its_name_is_another_key(desk: Desk) -> None:
    old = desk.issuer.token("ec-1")
    assert desk.judge(old) == "ada"
    desk.issuer.keys["ec-1"] = ("ES256", ec.generate_private_key(ec.SECP256R1()))
    desk.keys.show()
    assert desk.judge(old) is Refused.SIGNATURE


def test_tokens_refused_for_their_key_are_looked_at_again_when_there_are_other_keys(desk: Desk) -> None:
    issuer = Issuer()
    issuer.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    token = issuer.token("ec-2")
    assert desk.judge(token) is Refused.UNKNOWN_KEY
    desk.issuer.keys.update(issuer.keys)
    desk.keys.show()
    assert desk.judge(token) == "ada"


def test_other_policies_forget_what_was_believed(desk: Desk) -> None:
    token = desk.issuer.token()
    assert desk.judge(token) == "ada"
    desk.tokens.update(SHOPPERS)
    assert desk.tokens.known(bearer(token)) == "ada"
    stricter = Shoppers(issuer=ISSUER, audience="the back office", jwks_url=SHOPPERS.jwks_url)
    desk.tokens.update(stricter)
    assert desk.judge(token) is Refused.AUDIENCE
    with pytest.raises(ValueError, match="needs a secret"):
        desk.tokens.update(WITH_SECRET)
    assert desk.judge(token) is Refused.AUDIENCE


@pytest.mark.parametrize(
    ("shoppers", "secret", "is_on"),
    [
        (Shoppers(), None, False),
        (Shoppers(issuer=ISSUER), None, False),
        (SHOPPERS, None, True),
        (WITH_SECRET, SECRET, True),
    ],
)
def test_it_is_on_where_there_is_a_way_to_verify(shoppers: Shoppers, secret: bytes | None, is_on: bool) -> None:
    assert Desk(shoppers, secret=secret).tokens.is_on == is_on


async def test_a_token_of_an_unknown_key_waits_for_the_keys_once(desk: Desk) -> None:
    desk.keys.may_renew = True
    issuer = Issuer()
    issuer.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    authorization = bearer(issuer.token("ec-2"))
    verdict = desk.tokens.judge(authorization)
    assert verdict is desk.keys.asked[0]
    assert desk.tokens.judge(authorization, may_wait=False) is Refused.UNKNOWN_KEY
    assert len(desk.keys.asked) == 1


def test_when_the_issuer_is_away_nobody_can_tell(desk: Desk) -> None:
    stranger = Issuer()
    stranger.keys = {"ec-2": ("ES256", ec.generate_private_key(ec.SECP256R1()))}
    desk.keys.is_away = True
    assert desk.judge(stranger.token("ec-2")) is Refused.ISSUER_AWAY
    assert desk.judge(desk.issuer.token()) == "ada"  # by the keys there are
    desk.keys.is_away = False
    assert desk.judge(stranger.token("ec-2")) is Refused.UNKNOWN_KEY


def test_what_is_seen_of_it(desk: Desk) -> None:
    desk.judge(desk.issuer.token())
    desk.judge(desk.issuer.token(aud="another"))
    assert desk.tokens.snapshot() == {"on": True, "remembered": 1, "verified": 1, "refused": {"audience": 1}}
    verified, refused, remembered = desk.tokens.metrics()
    assert [sample.value for sample in (*verified.samples, *remembered.samples)] == [1, 1]
    by_reason = {sample.labels["reason"]: sample.value for sample in refused.samples}
    assert by_reason["audience"] == 1
    assert set(by_reason) == {why.reason for why in Refused}
