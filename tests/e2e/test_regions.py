"""Two shops, each with a store of its own, as two Regions that share an archive."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from checkout.archive.dynamodb_archive import table_definition
from tests.e2e.running_shop import CATALOGUE, UNSHED, RunningShop, eventually
from tests.e2e.test_event_streams import Stream

HOME, OTHER = "eu-west-2", "us-east-1"


class TwoRegions:
    """The home of the orders, and the other Region, which forwards to it."""

    def __init__(self, home: RunningShop, other: RunningShop, table: Any) -> None:
        self.home = home
        self.other = other
        self._table = table

    def order_in_flight(self, *, key: str) -> str:
        """The id of an order of the home, which waits for its payment and can be cancelled."""
        order_id = str(self.home.check_out(self.home.cart_of(_85123A=1), key=key).body["id"])
        eventually(lambda: self.archived_status(order_id), lambda status: status == "stock_confirmed")
        return order_id

    def archived_status(self, order_id: str) -> str | None:
        item = self._table.get_item(Key={"pk": f"order#{order_id}", "sk": "record"}).get("Item")
        return None if item is None else str(item["status"])


@pytest.fixture
def regions(tmp_path: Path, sqs_endpoint: str) -> Iterator[TwoRegions]:
    name = f"orders-{secrets.token_hex(4)}"
    dynamodb = boto3.resource("dynamodb", region_name=HOME, endpoint_url=sqs_endpoint)
    dynamodb.create_table(**table_definition(name))
    aws = ("--archive", "dynamodb", "--archive-table", name, "--aws-endpoint-url", sqs_endpoint, "--aws-region", HOME)
    options = ("--workers", "1", "--catalog", str(CATALOGUE), "--key-file", str(tmp_path / "keys.toml"), *aws)
    home, other = RunningShop(tmp_path / "home"), RunningShop(tmp_path / "other")
    try:
        home.start("--home-region", HOME, *options)
        policies = tmp_path / "other.toml"
        policies.write_text(f'{UNSHED}\n[[regions]]\nname = "{HOME}"\nurl = "{home.url}"\n')
        other.start("--home-region", OTHER, "--config", str(policies), *options)
        assert home.admin("POST", "/admin/v1/drills/payment", {"tripped": True}).status == 200
        yield TwoRegions(home, other, dynamodb.Table(name))
    finally:
        for shop in (home, other):
            if shop.is_running:
                shop.stop()
    assert "Traceback" not in home.log + other.log, home.log + other.log


@pytest.mark.slow
def test_an_order_is_read_followed_and_cancelled_by_the_gateway_of_another_region(regions: TwoRegions) -> None:
    home, other = regions.home, regions.other
    order_id = regions.order_in_flight(key="a")
    read = other.call("GET", f"/v1/orders/{order_id}")
    assert (read.status, read.headers["Degraded"], read.body) == (200, None, home.order(order_id))
    stream = Stream(other.port, order_id, after=1)
    assert stream.next() == (2, "stock_confirmed")
    cancelled = other.call("POST", f"/v1/orders/{order_id}/cancel")
    assert (cancelled.status, cancelled.body["status"]) == (202, "cancelled")
    assert stream.next() == (3, "cancelled")
    assert stream.next() is None
    stream.close()
    assert home.order(order_id)["status"] == "cancelled"
    # At once, while the archive may be behind.
    assert other.order(order_id) == home.order(order_id)


@pytest.mark.slow
def test_while_the_home_is_away_its_orders_are_read_from_the_archive_and_not_changed(regions: TwoRegions) -> None:
    other = regions.other
    order_id = regions.order_in_flight(key="b")
    before = regions.home.order(order_id)
    regions.home.stop()
    read = other.call("GET", f"/v1/orders/{order_id}")
    assert (read.status, read.headers["Degraded"], read.body) == (200, "orders", before)
    stream = Stream(other.port, order_id, after=0)
    assert [stream.next(), stream.next()] == [(1, "accepted"), (2, "stock_confirmed")]
    stream.close()
    refused = other.call("POST", f"/v1/orders/{order_id}/cancel")
    assert (refused.status, refused.body["type"]) == (503, "/problems/dependency-unavailable")


@pytest.mark.slow
def test_acts_of_operators_are_refused_with_the_name_of_the_home(regions: TwoRegions) -> None:
    order_id = regions.order_in_flight(key="c")
    for act, body in (("cancel", None), ("retry", {}), ("mark", {"status": "shipped"})):
        refused = regions.other.admin("POST", f"/admin/v1/orders/{order_id}/{act}", body)
        assert refused.status == 422, act
        assert refused.body["detail"] == f"the order has its home in the Region {HOME}; do it there"
    (shown,) = regions.other.admin("GET", f"/admin/v1/orders/{order_id}").body["orders"]
    assert (shown["status"], shown["operator"]["home_region"]) == ("stock_confirmed", HOME)
    assert regions.home.order(order_id)["status"] == "stock_confirmed"
