"""Kill switches: routes and features that are off, or on for a share of clients, by the file and by operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from gateway.config.policies import Switch
from gateway.config.route_patterns import applies
from gateway.metrics import Metric, Sample
from gateway.pipeline.switch_override import Override, UnknownSwitch

# Clients are hashed into this many buckets.
BUCKETS: Final = 1 << 32


class LiveSwitch:
    """The current state of one switch. It stays the same object as long as its name stays, so that layers may hold it."""

    __slots__ = ("_salt", "_table", "admitted_buckets", "override", "rejected")

    def __init__(self, table: Switch) -> None:
        self._salt = table.name.encode()
        self.rejected = 0
        self.override = Override()
        self._table = table
        self.admitted_buckets = 0
        self.apply(table)

    def apply(self, table: Switch) -> None:
        """Apply a table of the file."""
        self._table = table
        self.set_override(self.override)

    def set_override(self, override: Override) -> None:
        """Apply the setting of an operator."""
        self.override = override
        self.admitted_buckets = round(BUCKETS * self.percent / 100) if self.is_enabled else 0

    @property
    def is_enabled(self) -> bool:
        """Whether any client is admitted."""
        return self._table.enabled if self.override.enabled is None else self.override.enabled

    @property
    def percent(self) -> float:
        """The percentage of clients admitted while it is on."""
        return self._table.percent if self.override.percent is None else self.override.percent

    def admits(self, key: str) -> bool:
        """Whether a client is admitted: always the same result while the percentage stays.

        A client that is admitted at a percentage is admitted at every higher one. Each switch admits other clients. The
        hash is no secret: a client may choose a key that is admitted.
        """
        if self.admitted_buckets == BUCKETS:
            return True
        if self.admitted_buckets == 0:
            return False
        digest = blake2b(key.encode(errors="surrogatepass"), digest_size=4, key=self._salt).digest()
        return int.from_bytes(digest, "big") < self.admitted_buckets

    def snapshot(self) -> Mapping[str, Any]:
        """Its state, as configured and as overridden."""
        return {
            "enabled": self.is_enabled,
            "percent": self.percent,
            "configured": {"enabled": self._table.enabled, "percent": self._table.percent},
            "override": {"enabled": self.override.enabled, "percent": self.override.percent},
            "routes": list(self._table.routes),
            "rejected": self.rejected,
        }


class SwitchBoard:
    """All switches of a worker: those of the file, with the overrides of operators.

    An override lasts until it is withdrawn, also when the file is reloaded or an event begins: a timetable must not turn
    on a route that was turned off in an emergency. It ends with its switch, and with the process.
    """

    def __init__(self, tables: Iterable[Switch] = ()) -> None:
        self._switches: dict[str, LiveSwitch] = {}
        self._routes: dict[str, Sequence[str]] = {}
        self.update(tables)

    def update(self, tables: Iterable[Switch]) -> None:
        """Apply the switches of the file. Those of the same name keep their counts and overrides."""
        tables = tuple(tables)
        known, self._switches = self._switches, {}
        for table in tables:
            live = known.get(table.name) or LiveSwitch(table)
            live.apply(table)
            self._switches[table.name] = live
        self._routes = {table.name: table.routes for table in tables}

    def override(self, name: str, *, enabled: bool | None = None, percent: float | None = None) -> None:
        """Override the file's setting of a switch; None withdraws an override.

        Raises `UnknownSwitch`, and `ValueError` for an invalid percentage.
        """
        if percent is not None and not 0 <= percent <= 100:
            raise ValueError("percent must be from 0 to 100")
        live = self._switches.get(name)
        if live is None:
            raise UnknownSwitch(name)
        live.set_override(Override(enabled, percent))

    def of_route(self, method: str, path: str) -> Sequence[LiveSwitch]:
        """The switches of a route."""
        return [live for name, live in self._switches.items() if applies(self._routes[name], method, path)]

    def has(self, name: str) -> bool:
        """Whether the file has a switch of that name."""
        return name in self._switches

    def is_enabled(self, name: str, key: str) -> bool:
        """Whether the client `key` (see `client_key`) has a feature; a feature without a switch is on."""
        live = self._switches.get(name)
        if live is None or live.admits(key):
            return True
        live.rejected += 1
        return False

    def snapshot(self) -> Mapping[str, Any]:
        """Every switch by name."""
        return {name: live.snapshot() for name, live in self._switches.items()}

    def metrics(self) -> Iterable[Metric]:
        """The share of clients that each switch admits, and the requests that it rejected."""
        yield Metric(
            "peakgate_switch_open_ratio",
            "Share of clients that a switch admits.",
            "gauge",
            [Sample({"switch": name}, live.admitted_buckets / BUCKETS) for name, live in self._switches.items()],
        )
        yield Metric(
            "peakgate_switch_rejected_total",
            "Requests and features that a switch rejected.",
            "counter",
            [Sample({"switch": name}, live.rejected) for name, live in self._switches.items()],
        )
