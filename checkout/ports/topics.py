"""A topic that others subscribe to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

import msgspec

# Of SNS: the messages of one call, and their bytes with the attributes.
MAX_BATCH: Final = 10
MAX_BATCH_BYTES: Final = 256 * 1024


class Notification(msgspec.Struct, frozen=True):
    """A message with attributes that subscribers filter by.

    Those of a `group` are in sequence, and one with an `id` that was published lately is not published again, where the
    topic knows groups.
    """

    id: str
    group: str
    body: bytes
    attributes: Mapping[str, str | int]


class NotificationFailure(msgspec.Struct, frozen=True):
    """The notification at `index` of a batch was not published; `is_permanent`: it would never be."""

    index: int
    code: str
    is_permanent: bool


class Topic(Protocol):
    """Publishes notifications."""

    async def publish(self, notifications: Sequence[Notification]) -> Sequence[NotificationFailure]:
        """Publish up to `MAX_BATCH` notifications within `MAX_BATCH_BYTES`; returns the failures.

        An error says that none may be published.
        """
        ...
