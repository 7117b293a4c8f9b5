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
Durability = Literal["memory", "aof", "replica", "queue", "server"]
LogFormat = Literal["text", "json"]
PaymentAdapter = Literal["sandbox", "http", "stripe"]
SearchKind = Literal["sqlite", "module", "opensearch"]
ArchiveKind = Literal["sqlite", "dynamodb", "none"]
ShippingAdapter = Literal["sandbox", "http"]
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
            url("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
            "a Redis >= 7 or Valkey >= 7.2 to use instead of the embedded Valkey, Sentinels that know it, or a cluster",
            metavar="URL",
        ),
    )
    store_ca_file: Path | None = field(
        default=None,
        metadata=_option(
            _FILE,
            "certificates (PEM) of the authorities that a rediss:// store is trusted by, instead of the system's",
            metavar="FILE",
        ),
    )
    store_cert_file: Path | None = field(
        default=None,
        metadata=_option(
            _FILE,
            "the client certificate (PEM) for a rediss:// store, with its chain, and its key if that is there",
            metavar="FILE",
        ),
    )
    store_key_file: Path | None = field(
        default=None, metadata=_option(_FILE, "the key (PEM) of the client certificate", metavar="FILE")
    )
    store_timeout: float = field(
        default=0.25,
        metadata=_option(
            Number(0.05, 30, float),
            "how long a call to the store may take before it counts as failed",
            metavar="SECONDS",
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
            one_of("memory", "aof", "replica", "queue", "server"),
            "where an order is before it is accepted: memory (in the store), aof (on the store's disk), replica (in a replica too), "
            "queue (its message in the queue), or server (a store that is durable by itself); "
            "aof for the embedded store, memory for another, unless given",
            metavar="memory|aof|replica|queue|server",
        ),
    )
    allow_eviction: bool = field(
        default=False,
        metadata=_option(
            Boolean(),
            "whether a store is used that deletes keys when its memory is full (a maxmemory-policy other than noeviction)",
            metavar="yes|no",
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
    hang_timeout: float = field(
        default=10.0,
        metadata=_option(
            Number(2, 3600, float),
            "how long the event loop of a process may hang before the process is killed and replaced",
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
    sns_topic: str | None = field(
        default=None,
        metadata=_option(
            _TEXT,
            "an SNS topic, by its ARN, on which the events of orders are published (docs/events.md)",
            metavar="ARN",
        ),
    )
    payment: PaymentAdapter = field(
        default="sandbox",
        metadata=_option(
            one_of("sandbox", "http", "stripe"),
            "who takes payments: nobody, for trying the shop out, the shop's own service over HTTP, or Stripe (docs/payments.md)",
            metavar="sandbox|http|stripe",
        ),
    )
    payment_url: str | None = field(
        default=None,
        metadata=_option(
            url("https", "http"), "where the payment service is; Stripe's own address unless given", metavar="URL"
        ),
    )
    payment_key_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with the key of the payment service: whsec_…, with which requests are signed, or Stripe's sk_… or rk_…",
            metavar="FILE",
        ),
    )
    payment_webhook_secret_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with the secrets of the payment service's webhooks, one a line; there are no such webhooks unless given",
            metavar="FILE",
        ),
    )
    shipping: ShippingAdapter = field(
        default="sandbox",
        metadata=_option(
            one_of("sandbox", "http"),
            "who ships orders: nobody, for trying the shop out, or a service over HTTP (docs/shipping.md)",
            metavar="sandbox|http",
        ),
    )
    shipping_url: str | None = field(
        default=None, metadata=_option(url("https", "http"), "where the shipping service is", metavar="URL")
    )
    shipping_key_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH, "file with the key that signs requests to the shipping service: whsec_…", metavar="FILE"
        ),
    )
    shipping_webhook_secret_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with the secrets of the carrier's webhooks, one a line; there are no such webhooks unless given",
            metavar="FILE",
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
    search: SearchKind = field(
        default="sqlite",
        metadata=_option(
            one_of("sqlite", "module", "opensearch"),
            "where products are searched: an index of each host in its data directory, or one of all hosts, in the search "
            "module of Valkey or Redis or on OpenSearch",
            metavar="sqlite|module|opensearch",
        ),
    )
    search_url: str | None = field(
        default=None,
        metadata=_option(
            url("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "http", "https"),
            "the server of the search: with a search module, such as redis://search:6379 (the store unless given), or of "
            "OpenSearch, such as https://user:password@search:9200",
            metavar="URL",
        ),
    )
    trending_half_life: float = field(
        default=21_600.0,
        metadata=_option(
            Number(0, 2_592_000, float),
            "the time after which an order counts half for trending products; 0 for no such products",
            metavar="SECONDS",
        ),
    )
    low_stock: int = field(
        default=0,
        metadata=_option(
            Number(0, 1_000_000),
            "warn of products that a sale leaves with so many units or fewer; 0 for no warnings (docs/stock.md)",
            metavar="UNITS",
        ),
    )
    per_shopper_days: float = field(
        default=30.0,
        metadata=_option(
            Number(0.001, 366, float),
            "how long an order counts for the most units of a product that one shopper may have (docs/stock.md)",
            metavar="DAYS",
        ),
    )
    order_concurrency: int = field(
        default=64,
        metadata=_option(Number(1, 10_000), "orders that one worker process works on at a time", metavar="N"),
    )
    order_patience: float = field(
        default=900.0,
        metadata=_option(
            Number(1, 604_800, float),
            "how long an order waits for a service that does not respond to it, before it needs attention",
            metavar="SECONDS",
        ),
    )
    audit_every: float = field(
        default=60.0,
        metadata=_option(
            Number(0, 86_400, float),
            "how often a round of the audit of the books begins, in one process of the shop; 0 for never (docs/audit.md)",
            metavar="SECONDS",
        ),
    )
    audit_full_every: float = field(
        default=3_600.0,
        metadata=_option(
            Number(0, 2_592_000, float),
            "how often a round of the audit looks at all orders, and not only at those that changed",
            metavar="SECONDS",
        ),
    )
    audit_rate: float = field(
        default=1_500.0,
        metadata=_option(
            Number(1, 100_000, float),
            "orders, holds and waiting records that the audit in a worker reads a second, at most",
            metavar="COUNT",
        ),
    )
    audit_stuck_after: float = field(
        default=3_600.0,
        metadata=_option(
            Number(1, 2_592_000, float),
            "how long an order in flight may show no sign of life before an audit names it as stuck",
            metavar="SECONDS",
        ),
    )
    archive: ArchiveKind | None = field(
        default=None,
        metadata=_option(
            one_of("sqlite", "dynamodb", "none"),
            "where every order is kept for good: a SQLite file in the data directory, a table of Amazon DynamoDB, or "
            "nowhere; sqlite with the embedded store and the role all, otherwise none, unless given",
            metavar="sqlite|dynamodb|none",
        ),
    )
    archive_table: str = field(
        default="peakgate-orders",
        metadata=_option(_TEXT, "the table of DynamoDB that orders are archived in", metavar="NAME"),
    )
    archive_keep_days: float | None = field(
        default=None,
        metadata=_option(
            Number(0.001, 36_500, float),
            "days until an order that has ended is deleted from the archive too; never unless given",
            metavar="DAYS",
        ),
    )
    order_keep_days: float = field(
        default=90.0,
        metadata=_option(
            Number(0.001, 36_500, float),
            "days until an order that has ended leaves the store, if it is archived; it is read from the archive then",
            metavar="DAYS",
        ),
    )
    home_region: str | None = field(
        default=None,
        metadata=_option(
            _TEXT,
            "name of the Region whose store works on the orders that are accepted here, where gateways of several Regions "
            "share an archive",
            metavar="REGION",
        ),
    )
    admin: bool = field(
        default=True,
        metadata=_option(Boolean(), "whether the admin API, metrics and console are served", metavar="yes|no"),
    )
    admin_host: str = field(
        default="127.0.0.1", metadata=_option(_TEXT, "address that the admin API listens on", metavar="HOST")
    )
    admin_port: int | None = field(
        default=None,
        metadata=_option(
            _PORT,
            "port of the admin API; 0 picks a free one; 9090, or the next that is free, unless given",
            metavar="PORT",
        ),
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
    emf: bool = field(
        default=False,
        metadata=_option(
            Boolean(),
            "whether metrics are written to standard output each minute, in CloudWatch's embedded metric format",
            metavar="yes|no",
        ),
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
    viewer_token_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with a bearer token that reads the admin API and the console, without personal data, and changes nothing; "
            "made at the first start; there is none unless given",
            metavar="FILE",
        ),
    )
    oidc_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with the OpenID Connect issuer and client that operators sign in with at the console; by token alone "
            "unless given",
            metavar="FILE",
        ),
    )
    key_file: Path | None = field(
        default=None,
        metadata=_option(
            _PATH,
            "file with the keys of personal data; keys.toml in the data directory, made at the first start, unless given",
            metavar="FILE",
        ),
    )
    kms_key: str | None = field(
        default=None,
        metadata=_option(
            _TEXT,
            "id, ARN or alias of a key in AWS KMS for new personal data, instead of that of the key file",
            metavar="KEY",
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
    otlp_endpoint: str | None = field(
        default=None,
        metadata=_option(
            url("http", "https"),
            "address of an OpenTelemetry collector, such as http://localhost:4318, that traces are sent to; none are "
            "recorded unless given",
            metavar="URL",
        ),
    )
    trace_share: float = field(
        default=0.01,
        metadata=_option(
            Number(0, 1, float), "share of the requests that are traced from their begin, 0 to 1", metavar="SHARE"
        ),
    )
    trace_slow_ms: float = field(
        default=1000.0,
        metadata=_option(
            Number(1, 3_600_000, float),
            "milliseconds from which on a request is slow: it has a span, as one that failed has",
            metavar="MS",
        ),
    )
    trace_follow: bool = field(
        default=False,
        metadata=_option(
            Boolean(),
            "whether a request is traced too if its caller records the trace, as its traceparent says",
            metavar="yes|no",
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
    def archive_kind(self) -> ArchiveKind:
        """Where orders are archived."""
        # A file serves one machine that does all.
        is_alone = self.store_url is None and self.role == "all" and self.gateways == 1
        return self.archive or ("sqlite" if is_alone else "none")

    @property
    def admin_token_path(self) -> Path:
        """File of the admin API's token."""
        return self.admin_token_file or self.data_dir / "admin-token"

    @property
    def key_file_path(self) -> Path:
        """File of the keys of personal data."""
        return self.key_file or self.data_dir / "keys.toml"


# Settings by name, in their order; `kind`, `help` and `metavar` are in the metadata.
OPTIONS: Final[Mapping[str, Field[Any]]] = {each.name: each for each in fields(Settings) if "kind" in each.metadata}
# Settings that the file may contain: it cannot name another file.
FILE_KEYS: Final = tuple(name for name in OPTIONS if name != "config")
