"""The policy tables of `peakgate.toml`: frozen values that a reload may change while the gateway runs.

The members carry their JSON Schema: constraints and a description. `extra["format"]` is the form that an error message
asks for. Times are in seconds. A table that is left out has its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from gateway.http.html_page import DARK, LIGHT

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$", extra={"format": "lower case, digits, - and _"})]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
SecondsOrZero = Annotated[float, Meta(ge=0, le=86_400)]
Share = Annotated[float, Meta(ge=0, le=1)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
# A method or none, then a path as in the route table; `*` is any text.
RoutePattern = Annotated[
    str, Meta(pattern=r"^([A-Z]+ )?[/*]", extra={"format": "for example 'POST /v1/checkout' or '/v1/carts*'"})
]
Cidr = Annotated[str, Meta(extra={"format": "an address or a network, such as 10.0.0.0/8 or 2001:db8::/32"})]
HttpUrl = Annotated[str, Meta(pattern=r"^https?://[^/?#\s]+", extra={"format": "http:// or https://"})]
# As in a Host field, without a port.
HostName = Annotated[
    str,
    Meta(
        pattern=r"^(?:[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?|\[[0-9A-Fa-f:.]+\])$",
        extra={"format": "a host without a port, such as shop.example"},
    ),
]
PathPrefix = Annotated[str, Meta(pattern=r"^/([^*?#]*/)?$", extra={"format": "begins and ends with a slash"})]
ExactPath = Annotated[str, Meta(pattern=r"^/[^*?#]*$", extra={"format": "begins with a slash"})]
RequestPath = Annotated[str, Meta(pattern="^/")]
OwnPath = Annotated[
    str, Meta(pattern=r"^(/[A-Za-z0-9._~-]+)*$", extra={"format": "empty, or a path such as /lb/ready"})
]
EventType = Annotated[
    str,
    Meta(
        pattern=r"^shop\.(order|webhook)\.[a-z_]+\.v1$",
        extra={"format": "the type of an event, such as shop.order.completed.v1"},
    ),
]
CountryText = Annotated[str, Meta(pattern="^[A-Z]{2}$", extra={"format": "a country code such as GB"})]
CurrencyText = Annotated[str, Meta(pattern="^[A-Z]{3}$", extra={"format": "a currency code such as GBP"})]
Colour = Annotated[str, Meta(pattern="^#[0-9a-fA-F]{6}$", extra={"format": "a colour such as #0b57c2"})]
# Under overload, the last is shed first.
Criticality = Literal["checkout", "cart-write", "cart-read", "agent", "browse", "optional"]
CRITICALITIES: Final[Sequence[Criticality]] = ("checkout", "cart-write", "cart-read", "agent", "browse", "optional")


class Table(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class ApiKey(Table, frozen=True):
    """An API key that clients send as `X-Api-Key`. Only its digest is stored (`peakgate config hash-key`)."""

    name: Annotated[Name, Meta(description="Name of the key in logs, metrics and limits.")]
    sha256: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{64}$",
            description="Hex SHA-256 of the key, as printed by `peakgate config hash-key`.",
            extra={"format": "hex SHA-256 of the key"},
        ),
    ]


class Identity(Table, frozen=True):
    """How the client of a request is identified: trusted proxies, allowed and denied addresses, API keys."""

    trusted_proxies: Annotated[
        tuple[Cidr, ...],
        Meta(
            description="Proxies whose X-Forwarded-For is trusted. The client is the right-most address that is not "
            "one of them."
        ),
    ] = ()
    allow: Annotated[
        tuple[Cidr, ...], Meta(description="If not empty, all other client addresses are denied. `deny` wins.")
    ] = ()
    deny: Annotated[tuple[Cidr, ...], Meta(description="Client addresses that are denied.")] = ()
    api_keys: Annotated[tuple[ApiKey, ...], Meta(description="Keys that clients may send as X-Api-Key.")] = ()


class Agents(Table, frozen=True):
    """Checkout sessions for the agents of shoppers (Agentic Commerce Protocol). Off without keys."""

    keys: Annotated[
        tuple[Name, ...],
        Meta(description="Names of the API keys (identity.api_keys) that agents send as bearer tokens."),
    ] = ()
    quota: Annotated[Count, Meta(description="Requests of each agent in a second, which is also its burst.")] = 20
    order_url: Annotated[
        str | None,
        Meta(
            description="Address of an order for people, with {order_id} in it, from the next start on.",
            extra={"format": "an address such as https://shop.example/orders/{order_id}"},
        ),
    ] = None
    payment_handlers_file: Annotated[
        str | None,
        Meta(
            description="File with the JSON array of the payment handlers that sessions name, from the next start on. "
            "Default: none."
        ),
    ] = None


class Shoppers(Table, frozen=True):
    """Signed-in shoppers: bearer JSON Web Tokens (RFC 7519) of one issuer. Off without a key to verify them."""

    issuer: Annotated[str | None, Meta(description="Required issuer of the tokens (iss).")] = None
    audience: Annotated[str | None, Meta(description="Required audience of the tokens (aud).")] = None
    jwks_url: Annotated[HttpUrl | None, Meta(description="URL of the issuer's public keys (RFC 7517).")] = None
    algorithms: Annotated[
        tuple[Literal["RS256", "ES256", "EdDSA", "HS256"], ...],
        Meta(description="Accepted signature algorithms. HS256 needs hs256_secret_file."),
    ] = ("RS256", "ES256", "EdDSA")
    hs256_secret_file: Annotated[
        str | None, Meta(description="File with the shared secret. Required by HS256, an error without it.")
    ] = None
    leeway_s: Annotated[float, Meta(ge=0, le=600, description="Accepted clock skew of the issuer, in seconds.")] = 30.0
    jwks_refresh_s: Annotated[Seconds, Meta(description="Seconds between two fetches of the issuer's keys.")] = 300.0


class ShippingRate(Table, frozen=True):
    """The price of a shipping method for some orders."""

    price: Annotated[int, Meta(ge=0, le=10**9, description="Price in minor units.")]
    currency: Annotated[
        CurrencyText | None, Meta(description="Currency of `price` and `from_subtotal`. Default: that of every order.")
    ] = None
    countries: Annotated[
        tuple[CountryText, ...], Meta(description="Countries of the shipping address. Default: all of them.")
    ] = ()
    weight_class: Annotated[
        Name | None, Meta(description="The heaviest class that is shipped so. Default: the last of `weight_classes`.")
    ] = None
    from_subtotal: Annotated[
        int, Meta(ge=0, le=10**12, description="The least price of the goods, less discounts, in minor units.")
    ] = 0


class ShippingMethod(Table, frozen=True):
    """A shipping method. Of its rates the first that fits an order is its price; without one, it is not offered."""

    name: Annotated[Name, Meta(description="Name of the method in requests and orders.")]
    rates: Annotated[
        tuple[ShippingRate, ...], Meta(min_length=1, description="Its prices, of which the first that fits counts.")
    ]
    title: Annotated[
        Annotated[str, Meta(max_length=100)] | None, Meta(description="Name for shoppers. Default: the name.")
    ] = None


class TaxRate(Table, frozen=True):
    """The tax on products of a class in some countries."""

    percent: Annotated[float, Meta(ge=0, le=100, description="Of the price without tax, up to four decimals.")]
    countries: Annotated[tuple[CountryText, ...], Meta(description="Countries of the shipping address.")]
    tax_class: Annotated[Name, Meta(description="Tax class of the products.")] = "standard"


class Tax(Table, frozen=True):
    """Taxes by country and tax class. Where no rate fits, there is no tax."""

    prices: Annotated[
        Literal["inclusive", "exclusive"], Meta(description="Whether prices include the tax, or it is added to them.")
    ] = "inclusive"
    shipping_class: Annotated[Name, Meta(description="Tax class of shipping.")] = "standard"
    rates: Annotated[tuple[TaxRate, ...], Meta(description="Tax rates. Default: none, so orders name no tax.")] = ()


class Tariff(Table, frozen=True):
    """The charges of the shop beside its goods. Without methods there is one, `standard`, which costs nothing."""

    weight_classes: Annotated[
        tuple[Name, ...],
        Meta(description="Weight classes of products, the lightest first, which is that of products without one."),
    ] = ()
    shipping_methods: Annotated[
        tuple[ShippingMethod, ...], Meta(description="Shipping methods, the default first.")
    ] = ()
    tax: Annotated[Tax, Meta(description="Taxes by country and tax class.")] = Tax()


class Limit(Table, frozen=True):
    """A rate limit (GCRA): `quota` requests in each `window_s` for every key, with bursts up to `burst`."""

    name: Annotated[Name, Meta(description="Name of the limit in events, metrics and headers.")]
    by: Annotated[
        Literal["address", "api_key", "shopper", "route", "global"],
        Meta(description="Key of the quota: client address, API key, shopper, route, or one for all requests."),
    ]
    quota: Annotated[Count, Meta(description="Requests in each window.")]
    window_s: Annotated[Seconds, Meta(description="Length of the window in seconds.")] = 1.0
    burst: Annotated[Count | None, Meta(description="Requests that may arrive at once. Default: the quota.")] = None
    routes: Annotated[tuple[RoutePattern, ...], Meta(description="Route patterns that the limit applies to.")] = ("*",)
    shadow: Annotated[bool, Meta(description="Decide and count, but reject no request.")] = False


class Breaker(Table, frozen=True):
    """Circuit breaker of a dependency: when it opens, and how it closes again."""

    window_s: Annotated[Seconds, Meta(description="Sliding window of calls that are counted, in seconds.")] = 10.0
    min_calls: Annotated[Count, Meta(description="With fewer calls in the window the breaker does not open.")] = 20
    failure_rate: Annotated[Share, Meta(description="Share of failed calls in the window that opens the breaker.")] = (
        0.5
    )
    slow_call_s: Annotated[Seconds, Meta(description="A call that takes longer is slow, in seconds.")] = 2.0
    slow_call_rate: Annotated[Share, Meta(description="Share of slow calls in the window that opens the breaker.")] = (
        0.8
    )
    open_s: Annotated[
        Seconds,
        Meta(description="First time in the open state, in seconds. Doubles with each failed probe, with jitter."),
    ] = 1.0
    max_open_s: Annotated[Seconds, Meta(description="Longest time between two probes, in seconds.")] = 30.0
    ramp_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Seconds after a successful probe in which the share of calls let through rises to all.",
        ),
    ] = 5.0


# Defaults of single dependencies. A table in the file overrides them key by key.
BREAKERS: Final[Mapping[str, Breaker]] = {
    # Many calls a second and a deadline of 250 ms: it opens and closes fast.
    "store": Breaker(window_s=1.0, min_calls=20, slow_call_s=0.2, open_s=0.2, max_open_s=1.0, ramp_s=0.5),
    # Few calls, and each belongs to an order: five are enough to open.
    "payment": Breaker(window_s=60.0, min_calls=5, slow_call_s=3.5, open_s=2.0),
    "shipping": Breaker(window_s=60.0, min_calls=5, slow_call_s=3.5, open_s=2.0),
    "queue": Breaker(window_s=10.0, min_calls=5, open_s=0.5, max_open_s=10.0, ramp_s=2.0),
    # Few reads, of old orders; each waits for seconds while it is away.
    "archive": Breaker(window_s=10.0, min_calls=5, open_s=0.5, max_open_s=10.0, ramp_s=2.0),
    # A call is a hand-over of up to 8 s. One to a topic that hangs takes 5 s, and relays pause after each.
    "sns": Breaker(window_s=60.0, min_calls=5, slow_call_s=6.0),
}


class Shedding(Table, frozen=True):
    """Load shedding by criticality: an adaptive limit of concurrent requests in each worker."""

    enabled: Annotated[bool, Meta(description="Whether overloaded workers shed requests.")] = True
    min_concurrency: Annotated[Count, Meta(description="Lower bound of the limit of concurrent requests.")] = 1000
    max_concurrency: Annotated[Count, Meta(description="Upper bound of the limit of concurrent requests.")] = 2_000
    lag_target_s: Annotated[
        Seconds,
        Meta(
            description="Event loop lag above which the least critical requests are shed, in seconds. Response times are "
            "a few times as long."
        ),
    ] = 0.03
    max_event_streams: Annotated[
        Count,
        Meta(
            description="Most streams of order events that a worker has open; one client may have an eighth of them. "
            "More are rejected."
        ),
    ] = 5_000


class Room(Table, frozen=True):
    """A waiting room in front of some routes."""

    name: Annotated[Name, Meta(description="Name of the room in events, metrics and tokens.")]
    routes: Annotated[tuple[RoutePattern, ...], Meta(description="Route patterns that need a pass of the room.")]
    admissions_per_s: Annotated[float, Meta(gt=0, le=1e6, description="Clients admitted each second.")]
    max_active: Annotated[Count, Meta(description="Most clients that are admitted at a time.")]
    session_s: Annotated[
        Seconds, Meta(description="Idle time after which an admitted client loses the pass, in seconds.")
    ] = 600.0
    # Clients ask again three times in this time, but not more often than once a second.
    reconnect_s: Annotated[
        float,
        Meta(
            ge=5,
            le=86_400,
            description="Time that a waiting client may be away before it loses its place, in seconds.",
        ),
    ] = 60.0
    skus: Annotated[
        tuple[str, ...],
        Meta(description='SKUs of the sale. Clients behind the last unit of their stock are shown "sold out".'),
    ] = ()
    max_queue_age_s: Annotated[
        Seconds, Meta(description="Admission slows down while the oldest accepted order is older, in seconds.")
    ] = 60.0
    enabled: Annotated[bool, Meta(description="Whether the room is open. A closed room lets all requests pass.")] = True


class HealthCheck(Table, frozen=True):
    """Active health checks of an upstream's targets."""

    path: Annotated[RequestPath, Meta(description="Path that is requested. 2xx and 3xx are healthy.")]
    interval_s: Annotated[Seconds, Meta(description="Seconds between two checks of a target.")] = 5.0
    timeout_s: Annotated[Seconds, Meta(description="A slower response is a failure, in seconds.")] = 2.0
    unhealthy_threshold: Annotated[
        Count, Meta(description="Consecutive failures after which a target is unhealthy.")
    ] = 2
    healthy_threshold: Annotated[Count, Meta(description="Consecutive successes after which it is healthy.")] = 2


class Upstream(Table, frozen=True):
    """A named service of HTTP servers with the same content."""

    name: Annotated[Name, Meta(description="Name of the upstream in routes, breakers and metrics.")]
    targets: Annotated[tuple[HttpUrl, ...], Meta(min_length=1, description="Its servers: scheme, host and port.")]
    connect_timeout_s: Annotated[Seconds, Meta(description="Timeout of a connection attempt, in seconds.")] = 1.0
    max_connections: Annotated[Count, Meta(description="Most connections of one worker to one target.")] = 256
    buffer_bytes: Annotated[
        Count,
        Meta(
            description="Longest body, of a request or a response, that is received whole before it is sent on, in bytes. "
            "Longer ones are streamed."
        ),
    ] = 64 * 1024
    failures_to_eject: Annotated[
        Count, Meta(description="Consecutive failures of requests after which a target is ejected.")
    ] = 5
    eject_s: Annotated[Seconds, Meta(description="Time that a failing target is ejected, in seconds.")] = 5.0
    health: Annotated[
        HealthCheck | None, Meta(description="Active health checks. Without them only requests count.")
    ] = None


class Forward(Table, frozen=True):
    """A path, or a prefix of paths, that is forwarded to an upstream.

    The gateway's own routes come first, then an exact path, then the longest prefix.
    """

    upstream: Annotated[Name, Meta(description="Name of the upstream.")]
    prefix: Annotated[
        PathPrefix | None, Meta(description="Path prefix of the forwarded requests. Begins and ends with a slash.")
    ] = None
    path: Annotated[ExactPath | None, Meta(description="The one path that is forwarded, in place of a prefix.")] = None
    hosts: Annotated[
        tuple[HostName, ...], Meta(description="Hosts whose requests are forwarded. Default: those of all hosts.")
    ] = ()
    strip_prefix: Annotated[bool, Meta(description="Whether the prefix is removed from the path.")] = False
    timeout_s: Annotated[Seconds, Meta(description="Timeout until the head of the response, in seconds.")] = 10.0
    idle_timeout_s: Annotated[
        Seconds, Meta(description="Timeout between two chunks of the response's body, in seconds.")
    ] = 30.0
    criticality: Annotated[
        Criticality, Meta(description="Priority under overload: optional is shed first, checkout last.")
    ] = "browse"
    retries: Annotated[int, Meta(ge=0, le=5, description="Most retries of a failed idempotent request.")] = 1
    max_body_bytes: Annotated[Count, Meta(description="Longest body of a request, in bytes.")] = 100 * 1024 * 1024
    cache: Annotated[bool, Meta(description="Whether responses are cached as their header fields allow.")] = False
    compress: Annotated[
        bool, Meta(description="Whether responses are compressed. Unsafe for secrets beside reflected input (BREACH).")
    ] = False
    preserve_host: Annotated[
        bool, Meta(description="Whether the upstream receives the client's Host. Otherwise: the target's own.")
    ] = True

    @property
    def pattern(self) -> str:
        """The path as policies name it: `/pages/*`, or an exact one."""
        return f"{self.prefix}*" if self.path is None else self.path

    @property
    def name(self) -> str:
        """The name in metrics, logs and quotas: the pattern, after the first of the hosts if there are some."""
        return f"{self.hosts[0]}{self.pattern}" if self.hosts else self.pattern


class Region(Table, frozen=True):
    """The gateway of a Region, to which the others forward calls on the orders that have their home there."""

    name: Annotated[Name, Meta(description="Name of the Region: the `home_region` of its gateways.")]
    url: Annotated[HttpUrl, Meta(description="Address of its gateways: scheme, host and port.")]
    # Less than the deadline of the calls, so that there is time for the fallback.
    timeout_s: Annotated[
        float, Meta(gt=0, le=9, description="Timeout until the head of a response, retries included, in seconds.")
    ] = 3.0

    @property
    def upstream(self) -> Upstream:
        """It as an upstream, with a breaker, retries and metrics of this name."""
        return Upstream(name=f"region-{self.name}", targets=(self.url,))

    @property
    def forward(self) -> Forward:
        """How calls are forwarded to it. Its own Host: gateways and balancers of Regions may be told apart by that alone."""
        return Forward(upstream=self.upstream.name, prefix="/", timeout_s=self.timeout_s, preserve_host=False)


class Cache(Table, frozen=True):
    """The response cache of a host (a shared cache of RFC 9111)."""

    enabled: Annotated[bool, Meta(description="Whether responses are cached.")] = True
    memory_bytes: Annotated[Count, Meta(description="Memory of each worker for copies of responses, in bytes.")] = (
        64 * 1024**2
    )
    host_memory_bytes: Annotated[
        int,
        Meta(
            ge=0,
            le=1_000_000_000,
            description="Memory that all workers of a host share for responses, in bytes, from the next start on. With 0 "
            "each worker caches for itself.",
        ),
    ] = 64 * 1024**2
    max_entry_bytes: Annotated[Count, Meta(description="Largest response that is cached, in bytes.")] = 1024**2
    stale_while_revalidate_s: Annotated[
        SecondsOrZero,
        Meta(
            description="Time in which a stale response is served during its revalidation, in seconds, unless the response "
            "sets it."
        ),
    ] = 0.0
    stale_if_error_s: Annotated[
        SecondsOrZero,
        Meta(
            description="Time in which a stale response is served while the upstream fails, in seconds, unless the "
            "response sets it."
        ),
    ] = 60.0
    shared: Annotated[bool, Meta(description="Whether the store is a second tier for all workers.")] = False


class Switch(Table, frozen=True):
    """A kill switch of routes, or of the feature of its name (`compression`), for all clients or a share of them."""

    name: Annotated[Name, Meta(description="Name of the switch in events and metrics, or of a feature.")]
    routes: Annotated[
        tuple[RoutePattern, ...], Meta(description="Route patterns that return 503 to clients without access.")
    ] = ()
    enabled: Annotated[bool, Meta(description="Whether the routes or the feature are available.")] = True
    percent: Annotated[Percent, Meta(description="Percentage of clients with access; always the same clients.")] = 100.0


class Event(Table, frozen=True):
    """A scheduled time with tighter policies, such as a drop. They revert at its end."""

    name: Annotated[Name, Meta(description="Name of the event in the status and logs.")]
    start: Annotated[datetime, Meta(description="Start: a time with its zone.")]
    end: Annotated[datetime, Meta(description="End: a time with its zone.")]
    prewarm_s: Annotated[
        SecondsOrZero,
        Meta(description="Seconds before the start at which rooms open and the paths of prewarm are fetched."),
    ] = 60.0
    prewarm: Annotated[
        tuple[RequestPath, ...], Meta(description="Paths that are fetched into the cache before the start.")
    ] = ()
    # The Host is a part of the cache key.
    prewarm_host: Annotated[
        str | None, Meta(description="Host of the prewarm requests. Default: the Host of the last client.")
    ] = None
    limits: Annotated[dict[str, Count], Meta(description="Quotas of limits during the event, by name.")] = field(
        default_factory=dict
    )
    limits_factor: Annotated[
        float, Meta(gt=0, le=1, description="Factor of the quotas of all other limits during the event.")
    ] = 1.0
    rooms: Annotated[dict[str, bool], Meta(description="Rooms by name: true opens, false closes.")] = field(
        default_factory=dict
    )
    switches: Annotated[dict[str, bool], Meta(description="Switches by name: true turns on, false off.")] = field(
        default_factory=dict
    )


# One that `fetch` sends: never CONNECT, TRACE or TRACK.
CorsMethod = Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Cors(Table, frozen=True):
    """Cross-origin requests to the API (the Fetch standard). Off without origins."""

    allow_origins: Annotated[
        tuple[str, ...], Meta(description='Origins whose pages may call, such as https://shop.example, or "*".')
    ] = ()
    routes: Annotated[tuple[RoutePattern, ...], Meta(description="Route patterns that pages may call.")] = ("/v1/*",)
    allow_credentials: Annotated[bool, Meta(description="Whether pages may send cookies and credentials.")] = False
    max_age_s: Annotated[
        int, Meta(ge=0, le=86_400, description="Time that browsers may cache a preflight, in seconds.")
    ] = 600
    expose_headers: Annotated[tuple[str, ...], Meta(description="Response header fields that pages may read.")] = (
        "ETag",
        "Location",
        "X-Request-Id",
        "Retry-After",
        "Degraded",
        "Waiting-Room-Token",
    )
    allow_methods: Annotated[tuple[CorsMethod, ...], Meta(description="Methods that preflights allow.")] = (
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "PATCH",
        "DELETE",
    )
    allow_headers: Annotated[
        tuple[str, ...],
        Meta(description="Request header fields that preflights allow, besides those that browsers always allow."),
    ] = (
        "Authorization",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "Waiting-Room-Token",
        "X-Api-Key",
        "traceparent",
        "tracestate",
    )


class Compression(Table, frozen=True):
    """Compression of responses, except those with secrets beside reflected input (BREACH)."""

    enabled: Annotated[bool, Meta(description="Whether responses are compressed.")] = True
    min_bytes: Annotated[Count, Meta(description="Shorter responses are not compressed, in bytes.")] = 1_400


class Headers(Table, frozen=True):
    """Header fields of every response. An empty value omits the field."""

    strict_transport_security: Annotated[str, Meta(description="Value of Strict-Transport-Security.")] = ""
    content_security_policy: Annotated[str, Meta(description="Value of Content-Security-Policy.")] = (
        "default-src 'none'; frame-ancestors 'none'"
    )
    referrer_policy: Annotated[str, Meta(description="Value of Referrer-Policy.")] = "no-referrer"
    x_content_type_options: Annotated[Literal["nosniff", ""], Meta(description="Value of X-Content-Type-Options.")] = (
        "nosniff"
    )


class Api(Table, frozen=True):
    """The gateway's own paths: where they are, and which there are."""

    prefix: Annotated[
        str,
        Meta(
            pattern=r"^(/[A-Za-z0-9._~-]+)*$",
            description="Prefix of all own paths. Patterns in policies leave it out.",
            extra={"format": "empty, or a path such as /peakgate without a slash at its end"},
        ),
    ] = ""
    shop: Annotated[bool, Meta(description="Whether carts, products, checkout and orders are served at /v1.")] = True
    docs: Annotated[bool, Meta(description="Whether the reference is served at /docs, and / leads to it.")] = True
    openapi: Annotated[bool, Meta(description="Whether /openapi.json is served, which /docs needs.")] = True
    problems: Annotated[bool, Meta(description="Whether /problems/… explains the types of problems.")] = True
    healthz: Annotated[
        OwnPath | None,
        Meta(description="Path of the check whether the process runs; empty for none. Default: prefix and /healthz."),
    ] = None
    readyz: Annotated[
        OwnPath | None,
        Meta(
            description="Path of the check whether it should get traffic; empty for none. Default: prefix and /readyz."
        ),
    ] = None


class LightColours(Table, frozen=True):
    """Colours of the pages on light screens. Text on the card has a contrast of 4.5 to 1 or more."""

    background: Annotated[Colour, Meta(description="Around the card.")] = LIGHT["background"]
    card: Annotated[Colour, Meta(description="Behind the text.")] = LIGHT["card"]
    line: Annotated[Colour, Meta(description="Lines and borders.")] = LIGHT["line"]
    text: Annotated[Colour, Meta(description="Colour of text.")] = LIGHT["text"]
    quiet: Annotated[Colour, Meta(description="Less important text.")] = LIGHT["quiet"]
    accent: Annotated[Colour, Meta(description="Links, buttons, the place in the queue, the edge of the card.")] = (
        LIGHT["accent"]
    )


class DarkColours(Table, frozen=True):
    """Colours of the pages on dark screens."""

    background: Annotated[Colour, Meta(description="Around the card.")] = DARK["background"]
    card: Annotated[Colour, Meta(description="Behind the text.")] = DARK["card"]
    line: Annotated[Colour, Meta(description="Lines and borders.")] = DARK["line"]
    text: Annotated[Colour, Meta(description="Colour of text.")] = DARK["text"]
    quiet: Annotated[Colour, Meta(description="Less important text.")] = DARK["quiet"]
    accent: Annotated[Colour, Meta(description="Links, buttons, the place in the queue, the edge of the card.")] = DARK[
        "accent"
    ]


class Pages(Table, frozen=True):
    """The HTML pages that browsers get in place of problems, and the page of waiting rooms."""

    enabled: Annotated[bool, Meta(description="Whether browsers get refusals as pages. Otherwise: JSON.")] = True
    folder: Annotated[str | None, Meta(description="Folder with templates and texts of the operator.")] = None
    brand: Annotated[str, Meta(max_length=100, description="Name of the shop, shown above the page.")] = ""
    home: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^/?#\s]+\S*|/\S*)?$",
            description="Address of the shop's start page, linked from refusals.",
            extra={"format": "an address such as https://shop.example/, or a path"},
        ),
    ] = ""
    language: Annotated[
        str,
        Meta(
            pattern="^[a-z]{2,3}(-[a-z0-9]{2,8})*$",
            description="Language of clients whose Accept-Language names none that there is.",
            extra={"format": "the tag of a language in lower case, such as en"},
        ),
    ] = "en"
    light: Annotated[LightColours, Meta(description="Colours on light screens.")] = LightColours()
    dark: Annotated[DarkColours, Meta(description="Colours on dark screens.")] = DarkColours()


class AccessLog(Table, frozen=True):
    """The access log: one JSON line for a sample of requests, by outcome."""

    enabled: Annotated[bool, Meta(description="Whether requests are logged.")] = True
    file: Annotated[str, Meta(description="File that lines are appended to; `-` is standard output.")] = "-"
    ok_sample_rate: Annotated[Share, Meta(description="Share of successful requests that are logged.")] = 0.01
    rejected_sample_rate: Annotated[
        Share, Meta(description="Share of rejected requests (429, 503) that are logged.")
    ] = 0.01
    client_error_sample_rate: Annotated[Share, Meta(description="Share of other 4xx that are logged.")] = 0.1
    server_error_sample_rate: Annotated[Share, Meta(description="Share of other 5xx that are logged.")] = 1.0
    slow_s: Annotated[Seconds, Meta(description="Slower requests are always logged, in seconds.")] = 1.0
    personal_fields: Annotated[
        tuple[Literal["address", "path", "query", "shopper", "user_agent"], ...],
        Meta(description="Fields with personal data that are logged. Default: none of them."),
    ] = ()


class Webhook(Table, frozen=True):
    """An endpoint that is sent the events of orders as Standard Webhooks (standardwebhooks.com)."""

    name: Annotated[Name, Meta(description="Name of the endpoint in commands, metrics and the delivery log.")]
    url: Annotated[HttpUrl, Meta(description="Address that messages are posted to. Redirects are not followed.")]
    secret_file: Annotated[
        str,
        Meta(
            description="File with the secrets that messages are signed with, one `whsec_…` in each line, the newest first."
        ),
    ]
    types: Annotated[
        tuple[EventType, ...],
        Meta(description="Types of events that are sent, such as shop.order.completed.v1. Default: all of orders."),
    ] = ()
    timeout_s: Annotated[float, Meta(gt=0, le=30, description="Timeout of one attempt, in seconds.")] = 15.0
    allow_private: Annotated[
        bool,
        Meta(
            description="Whether the address may be a private one or this host; for trials and endpoints of one's own."
        ),
    ] = False


class Policies(Table, frozen=True):
    """Everything that may change while the gateway runs."""

    identity: Annotated[Identity, Meta(description="Identification of clients.")] = Identity()
    shoppers: Annotated[Shoppers, Meta(description="Signed-in shoppers by JSON Web Tokens.")] = Shoppers()
    agents: Annotated[Agents, Meta(description="Checkout sessions for the agents of shoppers.")] = Agents()
    tariff: Annotated[Tariff, Meta(description="Shipping methods and taxes; see docs/prices.md.")] = Tariff()
    limits: Annotated[
        tuple[Limit, ...], Meta(description="Rate limits. A request must be within all that match its route.")
    ] = ()
    breaker: Annotated[
        dict[str, Breaker],
        Meta(
            description="Circuit breakers by dependency: store, payment, shipping, queue, archive, search, the name of an "
            "upstream, or `region-` and that of a Region."
        ),
    ] = field(default_factory=dict)
    shedding: Annotated[Shedding, Meta(description="Load shedding by criticality.")] = Shedding()
    rooms: Annotated[tuple[Room, ...], Meta(description="Waiting rooms in front of some routes.")] = ()
    upstreams: Annotated[tuple[Upstream, ...], Meta(description="HTTP services behind the gateway.")] = ()
    routes: Annotated[tuple[Forward, ...], Meta(description="Path prefixes that are forwarded to upstreams.")] = ()
    regions: Annotated[
        tuple[Region, ...],
        Meta(description="Gateways of other Regions, for calls on the orders that have their home there."),
    ] = ()
    cache: Annotated[Cache, Meta(description="The response cache.")] = Cache()
    switches: Annotated[tuple[Switch, ...], Meta(description="Kill switches of routes and features.")] = ()
    events: Annotated[tuple[Event, ...], Meta(description="Scheduled times with tighter policies.")] = ()
    webhooks: Annotated[
        tuple[Webhook, ...], Meta(description="Endpoints that are sent the events of orders; see docs/webhooks.md.")
    ] = ()
    cors: Annotated[Cors, Meta(description="Cross-origin requests.")] = Cors()
    compression: Annotated[Compression, Meta(description="Compression of responses.")] = Compression()
    headers: Annotated[Headers, Meta(description="Header fields of every response.")] = Headers()
    api: Annotated[Api, Meta(description="The gateway's own paths.")] = Api()
    pages: Annotated[Pages, Meta(description="Pages for browsers.")] = Pages()
    access_log: Annotated[AccessLog, Meta(description="The access log.")] = AccessLog()

    @property
    def all_upstreams(self) -> Sequence[Upstream]:
        """The upstreams of the file, and the gateways of other Regions as upstreams."""
        return (*self.upstreams, *(region.upstream for region in self.regions))
