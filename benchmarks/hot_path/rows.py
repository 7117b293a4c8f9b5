"""The rows of the hot-path benchmark: the requests of each, the server that they go to, and the wanted ratios."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import quote

import orjson

from benchmarks.harness.gateway_process import (
    LONG_CART,
    Api,
    GatewayProcess,
    HarnessError,
    await_port,
    start_child,
    stop_child,
)
from benchmarks.harness.ports import free_port
from benchmarks.hot_path.every_layer import CACHED, FORWARDED, SHOPPERS, EveryLayer
from benchmarks.load.wrk import Call, Headers
from benchmarks.peers.proxies import CACHED_GET, CADDY, HAPROXY, NGINX
from benchmarks.peers.servers import FASTAPI, FASTIFY, Peer, PeerMissing

CONNECTIONS: Final = 64
SHORT_CART: Final = 5
LONG_CARTS: Final = 20
# Keys of the rows, for `--rows`.
READ, ADD, PRODUCT, CACHED_KEY, FORWARD, READ_LONG = "read", "add", "product", CACHED_GET, "forward", "read-long"
NAMES: Final = {
    READ: f"cart read, {SHORT_CART} lines",
    ADD: f"add a line, cart of {SHORT_CART}",
    PRODUCT: "product",
    CACHED_KEY: "cached upstream GET",
    FORWARD: "forwarded small GET",
    "404": "404",
    "405": "405",
    "429": "429, over the limit",
    "503": "503, switched off",
    READ_LONG: f"cart read, {LONG_CART} lines",
}
# The most that a row may cost as a ratio to the empty handler.
TARGETS: Final = {
    READ: 1.0,
    ADD: 2.0,
    PRODUCT: 0.8,
    CACHED_KEY: 0.8,
    FORWARD: 1.8,
    "404": 0.7,
    "429": 0.65,
    "503": 0.5,
}
YARDSTICK, FLOOR = "empty aiohttp handler", "bare protocol, nothing parsed"
# Rows that each peer is compared in, and the most that ours may cost as a ratio to the peer's, if there is a target.
PEER_ROWS: Final[dict[Peer, dict[str, float | None]]] = {
    FASTIFY: {READ: 0.33, ADD: 0.65},
    FASTAPI: {READ: 0.07, ADD: None},
    NGINX: {FORWARD: None, CACHED_KEY: None},
    HAPROXY: {FORWARD: None, CACHED_KEY: None},
    CADDY: {FORWARD: None, CACHED_KEY: None},
}
# Node compiles functions that have run often: a request takes it twice as long after one second as after five.
_CART_PEER_WARM_UP_S: Final = 5.0


class Traffic(StrEnum):
    """Where requests come from; the value is added to the names of rows.

    `BALANCER`: the header fields of an AWS Application Load Balancer, and requests of different shoppers on each connection.
    `PLAIN`: no such fields, and one shopper on each connection.
    """

    BALANCER = ""
    PLAIN = ", plain clients"


class Server(NamedTuple):
    """The port of a server, and its process that is measured."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Row:
    """Requests of one kind, to which the response is `status`. `target` is the wanted ratio to the yardstick.

    `groups` are the calls as `wrk.play` sends them. They are sent for `warm_up_s` seconds before the measurement.
    """

    name: str
    key: str
    groups: Sequence[Sequence[Call]]
    target: float | None = None
    status: int = 200
    warm_up_s: float = 1.0
    traffic: Traffic = Traffic.BALANCER

    @property
    def expects_errors(self) -> bool:
        """Whether wrk counts the right status as an error."""
        return self.status >= 400


@dataclass(frozen=True, slots=True)
class _Shopper:
    """A shopper's header fields, and the path and SKUs of their cart."""

    headers: Headers
    cart: str = ""
    skus: Sequence[str] = ()


CallsOf = Callable[[int, int, _Shopper], list[Call]]


@dataclass(frozen=True, slots=True)
class Shoppers:
    """Signed-in shoppers with filled carts, as they come through a balancer and directly."""

    by_balancer: Sequence[_Shopper]
    plain: Sequence[_Shopper]

    @classmethod
    def prepare(cls, api: Api, layers: EveryLayer, skus: Sequence[str], count: int = SHOPPERS) -> "Shoppers":
        """Fill a cart of `SHORT_CART` lines for each."""
        by_balancer, plain = [], []
        for number in range(count):
            lines = [skus[(number * 7 + line * 131) % len(skus)] for line in range(SHORT_CART)]
            headers = layers.balancer_headers[number]
            cart = f"/v1/carts/{api.cart_of(lines, headers)}"
            by_balancer.append(_Shopper(headers, cart, lines))
            if number < CONNECTIONS:
                plain.append(_Shopper(layers.plain_headers[number], cart, lines))
        return cls(by_balancer, plain)

    @classmethod
    def without_carts(cls, layers: EveryLayer) -> "Shoppers":
        """For requests that need no cart."""
        return cls(
            [_Shopper(headers) for headers in layers.balancer_headers],
            [_Shopper(headers) for headers in layers.plain_headers[:CONNECTIONS]],
        )

    def groups(self, calls_of: CallsOf, traffic: Traffic) -> list[list[Call]]:
        """One group in which shoppers alternate, or a group for each shopper."""
        shoppers = self.by_balancer if traffic is Traffic.BALANCER else self.plain
        each = [calls_of(number, len(shoppers), shopper) for number, shopper in enumerate(shoppers)]
        if traffic is Traffic.PLAIN:
            return each
        longest = max(len(calls) for calls in each)
        return [[calls[turn] for turn in range(longest) for calls in each if turn < len(calls)]]


def gateway_rows(api: Api, layers: EveryLayer, keys: Sequence[str], *, shoppers: int = SHOPPERS) -> list[Row]:
    """Fill the carts and prepare the requests of the rows with these keys, each for both kinds of traffic."""
    skus = api.skus(LONG_CART)
    people = Shoppers.prepare(api, layers, skus, shoppers)
    products = [f"/v1/products/{quote(sku, safe='')}" for sku in skus]
    kinds: dict[str, tuple[CallsOf, int]] = {
        READ: (_read, 200),
        ADD: (_adds, 200),
        PRODUCT: (_gets(products), 200),
        CACHED_KEY: (_gets([f"{CACHED}{number}" for number in range(100)]), 200),
        FORWARD: (_gets([f"{FORWARDED}{number}" for number in range(100)]), 200),
        "404": (_gets([f"/v1/no/such/{number}" for number in range(100)]), 404),
        "405": (_deletes("/v1/checkout"), 405),
        # The first request of each address is within the limit and finds no line; the warm-up sends it.
        "429": (_deletes("{cart}/lines/none"), 429),
        "503": (_deletes("{cart}"), 503),
    }
    rows = [
        Row(
            NAMES[key] + traffic,
            key,
            people.groups(calls_of, traffic),
            TARGETS.get(key),
            status,
            traffic=traffic,
        )
        for key, (calls_of, status) in kinds.items()
        if key in keys
        for traffic in Traffic
    ]
    if READ_LONG in keys:
        rows.append(Row(NAMES[READ_LONG], READ_LONG, [_long_reads(api, layers, skus)]))
    return rows


def _read(_number: int, _count: int, shopper: _Shopper) -> list[Call]:
    return [Call("GET", shopper.cart, headers=shopper.headers)]


def _adds(_number: int, _count: int, shopper: _Shopper) -> list[Call]:
    """One more unit of each line of the cart."""
    return [
        Call("POST", f"{shopper.cart}/lines", orjson.dumps({"sku": sku, "quantity": 1}), shopper.headers)
        for sku in shopper.skus
    ]


def _gets(paths: Sequence[str]) -> CallsOf:
    """The paths, divided among the shoppers."""

    def calls(number: int, count: int, shopper: _Shopper) -> list[Call]:
        own = paths[number::count] or [paths[number % len(paths)]]
        return [Call("GET", path, headers=shopper.headers) for path in own]

    return calls


def _deletes(path: str) -> CallsOf:
    """A DELETE of the path, with the shopper's cart in place of `{cart}`."""

    def calls(_number: int, _count: int, shopper: _Shopper) -> list[Call]:
        return [Call("DELETE", path.format(cart=shopper.cart), headers=shopper.headers)]

    return calls


def _long_reads(api: Api, layers: EveryLayer, skus: Sequence[str]) -> list[Call]:
    return [
        Call("GET", f"/v1/carts/{api.cart_of(skus, headers)}", headers=headers)
        for headers in layers.balancer_headers[:LONG_CARTS]
    ]


def yardstick_rows(stack: ExitStack, layers: EveryLayer) -> tuple[list[Row], dict[str, Server]]:
    """Start the empty handler and the bare protocol. Their requests have the same header fields as those of the rows."""
    handler = stack.enter_context(serving_module("benchmarks.peers.empty_app"))
    protocol = stack.enter_context(serving_module("benchmarks.peers.bare_protocol"))
    people = Shoppers.without_carts(layers)
    rows = [
        Row(YARDSTICK + traffic, YARDSTICK, people.groups(_gets(["/"]), traffic), traffic=traffic)
        for traffic in Traffic
    ]
    floor = Row(FLOOR, FLOOR, people.groups(_gets(["/"]), Traffic.BALANCER))
    return [*rows, floor], {row.name: handler for row in rows} | {FLOOR: protocol}


class World(NamedTuple):
    """The gateway that peers are compared with, the header fields of its shoppers, and the upstream of both."""

    gateway: GatewayProcess
    layers: EveryLayer
    upstream_port: int


def peer_rows(stack: ExitStack, peer: Peer, keys: Sequence[str], world: World) -> tuple[list[Row], Server]:
    """Start a peer on the same store and upstream, and prepare its rows. Raises `PeerMissing`."""
    gateway, layers, upstream_port = world
    server = Server(*stack.enter_context(peer.serving(store_socket=gateway.store_socket, upstream_port=upstream_port)))
    kinds: dict[str, CallsOf]
    if peer in {FASTIFY, FASTAPI}:
        with Api(gateway.port) as api:
            # Carts of its own: the gateway does not have to read again a cart that the peer has changed.
            people = Shoppers.prepare(api, layers, api.skus(LONG_CART))
        kinds = {READ: _read, ADD: _adds}
        warm_up_s = _CART_PEER_WARM_UP_S
    else:
        people = Shoppers.without_carts(layers)
        kinds = {
            FORWARD: _gets([f"{FORWARDED}{number}" for number in range(100)]),
            CACHED_KEY: _gets([f"{CACHED}{number}" for number in range(100)]),
        }
        warm_up_s = 1.0
    rows = [
        Row(name_by(peer, key), key, people.groups(kinds[key], Traffic.BALANCER), warm_up_s=warm_up_s)
        for key in PEER_ROWS[peer]
        if key in keys and key not in peer.cannot
    ]
    for row in rows:
        if row.key != ADD:
            _check_same_response(gateway, server, row)
    return rows, server


def name_by(peer: Peer, key: str) -> str:
    """The name of a peer's row."""
    return f"{peer.name}: {NAMES[key]}"


def _check_same_response(gateway: GatewayProcess, server: Server, row: Row) -> None:
    """Raises `PeerMissing` if a peer does not do the same work: another body, or no hit in its cache."""
    call = row.groups[0][0]
    with Api(server.port) as theirs, Api(gateway.port) as ours:
        responses = [
            [api.send(call.method, call.path, headers=call.headers) for _ in range(2)] for api in (theirs, ours)
        ]
    (_, their_response), (_, our_response) = responses
    if (their_response.status, their_response.body) != (our_response.status, our_response.body):
        raise PeerMissing(f"its response to {call.path} is not the gateway's: {their_response.body[:200]!r}")
    is_hit = "age" in their_response.headers or their_response.headers.get("x-cache") == "HIT"
    if row.key == CACHED_KEY and not is_hit:
        raise PeerMissing(f"its response to {call.path} does not come from a cache")


def check_status(port: int, row: Row) -> None:
    """Raises HarnessError unless the response to the first call has the row's status; wrk counts errors of any kind."""
    method, path, body, headers = row.groups[0][0]
    with Api(port) as api:
        response = api.send(method, path, body, headers)
    if response.status != row.status:
        raise HarnessError(f"{row.name}: {method} {path} returned {response.status}, not {row.status}")


@contextmanager
def serving_module(module: str) -> Iterator[Server]:
    """Run `python -m MODULE PORT` until the context ends."""
    port = free_port()
    process = start_child([sys.executable, "-m", module, str(port)])
    try:
        await_port(process, port)
        yield Server(port, process.pid)
    finally:
        stop_child(process)
