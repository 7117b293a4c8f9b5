"""The Redis adapter of `Carts`: size in the store, expiry, short replies, and cached carts that are outdated."""

from __future__ import annotations

import msgspec
import pytest
from redis.crc import key_slot

from cart.errors import CartClosed
from cart.ids import new_cart_id, new_own_cart_id
from cart.model import DAY_MS, Cart, CartId, Limits, Line, Sku
from cart.ports import Write
from cart.redis_carts import RedisCarts
from cart.stored import cart_key, keys_key, marker_key, own_cart_key
from cart.timestamps import unix_ms
from store import Store
from tests.contract.cart.stores import KilledStore, RecordingStore

LIMITS = Limits()


def at(now: int, *, owner: str | None = None) -> Write:
    return Write(now=now, limits=LIMITS, owner=owner)


async def made(carts: RedisCarts, now: int, line_count: int = 0, *, owner: str | None = None) -> Cart:
    cart = Cart(id=new_cart_id(), currency="GBP", created_at=now, updated_at=now, owner=owner)
    await carts.create(cart, limits=LIMITS)
    lines = [Line(Sku(f"{22000 + n}A"), 1 + n * 7 % 24, 125 + n * 310) for n in range(line_count)]
    for line in lines:
        cart = await carts.add_line(cart.id, line, currency="GBP", write=at(now, owner=owner))
    return cart


async def expiry_of(store: Store, cart_id: CartId) -> int:
    return int(await store.execute("PEXPIRETIME", cart_key(cart_id)))


@pytest.mark.parametrize("owner", [None, "3f1c2a52-6b1e-4c7e-9d2a-0a4f5a0b7c11"])
async def test_five_lines_take_less_than_a_kibibyte(store: Store, owner: str | None) -> None:
    cart = await made(RedisCarts(store), unix_ms(), 5, owner=owner)
    assert await store.execute("MEMORY", "USAGE", cart_key(cart.id)) <= 1024


async def test_five_lines_of_the_longest_skus_take_less_than_a_kibibyte(store: Store) -> None:
    now, carts = unix_ms(), RedisCarts(store)
    cart = await made(carts, now)
    lines = [Line(Sku(f"{n}" * 64), 10_000, 99_999_999) for n in range(5)]
    await carts.set_lines(cart.id, lines, currency="GBP", write=at(now))
    assert await store.execute("MEMORY", "USAGE", cart_key(cart.id)) <= 1024


@pytest.mark.parametrize(("owner", "days"), [(None, 30), ("ada", 90)])
async def test_a_cart_expires_a_fixed_time_after_its_last_change(store: Store, owner: str | None, days: int) -> None:
    now, carts = unix_ms(), RedisCarts(store)
    cart = await made(carts, now, owner=owner)
    assert now + days * DAY_MS <= await expiry_of(store, cart.id) <= unix_ms() + days * DAY_MS
    assert cart.expires_at(LIMITS) == now + days * DAY_MS

    line, changed_at = Line(Sku("85123A"), 2, 255), unix_ms()
    cart = await carts.add_line(cart.id, line, currency="GBP", write=at(changed_at, owner=owner))
    expires_at = await expiry_of(store, cart.id)
    assert cart.expires_at(LIMITS) == changed_at + days * DAY_MS <= expires_at <= unix_ms() + days * DAY_MS

    await carts.read(cart.id, owner=owner)
    await carts.set_lines(cart.id, [line], currency="GBP", write=at(now + 9, owner=owner))
    assert await expiry_of(store, cart.id) == expires_at


@pytest.mark.parametrize("off_ms", [-365 * DAY_MS, -600_000, 600_000, 365 * DAY_MS])
async def test_the_clock_of_a_process_does_not_decide_when_a_cart_expires(store: Store, off_ms: int) -> None:
    before, carts = unix_ms(), RedisCarts(store)
    cart = await made(carts, before + off_ms)
    assert before + 30 * DAY_MS <= await expiry_of(store, cart.id) <= unix_ms() + 30 * DAY_MS

    await store.execute("PEXPIRE", cart_key(cart.id), 1000 * DAY_MS)
    line = Line(Sku("85123A"), 2, 255)
    for off in (off_ms, 0, -off_ms):  # one process after another
        await carts.add_line(cart.id, line, currency="GBP", write=at(before + off))
        assert before + 30 * DAY_MS <= await expiry_of(store, cart.id) <= unix_ms() + 30 * DAY_MS


async def test_only_a_write_with_an_idempotency_key_makes_a_record_which_lives_for_a_day(store: Store) -> None:
    carts = RedisCarts(store)
    cart = await made(carts, unix_ms(), 2)
    assert await store.execute("EXISTS", keys_key(cart.id)) == 0
    for n in range(60):
        write = msgspec.structs.replace(at(unix_ms()), key=f"{n:020}{n:020}")
        await carts.add_line(cart.id, Line(Sku("85123A"), 1, 255), currency="GBP", write=write)
    assert DAY_MS - 60_000 < await store.execute("PTTL", keys_key(cart.id)) <= DAY_MS
    assert await store.execute("STRLEN", keys_key(cart.id)) == 50 * 40
    await carts.add_line(cart.id, Line(Sku("85123A"), 1, 255), currency="GBP", write=at(unix_ms()))
    assert await store.execute("STRLEN", keys_key(cart.id)) == 50 * 40


async def test_a_merged_cart_expires_a_fixed_time_after_the_merge(store: Store) -> None:
    now, carts = unix_ms(), RedisCarts(store)
    source, target = await made(carts, now, 2), await made(carts, now)
    await carts.merge(target.id, source.id, "sum", write=at(now + 7000))
    closed = await carts.read(source.id)
    assert closed.expires_at(LIMITS) == now + 7000 + 30 * DAY_MS
    assert now + 30 * DAY_MS <= await expiry_of(store, source.id) <= unix_ms() + 30 * DAY_MS


@pytest.mark.parametrize("off_ms", [-365 * DAY_MS, -600_000, 600_000, 365 * DAY_MS])
async def test_the_clock_of_a_process_does_not_decide_when_merged_carts_and_their_markers_expire(
    store: Store, off_ms: int
) -> None:
    now, carts = unix_ms(), RedisCarts(store)
    source, target = await made(carts, now, 2), await made(carts, now)
    for cart in (source, target):
        await store.execute("PEXPIRE", cart_key(cart.id), 1_000_000)
    merging = RedisCarts(KilledStore(store, at=2, after_running=False))  # before its last step
    await merging.merge(target.id, source.id, "sum", write=at(now + off_ms))
    for cart in (source, target):
        assert now + 30 * DAY_MS <= await expiry_of(store, cart.id) <= unix_ms() + 30 * DAY_MS
    assert await store.execute("PTTL", marker_key(target.id, source.id)) > 90 * DAY_MS
    expires_at = await expiry_of(store, source.id)
    assert (await carts.read(source.id)).status == "merged"
    assert await expiry_of(store, source.id) == expires_at


async def test_the_own_cart_is_noted_in_its_partition_and_longer_than_it_lives(store: Store) -> None:
    carts = RedisCarts(store)

    def new() -> Cart:
        now = unix_ms()
        return Cart(
            id=new_own_cart_id("ada@example.com"),
            currency="GBP",
            created_at=now,
            updated_at=now,
            owner="ada@example.com",
        )

    cart = await carts.own(new(), limits=LIMITS)
    key = own_cart_key("ada@example.com")
    assert key_slot(key.encode()) == key_slot(cart_key(cart.id).encode())
    assert await store.execute("PTTL", key) > 179 * DAY_MS
    await store.execute("PEXPIRE", key, 1000)
    assert await carts.own(new(), limits=LIMITS) == cart
    assert await store.execute("PTTL", key) > 179 * DAY_MS
    assert b"ada@" not in b"".join(await store.execute("KEYS", "*"))


async def test_a_write_to_a_cached_cart_replies_with_its_version_only(store: Store) -> None:
    now, recording = unix_ms(), RecordingStore(store)
    carts = RedisCarts(recording)
    cart = await made(carts, now, 3)
    await carts.set_lines(cart.id, [Line(Sku("85123A"), 1, 5)], currency="GBP", write=at(now))
    await carts.remove_line(cart.id, Sku("85123A"), write=at(now))
    assert [reply[0] for reply in recording.replies[1:]] == [b"applied"] * 5


async def test_a_write_to_an_outdated_cached_cart_replies_with_all_lines(store: Store) -> None:
    now, recording = unix_ms(), RecordingStore(store)
    local, elsewhere = RedisCarts(recording), RedisCarts(store)
    cart = await made(local, now, 3)
    theirs = await elsewhere.add_line(cart.id, Line(Sku("85123A"), 1, 5), currency="GBP", write=at(now + 1))
    ours = await local.add_line(cart.id, Line(Sku("85123A"), 1, 5), currency="GBP", write=at(now + 2))
    assert recording.replies[-1][0] == b"whole"
    assert (ours.version, ours.item_count) == (theirs.version + 1, theirs.item_count + 1)
    assert await elsewhere.read(cart.id) == ours == await local.read(cart.id)


async def test_a_cached_cart_is_dropped_when_the_store_lost_its_last_write(store: Store) -> None:
    now, recording = unix_ms(), RecordingStore(store)
    local, elsewhere = RedisCarts(recording), RedisCarts(store)
    cart = await made(local, now, 1)
    backup = await store.execute("DUMP", cart_key(cart.id))
    await local.add_line(cart.id, Line(Sku("lost"), 1, 5), currency="GBP", write=at(now + 1))
    await store.execute("RESTORE", cart_key(cart.id), 0, backup, "REPLACE")
    await elsewhere.add_line(cart.id, Line(Sku("kept"), 1, 5), currency="GBP", write=at(now + 2))

    assert [line.sku for line in (await local.read(cart.id)).lines] == ["22000A", "kept"]
    await local.add_line(cart.id, Line(Sku("lost"), 1, 5), currency="GBP", write=at(now + 3))
    await store.execute("RESTORE", cart_key(cart.id), 0, backup, "REPLACE")
    for n in range(2):
        await elsewhere.add_line(cart.id, Line(Sku(f"new {n}"), 1, 5), currency="GBP", write=at(now + 4))
    written = await local.add_line(cart.id, Line(Sku("last"), 1, 5), currency="GBP", write=at(now + 5))
    assert [line.sku for line in written.lines] == ["22000A", "new 0", "new 1", "last"]


async def test_a_cached_cart_that_another_process_closed_is_not_read_as_open(store: Store) -> None:
    now, local = unix_ms(), RedisCarts(store)
    cart = await made(local, now, 2)
    await store.execute("HSET", cart_key(cart.id), "\1s", "ordered", "\1o", "7f" + "b" * 24)
    assert (await local.read(cart.id)).status == "ordered"
    with pytest.raises(CartClosed):
        await local.add_line(cart.id, Line(Sku("85123A"), 1, 5), currency="GBP", write=at(now))


async def test_an_empty_cache_changes_no_result(store: Store) -> None:
    now, carts = unix_ms(), RedisCarts(store, cached_lines=0)
    cart = await made(carts, now, 5)
    assert await carts.read(cart.id) == cart
    assert len(cart.lines) == 5


async def test_positions_of_lines_are_exact_after_years_of_changes(store: Store) -> None:
    # Places rise with every line ever added; packed numbers beyond 2^53 would lose their quantity.
    now, carts = unix_ms(), RedisCarts(store)
    cart = await made(carts, now, 1)
    await store.execute("HSET", cart_key(cart.id), "\1q", 2**33 - 2)
    for sku in ("late", "later"):
        await RedisCarts(store).add_line(cart.id, Line(Sku(sku), 9_999, 12), currency="GBP", write=at(now))
    stored = await RedisCarts(store).read(cart.id)
    assert stored.lines[1:] == (Line(Sku("late"), 9_999, 12), Line(Sku("later"), 9_999, 12))
