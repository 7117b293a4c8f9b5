"""A Region is lost, with its gateways and its store: what the other Region has of it, at each level of durability."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from checkout.archive.dynamodb_archive import table_definition
from tests.e2e.running_shop import CATALOGUE, UNSHED, RunningShop, eventually, peakgate

HOME, OTHER = "eu-west-2", "us-east-1"
ORDERS = 12

pytestmark = pytest.mark.slow


class Regions:
    """Two Regions with a store each, and one archive; the home is lost."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        name = secrets.token_hex(4)
        self.table = f"orders-{name}"
        self._endpoint = endpoint
        self._sqs = boto3.client("sqs", region_name=HOME, endpoint_url=endpoint)
        self._dynamodb = boto3.resource("dynamodb", region_name=HOME, endpoint_url=endpoint)
        self._dynamodb.create_table(**table_definition(self.table))
        self.queue_url = self._sqs.create_queue(QueueName=f"orders-{name}")["QueueUrl"]
        self._keys = str(folder / "keys.toml")
        self._folder = folder
        self.home, self.other = RunningShop(folder / "home"), RunningShop(folder / "other")

    def options(self) -> list[str]:
        """What all processes of both Regions have in common."""
        archive = ("--archive", "dynamodb", "--archive-table", self.table)
        return [*archive, "--aws-endpoint-url", self._endpoint, "--aws-region", HOME, "--key-file", self._keys]

    def start(self, durability: str, *home: str) -> None:
        common = ("--workers", "1", "--catalog", str(CATALOGUE), *self.options())
        queue = ("--queue-url", self.queue_url) if durability == "queue" else ()
        self.home.start("--home-region", HOME, "--durability", durability, *queue, *common, *home)
        policies = self._folder / "other.toml"
        policies.write_text(f'{UNSHED}\n[[regions]]\nname = "{HOME}"\nurl = "{self.home.url}"\n')
        self.other.start("--home-region", OTHER, "--config", str(policies), *common)

    def order(self, number: int) -> str:
        """The id of an order that the home has acknowledged."""
        placed = self.home.check_out(self.home.cart_of(_85123A=1), key=f"shopper-{number}")
        assert placed.status == 202
        return str(placed.body["id"])

    def archived(self) -> dict[str, str]:
        """The status of each order in the archive."""
        items = self._dynamodb.Table(self.table).scan(ConsistentRead=True)["Items"]
        return {str(item["pk"]).removeprefix("order#"): str(item["status"]) for item in items}

    def messages(self) -> list[str]:
        """The bodies of the messages in the queue of the home."""
        found = self._sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages", [])
        return [str(each["Body"]) for each in found]


@pytest.fixture
def regions(tmp_path: Path, sqs_endpoint: str) -> Iterator[Regions]:
    regions = Regions(tmp_path, sqs_endpoint)
    yield regions
    for shop in (regions.home, regions.other):
        if shop.is_running:
            shop.stop()
    assert "Traceback" not in regions.home.log + regions.other.log, regions.home.log + regions.other.log


@pytest.mark.parametrize("durability", ["memory", "aof", "queue"])
def test_orders_that_the_archive_has_are_read_in_the_other_region_and_restored(
    durability: str, regions: Regions, tmp_path: Path
) -> None:
    regions.start(durability)
    placed = {regions.order(number) for number in range(ORDERS)}
    eventually(regions.archived, lambda found: found == dict.fromkeys(placed, "completed"))
    before: dict[str, Any] = {order_id: regions.home.order(order_id) for order_id in placed}

    regions.home.kill()

    for order_id in placed:
        read = regions.other.call("GET", f"/v1/orders/{order_id}")
        assert (read.status, read.headers["Degraded"], read.body) == (200, "orders", before[order_id])
    restored = peakgate(
        *("orders", "restore", "--data-dir", str(tmp_path / "new"), "--home-region", HOME, *regions.options())
    )
    assert (restored.returncode, restored.stdout) == (0, f"{ORDERS} orders restored, 0 were in the store\n"), (
        restored.stderr
    )


@pytest.mark.parametrize("durability", ["memory", "aof", "queue"])
def test_an_acknowledged_order_that_the_archive_has_not_is_missing_in_the_other_region(
    durability: str, regions: Regions
) -> None:
    # Without a worker nothing is archived.
    regions.start(durability, "--role", "edge")
    order_id = regions.order(1)

    regions.home.kill()

    assert regions.archived() == {}
    assert regions.other.call("GET", f"/v1/orders/{order_id}").status == 404


def test_at_the_level_of_the_queue_such_an_order_has_left_its_message(regions: Regions) -> None:
    regions.start("queue", "--role", "edge")
    order_id = regions.order(1)

    regions.home.kill()

    (message,) = eventually(regions.messages)
    assert order_id in message
    assert "85123A" in message


def test_carts_are_those_of_their_region_alone(regions: Regions) -> None:
    regions.start("aof")
    cart_id = regions.home.cart_of(_85123A=1)

    regions.home.kill()

    assert regions.other.call("GET", f"/v1/carts/{cart_id}").status == 404
