"""Every script has a class: what it does on a store whose memory is full."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

import store
from checkout.redis import inventory, stock
from gateway.waitingroom import redis_rooms
from store import Client, Script, StoreUnavailable, open_client
from store.embedded import EmbeddedServer

ROOT: Final = Path(store.__file__).parents[1]
# The first line of scripts that free memory or finish what is stored already, which run without room; and of those that only
# read. A script without such a line must be named below.
FINISHES: Final = "#!lua flags=allow-oom"
READS: Final = "#!lua flags=no-writes"
# Their first write frees memory, which the server allows to any script, and after it all others.
FREEING_FIRST: Final = {"cart/scripts": {"delete", "remove_line"}}
# The others store something new, so they are refused as a whole, or are composed of several files, and have their flags then:
# those of a room with its common part, those of a cart with `write`, those of stock with the functions that they share.
GROWING: Final = {
    "cart/catalog/scripts": {"put_product", "stock_book", "trend"},
    "cart/scripts": {
        "add_line",
        "create",
        "create_own",
        "many",
        "merge_absorb",
        "merge_begin",
        "merge_check",
        "set_lines",
        "write",
    },
    "checkout/redis/scripts": {
        *(
            "adjust_stock",
            "begin",
            "cart_hold",
            "commit",
            "complete",
            "free_cart_holds",
            "hold",
            "hold_changes",
            "purchases",
            "put_session",
            "remember",
        ),
        *("restock", "restore", "return_stock", "webhook_add"),
    },
    "gateway/ratelimit/scripts": {"take"},
    "gateway/waitingroom/scripts": {"room", "room_bought", "room_report", "room_touch", "room_visit"},
}


def members(classes: dict[str, set[str]]) -> set[str]:
    return {f"{folder}/{name}.lua" for folder, names in classes.items() for name in names}


def all_scripts() -> set[str]:
    folders = ("cart", "checkout", "gateway", "store")
    return {str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.lua")}


def flags_of(name: str) -> str:
    first_line = (ROOT / name).read_text().partition("\n")[0]
    return first_line if first_line.startswith("#!") else ""


def test_every_script_has_one_class() -> None:
    without_flags = {name for name in all_scripts() if not flags_of(name)}
    assert without_flags == members(FREEING_FIRST) | members(GROWING)
    assert {flags_of(name) for name in all_scripts() - without_flags} == {FINISHES, READS}


def test_sessions_of_a_room_go_on_without_room_and_places_are_not_given() -> None:
    finishing = (redis_rooms.TOUCH, redis_rooms.BOUGHT, redis_rooms.REPORT)
    assert all(script.text.startswith("#!lua flags=allow-oom\n") for script in finishing)
    assert not redis_rooms.VISIT.text.startswith("#!")


def test_stock_comes_back_without_room() -> None:
    for script in (stock.RESTOCK, stock.RETURN_STOCK, stock.COMPLETE, inventory.ADJUST_STOCK):
        assert script.text.startswith("#!lua flags=allow-oom\n")


@pytest.fixture(scope="module")
def full_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path_factory.mktemp("full"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def full_store(full_server: EmbeddedServer) -> AsyncIterator[Client]:
    client = await open_client(full_server.url, deadline_s=5.0)
    await client.execute("CONFIG", "SET", "maxmemory", "0")
    await client.execute("SET", "key", "value")
    await client.execute("CONFIG", "SET", "maxmemory", "1")
    yield client
    await client.close()


@pytest.mark.parametrize(
    ("first_line", "call"), [(FINISHES, "redis.call('SET', KEYS[1], 'other')"), (READS, "redis.call('GET', KEYS[1])")]
)
async def test_the_server_starts_scripts_that_finish_or_read(full_store: Client, first_line: str, call: str) -> None:
    await full_store.run(Script(f"{first_line}\n{call}"), ["key"])


async def test_the_server_refuses_scripts_that_grow_before_their_first_write(full_store: Client) -> None:
    with pytest.raises(StoreUnavailable) as refused:
        await full_store.run(Script("redis.call('SET', KEYS[1], 'new')"), ["key"])
    assert refused.value.reason.is_full
    assert await full_store.execute("GET", "key") != b"new"
    await full_store.run(Script("redis.call('DEL', KEYS[1]) redis.call('SET', KEYS[1], 'new')"), ["key"])
    assert await full_store.execute("GET", "key") == b"new"
