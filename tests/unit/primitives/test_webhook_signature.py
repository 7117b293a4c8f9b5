"""Signatures of webhooks, against the official library as the oracle."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from primitives.webhook_signature import (
    TOLERANCE_S,
    InvalidWebhookSecret,
    InvalidWebhookSignature,
    WebhookSigner,
    new_secret,
)

_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
_OTHER = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()
_NOW_S = 1_800_000_000.9
_BODY = '{"name":"Zoë"}'.encode()
_IDS = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=60)


def _signer(*texts: str, now_s: float = _NOW_S) -> WebhookSigner:
    return WebhookSigner(*texts or (_SECRET,), clock=lambda: now_s)


@given(_IDS, st.text(max_size=200), st.integers(1, 4_000_000_000))
def test_a_signature_is_the_official_librarys(message_id: str, body: str, at_s: int) -> None:
    headers = _signer(now_s=at_s).headers(message_id, body.encode("utf-8", "surrogatepass"))
    expected = Webhook(_SECRET).sign(message_id, datetime.fromtimestamp(at_s, UTC), body)
    assert headers == {"webhook-id": message_id, "webhook-timestamp": str(at_s), "webhook-signature": expected}


def test_the_official_library_accepts_a_message_signed_now() -> None:
    headers = WebhookSigner(_SECRET, _OTHER).headers("msg_1", _BODY)
    for secret in (_SECRET, _OTHER):
        assert Webhook(secret).verify(_BODY, headers) == {"name": "Zoë"}


@given(_IDS, st.text(max_size=200))
def test_what_the_official_library_signs_is_accepted(message_id: str, body: str) -> None:
    signature = Webhook(_SECRET).sign(message_id, datetime.fromtimestamp(int(_NOW_S), UTC), body)
    headers = {"webhook-id": message_id, "webhook-timestamp": str(int(_NOW_S)), "webhook-signature": signature}
    assert _signer().verify(headers, body.encode()) == message_id


def test_a_signature_of_any_secret_is_accepted_while_secrets_change() -> None:
    signed_before = _signer(_SECRET).headers("msg_1", _BODY)
    signed_during = _signer(_OTHER, _SECRET).headers("msg_1", _BODY)
    assert len(signed_during["webhook-signature"].split()) == 2
    assert _signer(_OTHER, _SECRET).verify(signed_before, _BODY) == "msg_1"
    assert _signer(_SECRET).verify(signed_during, _BODY) == "msg_1"
    assert _signer(_OTHER).verify(signed_during, _BODY) == "msg_1"


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"webhook-id": "msg_2"}, "no signature matches"),
        ({"webhook-timestamp": str(int(_NOW_S) + 1)}, "no signature matches"),
        ({"webhook-signature": "v1," + base64.b64encode(bytes(32)).decode()}, "no signature matches"),
        ({"webhook-signature": "v1a,AAAA v2,AAAA v1,*** v1 , nonsense"}, "no signature matches"),
        ({"webhook-signature": ""}, "a header of the signature is missing"),
        ({"webhook-id": "\udcff"}, "no signature matches"),
        ({"webhook-timestamp": "soon"}, "the timestamp is not a number of seconds"),
        ({"webhook-timestamp": "-1"}, "the timestamp is not a number of seconds"),
        ({"webhook-timestamp": "9" * 5000}, "the timestamp is not a number of seconds"),
        ({"webhook-timestamp": str(int(_NOW_S) - TOLERANCE_S - 1)}, "the timestamp is too old or too new"),
        ({"webhook-timestamp": str(int(_NOW_S) + TOLERANCE_S + 2)}, "the timestamp is too old or too new"),
    ],
)
def test_changed_headers_are_refused(changed: dict[str, str], reason: str) -> None:
    headers = _signer().headers("msg_1", _BODY) | changed
    with pytest.raises(InvalidWebhookSignature) as refused:
        _signer().verify(headers, _BODY)
    assert refused.value.reason == reason


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_missing_header_is_refused(name: str) -> None:
    headers = _signer().headers("msg_1", _BODY)
    del headers[name]
    with pytest.raises(InvalidWebhookSignature):
        _signer().verify(headers, _BODY)


def test_a_changed_body_is_refused() -> None:
    with pytest.raises(InvalidWebhookSignature):
        _signer().verify(_signer().headers("msg_1", _BODY), _BODY + b" ")


def test_a_signature_is_refused_once_it_is_older_than_the_tolerance() -> None:
    headers = _signer().headers("msg_1", _BODY)
    assert _signer(now_s=int(_NOW_S) + TOLERANCE_S).verify(headers, _BODY) == "msg_1"
    with pytest.raises(InvalidWebhookSignature):
        _signer(now_s=int(_NOW_S) + TOLERANCE_S + 1).verify(headers, _BODY)


def test_a_signature_far_back_in_a_long_header_is_not_looked_for() -> None:
    headers = _signer().headers("msg_1", _BODY)
    headers["webhook-signature"] = "v1,AAAA " * 16 + headers["webhook-signature"]
    with pytest.raises(InvalidWebhookSignature):
        _signer().verify(headers, _BODY)


def test_a_new_secret_is_good_for_signing_and_never_the_same() -> None:
    secret = new_secret()
    assert secret.startswith("whsec_")
    assert secret != new_secret()
    assert Webhook(secret).verify(_BODY, WebhookSigner(secret).headers("msg_1", _BODY))


def test_a_file_of_secrets_has_one_in_each_line() -> None:
    signer = WebhookSigner.of_file(f"{_OTHER}\n{_SECRET}\n", clock=lambda: _NOW_S)
    assert signer.headers("msg_1", _BODY) == _signer(_OTHER, _SECRET).headers("msg_1", _BODY)


@pytest.mark.parametrize(
    "text",
    ["whsec_", "whsec_***", "whsec_" + base64.b64encode(bytes(23)).decode(), base64.b64encode(bytes(65)).decode(), "é"],
)
def test_a_text_that_is_no_secret_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidWebhookSecret) as refused:
        WebhookSigner(text)
    assert text not in str(refused.value) or text == "whsec_"


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_file_of_secrets_is_refused(text: str) -> None:
    with pytest.raises(InvalidWebhookSecret, match="no webhook secret is given"):
        WebhookSigner.of_file(text)
