"""The archive of orders, for each adapter."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from cart.ids import new_cart_id, order_id_for
from cart.model import OrderId
from checkout.archive.memory_archive import MemoryArchive
from checkout.archive.sqlite_archive import SqliteArchive
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.archive import Archive, ArchivedOrder, ArchiveMisconfigured, ArchiveUnavailable, Position

REGION = "eu-west-2"


class Credentials:
    access_key = secret_key = "testing"
    token = None

    async def get_frozen_credentials(self) -> Credentials:
        return self


@asynccontextmanager
async def open_client(endpoint: str) -> AsyncIterator[Any]:
    """As `open_json_client`, without the half second that reading the description of DynamoDB takes."""
    from checkout.aws.json_client import AwsJsonClient, Endpoint

    async with aiohttp.ClientSession() as http:
        yield AwsJsonClient(http, Endpoint(endpoint, REGION, "dynamodb", "DynamoDB_20120810", "1.0"), Credentials())


@asynccontextmanager
async def dynamodb(endpoint: str, *, keep_ms: int | None = None) -> AsyncIterator[Any]:
    """An archive in a table of its own."""
    from checkout.archive.dynamodb_archive import DynamoDbArchive, table_definition

    table = f"orders-{secrets.token_hex(4)}"
    async with open_client(endpoint) as client:
        await client.call("CreateTable", table_definition(table))
        yield DynamoDbArchive(client, table, keep_ms=keep_ms)


@pytest.fixture(params=["memory", "sqlite", pytest.param("dynamodb", marks=pytest.mark.slow)])
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    if request.param == "memory":
        yield MemoryArchive()
    elif request.param == "sqlite":
        on_disk = SqliteArchive(tmp_path / "archive.sqlite3")
        await on_disk.open()
        yield on_disk
        await on_disk.close()
    else:
        async with dynamodb(request.getfixturevalue("sqs_endpoint")) as table:
            yield table


def record(*, at: int = 1000, revision: int = 1, **members: Any) -> ArchivedOrder:
    order_id = members.pop("id", None) or order_id_for(new_cart_id(), 1)
    return ArchivedOrder(
        id=order_id,
        revision=revision,
        number=order_number(order_id),
        created_at=at,
        updated_at=at + revision,
        **{"status": OrderStatus.ACCEPTED, "content": b"%d\0\xff" % revision, **members},
    )


def later(archived: ArchivedOrder, **members: Any) -> ArchivedOrder:
    return msgspec.structs.replace(archived, revision=archived.revision + 1, content=b"later", **members)


def place(archived: ArchivedOrder) -> Position:
    return Position(archived.created_at, archived.id)


async def test_a_record_is_read_as_it_was_put(archive: Archive) -> None:
    full = record(owner_hash="o" * 32, email_hash="e" * 32, home="eu-west-2", has_ended=True)
    await archive.put([full, plain := record()])
    assert await archive.read(full.id) == full
    assert await archive.read(plain.id) == plain
    assert await archive.read(order_id_for(new_cart_id(), 1)) is None


async def test_a_record_is_read_without_a_task(archive: Archive) -> None:
    """As the server steps the handlers of its hot routes."""
    await archive.put([stored := record()])
    assert await stepped(archive.read(stored.id)) == stored


async def test_a_long_record_is_read_as_it_was_put(archive: Archive) -> None:
    long = record(content=b"".join(b"line %d of an order, " % line for line in range(50_000)))
    await archive.put([long])
    assert await archive.read(long.id) == long
    assert await archive.erase(erased := msgspec.structs.replace(long, content=b"short"))
    assert await archive.read(long.id) == erased


async def test_a_later_revision_replaces_an_earlier_one(archive: Archive) -> None:
    await archive.put([first := record(owner_hash="ada")])
    await archive.put([second := later(first, status=OrderStatus.CANCELLED, has_ended=True)])
    assert await archive.read(first.id) == second
    assert await archive.of_owner("ada", limit=10) == [place(first)]


async def test_an_earlier_revision_never_replaces_a_later_one(archive: Archive) -> None:
    first = record()
    await archive.put([second := later(first)])
    await archive.put([first])
    await archive.put([msgspec.structs.replace(second, content=b"the same revision again")])
    assert await archive.read(first.id) == second


@pytest.mark.parametrize("is_reversed", [False, True])
async def test_several_revisions_of_an_order_may_be_put_at_once(archive: Archive, is_reversed: bool) -> None:
    first = record()
    second = later(first)
    third = later(second)
    await archive.put([third, second, first] if is_reversed else [first, second, third])
    assert await archive.read(first.id) == third


async def test_only_the_home_of_an_order_changes_its_record(archive: Archive) -> None:
    await archive.put([first := record(home="eu-west-2")])
    await archive.put([later(first, home="us-east-1")])
    assert await archive.read(first.id) == first


async def test_nothing_is_put_without_an_error(archive: Archive) -> None:
    await archive.put([])


async def test_orders_are_found_by_their_number(archive: Archive) -> None:
    one, twin = record(), record()
    twin = msgspec.structs.replace(twin, number=one.number)
    await archive.put([one, twin, record()])
    assert list(await archive.by_number(one.number)) == sorted([one.id, twin.id])
    assert list(await archive.by_number("22222-22222")) == []


@pytest.mark.parametrize("by", ["owner_hash", "email_hash"])
async def test_pages_have_each_order_of_a_shopper_once_the_latest_first(archive: Archive, by: str) -> None:
    # Two were accepted at the same time.
    ada: dict[str, Any] = {by: "ada"}
    bob: dict[str, Any] = {by: "bob"}
    mine = [record(at=at, **ada) for at in (1000, 1001, 1001, 1002, 999, 10_000)]
    await archive.put([*mine, record(**bob), record()])
    find = archive.of_owner if by == "owner_hash" else archive.of_email
    seen: list[Sequence[Position]] = []
    while not seen or seen[-1]:
        seen.append(await find("ada", limit=4, after=seen[-1][-1] if seen else None))
    wanted = sorted(map(place, mine), key=lambda each: (each.created_at, each.order_id), reverse=True)
    assert seen == [wanted[:4], wanted[4:], []]


async def test_a_page_may_begin_behind_an_order_that_is_not_in_the_archive(archive: Archive) -> None:
    await archive.put([older := record(at=1000, owner_hash="ada"), record(at=1002, owner_hash="ada")])
    found = await archive.of_owner("ada", limit=10, after=Position(1001, order_id_for(new_cart_id(), 1)))
    assert found == [place(older)]


async def test_a_scan_has_every_record_once(archive: Archive) -> None:
    records = [record(at=at) for at in range(1000, 1007)]
    await archive.put(records)
    assert sorted(await scanned(archive, limit=3), key=by_id) == sorted(records, key=by_id)


async def test_a_scan_may_be_of_a_time(archive: Archive) -> None:
    records = [record(at=at) for at in range(1000, 1007)]
    await archive.put(records)
    found = await scanned(archive, limit=2, accepted_from=1002, accepted_before=1005)
    assert sorted(found, key=by_id) == sorted(records[2:5], key=by_id)


async def test_a_scan_of_nothing_ends(archive: Archive) -> None:
    assert await scanned(archive) == []


async def test_a_cursor_of_something_else_is_refused(archive: Archive) -> None:
    with pytest.raises(ValueError, match=r"cursor|int"):
        await archive.scan(cursor="elsewhere")


async def test_an_erased_record_is_not_found_by_its_shopper(archive: Archive) -> None:
    await archive.put([full := record(owner_hash="ada", email_hash="post")])
    erased = msgspec.structs.replace(full, content=b"erased", owner_hash=None, email_hash=None)
    assert await archive.erase(erased)
    assert await archive.read(full.id) == erased
    assert not await archive.of_owner("ada", limit=10)
    assert not await archive.of_email("post", limit=10)
    assert list(await archive.by_number(full.number)) == [full.id]


async def test_an_erasure_may_keep_the_owner(archive: Archive) -> None:
    await archive.put([full := record(owner_hash="ada", email_hash="post")])
    erased = msgspec.structs.replace(full, content=b"erased", email_hash=None)
    assert await archive.erase(erased)
    assert await archive.read(full.id) == erased
    assert list(await archive.of_owner("ada", limit=10)) == [place(full)]


async def test_an_order_that_has_changed_is_not_erased(archive: Archive) -> None:
    await archive.put([first := record(owner_hash="ada")])
    await archive.put([second := later(first)])
    assert not await archive.erase(msgspec.structs.replace(first, content=b"erased"))
    assert not await archive.erase(record())
    assert await archive.read(first.id) == second


async def test_only_the_home_of_an_order_erases_its_record(archive: Archive) -> None:
    await archive.put([first := record(home="eu-west-2", owner_hash="ada")])
    elsewhere = msgspec.structs.replace(first, home="us-east-1", content=b"erased", owner_hash=None)
    assert not await archive.erase(elsewhere)
    assert not await archive.erase(msgspec.structs.replace(elsewhere, home=""))
    assert await archive.read(first.id) == first
    assert await archive.erase(erased := msgspec.structs.replace(elsewhere, home="eu-west-2"))
    assert await archive.read(first.id) == erased


async def test_an_archive_that_works_passes_its_check(archive: Archive) -> None:
    await archive.check()


def stepped(reading: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """The result of a coroutine that no task runs."""
    loop = asyncio.get_running_loop()
    result: asyncio.Future[Any] = loop.create_future()

    def step(_done: object = None) -> None:
        try:
            awaited = reading.send(None)
        except StopIteration as end:
            result.set_result(end.value)
        except Exception as error:  # noqa: BLE001 - the test gets it
            result.set_exception(error)
        else:
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(step)

    loop.call_soon(step)
    return result


def by_id(archived: ArchivedOrder) -> OrderId:
    return archived.id


async def scanned(archive: Archive, **options: Any) -> list[ArchivedOrder]:
    page = await archive.scan(**options)
    found = list(page.records)
    while page.cursor is not None:
        page = await archive.scan(cursor=page.cursor, **options)
        found += page.records
    return found


# DynamoDB


@pytest.mark.slow
async def test_dynamodb_deletes_ended_orders_when_they_have_been_kept_long_enough(sqs_endpoint: str) -> None:
    async with dynamodb(sqs_endpoint, keep_ms=60_000) as archive:
        await archive.put([going := record(at=1000), ended := record(at=1000, has_ended=True)])
        assert await expiry_of(archive, going) is None
        assert await expiry_of(archive, ended) == 61
        assert await archive.expire() == 0


@pytest.mark.slow
async def test_a_table_that_does_not_exist_is_reported(sqs_endpoint: str) -> None:
    from checkout.archive.dynamodb_archive import DynamoDbArchive

    async with open_client(sqs_endpoint) as client:
        with pytest.raises(ArchiveMisconfigured, match="table missing of DynamoDB, does not exist: make it"):
            await DynamoDbArchive(client, "missing").check()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["keys", "indexes"])
async def test_a_table_of_something_else_is_reported(sqs_endpoint: str, wrong: str) -> None:
    from checkout.archive.dynamodb_archive import DynamoDbArchive, table_definition

    definition = table_definition(table := f"other-{wrong}")
    if wrong == "keys":
        definition["KeySchema"] = definition["KeySchema"][:1]
        del definition["GlobalSecondaryIndexes"]
    else:
        definition["GlobalSecondaryIndexes"] = definition["GlobalSecondaryIndexes"][:1]
    used = {key["AttributeName"] for schema in key_schemas(definition) for key in schema}
    definition["AttributeDefinitions"] = [
        each for each in definition["AttributeDefinitions"] if each["AttributeName"] in used
    ]
    async with open_client(sqs_endpoint) as client:
        await client.call("CreateTable", definition)
        with pytest.raises(
            ArchiveMisconfigured, match="is no archive" if wrong == "keys" else "no index by_owner, by_email"
        ):
            await DynamoDbArchive(client, table).check()


async def test_credentials_that_may_not_use_the_table_are_reported() -> None:
    from checkout.archive.dynamodb_archive import DynamoDbArchive
    from checkout.aws.errors import AwsRejected

    class Denied:
        async def call(self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float) -> dict[str, Any]:
            raise AwsRejected("AccessDeniedException", f"not authorized to perform: dynamodb:{operation}", status=400)

    with pytest.raises(ArchiveMisconfigured, match=r"refuses these credentials.*dynamodb:DescribeTable"):
        await DynamoDbArchive(Denied(), "orders").check()


async def test_a_table_that_cannot_be_reached_is_an_outage() -> None:
    from checkout.archive.dynamodb_archive import DynamoDbArchive
    from checkout.aws.errors import AwsUnreachable

    class Away:
        async def call(self, operation: str, parameters: Mapping[str, Any], *, deadline_s: float) -> dict[str, Any]:
            raise AwsUnreachable("no response")

    archive = DynamoDbArchive(Away(), "orders")
    with pytest.raises(ArchiveUnavailable, match="table orders of DynamoDB: no response"):
        await archive.put([record()])
    with pytest.raises(ArchiveUnavailable):
        await archive.read(order_id_for(new_cart_id(), 1))


def key_schemas(definition: dict[str, Any]) -> list[Any]:
    return [definition["KeySchema"], *(each["KeySchema"] for each in definition.get("GlobalSecondaryIndexes", ()))]


async def expiry_of(archive: Any, archived: ArchivedOrder) -> int | None:
    item = (await archive._call("GetItem", Key={"pk": {"S": f"order#{archived.id}"}, "sk": {"S": "record"}}))["Item"]
    return int(item["expires_at"]["N"]) if "expires_at" in item else None
