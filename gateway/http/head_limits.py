"""The limits of a header section, of requests and of upstreams' responses alike."""

from __future__ import annotations

from typing import Final

MAX_LINE_BYTES: Final = 8 * 1024
MAX_FIELDS: Final = 100
MAX_HEAD_BYTES: Final = 32 * 1024


class HeadLimits:
    """`line_bytes` bounds a request target, a field's value and, in a response, its whole line; `head_bytes` the section.

    One set for both directions: a cookie or an address that passes to a client can be read when it comes back.
    """

    __slots__ = ("fields", "head_bytes", "line_bytes")

    def __init__(
        self, *, line_bytes: int = MAX_LINE_BYTES, fields: int = MAX_FIELDS, head_bytes: int = MAX_HEAD_BYTES
    ) -> None:
        self.line_bytes = line_bytes
        self.fields = fields
        self.head_bytes = head_bytes


DEFAULT_HEAD_LIMITS: Final = HeadLimits()
