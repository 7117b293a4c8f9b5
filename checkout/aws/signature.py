"""Signature Version 4 of a POST request to `/`, the only kind that the JSON protocols of AWS have.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final, Protocol

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Credentials(Protocol):
    """The part of botocore's frozen credentials that a signature needs."""

    access_key: str
    secret_key: str
    token: str | None


class Signer:
    """Signs the requests to one service in one Region.

    The signatures are those of botocore's `SigV4Auth`, in a third of its CPU time: the key of a day is derived once, and the
    names of the signed header fields are known.
    """

    def __init__(self, *, service: str, region: str, host: str, content_type: str) -> None:
        self._scope_end = f"{region}/{service}/aws4_request"
        self._derivation = (region, service, "aws4_request")
        self._host = host
        self._content_type = content_type
        # The latest key, and the secret and day that it was derived from.
        self._key = b""
        self._key_of: tuple[str, str] | None = None

    def headers(self, target: str, body: bytes, credentials: Credentials, *, now_s: float) -> dict[str, str]:
        """The header fields of a request at `now_s` (Unix time, s) for the operation `target`, but for `Host`."""
        at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        day, token = at[:8], credentials.token
        # In alphabetical order, as the canonical request has them.
        signed = {"content-type": self._content_type, "host": self._host, "x-amz-date": at}
        if token:
            signed["x-amz-security-token"] = token
        signed["x-amz-target"] = target
        names = ";".join(signed)
        fields = "".join([f"{name}:{value}\n" for name, value in signed.items()])
        canonical = f"POST\n/\n\n{fields}\n{names}\n{hashlib.sha256(body).hexdigest()}"
        scope = f"{day}/{self._scope_end}"
        to_sign = f"{_ALGORITHM}\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(self._key_for(credentials.secret_key, day), to_sign.encode(), "sha256").hex()
        del signed["host"]  # the HTTP client writes it
        signed["authorization"] = (
            f"{_ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return signed

    def _key_for(self, secret: str, day: str) -> bytes:
        if self._key_of != (secret, day):
            key = f"AWS4{secret}".encode()
            for part in (day, *self._derivation):
                key = hmac.digest(key, part.encode(), "sha256")
            self._key, self._key_of = key, (secret, day)
        return self._key
