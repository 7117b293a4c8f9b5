"""Everything that can be set, and the only reader of flags and environment.

Each field of `Settings` is one setting: flag `--drain-timeout`, variable `PEAKGATE_DRAIN_TIMEOUT`. Flags win.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

Role = Literal["edge", "worker", "all"]
Durability = Literal["memory", "aof"]

PREFIX: Final = "PEAKGATE_"
# Of the tests; and what Kubernetes tells every pod of a Service named `peakgate`.
_FOREIGN: Final = (f"{PREFIX}TEST_", f"{PREFIX}SERVICE_", f"{PREFIX}PORT_")
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


class SettingsError(Exception):
    """One or more settings are wrong; `faults` has a line for each."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def _number(least: float, most: float, kind: type[int | float] = int) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = None
        if number is None or not least <= number <= most:
            raise ValueError(f"must be a number from {least:g} to {most:g}")
        return number

    return parse


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return text

    return parse


def _yes_or_no(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError("must be yes or no")
    return text.lower() in _YES


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not any(text.startswith(f"{scheme}://") and len(text) > len(scheme) + 3 for scheme in schemes):
            raise ValueError(f"must be an address that begins with {', '.join(f'{s}://' for s in schemes)}")
        return text

    return parse


def _currency(text: str) -> str:
    if len(text) != 3 or not text.isascii() or not text.isalpha() or not text.isupper():
        raise ValueError("must be a currency code such as GBP (ISO 4217)")
    return text


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


def _directory(text: str) -> Path:
    return Path(_text(text))


def _file(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _about(parse: Callable[[str], Any], what: str, *, metavar: str) -> dict[str, Any]:
    return {"parse": parse, "help": what, "metavar": metavar}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one Peakgate runs. Times are in seconds unless a name says otherwise."""

    host: str = field(
        default="127.0.0.1", metadata=_about(_text, "address to listen on; 0.0.0.0 for all", metavar="HOST")
    )
    port: int = field(
        default=8080, metadata=_about(_number(0, 65535), "port to listen on; 0 picks a free one", metavar="PORT")
    )
    data_dir: Path = field(
        default=Path("peakgate-data"),
        metadata=_about(_directory, "where the embedded store and the search index keep their files", metavar="DIR"),
    )
    workers: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata=_about(_number(1, 256), "worker processes; the number of cores unless given", metavar="N"),
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
            _file, "a catalogue (.csv or .jsonl) to import before serving, once per content", metavar="FILE"
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
            _number(0, 3600, float), "how long a stopping worker may finish what it has begun", metavar="SECONDS"
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
            _text, "the queue's AWS region; read from its address or the AWS profile unless given", metavar="REGION"
        ),
    )
    currency: str = field(
        default="GBP", metadata=_about(_currency, "currency of a cart that names none", metavar="CODE")
    )
    max_lines: int = field(default=1000, metadata=_about(_number(1, 1000), "most lines of a cart", metavar="N"))
    max_quantity: int = field(
        default=10_000, metadata=_about(_number(1, 1_000_000), "largest quantity of a line", metavar="N")
    )
    anonymous_cart_days: float = field(
        default=30, metadata=_about(_number(0.001, 3650, float), "days until an anonymous cart expires", metavar="DAYS")
    )
    owned_cart_days: float = field(
        default=90,
        metadata=_about(_number(0.001, 3650, float), "days until a signed-in shopper's cart expires", metavar="DAYS"),
    )
    show_stock: bool = field(
        default=True, metadata=_about(_yes_or_no, "whether products show how many there are", metavar="yes|no")
    )
    order_concurrency: int = field(
        default=64,
        metadata=_about(_number(1, 10_000), "orders that one worker process works on at a time", metavar="N"),
    )

    @property
    def serves_shoppers(self) -> bool:
        """Whether the role has the public API."""
        return self.role != "worker"

    @property
    def works_orders(self) -> bool:
        """Whether the role works off accepted orders."""
        return self.role != "edge"


def load(flags: Mapping[str, str], environ: Mapping[str, str]) -> Settings:
    """Read settings from flags (by field name) and the environment.

    Raises `SettingsError` with every fault there is, unknown `PEAKGATE_*` variables among them.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    known = {each.name: each.metadata for each in fields(Settings)}
    for name, metadata in known.items():
        variable = PREFIX + name.upper()
        source, text = ("--" + name.replace("_", "-"), flags.get(name))
        if text is None:
            source, text = variable, environ.get(variable)
        if text is None or (source == variable and (not text or _is_service_link(name, text))):
            continue
        try:
            values[name] = metadata["parse"](text)
        except ValueError as error:
            # An address may hold a password, also one that is mistyped.
            given = "" if name.endswith("_url") else f", not {text!r}"
            faults.append(f"{source}: {error}{given}")
    faults += [f"{variable}: there is no such setting" for variable in sorted(environ) if _is_unknown(variable)]
    if faults:
        raise SettingsError(faults)
    return Settings(**values)


def _is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes has put the address of a Service named `peakgate` where the port would be."""
    return name == "port" and text.startswith("tcp://")


def _is_unknown(variable: str) -> bool:
    """Whether it looks like a setting and is none; those of the tests and of Kubernetes are theirs."""
    known = {PREFIX + each.name.upper() for each in fields(Settings)}
    return variable.startswith(PREFIX) and not variable.startswith(_FOREIGN) and variable not in known
