"""Settings of Peakgate, read at the start: type, default and description of each.

A setting is a flag (`--drain-timeout`), a variable (`PEAKGATE_DRAIN_TIMEOUT`) and a key of `peakgate.toml`
(`drain_timeout`). Values that may change while the gateway runs are in `policies.py`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Literal

from gateway.config.policies import Policies
from gateway.config.setting_types import (
    Boolean,
    Number,
    SettingType,
    Text,
    currency_code,
    existing_file,
    new_path,
    not_empty,
    one_of,
    url,
)
from gateway.http.head_limits import MAX_FIELDS, MAX_HEAD_BYTES, MAX_LINE_BYTES, HeadLimits

Role = Literal["edge", "worker", "all"]
Durability = Literal["memory", "aof"]
LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_TEXT: Final = Text(not_empty)
_PATH: Final = Text(new_path)
_FILE: Final = Text(existing_file)
_PORT: Final = Number(0, 65535)


def _option(kind: SettingType, description: str, *, metavar: str) -> dict[str, Any]:
    return {"kind": kind, "help": description, "metavar": metavar}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How one Peakgate runs. Times are in seconds unless a name says otherwise."""

    config: Path | None = field(
        default=None,
        metadata=_option(
            _FILE, "the configuration file; peakgate.toml in the current directory, if it is there", metavar="FILE"
        ),
    )
    host: str = field(
        default="127.0.0.1", metadata=_option(_TEXT, "address to listen on; 0.0.0.0 for all", metavar="HOST")
    )
    port: int = field(default=8080, metadata=_option(_PORT, "port to listen on; 0 picks a free one", metavar="PORT"))
    data_dir: Path = field(
        default=Path("peakgate-data"),
        metadata=_option(_PATH, "where the embedded store and the search index keep their files", metavar="DIR"),
    )
    workers: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata=_option(Number(1, 256), "worker processes; the number of cores unless given", metavar="N"),
    )
    gateways: int = field(
        default=1,
        metadata=_option(
            Number(1, 10_000),
            "gateways that share the store: while it is away, each grants its share of the rate limits",
            metavar="N",
        ),
    )
    role: Role = field(
        default="all",
        metadata=_option(
            one_of("edge", "worker", "all"),
            "edge serves shoppers, worker works off orders, all does both",
            metavar="edge|worker|all",
        ),
    )
    store_url: str | None = field(
        default=None,
        metadata=_option(
            url("redis", "rediss", "unix"),
            "a Redis >= 7 or Valkey >= 7.2 to use instead of the embedded Valkey",
            metavar="URL",
        ),
    )
    catalog: Path | None = field(
        default=None,
        metadata=_option(
            _FILE, "a catalogue (.csv or .jsonl) to import before serving, once per content", metavar="FILE"
        ),
    )
    durability: Durability | None = field(
        default=None,
        metadata=_option(
            one_of("memory", "aof"),
            "where an order is before it is accepted: memory (in the store) or aof (on the store's disk); "
            "aof for the embedded store, memory for another, unless given",
            metavar="memory|aof",
        ),
    )
    drain_timeout: float = field(
        default=25.0,
        metadata=_option(
            Number(0, 3600, float), "how long a stopping worker may finish what it has begun", metavar="SECONDS"
        ),
    )
    drain_grace: float = field(
        default=0.0,
        metadata=_option(
            Number(0, 3600, float),
            "how long new connections are served after SIGTERM while /readyz says 503; behind a balancer, the time that it "
            "takes to notice",
            metavar="SECONDS",
        ),
    )
    max_header_line_bytes: int = field(
        default=MAX_LINE_BYTES,
        metadata=_option(
            Number(1024, 64 * 1024),
            "longest request target, and longest header field, of requests and of upstreams' responses, in bytes",
            metavar="BYTES",
        ),
    )
    max_header_fields: int = field(
        default=MAX_FIELDS,
        metadata=_option(
            Number(10, 1000), "most header fields of a request, and of an upstream's response", metavar="N"
        ),
    )
    max_header_bytes: int = field(
        default=MAX_HEAD_BYTES,
        metadata=_option(
            Number(1024, 256 * 1024),
            "largest header section of a request, and of an upstream's response, in bytes",
            metavar="BYTES",
        ),
    )
    queue_url: str | None = field(
        default=None,
        metadata=_option(
            url("http", "https"), "an SQS queue for accepted orders; a stream in the store unless given", metavar="URL"
        ),
    )
    aws_endpoint_url: str | None = field(
        default=None, metadata=_option(url("http", "https"), "where SQS is, if not at AWS", metavar="URL")
    )
    aws_region: str | None = field(
        default=None,
        metadata=_option(
            _TEXT, "the queue's AWS region; read from its address or the AWS profile unless given", metavar="REGION"
        ),
    )
    currency: str = field(
        default="GBP", metadata=_option(Text(currency_code), "currency of a cart that names none", metavar="CODE")
    )
    max_lines: int = field(
        default=1000, metadata=_option(Number(1, 1000), "maximum number of lines in a cart", metavar="N")
    )
    max_quantity: int = field(
        default=10_000, metadata=_option(Number(1, 1_000_000), "largest quantity of a line", metavar="N")
    )
    anonymous_cart_days: float = field(
        default=30, metadata=_option(Number(0.001, 3650, float), "days until an anonymous cart expires", metavar="DAYS")
    )
    owned_cart_days: float = field(
        default=90,
        metadata=_option(Number(0.001, 3650, float), "days until a signed-in shopper's cart expires", metavar="DAYS"),
    )
    show_stock: bool = field(
        default=True, metadata=_option(Boolean(), "whether products show how many there are", metavar="yes|no")
    )
    order_concurrency: int = field(
        default=64,
        metadata=_option(Number(1, 10_000), "orders that one worker process works on at a time", metavar="N"),
    )
    admin: bool = field(
        default=True,
        metadata=_option(Boolean(), "whether the admin API, metrics and console are served", metavar="yes|no"),
    )
    admin_host: str = field(
        default="127.0.0.1", metadata=_option(_TEXT, "address that the admin API listens on", metavar="HOST")
    )
    admin_port: int = field(
        default=9090, metadata=_option(_PORT, "port of the admin API; 0 picks a free one", metavar="PORT")
    )
    admin_token_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with the bearer token of the admin API; admin-token in the data directory, made at the first start, "
            "unless given",
            metavar="FILE",
        ),
    )
    expose_metrics: bool = field(
        default=False,
        metadata=_option(Boolean(), "whether /metrics of the admin API is served without the token", metavar="yes|no"),
    )
    metrics_token_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with a second bearer token, which reads /metrics of the admin API and nothing else; made at the first "
            "start; there is none unless given",
            metavar="FILE",
        ),
    )
    log_format: LogFormat = field(
        default="text",
        metadata=_option(one_of("text", "json"), "format of log lines on standard error", metavar="text|json"),
    )
    log_level: LogLevel = field(
        default="info",
        metadata=_option(
            one_of("debug", "info", "warning", "error"),
            "the least important log lines that are written",
            metavar="debug|info|warning|error",
        ),
    )
    # Tables of the file, and its text.
    policies: Policies = field(default_factory=Policies)
    config_text: str = field(default="", repr=False)

    @property
    def serves_shoppers(self) -> bool:
        """Whether the role has the public API."""
        return self.role != "worker"

    @property
    def head_limits(self) -> HeadLimits:
        """The limits of header sections."""
        return HeadLimits(
            line_bytes=self.max_header_line_bytes, fields=self.max_header_fields, head_bytes=self.max_header_bytes
        )

    @property
    def works_orders(self) -> bool:
        """Whether the role works off accepted orders."""
        return self.role != "edge"

    @property
    def admin_token_path(self) -> Path:
        """File of the admin API's token."""
        return self.admin_token_file or self.data_dir / "admin-token"


# Settings by name, in their order; `kind`, `help` and `metavar` are in the metadata.
OPTIONS: Final[Mapping[str, Field[Any]]] = {each.name: each for each in fields(Settings) if "kind" in each.metadata}
# Settings that the file may contain: it cannot name another file.
FILE_KEYS: Final = tuple(name for name in OPTIONS if name != "config")
