"""Checkout sessions of agents, for both adapters: the store of sessions, and the protocol's calls over carts and checkout."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from cart.currencies import is_currency
from cart.errors import IdempotencyKeyMissing, IdempotencyKeyReused, InvalidBody
from cart.handlers import CartHandlers
from cart.ids import new_cart_id, partition_of
from cart.model import CartId
from checkout.agents.bodies import Buyer, CompleteSession, CreateSession, FulfillmentDetails, UpdateSession
from checkout.agents.errors import SessionChanged, SessionClosed, SessionNotFound
from checkout.agents.handlers import AgentHandlers, Call, Result
from checkout.agents.rendering import SessionRenderer
from checkout.agents.responses import SessionView
from checkout.agents.session import KNOWN_KEYS, LIFETIME_MS, Session, session_id_for
from checkout.errors import CartEmpty, OutOfStock, PriceChanged
from checkout.memory.agent_sessions import MemoryAgentSessions
from checkout.order_status import OrderStatus
from checkout.ports.agent_sessions import AgentSessions, SessionErasure
from checkout.privacy.memory_keys import MemoryKeys
from checkout.privacy.pseudonyms import Pseudonyms
from checkout.privacy.sealer import Sealer
from checkout.redis.agent_sessions import (
    BATCH,
    RedisAgentSessions,
    RedisSessionErasure,
    session_key,
    sessions_of_email_key,
)
from store import Client
from tests.contract.checkout.shop import BOX, MUG, FailingStore, Killed, MemoryShop, RedisShop, Shop, flat_rates

AGENT, AGENT_KEY = "openai", "0a" * 32
ADDRESS = {
    "name": "Ada Lovelace",
    "line_one": "12 St James's Square",
    "city": "London",
    "state": "LDN",
    "country": "GB",
    "postal_code": "SW1Y 4JH",
}
DETAILS = {"name": "Ada", "email": "ada@example.com", "address": ADDRESS}
ITEMS = [{"id": "li_1", "item": {"id": MUG}, "quantity": 2}]
PAYMENT = {
    "payment_data": {
        "handler_id": "h1",
        "instrument": {"type": "card", "credential": {"type": "spt", "token": "tok_ok"}},
    }
}


HASHES = Pseudonyms(b"a key")


def sessions_of(shop: Shop) -> AgentSessions:
    if isinstance(shop, RedisShop):
        return RedisAgentSessions(shop.store, Sealer(MemoryKeys()), HASHES)
    return MemoryAgentSessions(clock_ms=shop.now)


@pytest.fixture
def sessions(shop: Shop) -> AgentSessions:
    return sessions_of(shop)


@pytest.fixture
def erasure(sessions: AgentSessions, shop: Shop) -> SessionErasure:
    if isinstance(sessions, MemoryAgentSessions):
        return sessions
    assert isinstance(shop, RedisShop)
    return RedisSessionErasure(shop.store, HASHES)


def a_session(**members: Any) -> Session:
    given: dict[str, Any] = {"agent": AGENT, "currency": "GBP", "created_at": 1, "updated_at": 2}
    return Session(id=new_cart_id(), **(given | members))


class Agent:
    """An agent that calls the shop."""

    def __init__(self, shop: Shop, sessions: AgentSessions, name: str = AGENT) -> None:
        self.name = name
        self.calls = 0
        carts = CartHandlers(shop.carts, shop.prices, clock_ms=shop.now)
        tariff = flat_rates(standard=0, next_day=495)
        checkout = shop.handlers(tariff=tariff)
        renderer = SessionRenderer(
            checkout.pricing, tariff, order_url="https://shop.example/o/{order_id}", capabilities={}
        )
        self.handlers = AgentHandlers(sessions, carts, checkout, shop.prices, renderer, clock_ms=shop.now)

    def call(self, body: Any, key: str | None) -> Call:
        self.calls += 1
        return Call(self.name, AGENT_KEY, f"key-{self.calls}" if key is None else key, msgspec.json.encode(body))

    async def create(self, key: str | None = None, **body: Any) -> Result:
        body = {"line_items": ITEMS, "currency": "gbp", "capabilities": {}, "fulfillment_details": DETAILS} | body
        return await self.handlers.create(self.call(body, key), msgspec.convert(body, CreateSession))

    async def update(self, session_id: str, key: str | None = None, **body: Any) -> Result:
        return await self.handlers.update(session_id, self.call(body, key), msgspec.convert(body, UpdateSession))

    async def complete(self, session_id: str, key: str | None = None, **body: Any) -> Result:
        body = PAYMENT | body
        return await self.handlers.complete(session_id, self.call(body, key), msgspec.convert(body, CompleteSession))

    async def cancel(self, session_id: str, key: str | None = None) -> Result:
        return await self.handlers.cancel(session_id, self.call({}, key))

    async def read(self, session_id: str) -> SessionView:
        return await self.handlers.read(session_id, self.name)


@pytest.fixture
async def agent(shop: Shop, sessions: AgentSessions) -> Agent:
    await shop.set_stock(MUG, 10)
    await shop.set_stock(BOX, 10)
    return Agent(shop, sessions)


def total(view: SessionView) -> int:
    return next(each.amount for each in view.totals if each.type == "total")


def lines(view: SessionView) -> dict[str, int]:
    return {line.sku: line.quantity for line in view.line_items}


# --- the store of sessions


async def test_a_session_is_read_as_it_was_put(sessions: AgentSessions) -> None:
    session = a_session(shown_total=510, option_id="next_day", keys=(("a", "b"),))
    assert await sessions.read(session.id) is None
    assert await sessions.put(session, version=0)
    stored = await sessions.read(session.id)
    assert stored is not None
    assert (stored.session, stored.version) == (session, 1)


async def test_of_changes_at_once_one_is_stored(sessions: AgentSessions) -> None:
    session = a_session()
    assert await sessions.put(session, version=0)
    assert not await sessions.put(session, version=0)
    changes = [msgspec.structs.replace(session, shown_total=number) for number in range(8)]
    stored = await asyncio.gather(*(sessions.put(each, version=1) for each in changes))
    assert sum(stored) == 1
    now = await sessions.read(session.id)
    assert now is not None
    assert (now.session, now.version) == (changes[stored.index(True)], 2)


async def test_a_session_expires(shop: Shop, sessions: AgentSessions) -> None:
    session = a_session()
    await sessions.put(session, version=0)
    if isinstance(shop, RedisShop):
        left = await shop.store.execute("PTTL", session_key(session.id))
        assert LIFETIME_MS - 600_000 < left <= LIFETIME_MS
        await shop.store.execute("PEXPIRE", session_key(session.id), 0)
    elif isinstance(shop, MemoryShop):
        shop.now_ms += LIFETIME_MS
    assert await sessions.read(session.id) is None


async def test_nothing_personal_of_a_session_is_stored_in_plain_text(shop: Shop, agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    if isinstance(shop, RedisShop):
        fields = await shop.store.execute("HGETALL", session_key(CartId(session_id)))
        assert b"Ada" not in repr(fields).encode()
        assert b"ada@" not in repr(fields).encode()


# --- erasure


def of_buyer(email: str, **members: Any) -> Session:
    return a_session(buyer=Buyer(email=email), **members)


async def test_the_sessions_of_an_address_are_erased(sessions: AgentSessions, erasure: SessionErasure) -> None:
    # The buyer of one, whom to tell in another, both in a third, and the same address as another person types it.
    details = FulfillmentDetails(email="ada@example.com")
    own = [
        of_buyer("ada@example.com"),
        of_buyer("eve@example.com", details=details),
        of_buyer("ada@example.com", details=details),
        of_buyer(" Ada@Example.com"),
    ]
    others = [of_buyer("eve@example.com"), a_session()]
    for session in (*own, *others):
        assert await sessions.put(session, version=0)
    assert await erasure.erase_all_of("ADA@example.com") == len(own)
    assert [await sessions.read(each.id) for each in own] == [None] * len(own)
    assert all([await sessions.read(each.id) for each in others])
    assert await erasure.erase_all_of("ada@example.com") == 0


async def test_a_session_is_found_by_the_address_that_it_has_now(
    sessions: AgentSessions, erasure: SessionErasure
) -> None:
    session = of_buyer("ada@example.com")
    await sessions.put(session, version=0)
    await sessions.put(msgspec.structs.replace(session, buyer=Buyer(email="eve@example.com")), version=1)
    assert await erasure.erase_all_of("ada@example.com") == 0
    assert await sessions.read(session.id) is not None
    assert await erasure.erase_all_of("eve@example.com") == 1
    assert await sessions.read(session.id) is None


async def test_a_change_of_an_erased_session_stores_nothing(sessions: AgentSessions, erasure: SessionErasure) -> None:
    session = of_buyer("ada@example.com")
    await sessions.put(session, version=0)
    await erasure.erase_all_of("ada@example.com")
    assert not await sessions.put(session, version=1)
    assert await sessions.read(session.id) is None


async def test_sessions_that_change_during_an_erasure_are_erased(
    sessions: AgentSessions, erasure: SessionErasure
) -> None:
    own = [of_buyer("ada@example.com") for _ in range(20)]
    for session in own:
        await sessions.put(session, version=0)
    await asyncio.gather(erasure.erase_all_of("ada@example.com"), *(sessions.put(each, version=1) for each in own))
    assert [await sessions.read(each.id) for each in own] == [None] * len(own)


async def test_an_agent_that_changes_an_erased_session_does_not_find_it(agent: Agent, erasure: SessionErasure) -> None:
    session_id = (await agent.create()).view.id
    assert await erasure.erase_all_of("ada@example.com") == 1
    for call in (agent.read(session_id), agent.update(session_id), agent.complete(session_id)):
        with pytest.raises(SessionNotFound):
            await call


class StoreBetween:
    """A store on which something happens after each read of an index, before its reply is used."""

    def __init__(self, store: Client, between: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._between = between
        self.run = store.run

    async def execute(self, *command: Any) -> Any:
        reply = await self._store.execute(*command)
        if command[0] == "ZRANGE" and reply:
            await self._between()
        return reply

    def execute_blocking(self, *command: Any, timeout_s: float) -> Awaitable[Any]:
        return self._store.execute_blocking(*command, timeout_s=timeout_s)


async def test_sessions_stored_between_the_look_and_the_erasure_are_erased(store: Client) -> None:
    sessions = RedisAgentSessions(store, Sealer(MemoryKeys()), HASHES)
    first = of_buyer("ada@example.com")
    await sessions.put(first, version=0)
    second = msgspec.structs.replace(first, id=new_cart_id_in(partition_of(first.id)))
    changes = iter([(first, 1), (second, 0)])

    async def change() -> None:
        for session, version in changes:
            assert await sessions.put(session, version=version)

    assert await RedisSessionErasure(StoreBetween(store, change), HASHES).erase_all_of("ada@example.com") == 2
    assert not await sessions.put(first, version=2)
    assert await store.execute("KEYS", "*a*:*") == []


def new_cart_id_in(partition: str) -> CartId:
    return next(each for each in iter(new_cart_id, "") if partition_of(each) == partition)


@pytest.mark.parametrize("ran", [False, True])
async def test_a_kill_while_a_session_is_stored_hides_none(store: Client, ran: bool) -> None:
    session = of_buyer("ada@example.com", details=FulfillmentDetails(email="eve@example.com"))
    for at in range(1, 10):
        await store.execute("FLUSHDB")
        failing = FailingStore(store, at=at, ran=ran, error=Killed())
        was_killed = False
        try:
            await RedisAgentSessions(failing, Sealer(MemoryKeys()), HASHES).put(session, version=0)
        except Killed:
            was_killed = True
        is_stored = await store.execute("EXISTS", session_key(session.id))
        assert await RedisSessionErasure(store, HASHES).erase_all_of("eve@example.com") == is_stored
        assert await store.execute("EXISTS", session_key(session.id)) == 0
        if not was_killed:
            assert is_stored
            return
    pytest.fail("it takes more commands than were tried")


@pytest.mark.parametrize("ran", [False, True])
# The first and the last look, and every command after them.
@pytest.mark.parametrize("at", [1, 256, *range(257, 264)])
async def test_an_erasure_that_was_killed_is_repeated(store: Client, at: int, ran: bool) -> None:
    sessions = RedisAgentSessions(store, Sealer(MemoryKeys()), HASHES)
    for _ in range(3):
        await sessions.put(of_buyer("ada@example.com"), version=0)
    with contextlib.suppress(Killed):
        failing = FailingStore(store, at=at, ran=ran, error=Killed())
        await RedisSessionErasure(failing, HASHES).erase_all_of("ada@example.com")
    await RedisSessionErasure(store, HASHES).erase_all_of("ada@example.com")
    assert await store.execute("KEYS", "*a*:*") == []


async def test_broken_records_keep_no_session_from_its_erasure(store: Client) -> None:
    sessions = RedisAgentSessions(store, Sealer(MemoryKeys()), HASHES)
    unreadable, no_hash, incomplete, sound = own = [of_buyer("ada@example.com") for _ in range(4)]
    for session in own:
        await sessions.put(session, version=0)
    await store.execute("HSET", session_key(unreadable.id), "sealed", "nonsense")
    await store.execute("SET", session_key(no_hash.id), "nonsense")
    await store.execute("HDEL", session_key(incomplete.id), "emails", "version")
    index = sessions_of_email_key(partition_of(sound.id), HASHES.of_email("ada@example.com"))
    await store.execute("ZADD", index, 0, b"\xff no id")
    assert await RedisSessionErasure(store, HASHES).erase_all_of("ada@example.com") == len(own)
    assert await store.execute("KEYS", "*a*:*") == []


async def test_the_entries_of_an_address_expire_with_its_sessions(store: Client) -> None:
    sessions = RedisAgentSessions(store, Sealer(MemoryKeys()), HASHES)
    session = of_buyer("ada@example.com")
    index = sessions_of_email_key(partition_of(session.id), HASHES.of_email("ada@example.com"))
    # Of sessions that have expired by now.
    await store.execute("ZADD", index, *(part for number in range(BATCH) for part in (1, f"{number}")))
    await sessions.put(session, version=0)
    assert await store.execute("ZRANGE", index, 0, -1) == [session.id.encode()]
    left = await store.execute("PTTL", index)
    assert await store.execute("PTTL", session_key(session.id)) <= left <= LIFETIME_MS
    # More than one call of an erasure takes.
    await store.execute("ZADD", index, *(part for number in range(2 * BATCH) for part in (1, f"{number}")))
    assert await RedisSessionErasure(store, HASHES).erase_all_of("ada@example.com") == 1
    assert await store.execute("EXISTS", index) == 0


# --- the calls


async def test_a_session_becomes_an_order(shop: Shop, agent: Agent) -> None:
    created = (await agent.create()).view
    assert (created.status, lines(created), total(created)) == ("ready_for_payment", {MUG: 2}, 510)
    assert [option.id for option in created.fulfillment_options] == ["standard", "next_day"]

    chosen = [{"type": "shipping", "option_id": "next_day", "item_ids": [MUG]}]
    updated = (await agent.update(created.id, selected_fulfillment_options=chosen)).view
    assert total(updated) == 510 + 495

    completed = (await agent.complete(created.id, buyer={"email": "eve@example.com"})).view
    assert (completed.status, total(completed)) == ("completed", 1005)
    assert isinstance(completed.order, msgspec.Struct)
    assert completed.order.status == "created"
    assert completed.order.permalink_url == f"https://shop.example/o/{completed.order.id}"
    order = await shop.handlers().read(completed.order.id)
    assert (order.email, order.total, order.payment_token) == ("eve@example.com", 1005, "tok_ok")
    assert order.shipping_address.city == "London, LDN"
    assert await shop.available(MUG) == 8

    order = await shop.orders.transition(order, OrderStatus.STOCK_CONFIRMED, at=shop.now())
    await shop.orders.update(order, order.noted(at=shop.now(), refunded=5))
    seen = (await agent.read(created.id)).order
    assert isinstance(seen, msgspec.Struct)
    assert (seen.status, seen.adjustments[0].amount, seen.totals[-1].amount) == ("processing", 5, 5)


async def test_line_items_replace_those_before(agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    items = [{"item": {"id": BOX}, "quantity": 1}, {"item": {"id": BOX}, "quantity": 2}]
    assert lines((await agent.update(session_id, line_items=items)).view) == {BOX: 3}
    emptied = (await agent.update(session_id, line_items=[])).view
    assert (lines(emptied), emptied.status) == ({}, "not_ready_for_payment")
    with pytest.raises(CartEmpty):
        await agent.complete(session_id)


async def test_a_session_says_what_is_missing(agent: Agent) -> None:
    items = [*ITEMS, {"item": {"id": "no such thing"}, "quantity": 1}]
    created = (await agent.create(line_items=items, fulfillment_details=None)).view
    assert created.status == "not_ready_for_payment"
    assert {(message.code, message.param) for message in created.messages} == {
        ("not_found", "$.line_items[1]"),
        ("missing", "$.fulfillment_details.address"),
    }
    with pytest.raises(InvalidBody) as refused:
        await agent.complete(created.id, buyer={"email": "ada@example.com"})
    assert refused.value.errors == [("/fulfillment_details/address", "is missing")]
    with pytest.raises(InvalidBody):
        await agent.complete(created.id)
    with pytest.raises(InvalidBody):
        await agent.update(created.id, selected_fulfillment_options=[{"option_id": "by_drone"}])
    assert not is_currency("ZZZ")
    with pytest.raises(InvalidBody):
        await agent.create(currency="zzz")


async def test_a_shopper_pays_no_total_that_the_agent_was_not_told(shop: Shop, agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    shop.prices.reprice(MUG, 300)
    with pytest.raises(PriceChanged):
        await agent.complete(session_id)
    assert await shop.available(MUG) == 10
    told = (await agent.update(session_id)).view
    assert (total(told), told.messages[0].code) == (600, "price_change")
    completed = (await agent.complete(session_id)).view
    assert total(completed) == 600


async def test_a_session_that_is_short_of_stock_is_not_completed(shop: Shop, agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    await shop.set_stock(MUG, 1)
    with pytest.raises(OutOfStock):
        await agent.complete(session_id)
    assert (await agent.read(session_id)).status != "completed"


async def test_a_call_that_is_repeated_with_its_key_is_made_once(shop: Shop, agent: Agent) -> None:
    created = [await agent.create("k1") for _ in range(3)]
    assert len({each.view.id for each in created}) == 1
    assert [each.replayed for each in created] == [False, True, True]
    session_id = created[0].view.id
    with pytest.raises(IdempotencyKeyReused):
        await agent.create("k1", currency="eur")
    items = [{"item": {"id": MUG}, "quantity": 3}]
    updated = [await agent.update(session_id, "k2", line_items=items) for _ in range(2)]
    assert [each.replayed for each in updated] == [False, True]
    with pytest.raises(IdempotencyKeyReused):
        await agent.update(session_id, "k2", line_items=[])
    completed = [await agent.complete(session_id, "k3") for _ in range(5)]
    assert [each.replayed for each in completed] == [False, True, True, True, True]
    with pytest.raises(IdempotencyKeyReused):
        await agent.complete(session_id, "k3", buyer={"email": "eve@example.com"})
    assert await shop.available(MUG) == 7
    with pytest.raises(IdempotencyKeyMissing):
        await agent.create("")


async def test_completions_at_once_make_one_order(shop: Shop, agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    outcomes = await asyncio.gather(*(agent.complete(session_id) for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(outcome, Result) for outcome in outcomes) == 1
    assert await shop.available(MUG) == 8


async def test_a_canceled_session_is_closed(shop: Shop, agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    assert (await agent.cancel(session_id, "k")).view.status == "canceled"
    assert (await agent.cancel(session_id, "k")).replayed
    assert (await agent.read(session_id)).status == "canceled"
    for closed in (agent.cancel(session_id), agent.update(session_id), agent.complete(session_id)):
        with pytest.raises(SessionClosed):
            await closed
    assert await shop.available(MUG) == 10


async def test_a_completed_session_cannot_be_changed(agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    await agent.complete(session_id)
    for closed in (agent.cancel(session_id), agent.update(session_id), agent.update(session_id, line_items=ITEMS)):
        with pytest.raises(SessionClosed):
            await closed
    assert (await agent.read(session_id)).status == "completed"


async def test_a_session_is_hidden_from_other_agents(shop: Shop, sessions: AgentSessions, agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    other = Agent(shop, sessions, "another")
    for call in (
        other.read(session_id),
        other.update(session_id),
        other.complete(session_id),
        other.cancel(session_id),
    ):
        with pytest.raises(SessionNotFound):
            await call
    for unknown in (new_cart_id(), "nonsense"):
        with pytest.raises(SessionNotFound):
            await agent.read(unknown)
    assert session_id_for("0b" * 32, "key-1") != session_id


async def test_updates_at_once_are_one_or_are_told_so(agent: Agent) -> None:
    session_id = (await agent.create()).view.id
    items = [[{"item": {"id": MUG}, "quantity": count}] for count in range(1, 7)]
    outcomes = await asyncio.gather(
        *(agent.update(session_id, line_items=each) for each in items), return_exceptions=True
    )
    assert any(isinstance(outcome, Result) for outcome in outcomes)
    assert all(isinstance(outcome, Result | SessionChanged) for outcome in outcomes)


async def test_a_session_knows_a_bounded_number_of_keys(agent: Agent) -> None:
    session_id = (await agent.create("k")).view.id
    for number in range(KNOWN_KEYS):
        await agent.update(session_id, f"u{number}")
    assert (await agent.update(session_id, f"u{KNOWN_KEYS - 1}")).replayed
    assert not (await agent.update(session_id, "u-new")).replayed
