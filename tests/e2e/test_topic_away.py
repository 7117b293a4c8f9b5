"""A topic of SNS that is away, as a drill: orders go on, their events wait, and subscribers get them afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3

from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually


def test_events_wait_while_the_topic_is_cut_off_and_are_published_afterwards(tmp_path: Path, sqs_endpoint: str) -> None:
    options: dict[str, Any] = {"region_name": "eu-west-1", "endpoint_url": sqs_endpoint}
    sns, sqs = boto3.client("sns", **options), boto3.client("sqs", **options)
    topic = sns.create_topic(Name="events-of-a-drill")["TopicArn"]
    queue_url = sqs.create_queue(QueueName="events-of-a-drill")["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue, Attributes={"RawMessageDelivery": "true"})
    found: list[str] = []

    def events() -> list[str]:
        while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages", []):
            for each in messages:
                found.append(json.loads(each["Body"])["type"])
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=each["ReceiptHandle"])
        return found

    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE), "--sns-topic", topic, "--aws-endpoint-url", sqs_endpoint)
    try:
        assert shop.admin("POST", "/admin/v1/drills/sns", {"tripped": True}).status == 200
        placed = shop.check_out(shop.cart_of(_85123A=1))
        assert placed.status == 202
        eventually(lambda: shop.order(placed.body["id"])["status"] == "completed")
        assert events() == []
        assert shop.admin("POST", "/admin/v1/drills/sns", {"tripped": False}).status == 200
        eventually(lambda: len(events()) >= 5)
    finally:
        shop.stop()
    assert set(found) == {
        f"shop.order.{status}.v1"
        for status in ("accepted", "stock_confirmed", "payment_authorised", "shipping_arranged", "completed")
    }
