"""The gateway's own paths under the active policies: moved, or left out."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from gateway.config.policies import Api, Policies
from gateway.http.own_paths import DOCS, HEALTHZ, OPENAPI, PROBLEMS, READYZ, SHOP, is_below, without_prefix


def own_path(api: Api, path: str) -> str | None:
    """Where an own path of the route table is served, None where it is not."""
    if path == HEALTHZ and api.healthz is not None:
        return api.healthz or None
    if path == READYZ and api.readyz is not None:
        return api.readyz or None
    served = {SHOP: api.shop, DOCS: api.docs and api.openapi, OPENAPI: api.openapi, PROBLEMS: api.problems}
    if any(is_below(path, root) and not is_served for root, is_served in served.items()):
        return None
    return api.prefix + path


def with_own_patterns(policies: Policies) -> Policies:
    """Policies whose patterns name own paths without the prefix, as the route table does, also where they were written with it."""
    prefix = policies.api.prefix
    if not prefix:
        return policies

    def own(patterns: Sequence[str]) -> tuple[str, ...]:
        return tuple(_without_prefix(pattern, prefix) for pattern in patterns)

    return replace(
        policies,
        limits=tuple(replace(limit, routes=own(limit.routes)) for limit in policies.limits),
        rooms=tuple(replace(room, routes=own(room.routes)) for room in policies.rooms),
        switches=tuple(replace(switch, routes=own(switch.routes)) for switch in policies.switches),
        cors=replace(policies.cors, routes=own(policies.cors.routes)),
    )


def _without_prefix(pattern: str, prefix: str) -> str:
    method, space, path = pattern.rpartition(" ")
    return method + space + without_prefix(path, prefix)
