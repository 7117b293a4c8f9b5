"""The policy tables of `peakgate.toml`: values that may change while the gateway runs.

Plain frozen values, no behaviour but the faults they find in themselves. Times are in seconds. A table that is left out is
as its defaults say. `file.py` reads them, the JSON Schema is made of them, components get plain keyword values of them.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$", description="Lower case, digits, - and _.")]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
# `POST /v1/checkout`, `/v1/carts*`, `*`: a method or none, then a path as the route table writes it; `*` is any text.
RoutePattern = Annotated[
    str, Meta(pattern=r"^([A-Z]+ )?[/*]", description="For example 'POST /v1/checkout' or '/v1/carts*'.")
]
Cidr = Annotated[str, Meta(description="An address or a network, such as 10.0.0.0/8 or 2001:db8::/32.")]
HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^/?#\s]+", description="http:// or https://")]
# The first to be shed comes last.
Criticality = Literal["checkout", "cart-write", "cart-read", "browse", "optional"]
CRITICALITIES: Final[Sequence[Criticality]] = ("checkout", "cart-write", "cart-read", "browse", "optional")


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


# Who is asking


class ApiKey(Table, frozen=True):
    """A key that a caller sends as `X-Api-Key`; only its digest is ever written down (`peakgate config hash-key`)."""

    name: Name
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="Hex SHA-256 of the key.")]


class Identity(Table, frozen=True):
    """Who a request comes from."""

    # Peers whose X-Forwarded-For is believed; the client is the right-most address that is none of them.
    trusted_proxies: tuple[Cidr, ...] = ()
    # When not empty, nobody else is served. `deny` wins.
    allow: tuple[Cidr, ...] = ()
    deny: tuple[Cidr, ...] = ()
    api_keys: tuple[ApiKey, ...] = ()


class Shoppers(Table, frozen=True):
    """Signed-in shoppers: bearer JSON Web Tokens (RFC 7519) of one issuer. Off unless there is a way to verify them."""

    issuer: str | None = None
    audience: str | None = None
    jwks_url: HttpUrl | None = None
    algorithms: tuple[Literal["RS256", "ES256", "EdDSA", "HS256"], ...] = ("RS256", "ES256", "EdDSA")
    # A file with the shared secret; needed by HS256 and refused without it.
    hs256_secret_file: str | None = None
    leeway_s: Annotated[float, Meta(ge=0, le=600)] = 30.0
    jwks_refresh_s: Seconds = 300.0


# Saying no


class Limit(Table, frozen=True):
    """A quota: `quota` requests each `window_s` for every key, with bursts up to `burst` (GCRA)."""

    name: Name
    by: Literal["address", "api_key", "shopper", "route", "global"]
    quota: Count
    window_s: Seconds = 1.0
    # How many may come at once; the quota unless given.
    burst: Count | None = None
    routes: tuple[RoutePattern, ...] = ("*",)
    # Decide and count, but refuse nobody.
    shadow: bool = False


class Breaker(Table, frozen=True):
    """When a dependency is cut off, and how it comes back."""

    window_s: Seconds = 10.0
    min_calls: Count = 20
    failure_rate: Share = 0.5
    slow_call_s: Seconds = 2.0
    slow_call_rate: Share = 0.8
    # How long it stays cut off at first; doubled at every failed probe, jittered.
    open_s: Seconds = 1.0
    max_open_s: Seconds = 30.0
    # After a good probe, the share let through rises to all of it over this time.
    ramp_s: Annotated[float, Meta(ge=0, le=3600)] = 5.0


# The defaults of dependencies that differ from the general ones. A table in the file overrides them key by key.
BREAKERS: Final[Mapping[str, Breaker]] = {
    # Many calls a second and a deadline of 250 ms: judged at once, and back at once.
    "store": Breaker(window_s=1.0, min_calls=20, slow_call_s=0.2, open_s=0.2, max_open_s=1.0, ramp_s=0.5),
    # Few calls, each of which matters: an order that meets a dead service should find it out for the others.
    "payment": Breaker(window_s=60.0, min_calls=5, slow_call_s=3.5, open_s=2.0),
    "shipping": Breaker(window_s=60.0, min_calls=5, slow_call_s=3.5, open_s=2.0),
    "queue": Breaker(window_s=10.0, min_calls=5, open_s=0.5, max_open_s=10.0, ramp_s=2.0),
}


class Shedding(Table, frozen=True):
    """How much a worker takes on at a time."""

    enabled: bool = True
    min_concurrency: Count = 1000
    max_concurrency: Count = 2_000
    # How long the loop may take for all that is ready, before the least critical are refused; times of answers are a few of that.
    lag_target_s: Seconds = 0.03


class Room(Table, frozen=True):
    """A waiting room in front of some routes."""

    name: Name
    routes: tuple[RoutePattern, ...]
    # Shoppers admitted each second, and at most at a time.
    admissions_per_s: Annotated[float, Meta(gt=0, le=1e6)]
    max_active: Count
    # How long an admitted shopper may be idle, and how long one who waits may be away, before the place is given up.
    session_s: Seconds = 600.0
    # Shoppers ask again three times in the latter, but never more often than each second.
    reconnect_s: Annotated[float, Meta(ge=5, le=86_400)] = 60.0
    # The SKUs of the sale: clients behind the last unit of their stock get "sold out".
    skus: tuple[str, ...] = ()
    # Slow down when the oldest accepted order has waited this long.
    max_queue_age_s: Seconds = 60.0
    enabled: bool = True


# Forwarding


class HealthCheck(Table, frozen=True):
    """Asking an upstream's targets how they are."""

    path: Annotated[str, Meta(pattern="^/")]
    interval_s: Seconds = 5.0
    timeout_s: Seconds = 2.0
    # So many answers of the other kind in a row change a target's state.
    unhealthy_threshold: Count = 2
    healthy_threshold: Count = 2


class Upstream(Table, frozen=True):
    """HTTP servers that serve the same."""

    name: Name
    targets: Annotated[tuple[HttpUrl, ...], Meta(min_length=1)]
    connect_timeout_s: Seconds = 1.0
    # Connections of one worker to one target.
    max_connections: Count = 256
    # Passive health: a target with so many failures in a row is left out for a while.
    failures_to_eject: Count = 5
    eject_s: Seconds = 5.0
    health: HealthCheck | None = None


class Forward(Table, frozen=True):
    """A path prefix that is forwarded to an upstream. The longest prefix wins; the gateway's own routes come first."""

    prefix: Annotated[str, Meta(pattern=r"^/([^*?#]*/)?$", description="Begins and ends with a slash.")]
    upstream: Name
    # Take the prefix off the path that the upstream sees.
    strip_prefix: bool = False
    # Until the head of the answer, and between two pieces of its body.
    timeout_s: Seconds = 10.0
    idle_timeout_s: Seconds = 30.0
    criticality: Criticality = "browse"
    retries: Annotated[int, Meta(ge=0, le=5)] = 1
    max_body_bytes: Count = 100 * 1024 * 1024
    cache: bool = False
    compress: bool = False
    # Pass the Host the shopper sent; otherwise the target's own.
    preserve_host: bool = True


class Cache(Table, frozen=True):
    """The response cache of a worker (RFC 9111, shared)."""

    enabled: bool = True
    memory_bytes: Count = 64 * 1024 * 1024
    max_entry_bytes: Count = 1024 * 1024
    # Applied where an answer does not say itself.
    stale_while_revalidate_s: Annotated[float, Meta(ge=0, le=86_400)] = 0.0
    stale_if_error_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    # A second tier in the store, shared by all workers.
    shared: bool = False


# Degrading on purpose


class Switch(Table, frozen=True):
    """Turns routes, or the feature of its name (`compression`), off or down to a share of clients; others get a 503."""

    name: Name
    routes: tuple[RoutePattern, ...] = ()
    enabled: bool = True
    percent: Percent = 100.0


class Event(Table, frozen=True):
    """A time at which the gateway tightens by itself and reverts by itself, such as a drop."""

    name: Name
    start: datetime
    end: datetime
    # How long before the start the paths of `prewarm` are fetched and the rooms of the event open.
    prewarm_s: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    prewarm: tuple[Annotated[str, Meta(pattern="^/")], ...] = ()
    # The Host of these requests, a part of the cache key; that of the last client unless given.
    prewarm_host: str | None = None
    # Limits by name get this quota, rooms and switches by name are turned on or off; before and after they are as written.
    limits: dict[str, Count] = field(default_factory=dict)
    # The part of its quota that every other limit keeps.
    limits_factor: Annotated[float, Meta(gt=0, le=1)] = 1.0
    rooms: dict[str, bool] = field(default_factory=dict)
    switches: dict[str, bool] = field(default_factory=dict)


# The rest


class Cors(Table, frozen=True):
    """Which pages of other origins may call the API (the Fetch standard). Off without origins."""

    allow_origins: tuple[str, ...] = ()
    routes: tuple[RoutePattern, ...] = ("/v1/*",)
    allow_credentials: bool = False
    max_age_s: Annotated[int, Meta(ge=0, le=86_400)] = 600
    expose_headers: tuple[str, ...] = (
        "ETag",
        "Location",
        "X-Request-Id",
        "Retry-After",
        "Degraded",
        "Waiting-Room-Token",
    )


class Compression(Table, frozen=True):
    """Which answers are compressed: only those that hold no secrets beside text of others (BREACH)."""

    enabled: bool = True
    min_bytes: Count = 1_400


class Headers(Table, frozen=True):
    """Header fields of every answer; an empty one is left out."""

    strict_transport_security: str = ""
    content_security_policy: str = "default-src 'none'; frame-ancestors 'none'"
    referrer_policy: str = "no-referrer"
    x_content_type_options: Literal["nosniff", ""] = "nosniff"


class AccessLog(Table, frozen=True):
    """One JSON line for a sample of requests, by their outcome."""

    enabled: bool = True
    # `-` is standard output.
    file: str = "-"
    ok_sample_rate: Share = 0.01
    rejected_sample_rate: Share = 0.01
    client_error_sample_rate: Share = 0.1
    server_error_sample_rate: Share = 1.0
    slow_s: Seconds = 1.0
    # Personal data is left out unless named here.
    personal_fields: tuple[Literal["address", "path", "query", "shopper", "user_agent"], ...] = ()


class Policies(Table, frozen=True):
    """Everything that may change while the gateway runs."""

    identity: Identity = Identity()
    shoppers: Shoppers = Shoppers()
    limits: tuple[Limit, ...] = ()
    breaker: dict[str, Breaker] = field(default_factory=dict)
    shedding: Shedding = Shedding()
    rooms: tuple[Room, ...] = ()
    upstreams: tuple[Upstream, ...] = ()
    routes: tuple[Forward, ...] = ()
    cache: Cache = Cache()
    switches: tuple[Switch, ...] = ()
    events: tuple[Event, ...] = ()
    cors: Cors = Cors()
    compression: Compression = Compression()
    headers: Headers = Headers()
    access_log: AccessLog = AccessLog()


def applies(patterns: Sequence[str], method: str, path: str) -> bool:
    """Whether one of the patterns names the route of `method` and `path` (as the route table writes it)."""
    return any(fnmatch.fnmatchcase(f"{method} {path}" if " " in each else path, each) for each in patterns)
