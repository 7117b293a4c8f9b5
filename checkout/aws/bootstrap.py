"""Makes the resources of AWS for a trial: queues, topic, table and key. What is there already stays and is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

import msgspec
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from checkout.aws.errors import AwsError

# The maximum: SQS counts every receive, also those of workers that died.
MAX_RECEIVES: Final = 1000
RETENTION_S: Final = 14 * 86_400
VISIBILITY_S: Final = 30
_NO_QUEUE: Final = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What was made, or found."""

    queue_url: str
    dead_letter_url: str
    topic_arn: str
    table: str
    kms_key: str


async def bootstrap(
    prefix: str,
    *,
    endpoint_url: str | None,
    region: str | None,
    table: Mapping[str, Any],
    ttl: Mapping[str, Any],
    is_fifo: bool,
    note: Callable[[str], None],
) -> Resources:
    """Make the resources whose names begin with `prefix`; calls `note` with a line for each.

    `table` and `ttl` are the parameters of `CreateTable` and `UpdateTimeToLive`. May be repeated. Raises `AwsError`.
    """
    try:
        async with AsyncExitStack() as stack:
            session = get_session()
            sqs, sns, dynamodb, kms = [
                await stack.enter_async_context(
                    session.create_client(service, endpoint_url=endpoint_url, region_name=region)
                )
                for service in ("sqs", "sns", "dynamodb", "kms")
            ]
            suffix = ".fifo" if is_fifo else ""
            dead_letter_url = await _make_queue(sqs, f"{prefix}-orders-dead{suffix}", note)
            dead_arn = await _arn_of(sqs, dead_letter_url)
            queue_url = await _make_queue(sqs, f"{prefix}-orders{suffix}", note)
            await _set_redrive_policy(sqs, queue_url, dead_arn)
            return Resources(
                queue_url=queue_url,
                dead_letter_url=dead_letter_url,
                topic_arn=await _make_topic(sns, f"{prefix}-events", note),
                table=await _make_table(dynamodb, table, ttl, note),
                kms_key=await _make_key(kms, f"alias/{prefix}", note),
            )
    except (BotoCoreError, ClientError, ValueError) as error:
        raise AwsError(str(error)) from error


async def _make_queue(sqs: Any, name: str, note: Callable[[str], None]) -> str:
    """The address of the queue."""
    try:
        url: str = (await sqs.get_queue_url(QueueName=name))["QueueUrl"]
    except ClientError as error:
        if not error.response["Error"]["Code"].endswith(_NO_QUEUE):
            raise
    else:
        note(f"queue {name}: it is there already")
        return url
    attributes = {"MessageRetentionPeriod": str(RETENTION_S), "VisibilityTimeout": str(VISIBILITY_S)}
    if name.endswith(".fifo"):
        attributes["FifoQueue"] = "true"
    url = (await sqs.create_queue(QueueName=name, Attributes=attributes))["QueueUrl"]
    note(f"queue {name}: made")
    return url


async def _arn_of(sqs: Any, url: str) -> str:
    reply = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    arn: str = reply["Attributes"]["QueueArn"]
    return arn


async def _set_redrive_policy(sqs: Any, url: str, dead_arn: str) -> None:
    policy = json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": MAX_RECEIVES})
    await sqs.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy})


async def _make_topic(sns: Any, name: str, note: Callable[[str], None]) -> str:
    arn: str = (await sns.create_topic(Name=name))["TopicArn"]  # idempotent
    note(f"topic {name}: there")
    return arn


async def _make_table(
    dynamodb: Any, table: Mapping[str, Any], ttl: Mapping[str, Any], note: Callable[[str], None]
) -> str:
    name: str = table["TableName"]
    try:
        await dynamodb.create_table(**table)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceInUseException":
            raise
        note(f"table {name}: it is there already")
    else:
        note(f"table {name}: made")
    await dynamodb.get_waiter("table_exists").wait(TableName=name)
    described = await dynamodb.describe_time_to_live(TableName=name)
    if described["TimeToLiveDescription"].get("TimeToLiveStatus", "DISABLED") == "DISABLED":
        await dynamodb.update_time_to_live(**ttl)
    return name


async def _make_key(kms: Any, alias: str, note: Callable[[str], None]) -> str:
    """The alias of the key. A key without the alias would be made again by each run, so the alias is looked up first."""
    try:
        await kms.describe_key(KeyId=alias)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
    else:
        note(f"key {alias}: it is there already")
        return alias
    key = (await kms.create_key(Description="Personal data of Peakgate"))["KeyMetadata"]["KeyId"]
    await kms.create_alias(AliasName=alias, TargetKeyId=key)
    note(f"key {alias}: made")
    return alias
