"""Fixtures of an SQS server in this process: import them into a conftest."""

import functools
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[str]:
    # Slow to import, so only the tests that use it import it.
    from moto.dynamodb.responses import DynamoHandler
    from moto.server import ThreadedMotoServer

    # DynamoDB compares and writes an item at one moment; the stand-in does so call by call only.
    call, one_at_a_time = DynamoHandler.call_action, threading.Lock()

    def call_alone(handler: DynamoHandler) -> Any:
        with one_at_a_time:
            return call(handler)

    DynamoHandler.call_action = call_alone  # type: ignore[method-assign]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def fauxqs_server() -> Iterator[str]:
    from benchmarks.peers.fauxqs_server import fauxqs
    from benchmarks.peers.servers import PeerMissing

    with ExitStack() as stack:
        try:
            server = stack.enter_context(fauxqs())
        except PeerMissing as error:
            pytest.skip(f"fauxqs, an SQS server on Node.js: {error}")
        yield server.endpoint


@functools.cache
def _loader() -> Any:
    from aiobotocore.session import get_session

    return get_session().get_component("data_loader")


def aws_session() -> Any:
    """A new session that has read the models of AWS before, which takes most of the time of making a client."""
    from aiobotocore.session import AioSession

    session = AioSession()
    session.register_component("data_loader", _loader())
    return session


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for the standard chain of AWS; none of the machine's own."""
    monkeypatch.setattr("checkout.aws.json_client.get_session", aws_session)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sqs_endpoint(sqs_server: str, aws_credentials: None) -> str:
    """The address of an SQS server that accepts any credentials."""
    return sqs_server


@pytest.fixture
def fauxqs_endpoint(fauxqs_server: str, aws_credentials: None) -> str:
    """The address of fauxqs; skips the test where it cannot be installed."""
    return fauxqs_server
