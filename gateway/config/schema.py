"""JSON Schema (2020-12) of `peakgate.toml`, for editors: the purpose and the values of each key."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from gateway.config import policies
from gateway.config.options import OF_THE_FILE, OPTIONS
from gateway.config.policies import Policies
from gateway.config.tables import fields_of

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
# Descriptions of members that mean the same everywhere, and those whose name needs a word more. The others are told by the
# comments above them in `policies.py`.
_WORDS: Final[Mapping[str, str]] = {
    "name": "What it is called in events, metrics and headers.",
    "enabled": "Whether it is in force.",
    "routes": "The routes it is for, such as 'POST /v1/checkout' or '/v1/carts*'.",
    "ApiKey.sha256": "Hex SHA-256 of the key, as `peakgate config hash-key` prints it.",
    "Identity.api_keys": "Keys that callers may send as X-Api-Key.",
    "Identity.deny": "Nobody of these is served.",
    "Shoppers.algorithms": "Signatures that are believed; HS256 only with a secret file.",
    "Shoppers.audience": "Who the tokens must be for (aud).",
    "Shoppers.issuer": "Who the tokens must be from (iss).",
    "Shoppers.jwks_url": "Where the issuer's public keys are (RFC 7517).",
    "Shoppers.leeway_s": "How far the issuer's clock may be off, in seconds.",
    "Shoppers.jwks_refresh_s": "Seconds between two readings of the issuer's keys.",
    "Limit.by": "What has a quota of its own: an address, an API key, a shopper, a route, or everything together.",
    "Limit.quota": "Requests in each window.",
    "Limit.window_s": "Length of the window in seconds.",
    "Breaker.failure_rate": "Share of failures in the window that cuts it off.",
    "Breaker.min_calls": "With fewer calls in the window nothing is decided.",
    "Breaker.max_open_s": "The longest it stays cut off between two probes, in seconds.",
    "Breaker.slow_call_s": "A call that takes longer is slow, in seconds.",
    "Breaker.slow_call_rate": "Share of slow calls in the window that cuts it off.",
    "Breaker.window_s": "Seconds of calls that are looked at.",
    "Shedding.min_concurrency": "The limit of requests at a time never falls below this.",
    "Shedding.max_concurrency": "Nor does it rise above this.",
    "Room.max_active": "How many admitted shoppers there are at most at a time.",
    "Room.reconnect_s": "How long one who waits may be away before the place is given up, in seconds.",
    "HealthCheck.healthy_threshold": "So many good answers in a row bring a target back.",
    "HealthCheck.interval_s": "Seconds between two checks of a target.",
    "HealthCheck.path": "What is asked for; any 2xx or 3xx is healthy.",
    "HealthCheck.timeout_s": "An answer that takes longer is a bad one, in seconds.",
    "Upstream.connect_timeout_s": "How long connecting to a target may take, in seconds.",
    "Upstream.eject_s": "How long a failing target is left out, in seconds.",
    "Upstream.health": "How its targets are asked how they are; without it only what they answer counts.",
    "Upstream.targets": "Its servers: scheme, host and port.",
    "Forward.max_body_bytes": "The longest body of a request.",
    "Forward.cache": "Whether answers may be cached, as their headers say.",
    "Forward.compress": "Whether answers are compressed; not for secrets beside text of others.",
    "Forward.criticality": "What is refused under overload: optional first, checkout last.",
    "Forward.idle_timeout_s": "How long between two pieces of the answer's body, in seconds.",
    "Forward.prefix": "Paths that begin so are forwarded; begins and ends with a slash.",
    "Forward.retries": "How often an idempotent request that was not answered is tried again.",
    "Forward.upstream": "The name of the upstream.",
    "Cache.max_entry_bytes": "The largest response that is stored.",
    "Cache.memory_bytes": "Memory of each worker for answers.",
    "Cache.stale_if_error_s": "How long a stale answer serves while the upstream fails, in seconds, where it does not say itself.",
    "Switch.percent": "Share of clients that is let through while it is on; the same ones every time.",
    "Event.start": "When it begins: a time with its zone.",
    "Event.end": "When it is over and everything is as written again.",
    "Event.prewarm": "Paths that are fetched before the start, so that they are cached.",
    "Event.prewarm_host": "The Host they are asked for by; that of the last shopper unless given.",
    "Event.rooms": "Rooms by name: true opens, false closes.",
    "Event.switches": "Switches by name: true turns on, false off.",
    "Cors.allow_credentials": "Whether pages may send cookies and sign-ins.",
    "Cors.expose_headers": "Header fields of answers that pages may read.",
    "Cors.max_age_s": "How long browsers may remember the answer of a preflight, in seconds.",
    "Cors.allow_origins": "Pages that may call, such as https://shop.example.",
    "Compression.min_bytes": "Shorter answers are sent as they are.",
    "Headers.content_security_policy": "Content-Security-Policy.",
    "Headers.referrer_policy": "Referrer-Policy.",
    "Headers.strict_transport_security": "Strict-Transport-Security.",
    "Headers.x_content_type_options": "X-Content-Type-Options.",
    "AccessLog.client_error_sample_rate": "Share of other 4xx answers that get a line.",
    "AccessLog.ok_sample_rate": "Share of good answers that get a line.",
    "AccessLog.rejected_sample_rate": "Share of rejected requests (429, 503) that are logged.",
    "AccessLog.server_error_sample_rate": "Share of 5xx answers that get a line.",
    "AccessLog.slow_s": "Slower answers always get a line, in seconds.",
    "AccessLog.file": "Where the lines go; `-` is standard output.",
    "Cache.stale_while_revalidate_s": "How long a stale answer serves while a new one is fetched, in seconds, where it does not say "
    "itself.",
    "Event.limits": "Limits by name: the quota each has meanwhile.",
    "Event.limits_factor": "What every limit that is not named keeps of its quota.",
    "Event.prewarm_s": "How long before the start its rooms open and its paths are fetched, in seconds.",
    "Forward.timeout_s": "How long until the head of the answer, in seconds.",
    "HealthCheck.unhealthy_threshold": "So many bad answers in a row leave a target out.",
    "Room.admissions_per_s": "Shoppers admitted each second.",
    "Room.session_s": "How long an admitted shopper may be idle before the place is given up, in seconds.",
    "Policies.breaker": "Circuit breakers by dependency: store, payment, shipping, queue, search, or an upstream's name.",
    "Policies.limits": "Quotas; those that match a route are all asked.",
    "Policies.rooms": "Waiting rooms in front of some routes.",
    "Policies.routes": "Path prefixes that are forwarded to upstreams.",
    "Policies.upstreams": "HTTP servers behind the gateway.",
}


def schema() -> Mapping[str, Any]:
    """The whole schema."""
    definitions: dict[str, Any] = msgspec.json.schema(Policies)["$defs"]
    for name, definition in definitions.items():
        for member, described in definition.get("properties", {}).items():
            definition["properties"][member] = _without_null(described)
            if text := description(name, member):
                definition["properties"][member]["description"] = text
    tables = definitions.pop("Policies")
    described_by = {field.name: _class_of(field.type) for field in fields_of(Policies).values()}
    for name, table in tables["properties"].items():
        table.pop("default", None)
        if f"Policies.{name}" not in _WORDS:
            table["description"] = definitions[described_by[name]]["description"]
    return {
        "$schema": DIALECT,
        "title": "peakgate.toml",
        "description": "Settings of Peakgate, read when it starts, and tables of policies, which a reload changes.",
        "type": "object",
        "properties": {**{name: _setting(name) for name in OF_THE_FILE}, **tables["properties"]},
        "additionalProperties": False,
        "$defs": definitions,
    }


def description(table: str, member: str) -> str | None:
    """The description of a member of a table of `policies.py`, None if it has none."""
    return _WORDS.get(f"{table}.{member}") or _comments().get((table, member)) or _WORDS.get(member)


def _class_of(kind: msgspec.inspect.Type) -> str:
    """The class of a table of the file, of a list or of a table of them."""
    match kind:
        case msgspec.inspect.VarTupleType():
            return _class_of(kind.item_type)
        case msgspec.inspect.DictType():
            return _class_of(kind.value_type)
        case _:
            assert isinstance(kind, msgspec.inspect.StructType)
            return kind.cls.__name__


def _without_null(described: dict[str, Any]) -> dict[str, Any]:
    """TOML has no null: optional keys are left out."""
    if described.get("default", ...) is None:
        del described["default"]
    # Tables have theirs in their members.
    if "$ref" in described:
        described.pop("default", None)
    (kind, *others) = [each for each in described.pop("anyOf", ()) if each.get("type") != "null"] or [{}]
    assert not others, "no member is of two kinds"
    return {**kind, **described}


def _setting(name: str) -> Mapping[str, Any]:
    option = OPTIONS[name]
    default = option.default
    known = {"default": str(default) if isinstance(default, Path) else default}
    is_fixed = isinstance(default, str | int | float | Path)
    return {
        **option.metadata["kind"].schema,
        "description": option.metadata["help"],
        **(known if is_fixed else {}),
    }


def _comments() -> Mapping[tuple[str, str], str]:
    """The comments right above members, by class and member: they are written once, where the member is."""
    source = inspect.getsource(policies)
    lines = source.splitlines()
    return {
        (table.name, member.target.id): text
        for table in ast.parse(source).body
        if isinstance(table, ast.ClassDef)
        for member in table.body
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)
        if (text := _comment_above(lines, member.lineno))
    }


def _comment_above(lines: list[str], line: int) -> str:
    """The comment that ends on the line before `line`, which counts from 1."""
    first = line - 1
    while lines[first - 1].lstrip().startswith("#"):
        first -= 1
    return " ".join(each.strip().removeprefix("#").strip() for each in lines[first : line - 1])
