"""Any `Authorization` gets a result, and only tokens that the issuer signed are accepted."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.denial import Denial
from gateway.auth.key_set import parse_key_set
from gateway.auth.shopper_tokens import ShopperTokens
from gateway.config.policies import Shoppers
from tests.issuer import AUDIENCE, ISSUER, NOW, Issuer, bearer


class Shown:
    """An issuer's keys, which do not change."""

    is_unavailable = False

    def __init__(self, issuer: Issuer) -> None:
        self.keys = parse_key_set(issuer.document())

    def refresh(self) -> asyncio.Future[None] | None:
        return None

    def on_change(self, call: object) -> None:
        pass


THE_ISSUER = Issuer()
SHOPPERS = Shoppers(issuer=ISSUER, audience=AUDIENCE, jwks_url="https://id.shop.example/jwks.json")
TOKENS = ShopperTokens(SHOPPERS, Shown(THE_ISSUER), now=lambda: NOW)
GOOD = [bearer(THE_ISSUER.token(kid)) for kid in THE_ISSUER.keys]

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)
HEADERS = st.fixed_dictionaries(
    {"alg": st.one_of(st.sampled_from(["RS256", "ES256", "EdDSA", "HS256", "none"]), JSON)},
    optional={
        "kid": st.one_of(st.sampled_from(["rsa-1", "ec-1", "ed-1"]), JSON),
        "crit": JSON,
        "b64": JSON,
        "typ": JSON,
    },
)


def segment(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


@given(st.text(st.characters(codec="latin-1"), max_size=200))
def test_any_text_is_denied(text: str) -> None:
    assert isinstance(TOKENS.verify(text), Denial)
    assert isinstance(TOKENS.verify(f"Bearer {text}"), Denial)


@given(head=HEADERS, claims=JSON, signature=st.binary(max_size=80))
def test_a_token_that_the_issuer_has_not_signed_is_denied(
    head: dict[str, Any], claims: object, signature: bytes
) -> None:
    token = ".".join(map(segment, (json.dumps(head).encode(), json.dumps(claims).encode(), signature)))
    assert isinstance(TOKENS.verify(bearer(token)), Denial)


@given(good=st.sampled_from(GOOD), at=st.integers(min_value=7), put=st.sampled_from("Ax_-.=~\n"), cut=st.booleans())
def test_a_token_changed_anywhere_is_denied(good: str, at: int, put: str, cut: bool) -> None:
    at = 7 + at % (len(good) - 7)
    changed = good[:at] + put + good[at + cut :]
    assert TOKENS.verify(good) == "ada"
    assert changed == good or isinstance(TOKENS.verify(changed), Denial) or changed.rstrip("=") == good
