"""The check of the archive at the start."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from cart.ids import new_cart_id, order_id_for
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchivedOrder
from gateway import compose
from gateway.compose.archive import open_archive
from gateway.prerequisites import CannotStart
from gateway.settings import Settings

REGION = "eu-west-2"


def settings(tmp_path: Path, **members: Any) -> Settings:
    return Settings(data_dir=tmp_path, aws_region=REGION, workers=1, **members)


async def test_a_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    await compose.check_archive(settings(tmp_path))
    assert (tmp_path / "archive.sqlite3").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("members", [{"gateways": 2}, {"role": "edge"}, {"role": "worker"}])
async def test_a_file_is_refused_where_others_could_not_read_it(tmp_path: Path, members: dict[str, Any]) -> None:
    with pytest.raises(CannotStart, match="a file of one machine"):
        await compose.check_archive(settings(tmp_path, archive="sqlite", **members))
    await compose.check_archive(settings(tmp_path, **members))
    assert not (tmp_path / "archive.sqlite3").exists()


async def test_another_store_has_no_archive_unless_told(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        assert await open_archive(settings(tmp_path, store_url="redis://elsewhere"), stack) is None


@pytest.mark.slow
async def test_a_missing_table_is_named(tmp_path: Path, sqs_endpoint: str) -> None:
    told = settings(tmp_path, archive="dynamodb", archive_table="nowhere", aws_endpoint_url=sqs_endpoint)
    with pytest.raises(CannotStart, match="table nowhere of DynamoDB, does not exist"):
        await compose.check_archive(told)


@pytest.mark.slow
async def test_a_table_that_is_away_is_waited_for(
    tmp_path: Path, aws_credentials: None, caplog: pytest.LogCaptureFixture
) -> None:
    told = settings(tmp_path, archive="dynamodb", aws_endpoint_url="http://127.0.0.1:9")
    with caplog.at_level(logging.WARNING):
        await compose.check_archive(told)
    assert "orders are archived once the archive answers" in caplog.text


@pytest.mark.slow
async def test_a_table_of_the_settings_is_used(tmp_path: Path, sqs_endpoint: str) -> None:
    from checkout.archive.dynamodb_archive import table_definition
    from checkout.aws.json_client import open_json_client

    told = settings(tmp_path, archive="dynamodb", archive_table="trial", aws_endpoint_url=sqs_endpoint)
    async with open_json_client("dynamodb", endpoint_url=sqs_endpoint, region=REGION) as client:
        await client.call("CreateTable", table_definition("trial"))
    await compose.check_archive(told)
    order_id = order_id_for(new_cart_id(), 1)
    record = ArchivedOrder(
        id=order_id, revision=1, status=OrderStatus.ACCEPTED, number="2", created_at=1, updated_at=1, content=b"x"
    )
    async with AsyncExitStack() as stack:
        archive = await open_archive(told, stack)
        assert archive is not None
        await archive.put([record])
        assert await archive.read(order_id) == record
