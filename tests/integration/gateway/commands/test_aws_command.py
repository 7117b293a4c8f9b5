"""`peakgate aws bootstrap`: what it makes on an emulator, what it prints, and that it may be repeated."""

from __future__ import annotations

import asyncio
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.cli.main import main
from gateway.settings import load
from tests.sqs import aws_session

pytestmark = pytest.mark.slow

REGION = "eu-west-2"


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the configuration of the machine."""
    monkeypatch.chdir(tmp_path)


def bootstrap(endpoint: str, *options: str) -> int:
    return main(["aws", "bootstrap", "--aws-endpoint-url", endpoint, "--aws-region", REGION, *options])


def ask(endpoint: str, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
    async def call() -> dict[str, Any]:
        async with aws_session().create_client(service, endpoint_url=endpoint, region_name=REGION) as client:
            reply: dict[str, Any] = await getattr(client, operation)(**parameters)
            return reply

    return asyncio.run(call())


def test_the_settings_that_it_prints_use_what_it_made(
    sqs_endpoint: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert bootstrap(sqs_endpoint, "--prefix", "trial") == 0
    printed = capsys.readouterr()

    (tmp_path / "peakgate.toml").write_text(printed.out)
    settings = load({}, {})
    assert settings.queue_url is not None
    assert settings.aws_endpoint_url == sqs_endpoint
    attributes = ask(sqs_endpoint, "sqs", "get_queue_attributes", QueueUrl=settings.queue_url, AttributeNames=["All"])[
        "Attributes"
    ]
    policy = msgspec.json.decode(attributes["RedrivePolicy"])
    assert int(policy["maxReceiveCount"]) == 1000
    assert policy["deadLetterTargetArn"].endswith(":trial-orders-dead")
    table = ask(sqs_endpoint, "dynamodb", "describe_table", TableName=settings.archive_table)["Table"]
    assert {index["IndexName"] for index in table["GlobalSecondaryIndexes"]} == {"by_number", "by_owner", "by_email"}
    ttl = ask(sqs_endpoint, "dynamodb", "describe_time_to_live", TableName=settings.archive_table)
    assert ttl["TimeToLiveDescription"]["TimeToLiveStatus"] == "ENABLED"
    assert settings.kms_key == "alias/trial"
    assert ask(sqs_endpoint, "kms", "describe_key", KeyId=settings.kms_key)["KeyMetadata"]["Enabled"]
    assert settings.sns_topic is not None
    assert settings.sns_topic.endswith(":trial-events")
    assert ask(sqs_endpoint, "sns", "get_topic_attributes", TopicArn=settings.sns_topic)
    assert "queue trial-orders: made" in printed.err


def test_a_second_run_changes_nothing(sqs_endpoint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap(sqs_endpoint, "--prefix", "twice", "--fifo") == 0
    first = capsys.readouterr()
    keys = len(ask(sqs_endpoint, "kms", "list_keys")["Keys"])

    assert bootstrap(sqs_endpoint, "--prefix", "twice", "--fifo") == 0

    second = capsys.readouterr()
    assert second.out == first.out
    assert tomllib.loads(second.out)["queue_url"].endswith("/twice-orders.fifo")
    assert "made" not in second.err
    assert len(ask(sqs_endpoint, "kms", "list_keys")["Keys"]) == keys


def test_without_an_endpoint_it_makes_nothing_unless_told(
    aws_credentials: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["aws", "bootstrap", "--aws-region", REGION]) == 64
    assert "--on-aws" in capsys.readouterr().err


def test_an_endpoint_that_is_away_is_an_error_in_one_line(
    aws_credentials: None, unused_tcp_port: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert bootstrap(f"http://127.0.0.1:{unused_tcp_port}") == 69
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_name_that_aws_would_refuse_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        bootstrap("http://127.0.0.1:1", "--prefix", "my shop")
    assert ended.value.code == 64
