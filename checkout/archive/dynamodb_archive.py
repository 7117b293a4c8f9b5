"""The archive on Amazon DynamoDB: one table, one item for each order.

    pk            S   "order#<order id>"
    sk            S   "record"
    revision      N   entries in the order's history; a put is refused unless it is later
    home          S   the Region that works on the order, "-" where there is only one; a put or an erasure from another is refused
    place         S   "<created_at, 13 digits>#<order id>": sorts the orders of a shopper
    number, owner_hash, email_hash  S  keys of the indexes `by_number`, `by_owner` and `by_email`, each sorted by `place`
    status        S
    created_at, updated_at          N  Unix milliseconds
    has_ended     BOOL
    content       B   see `checkout.archive.archived`; by zlib where it is long, since an item has 400 KB at most
    packed        BOOL  whether it is; missing if not
    expires_at    N   Unix seconds; the TTL of records that may go, missing in those that are kept

The partition key is random, so writes spread over the whole table; the indexes have keys only, which never change, so each
order is written to them once. In a global table the last writer of an item wins, and conditions are judged on the local
copy: that is sound here because only the home Region of an order writes its item.
"""

from __future__ import annotations

import asyncio
import base64
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from cart.ids import parse_order_id
from cart.model import OrderId
from checkout.aws.errors import AwsError, AwsRejected
from checkout.order_status import OrderStatus
from checkout.ports.archive import PAGE_MAX, ArchivedOrder, ArchiveMisconfigured, ArchiveUnavailable, Position, ScanPage

KEY: Final = ("pk", "sk")
INDEXES: Final = {"by_number": "number", "by_owner": "owner_hash", "by_email": "email_hash"}
TTL: Final = "expires_at"
# Longer contents are packed: those of orders with dozens of lines.
PACKED_FROM: Final = 16 * 1024
# Puts of one process at a time.
CONCURRENCY: Final = 32
DEADLINE_S: Final = 5.0

_NEWER: Final = "attribute_not_exists(pk) OR (revision < :revision AND home = :home)"
# Never met: nothing is written, and a missing permission to write is found all the same.
_NEVER: Final = "attribute_exists(pk) AND attribute_not_exists(pk)"
_NOT_MET: Final = "ConditionalCheckFailedException"
_ALONE: Final = "-"
_DENIED: Final = ("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException")


class Calls(Protocol):
    """The part of `checkout.aws.json_client.AwsJsonClient` that the archive needs."""

    async def call(self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float) -> dict[str, Any]:
        """The response to an operation. Raises `AwsError`."""
        ...


def table_definition(table: str) -> dict[str, Any]:
    """The parameters of `CreateTable` for an archive of this name, billed by request."""
    attributes = [*KEY, "place", *INDEXES.values()]
    return {
        "TableName": table,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in attributes],
        "KeySchema": _key_schema(*KEY),
        "GlobalSecondaryIndexes": [
            {"IndexName": index, "KeySchema": _key_schema(name, "place"), "Projection": {"ProjectionType": "KEYS_ONLY"}}
            for index, name in INDEXES.items()
        ],
    }


def ttl_definition(table: str) -> dict[str, Any]:
    """The parameters of `UpdateTimeToLive` for an archive of this name."""
    return {"TableName": table, "TimeToLiveSpecification": {"Enabled": True, "AttributeName": TTL}}


class DynamoDbArchive:
    """`Archive` on a table of DynamoDB (`table_definition`).

    An order is kept for `keep_ms` after its last change (DynamoDB deletes it within days of that), for ever if it is None.
    """

    def __init__(self, calls: Calls, table: str, *, keep_ms: int | None = None) -> None:
        self._calls = calls
        self._table = table
        self._keep_ms = keep_ms
        self._slots = asyncio.Semaphore(CONCURRENCY)

    async def put(self, records: Sequence[ArchivedOrder]) -> None:
        """See `Archive.put`: one conditional call for each record."""
        outcomes = await asyncio.gather(*map(self._put, records), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _put(self, record: ArchivedOrder) -> None:
        async with self._slots:
            await self._conditional_call(
                "PutItem",
                Item=self._item(record),
                ConditionExpression=_NEWER,
                ExpressionAttributeValues={
                    ":revision": _number(record.revision),
                    ":home": {"S": record.home or _ALONE},
                },
            )

    async def read(self, order_id: OrderId) -> ArchivedOrder | None:
        """See `Archive.read`."""
        reply = await self._call("GetItem", Key=_key(order_id), ConsistentRead=True)
        return _record(reply["Item"]) if "Item" in reply else None

    async def by_number(self, number: str) -> Sequence[OrderId]:
        """See `Archive.by_number`."""
        return sorted(place.order_id for place in await self._query("by_number", number, PAGE_MAX, None))

    async def of_owner(self, owner_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_owner`."""
        return await self._query("by_owner", owner_hash, limit, after)

    async def of_email(self, email_hash: str, *, limit: int, after: Position | None = None) -> Sequence[Position]:
        """See `Archive.of_email`."""
        return await self._query("by_email", email_hash, limit, after)

    async def _query(self, index: str, value: str, limit: int, after: Position | None) -> Sequence[Position]:
        condition, values = f"{INDEXES[index]} = :value", {":value": {"S": value}}
        if after is not None:
            condition += " AND place < :after"
            values[":after"] = {"S": _place(after.created_at, after.order_id)}
        reply = await self._call(
            "Query",
            IndexName=index,
            # `number` is no reserved word today; names that are written out could become one.
            KeyConditionExpression=condition.replace(INDEXES[index], "#key"),
            ExpressionAttributeNames={"#key": INDEXES[index]},
            ExpressionAttributeValues=values,
            ScanIndexForward=False,
            Limit=limit,
        )
        return [_position(item["place"]["S"]) for item in reply["Items"]]

    async def scan(
        self, *, accepted_from: int = 0, accepted_before: int | None = None, limit: int = 100, cursor: str | None = None
    ) -> ScanPage:
        """See `Archive.scan`. It reads the whole table, for a short time too."""
        begin = {} if cursor is None else {"ExclusiveStartKey": _key(_validated(cursor))}
        reply = await self._call(
            "Scan",
            FilterExpression="created_at BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":first": _number(accepted_from),
                ":last": _number((1 << 53) if accepted_before is None else accepted_before - 1),
            },
            Limit=limit,
            ConsistentRead=True,
            **begin,
        )
        last = reply.get("LastEvaluatedKey")
        return ScanPage(list(map(_record, reply["Items"])), None if last is None else last["pk"]["S"].partition("#")[2])

    async def erase(self, record: ArchivedOrder) -> bool:
        """See `Archive.erase`. Backups of the table (point-in-time recovery) keep what they have."""
        content, is_packed = _packed(record.content)
        values = {
            ":revision": _number(record.revision),
            ":home": {"S": record.home or _ALONE},
            ":content": _binary(content),
            ":packed": {"BOOL": is_packed},
        }
        kept, gone = [], []
        for name in ("owner_hash", "email_hash"):
            value = getattr(record, name)
            if value is None:
                gone.append(name)
            else:
                kept.append(f", {name} = :{name}")
                values[f":{name}"] = {"S": value}
        return await self._conditional_call(
            "UpdateItem",
            Key=_key(record.id),
            UpdateExpression=f"SET content = :content, packed = :packed{''.join(kept)}{' REMOVE ' + ', '.join(gone) if gone else ''}",
            ConditionExpression="revision = :revision AND home = :home",
            ExpressionAttributeValues=values,
        )

    async def expire(self) -> int:
        """See `Archive.expire`: DynamoDB does it, by the TTL of each item."""
        return 0

    async def check(self) -> None:
        """See `Archive.check`: describes the table, reads from it, and writes to it on a condition that is never met."""
        try:
            self._check_form((await self._call_raw("DescribeTable", {"TableName": self._table}))["Table"])
            await self._call_raw("GetItem", {"TableName": self._table, "Key": _CHECKED})
            await self._call_raw("PutItem", {"TableName": self._table, "Item": _CHECKED, "ConditionExpression": _NEVER})
        except AwsRejected as error:
            if error.code == _NOT_MET:
                return
            fault = ArchiveMisconfigured if error.status < 500 else ArchiveUnavailable
            raise fault(self._advice(error)) from error
        except AwsError as error:
            raise ArchiveUnavailable(f"the archive, table {self._table} of DynamoDB: {error}") from error

    def _check_form(self, table: Mapping[str, Any]) -> None:
        name = f"the table {self._table} of DynamoDB"
        if table["KeySchema"] != _key_schema(*KEY):
            raise ArchiveMisconfigured(f"{name} is no archive: its keys must be {' and '.join(KEY)} (docs/archive.md)")
        found = {index["IndexName"] for index in table.get("GlobalSecondaryIndexes", ())}
        if missing := [index for index in INDEXES if index not in found]:
            raise ArchiveMisconfigured(f"{name} has no index {', '.join(missing)} (docs/archive.md)")

    def _advice(self, error: AwsRejected) -> str:
        name = f"the archive, table {self._table} of DynamoDB"
        if error.code == "ResourceNotFoundException":
            return f"{name}, does not exist: make it, or let `peakgate aws bootstrap` make it for a trial (docs/archive.md)"
        if error.code in _DENIED:
            return f"{name}, refuses these credentials: {error}; the permissions are in docs/archive.md"
        return f"{name}: {error}"

    def _item(self, record: ArchivedOrder) -> dict[str, Any]:
        content, is_packed = _packed(record.content)
        item = {
            **_key(record.id),
            "revision": _number(record.revision),
            "home": {"S": record.home or _ALONE},
            "place": {"S": _place(record.created_at, record.id)},
            "number": {"S": record.number},
            "status": {"S": record.status.value},
            "created_at": _number(record.created_at),
            "updated_at": _number(record.updated_at),
            "has_ended": {"BOOL": record.has_ended},
            "content": _binary(content),
        }
        if is_packed:
            item["packed"] = {"BOOL": True}
        for name in ("owner_hash", "email_hash"):
            value = getattr(record, name)
            if value is not None:
                item[name] = {"S": value}
        if record.has_ended and self._keep_ms is not None:
            item[TTL] = _number((record.updated_at + self._keep_ms) // 1000)
        return item

    async def _conditional_call(self, operation: str, **parameters: Any) -> bool:
        """False if its condition is not met."""
        try:
            await self._call(operation, **parameters)
        except ArchiveUnavailable as error:
            if isinstance(error.__cause__, AwsRejected) and error.__cause__.code == _NOT_MET:
                return False
            raise
        return True

    async def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        try:
            return await self._call_raw(operation, {"TableName": self._table, **parameters})
        except AwsError as error:
            raise ArchiveUnavailable(f"the archive, table {self._table} of DynamoDB: {error}") from error

    async def _call_raw(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        return await self._calls.call(operation, parameters, deadline_s=DEADLINE_S)


def _record(item: Mapping[str, Any]) -> ArchivedOrder:
    home = item["home"]["S"]
    content = base64.b64decode(item["content"]["B"])
    is_packed = "packed" in item and item["packed"]["BOOL"]
    return ArchivedOrder(
        id=OrderId(item["pk"]["S"].partition("#")[2]),
        revision=int(item["revision"]["N"]),
        status=OrderStatus(item["status"]["S"]),
        number=item["number"]["S"],
        created_at=int(item["created_at"]["N"]),
        updated_at=int(item["updated_at"]["N"]),
        content=zlib.decompress(content) if is_packed else content,
        owner_hash=item["owner_hash"]["S"] if "owner_hash" in item else None,
        email_hash=item["email_hash"]["S"] if "email_hash" in item else None,
        home="" if home == _ALONE else home,
        has_ended=item["has_ended"]["BOOL"],
    )


def _packed(content: bytes) -> tuple[bytes, bool]:
    """The content as it is stored, and whether that is packed."""
    return (zlib.compress(content, 1), True) if len(content) >= PACKED_FROM else (content, False)


def _key(order_id: OrderId) -> dict[str, Any]:
    return {"pk": {"S": f"order#{order_id}"}, "sk": {"S": "record"}}


def _key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


def _number(value: int) -> dict[str, str]:
    return {"N": str(value)}


def _binary(value: bytes) -> dict[str, str]:
    return {"B": base64.b64encode(value).decode()}


def _place(created_at: int, order_id: OrderId) -> str:
    return f"{created_at:013d}#{order_id}"


def _position(place: str) -> Position:
    created_at, _, order_id = place.partition("#")
    return Position(int(created_at), OrderId(order_id))


def _validated(cursor: str) -> OrderId:
    order_id = parse_order_id(cursor)
    if order_id is None:
        raise ValueError(f"not a cursor of this archive: {cursor!r}")
    return order_id


_CHECKED: Final = _key(OrderId("check"))
