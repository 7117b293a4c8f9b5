"""Every key that Peakgate writes to the store: its type, its owner, how long it lives, and what bounds it.

Tests compare the table with the keys of all adapters and with those that a busy shop leaves behind. docs/store.md has it as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

KeyType = Literal["string", "hash", "set", "zset", "stream"]

# The command that counts the members of a key; the bytes of a string.
COUNT_COMMANDS: Final[Mapping[KeyType, str]] = {
    "string": "STRLEN",
    "hash": "HLEN",
    "set": "SCARD",
    "zset": "ZCARD",
    "stream": "XLEN",
}

_ID: Final = "[0-9a-f]{2}[a-z2-7]{24}"
_PLACEHOLDERS: Final[Mapping[str, str]] = {
    "pp": "[0-9a-f]{2}",
    "cart": _ID,
    "order": _ID,
    "session": _ID,
    "client": ".*",
    "digest": "[0-9a-f]+",
    "rl": r"rl(?::\d+)?",
    "peakgate": r"peakgate(?::\d+)?",
}
_PLACEHOLDER: Final = re.compile(r"<([a-z]+)>")


@dataclass(frozen=True, slots=True)
class KeyKind:
    """The keys of one pattern. `<word>` in a pattern is a part that differs; `<pp>` is one of 256 partitions."""

    name: str
    pattern: str
    type: KeyType
    # The module whose keys they are.
    owner: str
    # When such a key ends.
    life: str
    # How many keys there are, and how many members each has.
    bound: str
    # Whether the server ends it, by an expiry.
    expires: bool = False
    # The most members of one key, or bytes of a string; None where the number of orders, products or shoppers bounds them.
    most: int | None = None
    _matcher: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = _PLACEHOLDER.split(self.pattern)
        texts = [_PLACEHOLDERS.get(part, ".+") if at % 2 else re.escape(part) for at, part in enumerate(parts)]
        object.__setattr__(self, "_matcher", re.compile("".join(texts), re.DOTALL))

    def matches(self, key: str) -> bool:
        """Whether the key is one of these."""
        return self._matcher.fullmatch(key) is not None


def _lease(pattern: str, owner: str) -> KeyKind:
    return KeyKind("lease", pattern, "string", owner, "a minute at most after its last renewal", "one", True, 256)


# The first that matches is that of a key.
KEYS: Final = (
    # Carts
    KeyKind("cart", "{<pp>}c:<cart>", "hash", "cart.stored", "the life of carts after its last change", "the lines of a cart", True, 1020),
    KeyKind("cart keys", "{<pp>}k:<cart>", "string", "cart.stored", "a day", "50 idempotency keys", True, 2048),
    KeyKind("own cart", "{<pp>}w:<digest>", "string", "cart.stored", "twice the life of carts", "one a shopper", True, 26),
    KeyKind("merge", "{<pp>}m:<cart>:<cart>", "string", "cart.stored", "a day after the merge", "one a merge", True, 256),
    # Products and stock
    KeyKind("product", "{<sku>}p", "hash", "cart.sku_keys", "the end of the shop; its stock alone stays after its removal", "one a product", most=16),
    KeyKind("holds", "{<sku>}h", "hash", "cart.sku_keys", "its last hold's end", "the orders in flight with the SKU"),
    KeyKind("changes of holds", "{<sku>}c", "stream", "cart.sku_keys", "30 s after an audit added the holds up", "100,000 entries", True, 100_100),
    KeyKind("purchases", "{<sku>}b", "hash", "cart.sku_keys", "`--per-shopper-days` after its last order", "three fields for each order of those days of a product with a limit per shopper, and some older ones", True),
    KeyKind("carts with holds", "{<sku>}x", "zset", "cart.sku_keys", "its last hold's end", "the carts that hold units of the SKU, or whose checkout took them over"),
    KeyKind("SKUs held by carts", "cart-holds", "zset", "checkout.redis.cart_holds", "three hours after the last hold of each SKU", "the products that are held at carts"),
    KeyKind("returns", "{<sku>}r", "zset", "cart.sku_keys", "removed by later returns and adjustments", "the returns and adjustments of a SKU within the time that their keys are known"),
    KeyKind("coupons", "coupons", "zset", "checkout.redis.coupon_codes", "removal of the coupon", "one a coupon"),
    KeyKind("low stock", "low-stock", "zset", "checkout.redis.low_stock", "a count of more units of its last product", "10,000 products, and those of the last ten seconds"),
    KeyKind("prices' epoch", "catalog:epoch", "string", "cart.catalog.redis_catalog", "the end of the shop", "one", most=32),
    KeyKind("imported files", "catalog:imports", "hash", "cart.catalog.redis_catalog", "the end of the shop; a file 400 days after its last use", "1,000 files", most=1_000),
    KeyKind("catalogue changes", "catalog:changes", "stream", "cart.catalog.redis_catalog", "trimmed at each new entry", "2,000 entries", most=2_100),
    KeyKind("trending", "{trending}:<name>", "zset", "cart.catalog.redis_trends", "a few half-lives after the last sale", "1,000 products", True, 3_000),
    KeyKind("search documents", "search:p:<sku>", "hash", "cart.catalog.module_search", "removal of the product", "one a product, where the search module is used", most=64),
    KeyKind("search numbers", "search:numbers", "string", "cart.catalog.module_search", "the end of the shop", "one", most=32),
    KeyKind("search imports", "search:imports", "hash", "cart.catalog.module_search", "the end of the shop; a file 400 days after its last use", "1,000 files", most=1_000),
    KeyKind("search feed", "search:feed", "string", "cart.catalog.module_search", "the end of the shop", "one", most=64),
    # Orders
    KeyKind("order", "{<pp>}o:<order>", "hash", "checkout.stored", "`--order-keep-days` after its end, once it is archived", "one an order"),
    KeyKind("claim", "{<pp>}l:<cart>", "string", "checkout.stored", "its order, or its expiry", "one a checkout in progress", True, 2_048),
    KeyKind("open claims", "{<pp>}open-claims", "hash", "checkout.stored", "its order, or a sweep", "the checkouts in progress"),
    KeyKind("fence", "{<pp>}fence", "string", "checkout.stored", "the end of the shop", "one a partition", most=32),
    KeyKind("outbox", "{<pp>}outbox", "stream", "checkout.stored", "an entry is deleted once it was sent", "the orders not sent yet"),
    KeyKind("in flight", "{<pp>}in-flight", "zset", "checkout.stored", "its last order's end", "the orders in flight"),
    KeyKind("attention", "{<pp>}attention", "hash", "checkout.stored", "an operator's act", "the orders set aside"),
    KeyKind("ended", "{<pp>}ended", "zset", "checkout.stored", "its last order leaves", "the orders that have ended"),
    KeyKind("status", "{<pp>}status:<status>", "zset", "checkout.stored", "its last order leaves", "the orders of a status"),
    KeyKind("order number", "n:<number>", "set", "checkout.stored", "its order leaves", "one an order, with one or two members"),
    KeyKind("orders of a shopper", "m:<digest>", "zset", "checkout.stored", "its last order leaves", "the orders of a shopper"),
    KeyKind("orders of an e-mail", "e:<digest>", "zset", "checkout.stored", "its last order leaves", "the orders of an address"),
    # Events and webhooks
    KeyKind("events", "{<pp>}events:<sink>", "stream", "checkout.stored", "an entry is deleted once its sink has it", "the events that a sink lacks"),
    KeyKind("events' claim", "{<pp>}events-claim:<sink>", "string", "checkout.stored", "10 s", "one a partition and sink", True, 256),
    KeyKind("webhooks", "{<pp>}webhooks:<endpoint>", "hash", "checkout.stored", "15 days after the last message", "the messages that an endpoint lacks", True),
    KeyKind("webhooks due", "{<pp>}webhooks-due:<endpoint>", "zset", "checkout.stored", "15 days after the last message", "the orders with messages", True),
    KeyKind("webhook state", "webhook:<endpoint>", "hash", "checkout.stored", "the next delivery that succeeds", "one an endpoint", most=16),
    KeyKind("webhook log", "webhook-log:<endpoint>", "stream", "checkout.stored", "trimmed at each new entry", "10,000 entries", most=10_100),
    # The queue
    KeyKind("queue", "{orders}:queue", "stream", "checkout.queues.redis_queue", "an entry is deleted once it is acknowledged", "the messages in the queue"),
    KeyKind("bulk queue", "{orders}:bulk", "stream", "checkout.queues.redis_queue", "an entry is deleted once it is acknowledged", "the messages in the queue"),
    KeyKind("dead letters", "{orders}:dead", "stream", "checkout.queues.redis_queue", "an operator's act", "the dead letters"),
    KeyKind("queue groups", "{orders}:groups", "hash", "checkout.queues.redis_queue", "the last message of a group", "the groups in the queue"),
    # Agents' sessions
    KeyKind("session", "{<pp>}a:<session>", "hash", "checkout.redis.agent_sessions", "a day after its last change", "one a session", True, 8),
    KeyKind("sessions of an e-mail", "{<pp>}as:<digest>", "zset", "checkout.redis.agent_sessions", "a day after the last session", "the sessions of an address in a day", True),
    # Personal data
    KeyKind("data keys", "privacy:keys", "hash", "checkout.privacy.redis_key_registry", "the end of the shop", "one field a key"),
    KeyKind("erasures", "privacy:erasing", "zset", "checkout.redis.erasures", "the erasure of the last order", "the orders that wait for it"),
    # The edge
    KeyKind("rate limit", "{<rl>}:<limit>:<client>", "string", "gateway.ratelimit.batch", "the quota is whole again", "one a client and limit", True, 16),
    KeyKind("waiting room", "{room:<room>}:state", "hash", "gateway.waitingroom.redis_rooms", "a day without requests", "one a room", True),
    KeyKind("room waiting", "{room:<room>}:waiting", "zset", "gateway.waitingroom.redis_rooms", "a day without requests", "the places of a room", True),
    KeyKind("room seen", "{room:<room>}:seen", "zset", "gateway.waitingroom.redis_rooms", "a day without requests", "the places of a room", True),
    KeyKind("room active", "{room:<room>}:active", "zset", "gateway.waitingroom.redis_rooms", "a day without requests", "the most active shoppers of a room", True),
    KeyKind("room bought", "{room:<room>}:bought", "set", "gateway.waitingroom.redis_rooms", "a day without requests", "the most active shoppers of a room", True),
    KeyKind("cache purges", "peakgate:cache:purges", "stream", "gateway.cache.purge_log", "trimmed at each new entry", "10,000 entries", most=10_100),
    KeyKind("cached response", "peakgate:cache:<digest>", "string", "gateway.cache.store_backend", "its response is too old", "one a response of the shared cache", True),
    # Of all processes
    _lease("catalog:lease", "cart.catalog.redis_catalog"),
    _lease("archive:sweeper", "checkout.redis.records"),
    _lease("in-flight:finder", "checkout.redis.in_flight"),
    _lease("webhooks:sweeper", "checkout.redis.webhooks"),
    _lease("claims:sweeper", "checkout.redis.orders"),
    _lease("outbox:sweeper", "checkout.redis.outbox"),
    _lease("events:<sink>:sweeper", "checkout.redis.event_outbox"),
    _lease("orders:counter", "gateway.compose.order_parts"),
    _lease("orders:auditor", "gateway.compose.order_parts"),
    _lease("low-stock:counter", "gateway.compose.order_parts"),
    KeyKind("generation", "{<peakgate>}:generation", "string", "store.generation", "the end of the shop", "one a primary, 64 at most", most=64),
    KeyKind("noticed loss", "{peakgate}:generation:noticed:<gateway>", "string", "gateway.resilience.store_history", "10 s", "one a gateway and loss", True, 1),
    KeyKind("generation count", "{<peakgate>}:generation:<digest>", "string", "store.generation", "a day after the last count of its process", "one a process and mark", True, 32),
    KeyKind("probe", "peakgate:probe", "string", "store.client", "a minute", "one", True, 1),
    KeyKind("node probe", "peakgate:probe:<number>", "string", "store.cluster", "a minute", "one a primary", True, 1),
    KeyKind("permission check", "peakgate:permissions", "string", "gateway.prerequisites.permissions", "a minute", "one", True, 32),
    KeyKind("secret", "peakgate:secret", "string", "gateway.prerequisites.store_checks", "the end of the shop", "one", most=128),
    KeyKind("partitions", "peakgate:partitions", "string", "gateway.prerequisites.store_checks", "the end of the shop", "one", most=8),
)  # fmt: skip


def kind_of(key: bytes) -> KeyKind | None:
    """The kind of a key; None for one that is not Peakgate's."""
    text = key.decode(errors="surrogateescape")
    return next((kind for kind in KEYS if kind.matches(text)), None)
