"""Checks across tables: duplicate and unknown names, values that contradict each other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from checkout.countries import COUNTRIES
from gateway.config.policies import (
    Agents,
    Api,
    Cors,
    Event,
    Forward,
    Pages,
    Policies,
    Room,
    ShippingRate,
    Shoppers,
    Tariff,
    Tax,
    TaxRate,
    Upstream,
)
from gateway.config.reader import Diagnostic
from gateway.config.route_patterns import applies
from gateway.config.source_lines import KeyPath
from gateway.http.canonical_path import canonical_host, canonical_path
from gateway.http.html_page import MIN_CONTRAST, contrast
from gateway.http.own_paths import DOCS, OPENAPI, PROBLEMS, SHOP, is_below

# The dependencies with a breaker besides the upstreams.
DEPENDENCIES: Final = ("store", "payment", "shipping", "queue", "archive", "search", "sns")
# Lists whose elements have a unique member.
_UNIQUE: Final = (
    (("tariff", "shipping_methods"), "name"),
    (("limits",), "name"),
    (("rooms",), "name"),
    (("upstreams",), "name"),
    (("regions",), "name"),
    (("switches",), "name"),
    (("events",), "name"),
    (("webhooks",), "name"),
    (("identity", "api_keys"), "name"),
    (("identity", "api_keys"), "sha256"),
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_ORDER_URL: Final = re.compile(r"https?://[!-~]*\{order_id\}[!-~]*")
# HEAD goes with GET.
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

# Key paths of the tables of the file, by their `id`.
KeyPaths = Mapping[int, KeyPath]
KeyPathOf = Callable[..., KeyPath]


def check_policies(policies: Policies, values: Mapping[str, Any], key_paths: KeyPaths) -> Sequence[Diagnostic]:
    """All errors. `values` are those of the file, so that names in invalid tables are known."""
    key_path_of = _key_path_of(key_paths)
    names = {
        table: set(filter(_NAME.fullmatch, _named(values, (table,), "name")))
        for table in ("limits", "rooms", "upstreams", "regions", "switches")
    }
    # The names of their upstreams and breakers.
    regions = {f"region-{name}" for name in names["regions"]}
    return [
        *_check_duplicates(values),
        *_check_shoppers(policies.shoppers, key_path_of),
        *_check_agents(policies.agents, set(_named(values, ("identity", "api_keys"), "name")), key_path_of),
        *_check_tariff(policies.tariff, key_path_of),
        *_check_tax(policies.tariff.tax, key_path_of),
        *_check_limits(policies, key_path_of),
        *_check_breakers(policies, names["upstreams"] | regions),
        *_check_rooms(policies.rooms, key_path_of),
        *(error for upstream in policies.upstreams for error in _check_upstream(upstream, regions, key_path_of)),
        *_check_routes(policies, names["upstreams"], key_path_of),
        *(error for event in policies.events for error in _check_event(event, names, key_path_of)),
        *_check_cors(policies.cors, key_path_of),
        *_check_own_paths(policies.api, key_path_of),
        *_check_colours(policies.pages, key_path_of),
    ]


def unmatched_route_patterns(policies: Policies, routes: Iterable[tuple[str, str]]) -> Sequence[Diagnostic]:
    """Route patterns that match none of the gateway's own `routes` (method, path) nor a forwarded prefix.

    They are warnings: the route may be added later, but a typo is more likely.
    """
    forwarded = [(method, route.pattern) for route in policies.routes for method in _METHODS]
    everything = [*routes, *forwarded]
    patterns: list[tuple[KeyPath, Sequence[str]]] = [
        *((("limits", index), limit.routes) for index, limit in enumerate(policies.limits)),
        *((("rooms", index), room.routes) for index, room in enumerate(policies.rooms)),
        *((("switches", index), switch.routes) for index, switch in enumerate(policies.switches)),
        (("cors",), policies.cors.routes if policies.cors.allow_origins else ()),
    ]
    return [
        Diagnostic((*key_path, "routes", index), f"matches no route: {pattern!r}")
        for key_path, listed in patterns
        for index, pattern in enumerate(listed)
        if not any(applies((pattern,), method, path) for method, path in everything)
    ]


def _key_path_of(key_paths: KeyPaths) -> KeyPathOf:
    """A function from a table and its members to their key path."""
    return lambda table, *members: (*key_paths.get(id(table), ()), *members)


def _named(values: Mapping[str, Any], table: Sequence[str], member: str) -> Iterator[str]:
    rows: Any = values
    for key in table:
        rows = rows.get(key) if isinstance(rows, dict) else None
    for row in rows if isinstance(rows, list) else ():
        name = row.get(member) if isinstance(row, dict) else None
        # The reader reports a name that is not text; "" preserves the indices.
        yield name if isinstance(name, str) else ""


def _check_duplicates(values: Mapping[str, Any]) -> Iterator[Diagnostic]:
    for table, member in _UNIQUE:
        seen: set[str] = set()
        for index, name in enumerate(_named(values, table, member)):
            if name in seen:
                yield Diagnostic((*table, index, member), "is the same as that of one above")
            elif name:
                seen.add(name)


def _check_agents(agents: Agents, api_keys: set[str], key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    for index, name in enumerate(agents.keys):
        if name not in api_keys:
            yield Diagnostic(
                key_path_of(agents, "keys", index), f"there is no API key named {name!r} in identity.api_keys"
            )
    if agents.keys and (agents.order_url is None or not _ORDER_URL.fullmatch(agents.order_url)):
        yield Diagnostic(
            key_path_of(agents, "order_url"),
            "must be an address with {order_id} in it, such as https://shop.example/orders/{order_id}",
        )


def _check_tariff(tariff: Tariff, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    classes = tariff.weight_classes
    for index, name in enumerate(classes):
        if name in classes[:index]:
            yield Diagnostic(key_path_of(tariff, "weight_classes", index), "is the same as one above")
    for method in tariff.shipping_methods:
        for rate in method.rates:
            yield from _check_countries(rate, key_path_of)
            if rate.weight_class is not None and rate.weight_class not in classes:
                yield Diagnostic(
                    key_path_of(rate, "weight_class"), f"{rate.weight_class!r} is not in tariff.weight_classes"
                )
            if rate.from_subtotal and rate.currency is None:
                yield Diagnostic(key_path_of(rate, "from_subtotal"), "needs `currency`")


def _check_tax(tax: Tax, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    seen: set[tuple[str, str]] = set()
    for rate in tax.rates:
        yield from _check_countries(rate, key_path_of)
        if round(rate.percent * 10_000, 6) % 1:
            yield Diagnostic(key_path_of(rate, "percent"), "must have at most four decimals")
        for index, country in enumerate(rate.countries):
            if (country, rate.tax_class) in seen:
                yield Diagnostic(
                    key_path_of(rate, "countries", index), f"has a rate for {rate.tax_class!r} above already"
                )
            seen.add((country, rate.tax_class))


def _check_countries(rate: ShippingRate | TaxRate, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    for index, country in enumerate(rate.countries):
        if country not in COUNTRIES:
            yield Diagnostic(key_path_of(rate, "countries", index), "is no country code of ISO 3166-1 alpha-2")


def _check_shoppers(shoppers: Shoppers, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    has_key = shoppers.jwks_url is not None or shoppers.hs256_secret_file is not None
    if shoppers.issuer is not None and not has_key:
        yield Diagnostic(
            key_path_of(shoppers, "issuer"), "needs jwks_url, or HS256 and hs256_secret_file, to verify tokens with"
        )
    if has_key:
        for member in ("issuer", "audience"):
            if not getattr(shoppers, member):
                yield Diagnostic(key_path_of(shoppers), f"{member} is missing: tokens for somebody else would be taken")
    yield from _check_algorithms(shoppers, key_path_of)


def _check_algorithms(shoppers: Shoppers, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    algorithms = key_path_of(shoppers, "algorithms")
    if not shoppers.algorithms:
        yield Diagnostic(algorithms, "must name one or more")
    uses_secret = "HS256" in shoppers.algorithms
    if uses_secret and shoppers.hs256_secret_file is None:
        yield Diagnostic(algorithms, "HS256 needs hs256_secret_file")
    if shoppers.hs256_secret_file is not None and not uses_secret:
        yield Diagnostic(key_path_of(shoppers, "hs256_secret_file"), 'is not used: algorithms must name "HS256"')
    if shoppers.jwks_url is not None and shoppers.algorithms and set(shoppers.algorithms) <= {"HS256"}:
        yield Diagnostic(key_path_of(shoppers, "jwks_url"), "is not used: algorithms names HS256 alone")


def _check_limits(policies: Policies, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    for limit in policies.limits:
        if not limit.routes:
            yield Diagnostic(key_path_of(limit, "routes"), 'must name one or more; leave it out for "*"')
    shedding = policies.shedding
    if shedding.min_concurrency > shedding.max_concurrency:
        yield Diagnostic(
            key_path_of(shedding, "min_concurrency"), f"must not be above max_concurrency, {shedding.max_concurrency}"
        )
    cache = policies.cache
    if cache.max_entry_bytes > cache.memory_bytes:
        yield Diagnostic(key_path_of(cache, "max_entry_bytes"), f"must not be above memory_bytes, {cache.memory_bytes}")
    elif cache.host_memory_bytes and cache.max_entry_bytes > cache.host_memory_bytes // 2:
        half = cache.host_memory_bytes // 2
        yield Diagnostic(key_path_of(cache, "max_entry_bytes"), f"must not be above half of host_memory_bytes, {half}")


def _check_breakers(policies: Policies, upstreams: set[str]) -> Iterator[Diagnostic]:
    known = (*DEPENDENCIES, *sorted(upstreams))
    for name, breaker in policies.breaker.items():
        if name not in known:
            yield Diagnostic(("breaker", name), f"there is nothing of that name; there is {', '.join(known)}")
        if breaker.open_s > breaker.max_open_s:
            yield Diagnostic(("breaker", name, "open_s"), f"must not be above max_open_s, {breaker.max_open_s:g}")


def _check_rooms(rooms: Iterable[Room], key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    for room in rooms:
        if not room.routes:
            yield Diagnostic(key_path_of(room, "routes"), "must name one or more")


def _check_upstream(upstream: Upstream, regions: set[str], key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    if upstream.name in regions:
        yield Diagnostic(
            key_path_of(upstream, "name"), "is the name under which a Region of [[regions]] is an upstream"
        )
    if upstream.name in DEPENDENCIES:
        yield Diagnostic(
            key_path_of(upstream, "name"),
            f"must not be one of {', '.join(DEPENDENCIES)}: their breakers have these names",
        )
    for index, target in enumerate(upstream.targets):
        if target in upstream.targets[:index]:
            yield Diagnostic(key_path_of(upstream, "targets", index), "is the same as one before it")
    health = upstream.health
    if health is not None and health.timeout_s > health.interval_s:
        yield Diagnostic(key_path_of(health, "timeout_s"), f"must not be above interval_s, {health.interval_s:g}")


def _check_routes(policies: Policies, upstreams: set[str], key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    seen: dict[tuple[bool, str, str], str] = {}
    for route in policies.routes:
        yield from _check_path(route, seen, key_path_of)
        if route.upstream not in upstreams:
            known = f"there is {', '.join(sorted(upstreams))}" if upstreams else "there are no [[upstreams]]"
            yield Diagnostic(key_path_of(route, "upstream"), f"there is no upstream {route.upstream!r}; {known}")


def _check_path(route: Forward, seen: dict[tuple[bool, str, str], str], key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    """Errors of the path of a route. `seen` are the written paths before it, by kind, canonical path and host."""
    if (route.prefix is None) == (route.path is None):
        yield Diagnostic(key_path_of(route), "must have a prefix or a path, and not both")
        return
    if route.path is not None and route.strip_prefix:
        yield Diagnostic(key_path_of(route, "strip_prefix"), "needs a prefix")
    member = "prefix" if route.path is None else "path"
    written = route.prefix or route.path or ""
    for host in sorted({*map(canonical_host, route.hosts)}) or [""]:
        before = seen.setdefault((route.path is None, canonical_path(written), host), written)
        if before is not written:
            same = "the same as" if before == written else f"read as the same path as {before},"
            yield Diagnostic(key_path_of(route, member), f"is {same} that of one above")
            return


def _check_event(event: Event, names: Mapping[str, set[str]], key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    if event.end <= event.start:
        yield Diagnostic(key_path_of(event, "end"), f"must be after its start, {event.start.isoformat()}")
    for table, used in (("limits", event.limits), ("rooms", event.rooms), ("switches", event.switches)):
        for name in used:
            if name not in names[table]:
                known = f"there is {', '.join(sorted(names[table]))}" if names[table] else "there are none"
                yield Diagnostic(
                    key_path_of(event, table, name), f"there is nothing of that name in [[{table}]]; {known}"
                )


def _check_cors(cors: Cors, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    if cors.allow_credentials and "*" in cors.allow_origins:
        yield Diagnostic(
            key_path_of(cors, "allow_credentials"), 'must not be true for the origin "*": name the origins'
        )


def _check_own_paths(api: Api, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    if api.readyz and api.readyz == api.healthz:
        yield Diagnostic(key_path_of(api, "readyz"), "must not be the path of healthz")
    for name in ("healthz", "readyz"):
        path = getattr(api, name)
        taken = [root for root in (SHOP, DOCS, OPENAPI, PROBLEMS) if path and is_below(path, api.prefix + root)]
        if taken:
            yield Diagnostic(key_path_of(api, name), f"must not be {api.prefix}{taken[0]} or below it")


def _check_colours(pages: Pages, key_path_of: KeyPathOf) -> Iterator[Diagnostic]:
    for colours in (pages.light, pages.dark):
        for name, behind in (("text", "card"), ("quiet", "card"), ("accent", "card"), ("quiet", "background")):
            measured = contrast(getattr(colours, name), getattr(colours, behind))
            if measured < MIN_CONTRAST:
                yield Diagnostic(
                    key_path_of(colours, name),
                    f"must have a contrast of {MIN_CONTRAST:g} to 1 with {behind} (WCAG 2.2, 1.4.3), not {measured:.1f}",
                )
