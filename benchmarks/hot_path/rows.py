"""What is measured on the hot path: the calls of each kind, and the servers that they go to."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

import orjson

from benchmarks.harness.gateway_process import (
    LONG_CART,
    Api,
    GatewayProcess,
    HarnessError,
    await_port,
    free_port,
    start_child,
    stop_child,
)
from benchmarks.hot_path.every_layer import CACHED, FORWARDED, SHOPPERS, EveryLayer
from benchmarks.load.wrk import Call
from benchmarks.peers.servers import FASTAPI, FASTIFY, Peer, PeerMissing

SHORT_CART = 5
YARDSTICK, FLOOR = "empty aiohttp handler", "bare protocol, nothing parsed"
SAME_FIELDS = "empty handler, same fields sent"
READ, READ_LONG = f"cart read, {SHORT_CART} lines", f"cart read, {LONG_CART} lines"
ADD = f"add a line, cart of {SHORT_CART}"
# The most that a read may cost as a ratio to a peer's; for the add there is no target.
PEER_TARGETS = {FASTIFY: 0.50, FASTAPI: 0.07}
# Node compiles what it has run often: after a second a call takes it twice what it does after five.
_PEER_WARM_UP_S = 5.0


class Server(NamedTuple):
    """Where one of the servers is, and the process that is measured."""

    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Subject:
    """Calls of one kind, answered with `status`. `target` is the most they may cost as a ratio to the yardstick.

    They are made for `warm_up_s` seconds before it counts.
    """

    name: str
    calls: Sequence[Call]
    target: float | None = None
    status: int = 200
    warm_up_s: float = 1.0

    @property
    def refused(self) -> bool:
        """Whether errors are right."""
        return self.status >= 400


def prepare_subjects(api: Api, layers: EveryLayer, carts: int = SHOPPERS, long_carts: int = 20) -> list[Subject]:
    """Fill the carts and name the calls; different shoppers ask for different carts, their own, and products."""
    skus = api.skus(LONG_CART)
    short = [_Filled.prepare(api, layers, skus, number) for number in range(carts)]
    long = [(api.cart_of(skus, layers.headers_of(number)), layers.headers_of(number)) for number in range(long_carts)]
    return [
        Subject(READ, [cart.reading for cart in short], target=0.65),
        Subject(ADD, _adding(short), target=0.85),
        Subject("product", _gets(layers, [f"/v1/products/{quote(sku, safe='')}" for sku in skus]), target=0.45),
        Subject("404", _gets(layers, [f"/v1/no/such/{number}" for number in range(100)]), target=0.40, status=404),
        Subject("405", _deletes(layers, ["/v1/checkout"]), target=0.40, status=405),
        Subject("cached upstream GET", _gets(layers, [f"{CACHED}{number}" for number in range(100)]), target=0.45),
        Subject("forwarded small GET", _gets(layers, [f"{FORWARDED}{number}" for number in range(100)]), target=1.0),
        # The first that each shopper asks finds no such line. It is asked in the round that does not count.
        Subject("429, over the limit", _deletes(layers, [f"{short[0].path}/lines/none"]), target=0.40, status=429),
        Subject("503, switched off", _deletes(layers, [short[0].path]), target=0.40, status=503),
        Subject(READ_LONG, [Call("GET", f"/v1/carts/{cart_id}", headers=headers) for cart_id, headers in long]),
    ]


@dataclass(frozen=True, slots=True)
class _Filled:
    """A shopper's cart of some lines."""

    path: str
    skus: Sequence[str]
    reading: Call

    @classmethod
    def prepare(cls, api: Api, layers: EveryLayer, skus: Sequence[str], number: int) -> "_Filled":
        lines = [skus[(number * 7 + line * 131) % len(skus)] for line in range(SHORT_CART)]
        headers = layers.headers_of(number)
        path = f"/v1/carts/{api.cart_of(lines, headers)}"
        return cls(path, lines, Call("GET", path, headers=headers))


def _adding(carts: Sequence[_Filled]) -> list[Call]:
    """One unit more of each of their lines, one after the other."""
    return [
        Call("POST", f"{cart.path}/lines", orjson.dumps({"sku": cart.skus[turn], "quantity": 1}), cart.reading.headers)
        for turn in range(SHORT_CART)
        for cart in carts
    ]


def _gets(layers: EveryLayer, paths: Sequence[str]) -> list[Call]:
    """All of the paths, by all of the shoppers."""
    return [
        Call("GET", paths[number % len(paths)], headers=layers.headers_of(number))
        for number in range(max(len(paths), SHOPPERS))
    ]


def _deletes(layers: EveryLayer, paths: Sequence[str]) -> list[Call]:
    return [call._replace(method="DELETE") for call in _gets(layers, paths)]


def compared_with(stack: ExitStack, layers: EveryLayer) -> tuple[list[Subject], dict[str, Server]]:
    """What all are compared with, started."""
    yardstick = stack.enter_context(serving_module("benchmarks.peers.empty_app"))
    floor = stack.enter_context(serving_module("benchmarks.peers.bare_protocol"))
    plain = [Call("GET", "/")]
    subjects = [Subject(YARDSTICK, plain), Subject(SAME_FIELDS, _gets(layers, ["/"])), Subject(FLOOR, plain)]
    return subjects, {YARDSTICK: yardstick, SAME_FIELDS: yardstick, FLOOR: floor}


def prepare_peer(
    stack: ExitStack, peer: Peer, gateway: GatewayProcess, layers: EveryLayer
) -> tuple[list[Subject], Server]:
    """Have a peer do the same on the same store. Raises `PeerMissing`."""
    server = Server(*stack.enter_context(peer.serving(gateway.store_socket)))
    with Api(gateway.port) as api:
        skus = api.skus(LONG_CART)
        # Carts of its own, so that the gateway need not read anew what another has changed.
        carts = [_Filled.prepare(api, layers, skus, number) for number in range(SHOPPERS)]
    _check_tells_the_same(gateway, server, carts[0].reading)
    reading = Subject(by(peer, READ), [cart.reading for cart in carts], warm_up_s=_PEER_WARM_UP_S)
    return [reading, Subject(by(peer, ADD), _adding(carts), warm_up_s=_PEER_WARM_UP_S)], server


def by(peer: Peer, name: str) -> str:
    """What a peer's share of a comparison is called."""
    return f"{peer.name}: {name}"


def _check_tells_the_same(gateway: GatewayProcess, server: Server, call: Call) -> None:
    """Raises `PeerMissing` if a peer does not do the same work."""
    with Api(server.port) as other, Api(gateway.port) as own:
        told, expected = (api.call("GET", call.path, headers=call.headers) for api in (other, own))
    if told != expected:
        raise PeerMissing(f"it tells another cart than the gateway does: {told!r}, not {expected!r}")


def check_status(port: int, subject: Subject) -> None:
    """Raises HarnessError unless the answer to one of the calls is the one that is meant: wrk tells only errors from others."""
    method, path, body, headers = subject.calls[0]
    with Api(port) as api:
        status, _ = api.answer(method, path, body, headers)
    if status != subject.status:
        raise HarnessError(f"{subject.name}: {method} {path} was answered {status}, not {subject.status}")


@contextmanager
def serving_module(module: str) -> Iterator[Server]:
    """Serve one of the small servers to compare with."""
    port = free_port()
    process = start_child([sys.executable, "-m", module, str(port)])
    try:
        await_port(process, port)
        yield Server(port, process.pid)
    finally:
        stop_child(process)
