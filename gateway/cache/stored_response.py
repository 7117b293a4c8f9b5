"""A stored response, and the responses that are served from it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from typing import Final

from gateway.cache.header_block import not_modified_block
from gateway.cache.model import Freshness, Validators
from gateway.http.message import Response, StreamedResponse

# Objects, dictionaries and the indexes over them, measured with tracemalloc and rounded up.
OVERHEAD_BYTES: Final = 2_000


class StoredResponse:
    """A response as it was stored. `born_at` is when its age was 0, on the monotonic clock.

    `Age` and `Cache-Status` count in seconds, so all hits within a second of its age are served the same `Response`.
    """

    __slots__ = (
        "_not_modified",
        "body",
        "born_at",
        "content_type",
        "fresh_until",
        "freshness",
        "header_block",
        "hit_response",
        "hit_until",
        "is_failing",
        "refresh_after",
        "size",
        "status",
        "tags",
        "unsent",
        "validators",
    )

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        header_block: bytes,
        content_type: bytes,
        freshness: Freshness,
        validators: Validators,
        born_at: float,
        tags: frozenset[str] = frozenset(),
        unsent: bytes = b"",
    ) -> None:
        self.status = status
        self.body = body
        self.header_block = header_block
        self.content_type = content_type
        self.validators = validators
        self.tags = tags
        # Header lines for caches alone, which a 304 may leave out.
        self.unsent = unsent
        self.born_at = born_at
        # The response to a hit until `hit_until`, while it is fresh.
        self.hit_response = Response(status)
        self.hit_until = -math.inf
        self._not_modified: Response | None = None
        # It was served in place of an error.
        self.is_failing = False
        # After an error no refresh is attempted before this.
        self.refresh_after = -math.inf
        # The header block exists three times: stored, and in the two responses that were served last.
        self.size = OVERHEAD_BYTES + len(body) + 3 * len(header_block) + len(unsent) + sum([len(tag) for tag in tags])
        self.freshness = freshness
        self.fresh_until = -math.inf
        self._set_freshness(freshness)

    def _set_freshness(self, freshness: Freshness) -> None:
        self.freshness = freshness
        self.fresh_until = -math.inf if freshness.always_validate else self.born_at + freshness.lifetime_s

    def age_s(self, now: float) -> float:
        """Current age (RFC 9111, 4.2.3)."""
        return now - self.born_at

    def ttl_s(self, now: float) -> int:
        """Whole seconds of freshness left, 0 or less once it is stale."""
        return math.ceil(self.freshness.lifetime_s - self.age_s(now))

    def expire(self, now: float) -> None:
        """Make it stale; how long it may be served stale counts from now."""
        old = self.freshness
        self._set_freshness(
            Freshness(
                old.age_s,
                min(old.lifetime_s, self.age_s(now)),
                old.stale_while_revalidate_s,
                old.stale_if_error_s,
                old.always_validate,
                old.never_stale,
            )
        )

    def hit(self, now: float) -> Response:
        """The response to a hit, with `Age` and `Cache-Status` (RFC 9211)."""
        if now >= self.hit_until:
            self._render_hit(now)
        return self.hit_response

    def not_modified(self, now: float) -> Response:
        """The 304 to a client that has it already."""
        if now >= self.hit_until:
            self._render_hit(now)
        if self._not_modified is None:
            self._not_modified = self.not_modified_with(b"hit; ttl=%d" % self.ttl_s(now), now)
        return self._not_modified

    def _render_hit(self, now: float) -> None:
        self.hit_response = self.response_with(b"hit; ttl=%d" % self.ttl_s(now), now)
        self._not_modified = None
        self.hit_until = self.born_at + math.floor(self.age_s(now)) + 1

    def response_with(self, cache_status: bytes, now: float) -> Response:
        """The response with another `Cache-Status`."""
        block = self._header_block(cache_status, now)
        return Response(self.status, self.body, header_block=block, content_type=self.content_type)

    def streamed_with(
        self, cache_status: bytes, now: float, chunks: AsyncGenerator[bytes, None], length: int | None
    ) -> StreamedResponse:
        """The response with a body that is being received."""
        block = self._header_block(cache_status, now)
        return StreamedResponse(self.status, chunks, header_block=block, content_type=self.content_type, length=length)

    def with_body(self, body: bytes) -> StoredResponse:
        """The response once its body was received."""
        return StoredResponse(
            self.status,
            body,
            header_block=self.header_block,
            content_type=self.content_type,
            freshness=self.freshness,
            validators=self.validators,
            born_at=self.born_at,
            tags=self.tags,
            unsent=self.unsent,
        )

    def not_modified_with(self, cache_status: bytes, now: float) -> Response:
        """The 304 with another `Cache-Status`."""
        block = not_modified_block(self._header_block(cache_status, now))
        return Response(304, header_block=block, content_type=self.content_type)

    def _header_block(self, cache_status: bytes, now: float) -> bytes:
        age = max(0, int(self.age_s(now)))
        return b"%bAge: %d\r\nCache-Status: peakgate; %b\r\n" % (self.header_block, age, cache_status)
