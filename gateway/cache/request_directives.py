"""Read the cache directives of a request (RFC 9111, 5.2.1 and 5.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gateway.cache.cache_control import directives, seconds_of
from gateway.cache.model import NO_DIRECTIVES, RequestDirectives


def request_directives(cache_control: Sequence[str], pragma: str | None = None) -> RequestDirectives:
    """The directives of a request. A malformed number takes its strictest meaning."""
    if not cache_control:
        # 5.4: Pragma counts only without Cache-Control.
        return (
            RequestDirectives(no_cache=True) if pragma is not None and "no-cache" in pragma.lower() else NO_DIRECTIVES
        )
    found = directives(cache_control)
    # Without an argument any staleness is accepted (5.2.1.2).
    accepts_any_stale = found.get("max-stale", "") is None
    return RequestDirectives(
        no_store="no-store" in found,
        no_cache="no-cache" in found,
        only_if_cached="only-if-cached" in found,
        max_age_s=seconds_of(found, "max-age", absent=math.inf, malformed=0.0),
        max_stale_s=math.inf if accepts_any_stale else seconds_of(found, "max-stale", absent=0.0, malformed=0.0),
        min_fresh_s=seconds_of(found, "min-fresh", absent=0.0, malformed=math.inf),
    )
