"""Signatures of calls to AWS, beside those of its own library."""

from __future__ import annotations

import datetime as dt

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from checkout.aws.signature import Signer

AT = dt.datetime(2026, 11, 27, 6, 0, 0, tzinfo=dt.UTC)
CONTENT_TYPE = "application/x-amz-json-1.0"


@pytest.mark.parametrize("token", [None, "a/session+token=="])
@pytest.mark.parametrize("body", [b"{}", '{"MessageBody":"Größe 40"}'.encode()])
@pytest.mark.parametrize("host", ["sqs.eu-west-2.amazonaws.com", "127.0.0.1:4566"])
def test_a_signature_is_that_of_the_official_library(
    token: str | None, body: bytes, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "get_current_datetime", lambda: AT.replace(tzinfo=None))
    credentials = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", token)
    headers = {"Content-Type": CONTENT_TYPE, "X-Amz-Target": "AmazonSQS.SendMessageBatch"}
    request = AWSRequest("POST", f"https://{host}/", headers, body)
    auth.SigV4Auth(credentials.get_frozen_credentials(), "sqs", "eu-west-2").add_auth(request)

    signer = Signer(service="sqs", region="eu-west-2", host=host, content_type=CONTENT_TYPE)
    signed = signer.headers(
        "AmazonSQS.SendMessageBatch", body, credentials.get_frozen_credentials(), now_s=AT.timestamp()
    )

    assert signed["authorization"] == request.headers["Authorization"]
    assert signed["x-amz-date"] == request.headers["X-Amz-Date"]
    assert signed.get("x-amz-security-token") == token


def test_a_key_is_derived_anew_for_other_credentials_and_another_day() -> None:
    signer = Signer(service="sqs", region="eu-west-2", host="localhost", content_type=CONTENT_TYPE)
    old, new = (Credentials("AKID", secret).get_frozen_credentials() for secret in ("old", "new"))

    def signature(credentials: object, days: int) -> str:
        at = AT.timestamp() + days * 86_400
        return signer.headers("X.Y", b"{}", credentials, now_s=at)["authorization"]  # type: ignore[arg-type]

    signatures = [signature(old, 0), signature(new, 0), signature(new, 1)]
    assert len(set(signatures)) == 3
    assert signature(old, 0) == signatures[0]
