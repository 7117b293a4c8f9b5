"""The embedded archive: kills, several processes, a full disk, and what is left in its files."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cart.ids import new_cart_id, order_id_for
from checkout.archive.sqlite_archive import SqliteArchive
from checkout.order_number import order_number
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchivedOrder, ArchiveMisconfigured, ArchiveUnavailable
from tests.small_disk import disk, fill, make_room  # noqa: F401  fixture

# Puts one record after another, and writes the id of each that is durable.
WRITER = """
import asyncio, sys
from cart.ids import new_cart_id, order_id_for
from checkout.archive.sqlite_archive import SqliteArchive
from checkout.order_status import OrderStatus
from checkout.ports.archive import ArchivedOrder

async def main():
    archive = SqliteArchive(sys.argv[1])
    await archive.open()
    for _ in range(int(sys.argv[2])):
        order_id = order_id_for(new_cart_id(), 1)
        await archive.put([ArchivedOrder(id=order_id, revision=1, status=OrderStatus.ACCEPTED, number="2", created_at=1,
            updated_at=1, content=b"x" * 500)])
        print(order_id, flush=True)
    await archive.close()

asyncio.run(main())
"""


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncIterator[SqliteArchive]:
    archive = SqliteArchive(path, **options)
    await archive.open()
    try:
        yield archive
    finally:
        await archive.close()


def record(**members: Any) -> ArchivedOrder:
    order_id = order_id_for(new_cart_id(), 1)
    defaults = {
        "revision": 1,
        "status": OrderStatus.ACCEPTED,
        "created_at": 1000,
        "updated_at": 1000,
        "content": b"content",
    }
    return ArchivedOrder(id=order_id, number=order_number(order_id), **{**defaults, **members})


def writer(path: Path, puts: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(puts)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )


def in_files(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


async def ids_in(archive: SqliteArchive) -> set[str]:
    return {each.id for each in (await archive.scan(limit=10_000)).records}


async def test_a_killed_process_loses_no_record_that_was_durable(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite3"
    with writer(path, 100_000) as process:
        assert process.stdout is not None
        durable = [process.stdout.readline().strip() for _ in range(20)]
        process.kill()
        durable += process.stdout.read().split()
    async with opened(path) as archive:
        assert {each for each in durable if len(each) == len(durable[0])} <= await ids_in(archive)
        with sqlite3.connect(path) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_several_processes_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite3"
    processes = [writer(path, 50) for _ in range(3)]
    written = {order_id for process in processes for order_id in process.communicate()[0].split()}
    assert [process.returncode for process in processes] == [0, 0, 0]
    async with opened(path) as archive:
        assert await ids_in(archive) == written
        assert len(written) == 150


async def test_records_that_wait_share_a_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path / "archive.sqlite3") as archive:
        first = asyncio.create_task(archive.put([record()]))
        others = [asyncio.create_task(archive.put([record()])) for _ in range(50)]
        await asyncio.gather(first, *others)
        assert archive.transactions <= 3
        assert len(await ids_in(archive)) == 51


async def test_a_caller_that_is_cancelled_takes_no_record_of_another_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path / "archive.sqlite3") as archive:
        leaving = asyncio.create_task(archive.put([record()]))
        staying = asyncio.create_task(archive.put([kept := record()]))
        await asyncio.sleep(0)
        leaving.cancel()
        await staying
        assert await archive.read(kept.id) == kept


async def test_a_full_disk_is_an_outage_that_ends_with_it(disk: Path) -> None:  # noqa: F811
    large = record(content=os.urandom(200_000))
    async with opened(disk / "archive.sqlite3") as archive:
        await archive.put([before := record()])
        fill(disk)
        with pytest.raises(ArchiveUnavailable):
            await archive.put([large])
        assert await archive.read(before.id) == before
        make_room(disk)
        await archive.put([large])
        assert await archive.read(large.id) == large


async def test_an_erasure_leaves_nothing_in_the_files(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite3"
    secret = b"ada@example.org" * 20
    async with opened(path) as archive:
        await archive.put([full := record(content=secret)])
        await archive.put([full := msgspec.structs.replace(full, revision=2, content=secret + b"!")])
        assert secret in in_files(tmp_path)
        assert await archive.erase(msgspec.structs.replace(full, content=b"erased"))
        assert secret not in in_files(tmp_path)


async def test_ended_orders_are_kept_as_long_as_told(tmp_path: Path) -> None:
    now = 10_000
    async with opened(tmp_path / "archive.sqlite3", keep_ms=1000, clock_ms=lambda: now) as archive:
        old = [record(created_at=1, updated_at=8999, has_ended=True) for _ in range(3)]
        kept = [
            record(created_at=1, updated_at=8999),
            record(created_at=1, updated_at=9000, has_ended=True),
        ]
        await archive.put([*old, *kept])
        assert await archive.expire() == 3
        assert await ids_in(archive) == {each.id for each in kept}
        assert await archive.expire() == 0


async def test_the_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "archive.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ArchiveMisconfigured, match="another version"):
        async with opened(path):
            pass


async def test_a_directory_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveMisconfigured, match=r"archive\.sqlite3"):
        async with opened(tmp_path / "file" / "archive.sqlite3"):
            pass
