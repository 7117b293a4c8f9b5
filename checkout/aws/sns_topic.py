"""A topic of SNS, by aiobotocore: SNS speaks the Query protocol, which `json_client` does not. Needs the extra `aws`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError

from checkout.aws.errors import AwsRejected, AwsUnreachable
from checkout.ports.topics import Notification, NotificationFailure

# Below the deadline of a relay.
_READ_TIMEOUT_S: Final = 5.0
_CONNECT_TIMEOUT_S: Final = 2.0
_MAX_CONNECTIONS: Final = 10
_ARN_PARTS: Final = 6


class SnsTopic:
    """`Topic` on SNS. On a FIFO topic, the name of which ends in `.fifo`, messages have a group and a deduplication id."""

    def __init__(self, client: Any, arn: str) -> None:
        self._client = client
        self._arn = arn
        self._is_fifo = arn.endswith(".fifo")

    async def publish(self, notifications: Sequence[Notification]) -> Sequence[NotificationFailure]:
        """See `Topic.publish`."""
        entries = [self._entry(str(index), each) for index, each in enumerate(notifications)]
        try:
            reply = await self._client.publish_batch(TopicArn=self._arn, PublishBatchRequestEntries=entries)
        except ClientError as error:
            told = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400)
            raise AwsRejected(told.get("Code", "Unknown"), told.get("Message", ""), status=status) from error
        except BotoCoreError as error:
            raise AwsUnreachable(type(error).__name__) from error
        return [
            NotificationFailure(int(each["Id"]), each.get("Code", ""), is_permanent=bool(each.get("SenderFault")))
            for each in reply.get("Failed", ())
        ]

    def _entry(self, entry_id: str, notification: Notification) -> dict[str, Any]:
        fifo = {"MessageGroupId": notification.group, "MessageDeduplicationId": notification.id}
        return {
            "Id": entry_id,
            "Message": notification.body.decode(),
            "MessageAttributes": {
                name: {
                    "DataType": "Number" if isinstance(value, int) else "String",
                    "StringValue": str(value),
                }
                for name, value in notification.attributes.items()
            },
            **(fifo if self._is_fifo else {}),
        }


@asynccontextmanager
async def open_sns_topic(arn: str, *, endpoint_url: str | None = None) -> AsyncIterator[SnsTopic]:
    """The topic with this ARN, in its Region; its connections are closed at the end. No call is made.

    Credentials come from the standard chain of AWS. Raises `ValueError` if the ARN is none of SNS.
    """
    parts = arn.split(":")
    if len(parts) != _ARN_PARTS or parts[0] != "arn" or parts[2] != "sns" or not parts[3]:
        raise ValueError(f"{arn} is not the ARN of a topic, such as arn:aws:sns:eu-west-2:123456789012:orders")
    config = AioConfig(
        connect_timeout=_CONNECT_TIMEOUT_S,
        read_timeout=_READ_TIMEOUT_S,
        max_pool_connections=_MAX_CONNECTIONS,
        retries={"max_attempts": 0},  # the relay tries again
    )
    async with get_session().create_client(
        "sns", region_name=parts[3], endpoint_url=endpoint_url, config=config
    ) as client:
        yield SnsTopic(client, arn)
