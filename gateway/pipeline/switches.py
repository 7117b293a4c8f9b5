"""Turn routes and features off, or down to a share of clients, without a deployment."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from gateway.config.policies import Switch, applies
from gateway.http import problems
from gateway.http.message import Handler, Layer, Request, Response, ResponseOrAwaitable, header
from gateway.metrics import Metric, Sample

# Clients that were refused come back over this time, each at its own moment.
RETRY_LEAST_S: Final = 30
RETRY_MOST_S: Final = 60
# Encoded once: a refusal formats nothing.
_RETRY_AFTER: Final = tuple(header("Retry-After", seconds) for seconds in range(RETRY_LEAST_S, RETRY_MOST_S + 1))
_BUCKETS: Final = 1 << 32


class UnknownSwitch(Exception):
    """The file has no switch of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True, slots=True)
class Override:
    """What an operator has set; None is as the file has it."""

    on: bool | None = None
    percent: float | None = None


class LiveSwitch:
    """One switch as it stands now. The same object as long as the switch has its name, so that a layer can keep it."""

    __slots__ = ("_salt", "_table", "override", "passing", "refused")

    def __init__(self, table: Switch) -> None:
        self._salt = table.name.encode()
        self.refused = 0
        self.override = Override()
        self.follow(table)

    def follow(self, table: Switch) -> None:
        """Take what the file says."""
        self._table = table
        self.turn(self.override)

    def turn(self, override: Override) -> None:
        """Take what an operator says."""
        self.override = override
        # How many of the buckets that clients fall into are let through.
        self.passing = round(_BUCKETS * self.percent / 100) if self.is_on else 0

    @property
    def is_on(self) -> bool:
        """Whether anybody is let through."""
        return self._table.on if self.override.on is None else self.override.on

    @property
    def percent(self) -> float:
        """How many clients are let through while it is on."""
        return self._table.percent if self.override.percent is None else self.override.percent

    def lets_through(self, key: str) -> bool:
        """Whether a client is let through: the same answer every time while the percentage stands.

        A client that is let through at a percentage is let through at every higher one, and other clients at another
        switch. No secret: who wants to be somebody else here can be.
        """
        if self.passing == _BUCKETS:
            return True
        if self.passing == 0:
            return False
        digest = blake2b(key.encode(errors="surrogatepass"), digest_size=4, key=self._salt).digest()
        return int.from_bytes(digest, "big") < self.passing

    def snapshot(self) -> Mapping[str, Any]:
        """Its state for people."""
        return {
            "on": self.is_on,
            "percent": self.percent,
            "configured": {"on": self._table.on, "percent": self._table.percent},
            "override": {"on": self.override.on, "percent": self.override.percent},
            "routes": list(self._table.routes),
            "refused": self.refused,
        }


class SwitchBoard:
    """All switches of a worker: the file's, with what an operator has turned.

    A turn stays until it is taken back, also when the file is read again or an event begins: what was turned off in an
    emergency is not turned on by a timetable. It goes with its switch, and with the process.
    """

    def __init__(self, tables: Iterable[Switch] = ()) -> None:
        self._switches: dict[str, LiveSwitch] = {}
        self._routes: dict[str, Sequence[str]] = {}
        self.update(tables)

    def update(self, tables: Iterable[Switch]) -> None:
        """Take the switches of the file. Those of the same name keep their counts and what an operator has turned."""
        tables = tuple(tables)
        known, self._switches = self._switches, {}
        for table in tables:
            live = known.get(table.name) or LiveSwitch(table)
            live.follow(table)
            self._switches[table.name] = live
        self._routes = {table.name: table.routes for table in tables}

    def turn(self, name: str, *, on: bool | None = None, percent: float | None = None) -> None:
        """Set a switch over what the file says; what is None is as the file has it again.

        Raises `UnknownSwitch`, and `ValueError` for a percentage that is none.
        """
        if percent is not None and not 0 <= percent <= 100:
            raise ValueError("percent must be from 0 to 100")
        live = self._switches.get(name)
        if live is None:
            raise UnknownSwitch(name)
        live.turn(Override(on, percent))

    def of_route(self, method: str, path: str) -> Sequence[LiveSwitch]:
        """The switches that a route goes through."""
        return [live for name, live in self._switches.items() if applies(self._routes[name], method, path)]

    def has(self, name: str) -> bool:
        """Whether the file has a switch of that name."""
        return name in self._switches

    def is_on(self, name: str, key: str) -> bool:
        """Whether a feature is there for the client `key` (see `client_key`); one without a switch is on."""
        live = self._switches.get(name)
        if live is None or live.lets_through(key):
            return True
        live.refused += 1
        return False

    def snapshot(self) -> Mapping[str, Any]:
        """Every switch by name."""
        return {name: live.snapshot() for name, live in self._switches.items()}

    def metrics(self) -> Iterable[Metric]:
        """How far each is open, and how often it said no."""
        yield Metric(
            "peakgate_switch_open_ratio",
            "Share of clients that a switch lets through.",
            "gauge",
            [Sample({"switch": name}, live.passing / _BUCKETS) for name, live in self._switches.items()],
        )
        yield Metric(
            "peakgate_switch_refused_total",
            "Requests and features that a switch did not let through.",
            "counter",
            [Sample({"switch": name}, live.refused) for name, live in self._switches.items()],
        )


def client_key(request: Request) -> str:
    """Who a share is counted by: the API key, else the address.

    Not the shopper: who that is, a worker knows only once it has verified the token, so the first answer of each would differ.
    """
    return request.api_key or request.client


def switches(switches_for_route: Sequence[LiveSwitch], *, rng: Callable[[], float] = random.random) -> Layer:
    """Answer 503 `disabled` to whom a switch of the route does not let through. Without switches there is no layer."""

    def layer(handler: Handler) -> Handler:
        if not switches_for_route:
            return handler

        def switched(request: Request) -> ResponseOrAwaitable:
            for switch in switches_for_route:
                # Mostly a switch is open for all, which is seen without asking who it is.
                if switch.passing != _BUCKETS and not switch.lets_through(client_key(request)):
                    switch.refused += 1
                    return _refusal(request, rng)
            return handler(request)

        return switched

    return layer


def feature(board: SwitchBoard, name: str, layer: Layer) -> Layer:
    """`layer` for those to whom the switch `name` gives the feature, for all where there is no such switch."""
    if not board.has(name):
        return layer

    def switchable(handler: Handler) -> Handler:
        with_it = layer(handler)

        def featured(request: Request) -> ResponseOrAwaitable:
            return with_it(request) if board.is_on(name, client_key(request)) else handler(request)

        return featured

    return switchable


def _refusal(request: Request, rng: Callable[[], float]) -> Response:
    retry_after = _RETRY_AFTER[int(rng() * len(_RETRY_AFTER))]
    return problems.response(problems.DISABLED, request.id, header_block=retry_after)
