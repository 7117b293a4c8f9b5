from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto.server import ThreadedMotoServer

from tests.contract.checkout.shop import BOX, MUG, MemoryShop, RedisShop, Shop


@pytest.fixture(params=["memory", "redis"])
def bare_shop(request: pytest.FixtureRequest) -> Shop:
    """A shop with nothing in it, behind each of the adapters."""
    return MemoryShop() if request.param == "memory" else RedisShop(request.getfixturevalue("store"))


@pytest.fixture
async def shop(bare_shop: Shop) -> Shop:
    """A shop with 10 mugs and 10 boxes."""
    await bare_shop.stock_up(MUG, 10)
    await bare_shop.stock_up(BOX, 10)
    return bare_shop


@pytest.fixture(scope="session")
def _sqs_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the standard chain finds; nothing of the machine's own."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sqs_endpoint(_sqs_server: str, aws_credentials: None) -> str:
    """The address of an SQS that takes any credentials."""
    return _sqs_server
