from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running_shop import CATALOGUE, RunningShop
from tests.sqs import aws_credentials, sqs_endpoint, sqs_server

__all__ = ["aws_credentials", "sqs_endpoint", "sqs_server"]


@pytest.fixture(scope="module")
def shared_shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningShop]:
    """A shop as `shop`, for the tests of a file that neither stop nor reconfigure it."""
    shop = RunningShop(tmp_path_factory.mktemp("shop") / "data")
    shop.start("--workers", "2", "--catalog", str(CATALOGUE))
    yield shop
    assert shop.stop() == 0
    assert "Traceback" not in shop.log, shop.log


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[RunningShop]:
    """A shop with the sample catalogue and two workers."""
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "2", "--catalog", str(CATALOGUE))
    yield shop
    if shop.is_running:
        shop.stop()
    assert "Traceback" not in shop.log, shop.log
