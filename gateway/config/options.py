"""Everything that can be set when Peakgate starts, each setting once: its kind, its default and its purpose.

A setting is a flag (`--drain-timeout`), a variable (`PEAKGATE_DRAIN_TIMEOUT`) and a key of `peakgate.toml`
(`drain_timeout`). Values that may change while the gateway runs are in `policies.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from gateway.config.policies import Policies

Role = Literal["edge", "worker", "all"]
Durability = Literal["memory", "aof"]

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


class Kind(Protocol):
    """The kind of a setting. Both readers raise `ValueError` with the correction."""

    def __call__(self, text: str) -> Any:
        """Read a flag or a variable."""
        ...

    def of_toml(self, value: object) -> Any:
        """Read a value of the file."""
        ...

    @property
    def schema(self) -> Mapping[str, Any]:
        """The same as JSON Schema, for the file."""
        ...


@dataclass(frozen=True)
class Number:
    """A number of `least` to `most`."""

    least: float
    most: float
    kind: type[int | float] = int

    def __call__(self, text: str) -> Any:
        """Read digits."""
        try:
            number = self.kind(text)
        except ValueError:
            number = None
        if number is None or not self.least <= number <= self.most:
            raise ValueError(self._rule)
        return number

    def of_toml(self, value: object) -> Any:
        """Read a number, written without quotes."""
        if not isinstance(value, (int, self.kind)) or isinstance(value, bool) or not self.least <= value <= self.most:
            raise ValueError(f"{self._rule}, without quotes" if isinstance(value, str) else self._rule)
        return self.kind(value)

    @property
    def schema(self) -> Mapping[str, Any]:
        """A number with its bounds."""
        return {
            "type": "integer" if self.kind is int else "number",
            "minimum": self.least,
            "maximum": self.most,
        }

    @property
    def _rule(self) -> str:
        return f"must be a number from {self.least:.15g} to {self.most:.15g}"


@dataclass(frozen=True)
class YesOrNo:
    """A flag of many names; `true` or `false` in the file."""

    def __call__(self, text: str) -> bool:
        """Read a word."""
        if text.lower() not in _YES | _NO:
            raise ValueError("must be yes or no")
        return text.lower() in _YES

    def of_toml(self, value: object) -> bool:
        """Read a boolean."""
        if not isinstance(value, bool):
            raise ValueError("must be true or false, without quotes")  # noqa: TRY004 - a kind raises nothing else
        return value

    @property
    def schema(self) -> Mapping[str, Any]:
        """A boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True)
class Text:
    """Text that `read` makes a value of."""

    read: Callable[[str], Any]
    words: tuple[str, ...] = ()

    def __call__(self, text: str) -> Any:
        """Read it."""
        return self.read(text)

    def of_toml(self, value: object) -> Any:
        """Read it out of its quotes."""
        if not isinstance(value, str):
            raise ValueError("must be text in quotes")  # noqa: TRY004 - a kind raises nothing else
        return self.read(value)

    @property
    def schema(self) -> Mapping[str, Any]:
        """A string, of the words if there are any."""
        return {"enum": list(self.words)} if self.words else {"type": "string", "minLength": 1}


def _one_of(*words: str) -> Text:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return Text(read, words)


def _url(*schemes: str) -> Text:
    def read(text: str) -> str:
        if not any(text.startswith(f"{scheme}://") and len(text) > len(scheme) + 3 for scheme in schemes):
            raise ValueError(f"must be an address that begins with {', '.join(f'{s}://' for s in schemes)}")
        return text

    return Text(read)


def _code(text: str) -> str:
    if len(text) != 3 or not text.isascii() or not text.isalpha() or not text.isupper():
        raise ValueError("must be a currency code such as GBP (ISO 4217)")
    return text


def _not_empty(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _new_path(text: str) -> Path:
    return Path(_not_empty(text))


def _existing_file(text: str) -> Path:
    path = Path(text)
    # `is_file` raises for text that cannot be a path.
    if "\0" in text or not path.is_file():
        raise ValueError("there is no such file")
    return path


_TEXT: Final = Text(_not_empty)
_PATH: Final = Text(_new_path)
_FILE: Final = Text(_existing_file)
_PORT: Final = Number(0, 65535)


def _about(kind: Kind, what: str, *, metavar: str) -> dict[str, Any]:
    return {"kind": kind, "help": what, "metavar": metavar}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one Peakgate runs. Times are in seconds unless a name says otherwise."""

    config: Path | None = field(
        default=None,
        metadata=_about(
            _FILE, "the configuration file; peakgate.toml in the current directory, if it is there", metavar="FILE"
        ),
    )
    host: str = field(
        default="127.0.0.1", metadata=_about(_TEXT, "address to listen on; 0.0.0.0 for all", metavar="HOST")
    )
    port: int = field(default=8080, metadata=_about(_PORT, "port to listen on; 0 picks a free one", metavar="PORT"))
    data_dir: Path = field(
        default=Path("peakgate-data"),
        metadata=_about(_PATH, "where the embedded store and the search index keep their files", metavar="DIR"),
    )
    workers: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata=_about(Number(1, 256), "worker processes; the number of cores unless given", metavar="N"),
    )
    gateways: int = field(
        default=1,
        metadata=_about(
            Number(1, 10_000),
            "gateways that share the store: while it is away, each grants its share of the rate limits",
            metavar="N",
        ),
    )
    role: Role = field(
        default="all",
        metadata=_about(
            _one_of("edge", "worker", "all"),
            "edge serves shoppers, worker works off orders, all does both",
            metavar="edge|worker|all",
        ),
    )
    store_url: str | None = field(
        default=None,
        metadata=_about(
            _url("redis", "rediss", "unix"),
            "a Redis >= 7 or Valkey >= 7.2 to use instead of the embedded Valkey",
            metavar="URL",
        ),
    )
    catalog: Path | None = field(
        default=None,
        metadata=_about(
            _FILE, "a catalogue (.csv or .jsonl) to import before serving, once per content", metavar="FILE"
        ),
    )
    durability: Durability | None = field(
        default=None,
        metadata=_about(
            _one_of("memory", "aof"),
            "where an order is before it is accepted: memory (in the store) or aof (on the store's disk); "
            "aof for the embedded store, memory for another, unless given",
            metavar="memory|aof",
        ),
    )
    drain_timeout: float = field(
        default=25.0,
        metadata=_about(
            Number(0, 3600, float), "how long a stopping worker may finish what it has begun", metavar="SECONDS"
        ),
    )
    queue_url: str | None = field(
        default=None,
        metadata=_about(
            _url("http", "https"), "an SQS queue for accepted orders; a stream in the store unless given", metavar="URL"
        ),
    )
    aws_endpoint_url: str | None = field(
        default=None, metadata=_about(_url("http", "https"), "where SQS is, if not at AWS", metavar="URL")
    )
    aws_region: str | None = field(
        default=None,
        metadata=_about(
            _TEXT, "the queue's AWS region; read from its address or the AWS profile unless given", metavar="REGION"
        ),
    )
    currency: str = field(
        default="GBP", metadata=_about(Text(_code), "currency of a cart that names none", metavar="CODE")
    )
    max_lines: int = field(default=1000, metadata=_about(Number(1, 1000), "most lines of a cart", metavar="N"))
    max_quantity: int = field(
        default=10_000, metadata=_about(Number(1, 1_000_000), "largest quantity of a line", metavar="N")
    )
    anonymous_cart_days: float = field(
        default=30, metadata=_about(Number(0.001, 3650, float), "days until an anonymous cart expires", metavar="DAYS")
    )
    owned_cart_days: float = field(
        default=90,
        metadata=_about(Number(0.001, 3650, float), "days until a signed-in shopper's cart expires", metavar="DAYS"),
    )
    show_stock: bool = field(
        default=True, metadata=_about(YesOrNo(), "whether products show how many there are", metavar="yes|no")
    )
    order_concurrency: int = field(
        default=64,
        metadata=_about(Number(1, 10_000), "orders that one worker process works on at a time", metavar="N"),
    )
    admin: bool = field(
        default=True,
        metadata=_about(YesOrNo(), "whether the admin API, metrics and console are served", metavar="yes|no"),
    )
    admin_host: str = field(
        default="127.0.0.1", metadata=_about(_TEXT, "address that the admin API listens on", metavar="HOST")
    )
    admin_port: int = field(
        default=9090, metadata=_about(_PORT, "port of the admin API; 0 picks a free one", metavar="PORT")
    )
    admin_token_file: Path | None = field(
        default=None,
        metadata=_about(
            _PATH,
            "file with the bearer token of the admin API; admin-token in the data directory, made at the first start, "
            "unless given",
            metavar="FILE",
        ),
    )
    expose_metrics: bool = field(
        default=False,
        metadata=_about(YesOrNo(), "whether /metrics of the admin API is told without the token", metavar="yes|no"),
    )
    # The rest comes with the file and is no setting of its own: its tables, and its text.
    policies: Policies = field(default_factory=Policies)
    config_text: str = field(default="", repr=False)

    @property
    def serves_shoppers(self) -> bool:
        """Whether the role has the public API."""
        return self.role != "worker"

    @property
    def works_orders(self) -> bool:
        """Whether the role works off accepted orders."""
        return self.role != "edge"

    @property
    def admin_token_path(self) -> Path:
        """Where the admin API's token is kept."""
        return self.admin_token_file or self.data_dir / "admin-token"


# Every setting in its order, by name; `kind`, `help` and `metavar` are in the metadata.
OPTIONS: Final[Mapping[str, Field[Any]]] = {each.name: each for each in fields(Settings) if "kind" in each.metadata}
# A file cannot name another.
OF_THE_FILE: Final = tuple(name for name in OPTIONS if name != "config")
