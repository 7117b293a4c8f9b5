"""Calls to a service with the protocol AWS JSON: retries, deadlines, errors, credentials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from checkout.aws import json_client
from checkout.aws.errors import AwsRejected, AwsUnreachable
from checkout.aws.json_client import AwsJsonClient, open_json_client

REGION = "eu-west-2"
Respond = Callable[[web.Request], web.StreamResponse]


class Service:
    """A server that responds to calls in turn, the last response again and again; `received` has what it was sent."""

    def __init__(self, *responses: Respond) -> None:
        self.received: list[tuple[Mapping[str, str], Any]] = []
        self._responses = list(responses)

    async def respond(self, request: web.Request) -> web.StreamResponse:
        self.received.append((request.headers.copy(), orjson.loads(await request.read())))
        respond = self._responses.pop(0) if len(self._responses) > 1 else self._responses[0]
        return respond(request)


def ok(**members: Any) -> Respond:
    return lambda _request: web.json_response(members, content_type="application/x-amz-json-1.0")


def refusal(status: int, code: str, message: str = "no") -> Respond:
    return lambda _request: web.json_response({"__type": code, "message": message}, status=status)


def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


@asynccontextmanager
async def calling(service: Service, name: str = "sqs") -> AsyncIterator[AwsJsonClient]:
    app = web.Application()
    app.router.add_post("/", service.respond)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with open_json_client(name, endpoint_url=f"http://127.0.0.1:{port}", region=REGION) as client:
            client._sleep = lambda _seconds: asyncio.sleep(0)
            yield client
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def credentials(aws_credentials: None) -> None:
    """Those of a test, and none of the machine's own."""


async def test_a_call_is_a_signed_post_of_its_parameters() -> None:
    service = Service(ok(QueueUrl="u"))
    async with calling(service) as client:
        assert await client.call("GetQueueUrl", {"QueueName": "Größe"}) == {"QueueUrl": "u"}

    ((headers, body),) = service.received
    assert body == {"QueueName": "Größe"}
    assert headers["x-amz-target"] == "AmazonSQS.GetQueueUrl"
    assert headers["content-type"] == "application/x-amz-json-1.0"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=testing/")
    assert f"/{REGION}/sqs/aws4_request" in headers["authorization"]
    assert "x-amz-security-token" not in headers
    assert headers["user-agent"] == "peakgate"


async def test_other_services_have_their_own_targets_and_versions() -> None:
    service = Service(ok())
    async with calling(service, "kms") as client:
        await client.call("DescribeKey", {})
    assert service.received[0][0]["x-amz-target"] == "TrentService.DescribeKey"
    assert service.received[0][0]["content-type"] == "application/x-amz-json-1.1"


@pytest.mark.parametrize(
    "trouble",
    [
        hang_up,
        refusal(500, "InternalFailure"),
        refusal(503, "ServiceUnavailable"),
        refusal(400, "com.amazonaws.sqs#ThrottlingException"),
        refusal(400, "ProvisionedThroughputExceededException"),
        lambda _request: web.Response(status=502, text="<html>bad gateway"),
    ],
)
async def test_a_passing_trouble_is_tried_again(trouble: Respond) -> None:
    service = Service(trouble, trouble, ok(done=True))
    async with calling(service) as client:
        assert await client.call("X", {}) == {"done": True}
    assert len(service.received) == 3


async def test_a_trouble_that_stays_is_an_error_after_three_attempts() -> None:
    service = Service(refusal(503, "ServiceUnavailable"))
    async with calling(service) as client:
        with pytest.raises(AwsRejected) as refused:
            await client.call("X", {})
    assert refused.value.status == 503
    assert len(service.received) == 3


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
        ("AccessDeniedException", "AccessDeniedException"),
        ("ValidationException:http://internal.amazon.com/coral/", "ValidationException"),
    ],
)
async def test_a_refusal_is_not_tried_again_and_has_its_name(code: str, name: str) -> None:
    service = Service(refusal(400, code, "because"))
    async with calling(service) as client:
        with pytest.raises(AwsRejected) as refused:
            await client.call("X", {})
    assert (refused.value.code, refused.value.message, refused.value.status) == (name, "because", 400)
    assert len(service.received) == 1


async def test_a_call_ends_at_its_deadline() -> None:
    class Hanging(Service):
        async def respond(self, request: web.Request) -> web.StreamResponse:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    service = Hanging(ok())
    async with calling(service) as client:
        with pytest.raises(AwsUnreachable, match=r"no response .* in 0\.05 s"):
            await client.call("X", {}, deadline_s=0.05)


async def test_the_time_of_a_response_is_returned() -> None:
    service = Service(ok())
    async with calling(service) as client:
        _, date = await client.dated_call("X", {})
    assert date is not None
    assert date.endswith(" GMT")


async def test_credentials_are_renewed_for_each_call() -> None:
    class Rotating:
        """Credentials of a role: another secret and token each time."""

        def __init__(self) -> None:
            self.count = 0

        async def get_frozen_credentials(self) -> Any:
            from botocore.credentials import ReadOnlyCredentials

            self.count += 1
            return ReadOnlyCredentials(f"AK{self.count}", f"secret {self.count}", f"token {self.count}")

    service = Service(ok())
    async with calling(service) as client:
        client._credentials = Rotating()
        await client.call("X", {})
        await client.call("X", {})
    assert [headers["x-amz-security-token"] for headers, _ in service.received] == ["token 1", "token 2"]
    assert "Credential=AK2/" in service.received[1][0]["authorization"]


async def test_without_credentials_a_call_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service(ok())
    async with calling(service) as client:
        client._credentials = None
        with pytest.raises(AwsUnreachable, match="no credentials"):
            await client.call("X", {})
    assert not service.received


async def test_the_address_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:4566")
    monkeypatch.setenv("AWS_REGION", "ap-southeast-2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-southeast-2")
    async with open_json_client("sqs") as client:
        assert client.endpoint[:3] == ("http://127.0.0.1:4566", "ap-southeast-2", "sqs")


async def test_an_address_with_a_path_is_an_error() -> None:
    with pytest.raises(ValueError, match="has no path"):
        async with open_json_client("sqs", endpoint_url="http://127.0.0.1:4566/sqs", region=REGION):
            pass


def test_a_proxy_of_the_environment_is_used_but_for_what_it_excludes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert json_client._proxy_of("https://sqs.eu-west-2.amazonaws.com") == "http://proxy.example:3128"
    assert json_client._proxy_of("http://127.0.0.1:4566") is None
