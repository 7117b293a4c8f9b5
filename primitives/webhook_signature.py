"""Signatures of webhooks as the Standard Webhooks specification gives them (standardwebhooks.com, v1: HMAC-SHA256).

A signature covers the message's id, the second at which it was signed and the body, as `id.timestamp.body`. Three headers
carry them, `webhook-id`, `webhook-timestamp` and `webhook-signature`, which holds one `v1,<base64>` for each secret that
is valid, so that a secret is replaced while messages flow.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Final

ID_HEADER: Final = "webhook-id"
TIMESTAMP_HEADER: Final = "webhook-timestamp"
SIGNATURE_HEADER: Final = "webhook-signature"
# Of the specification: how far the time of signing may differ from the receiver's clock, past or future.
TOLERANCE_S: Final = 300

_PREFIX: Final = "whsec_"
_VERSION_PREFIX: Final = "v1,"
# Of the specification: 24 to 64 bytes. Shorter ones would be guessed, and longer ones are hashed first anyway.
_MIN_SECRET_BYTES: Final = 24
_MAX_SECRET_BYTES: Final = 64
_NEW_SECRET_BYTES: Final = 32
# Sixteen secrets at once are more than any change of secrets needs; the headers of a stranger are bounded by it.
_MAX_SIGNATURES: Final = 16
# 253402300800 is the first second of the year 10000.
_MAX_TIMESTAMP_DIGITS: Final = 12


class InvalidWebhookSecret(ValueError):
    """A text is no secret of Standard Webhooks. The message never holds the text."""


class InvalidWebhookSignature(Exception):
    """Headers and body are not signed with a valid secret, or not lately."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def new_secret() -> str:
    """A secret as an operator gives it to the other side: `whsec_` and 32 random bytes as base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(_NEW_SECRET_BYTES)).decode()


class WebhookSigner:
    """Sign and verify with one or several secrets, of which the first is the newest.

    Every secret signs, and a signature of any is accepted. `clock` gives Unix seconds.
    """

    __slots__ = ("_clock", "_keys")

    def __init__(self, *secret_texts: str, clock: Callable[[], float] = time.time) -> None:
        if not secret_texts:
            raise InvalidWebhookSecret("no webhook secret is given")
        self._keys = tuple(_key_of(text) for text in secret_texts)
        self._clock = clock

    @classmethod
    def of_file(cls, text: str, *, clock: Callable[[], float] = time.time) -> WebhookSigner:
        """Of the text of a file: a secret in each line, the newest first. Raises `InvalidWebhookSecret`."""
        return cls(*text.split(), clock=clock)

    def headers(self, message_id: str, body: bytes) -> dict[str, str]:
        """The three headers of a message that is sent now. A retry keeps its id and is signed again."""
        timestamp = str(int(self._clock()))
        return {
            ID_HEADER: message_id,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: " ".join(
                _VERSION_PREFIX + base64.b64encode(digest).decode()
                for digest in self._digests(message_id, timestamp, body)
            ),
        }

    def verify(self, headers: Mapping[str, str], body: bytes) -> str:
        """The id of a message that one of the secrets has signed within the tolerance; its sender repeats it in a retry.

        `headers` are looked up by lower-case names. Raises `InvalidWebhookSignature`.
        """
        return self.verify_fields(
            headers.get(ID_HEADER), headers.get(TIMESTAMP_HEADER), headers.get(SIGNATURE_HEADER), body
        )

    def verify_fields(self, message_id: str | None, timestamp: str | None, signatures: str | None, body: bytes) -> str:
        """As `verify`, for a caller who has the values of the three headers, None for one that is missing."""
        if not (message_id and timestamp and signatures):
            raise InvalidWebhookSignature("a header of the signature is missing")
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= _MAX_TIMESTAMP_DIGITS):
            raise InvalidWebhookSignature("the timestamp is not a number of seconds")
        if abs(self._clock() - int(timestamp)) > TOLERANCE_S:
            raise InvalidWebhookSignature("the timestamp is too old or too new")
        received = _received_digests(signatures)
        for digest in self._digests(message_id, timestamp, body):
            for candidate in received:
                if hmac.compare_digest(digest, candidate):
                    return message_id
        raise InvalidWebhookSignature("no signature matches")

    def _digests(self, message_id: str, timestamp: str, body: bytes) -> list[bytes]:
        """The HMAC of each secret."""
        # A stranger's header may hold surrogates, which are the bytes of a request that were no UTF-8.
        signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
        return [hmac.digest(key, signed, "sha256") for key in self._keys]


def _key_of(text: str) -> bytes:
    """The key of a secret, with or without its prefix."""
    try:
        key = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except ValueError:
        raise InvalidWebhookSecret("a webhook secret is not base64") from None
    if not _MIN_SECRET_BYTES <= len(key) <= _MAX_SECRET_BYTES:
        raise InvalidWebhookSecret(
            f"a webhook secret has {len(key)} bytes instead of {_MIN_SECRET_BYTES} to {_MAX_SECRET_BYTES}"
        )
    return key


def _received_digests(signatures: str) -> list[bytes]:
    """The digests of version 1 in a header; those of other versions and malformed ones are passed over."""
    digests = []
    for signature in signatures.split(maxsplit=_MAX_SIGNATURES)[:_MAX_SIGNATURES]:
        if signature.startswith(_VERSION_PREFIX):
            try:
                digests.append(base64.b64decode(signature.removeprefix(_VERSION_PREFIX), validate=True))
            except (binascii.Error, ValueError):
                continue
    return digests
