"""Checks beyond types: invalid addresses, unknown names, values that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.config.lines import Place
from gateway.config.policies import (
    Cors,
    Event,
    Forward,
    Headers,
    HealthCheck,
    Identity,
    Policies,
    Room,
    Shoppers,
    Upstream,
)
from gateway.config.route_patterns import applies
from gateway.config.tables import Checks, Fault
from gateway.http.addresses import parse_network

# The dependencies with a breaker besides the upstreams.
DEPENDENCIES: Final = ("store", "payment", "shipping", "queue", "search")
# Lists whose elements are told apart by a member.
_UNIQUE: Final = (
    *((("limits",), "name"), (("rooms",), "name"), (("upstreams",), "name"), (("switches",), "name")),
    *((("events",), "name"), (("identity", "api_keys"), "name"), (("identity", "api_keys"), "sha256")),
    (("routes",), "prefix"),
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_SENT_PREFIX: Final = re.compile(r"[!$%&'()+,./0-9:;=@A-Z_a-z~-]+")  # RFC 3986, 3.3
_ORIGIN: Final = re.compile(r"https?://[^/?#@\s]+")
_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.1
# As long as the hash of the signature (RFC 7518, 3.2).
_SECRET_LEAST_BYTES: Final = 32
# The beginnings of keys and certificates.
_KEY_MARKS: Final = (b"-----BEGIN ", b"ssh-", b"ecdsa-sha2-")
_EARLIEST_YEAR: Final = 2000
# HEAD goes with GET.
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# The places of values of the file, by the table's identity.
Places = Mapping[int, Place]
_Where = Callable[..., Place]


def cross_faults(policies: Policies, values: Mapping[str, Any], places: Places) -> Sequence[Fault]:
    """Every contradiction. `values` are as the file has them: faulty tables have names too."""
    where = _at(places)
    names = {
        table: set(filter(_NAME.fullmatch, _named(values, (table,), "name")))
        for table in ("limits", "rooms", "upstreams", "switches")
    }
    return [
        *_duplicates(values),
        *_shopper_faults(policies.shoppers, where),
        *_limit_faults(policies, where),
        *_breaker_faults(policies, names["upstreams"]),
        *_room_faults(policies.rooms, where),
        *(fault for upstream in policies.upstreams for fault in _upstream_faults(upstream, where)),
        *_route_faults(policies, names["upstreams"], where),
        *(fault for event in policies.events for fault in _event_faults(event, names, where)),
        *_cors_faults(policies.cors, where),
    ]


def idle_patterns(policies: Policies, routes: Iterable[tuple[str, str]]) -> Sequence[Fault]:
    """Route patterns that match none of the gateway's own `routes` (method, path) nor a forwarded prefix.

    They are no faults, as a name may be written before there is a route for it, but most often they are mistyped.
    """
    forwarded = [(method, f"{route.prefix}*") for route in policies.routes for method in _METHODS]
    everything = [*routes, *forwarded]
    patterns: list[tuple[Place, Sequence[str]]] = [
        *((("limits", index), limit.routes) for index, limit in enumerate(policies.limits)),
        *((("rooms", index), room.routes) for index, room in enumerate(policies.rooms)),
        *((("switches", index), switch.routes) for index, switch in enumerate(policies.switches)),
        (("cors",), policies.cors.routes if policies.cors.allow_origins else ()),
    ]
    return [
        Fault((*place, "routes", index), f"matches no route: {pattern!r}")
        for place, listed in patterns
        for index, pattern in enumerate(listed)
        if not any(applies((pattern,), method, path) for method, path in everything)
    ]


def _at(places: Places) -> _Where:
    """Where a member of a table stands, or the table's header if it was left to its default."""
    return lambda table, *members: (*places.get(id(table), ()), *members)


def _named(values: Mapping[str, Any], table: Sequence[str], member: str) -> Iterator[str]:
    rows: Any = values
    for key in table:
        rows = rows.get(key) if isinstance(rows, dict) else None
    for row in rows if isinstance(rows, list) else ():
        name = row.get(member) if isinstance(row, dict) else None
        # One that is no text has a fault of its own; it keeps its index here.
        yield name if isinstance(name, str) else ""


def _duplicates(values: Mapping[str, Any]) -> Iterator[Fault]:
    for table, member in _UNIQUE:
        seen: set[str] = set()
        for index, name in enumerate(_named(values, table, member)):
            if name in seen:
                yield Fault((*table, index, member), "is the same as that of one above")
            elif name:
                seen.add(name)


def _shopper_faults(shoppers: Shoppers, where: _Where) -> Iterator[Fault]:
    has_key = shoppers.jwks_url is not None or shoppers.hs256_secret_file is not None
    if shoppers.issuer is not None and not has_key:
        yield Fault(where(shoppers, "issuer"), "needs jwks_url, or HS256 and hs256_secret_file, to verify tokens with")
    if has_key:
        for member in ("issuer", "audience"):
            if not getattr(shoppers, member):
                yield Fault(where(shoppers), f"{member} is missing: tokens for somebody else would be taken")
    yield from _algorithm_faults(shoppers, where)


def _algorithm_faults(shoppers: Shoppers, where: _Where) -> Iterator[Fault]:
    listed = where(shoppers, "algorithms")
    if not shoppers.algorithms:
        yield Fault(listed, "must name one or more")
    uses_secret = "HS256" in shoppers.algorithms
    if uses_secret and shoppers.hs256_secret_file is None:
        yield Fault(listed, "HS256 needs hs256_secret_file")
    if shoppers.hs256_secret_file is not None and not uses_secret:
        yield Fault(where(shoppers, "hs256_secret_file"), 'is not used: algorithms must name "HS256"')
    if shoppers.jwks_url is not None and shoppers.algorithms and set(shoppers.algorithms) <= {"HS256"}:
        yield Fault(where(shoppers, "jwks_url"), "is not used: algorithms names HS256 alone")


def _limit_faults(policies: Policies, where: _Where) -> Iterator[Fault]:
    for limit in policies.limits:
        if not limit.routes:
            yield Fault(where(limit, "routes"), 'must name one or more; leave it out for "*"')
    shedding = policies.shedding
    if shedding.min_concurrency > shedding.max_concurrency:
        yield Fault(
            where(shedding, "min_concurrency"), f"must not be above max_concurrency, {shedding.max_concurrency}"
        )
    cache = policies.cache
    if cache.max_entry_bytes > cache.memory_bytes:
        yield Fault(where(cache, "max_entry_bytes"), f"must not be above memory_bytes, {cache.memory_bytes}")


def _breaker_faults(policies: Policies, upstreams: set[str]) -> Iterator[Fault]:
    known = (*DEPENDENCIES, *sorted(upstreams))
    for name, breaker in policies.breaker.items():
        if name not in known:
            yield Fault(("breaker", name), f"there is nothing of that name; there is {', '.join(known)}")
        if breaker.open_s > breaker.max_open_s:
            yield Fault(("breaker", name, "open_s"), f"must not be above max_open_s, {breaker.max_open_s:g}")


def _room_faults(rooms: Iterable[Room], where: _Where) -> Iterator[Fault]:
    for room in rooms:
        if not room.routes:
            yield Fault(where(room, "routes"), "must name one or more")


def _upstream_faults(upstream: Upstream, where: _Where) -> Iterator[Fault]:
    if upstream.name in DEPENDENCIES:
        yield Fault(
            where(upstream, "name"), f"must not be one of {', '.join(DEPENDENCIES)}: their breakers are called so"
        )
    for index, target in enumerate(upstream.targets):
        if target in upstream.targets[:index]:
            yield Fault(where(upstream, "targets", index), "is the same as one before it")
    health = upstream.health
    if health is not None and health.timeout_s > health.interval_s:
        yield Fault(where(health, "timeout_s"), f"must not be above interval_s, {health.interval_s:g}")


def _route_faults(policies: Policies, upstreams: set[str], where: _Where) -> Iterator[Fault]:
    for route in policies.routes:
        if route.upstream not in upstreams:
            known = f"there is {', '.join(sorted(upstreams))}" if upstreams else "there are no [[upstreams]]"
            yield Fault(where(route, "upstream"), f"there is no upstream {route.upstream!r}; {known}")


def _event_faults(event: Event, names: Mapping[str, set[str]], where: _Where) -> Iterator[Fault]:
    if event.end <= event.start:
        yield Fault(where(event, "end"), f"must be after its start, {event.start.isoformat()}")
    for table, used in (("limits", event.limits), ("rooms", event.rooms), ("switches", event.switches)):
        for name in used:
            if name not in names[table]:
                known = f"there is {', '.join(sorted(names[table]))}" if names[table] else "there are none"
                yield Fault(where(event, table, name), f"there is nothing of that name in [[{table}]]; {known}")


def _cors_faults(cors: Cors, where: _Where) -> Iterator[Fault]:
    if cors.allow_credentials and "*" in cors.allow_origins:
        yield Fault(where(cors, "allow_credentials"), 'must not be true for the origin "*": name the origins')


# Single values


def _network_fault(text: str) -> str | None:
    try:
        parse_network(text)
    except ValueError as error:
        return str(error)
    return None


def _target_fault(target: str) -> str | None:
    """The fault of an upstream's address, which is not shown: it may hold a password."""
    if fault := _url_fault(target):
        return fault
    parts = urlsplit(target)
    if parts.username is not None:
        return "must not hold a user or password: an upstream is sent the shopper's own headers"
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        return "must be scheme, host and port alone; a route's strip_prefix changes paths"
    return None


def _url_fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        is_right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_right = False
    return None if is_right else "must be an address such as http://10.0.0.5:8080"


def _time_fault(time: datetime) -> str | None:
    offset = time.utcoffset()
    if offset is None:
        return f"must say its time zone: {time.isoformat()}Z, or +01:00 in place of the Z"
    # Times before it cannot be meant, and those of year 1 cannot be reckoned with.
    if time.year < _EARLIEST_YEAR or time.year > 9998 or abs(offset) >= timedelta(days=1):
        return f"must be between the years {_EARLIEST_YEAR} and 9998"
    return None


def _secret_file_fault(path: str) -> str | None:
    """Of a file with a shared secret, white space around it aside. Its name is not shown: it may be the secret itself."""
    try:
        secret = Path(path).read_bytes().strip()
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    if len(secret) < _SECRET_LEAST_BYTES:
        return f"the file must hold {_SECRET_LEAST_BYTES} bytes or more"
    # Anyone with the public key could sign with it.
    return "the file must hold a secret, not a key or a certificate" if secret.startswith(_KEY_MARKS) else None


def _sku_fault(sku: str) -> str | None:
    return None if 1 <= len(sku.encode(errors="surrogatepass")) <= 64 else "must be 1 to 64 bytes long"


def _sent_path_fault(path: str) -> str | None:
    return None if path.isascii() and " " not in path else "must be percent-encoded, as it is sent"


def _prefix_fault(prefix: str) -> str | None:
    """The fault of a prefix with which no accepted path begins."""
    if not _SENT_PREFIX.fullmatch(prefix):
        return "must be percent-encoded, as it is sent"
    if any(segment in {"", ".", ".."} for segment in prefix.split("/")[1:-1]):
        return "must have no empty segment, nor . or .."
    return None


def _origin_fault(origin: str) -> str | None:
    is_right = origin == "*" or _ORIGIN.fullmatch(origin)
    return None if is_right else f'must be "*" or an origin such as https://shop.example, not {origin!r}'


def _field_name_fault(name: str) -> str | None:
    return None if _FIELD_NAME.fullmatch(name) else f"must be the name of a header field, not {name!r}"


def _field_value_fault(value: str) -> str | None:
    return None if value.isascii() else "must be ASCII, as header fields are"


CHECKS: Final[Checks] = {
    (Identity, "trusted_proxies"): _network_fault,
    (Identity, "allow"): _network_fault,
    (Identity, "deny"): _network_fault,
    (Shoppers, "jwks_url"): _url_fault,
    (Shoppers, "hs256_secret_file"): _secret_file_fault,
    (Room, "skus"): _sku_fault,
    (Upstream, "targets"): _target_fault,
    (HealthCheck, "path"): _sent_path_fault,
    (Forward, "prefix"): _prefix_fault,
    (Event, "start"): _time_fault,
    (Event, "end"): _time_fault,
    (Event, "prewarm"): _sent_path_fault,
    (Cors, "allow_origins"): _origin_fault,
    (Cors, "expose_headers"): _field_name_fault,
    **{(Headers, member): _field_value_fault for member in Headers.__struct_fields__},
}
