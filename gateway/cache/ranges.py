"""Byte ranges (RFC 9110, 14): the parts of a stored body that a request asks for, and the responses with them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Final

from gateway.cache.header_block import only_fields, without_fields
from gateway.cache.model import Validators
from gateway.http.http_date import http_date
from gateway.http.message import Response

_SPEC: Final = re.compile(r"[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*", re.ASCII)
_UNIT: Final = "bytes="
# A client that asks for more, or for more bytes than there are, is sent the whole (14.2).
MAX_RANGES: Final = 16
# 8.8.2.2: a date of change is a strong validator if the response is dated later than that.
_STRONG_AFTER_S: Final = 1.0

# The others describe the 200: caches in front would store the 416 for as long as that.
_OF_EXCHANGE: Final = frozenset({"age", "cache-status", "date", "vary"})

# Of the bytes in a message, which are others in a part; `Repr-Digest` is of the whole in both (RFC 9530, 2 and 3).
_OF_WHOLE_CONTENT: Final = frozenset({"content-digest", "content-md5"})

# The first byte and the last, as in `Content-Range`.
Range = tuple[int, int]


def parse_ranges(field: str, length: int) -> Sequence[Range] | None:
    """The ranges of a body of so many bytes; none if nothing of it is asked for; None if the field is to be ignored."""
    if field[: len(_UNIT)].lower() != _UNIT:
        return None
    ranges: list[Range] = []
    specs = [spec for spec in field[len(_UNIT) :].split(",") if spec.strip(" \t")]
    if not specs or len(specs) > MAX_RANGES:
        return None
    for spec in specs:
        found = _SPEC.fullmatch(spec)
        if found is None:
            return None
        first, last, suffix = found[1], found[2], found[3]
        if suffix is not None:
            start, end = max(0, length - int(suffix)), length - 1
        else:
            start, end = int(first), int(last) if last else length - 1
            if last and end < start:
                return None
        if start < length and (suffix is None or int(suffix) > 0):
            ranges.append((start, min(end, length - 1)))
    return None if sum([end - start + 1 for start, end in ranges]) > length else ranges


def if_range_matches(field: str, stored: Validators, date: str | None) -> bool:
    """Whether `If-Range` names the stored response, by a strong validator (13.1.5)."""
    field = field.strip()
    if field.startswith(('"', "W/")):
        return field == stored.etag and not field.startswith("W/")
    modified, dated = http_date(stored.last_modified), http_date(date)
    if field != stored.last_modified or modified is None or dated is None:
        return False
    return dated - modified >= _STRONG_AFTER_S


def partial_response(whole: Response, ranges: Sequence[Range]) -> Response:
    """The 206 with these parts of a response to GET, or the 416 if there are none."""
    length, body = len(whole.body), whole.body
    if not ranges:
        block = only_fields(whole.header_block, _OF_EXCHANGE) + b"Content-Range: bytes */%d\r\n" % length
        return Response(416, header_block=block, content_type=whole.content_type)
    kept = without_fields(whole.header_block, _OF_WHOLE_CONTENT)
    if len(ranges) == 1:
        start, end = ranges[0]
        block = kept + _content_range(start, end, length)
        return Response(206, body[start : end + 1], header_block=block, content_type=whole.content_type)
    boundary = secrets.token_hex(16).encode()
    kind = b"Content-Type: %b\r\n" % whole.content_type if whole.content_type else b""
    parts = [
        b"--%b\r\n%b%b\r\n%b\r\n" % (boundary, kind, _content_range(start, end, length), body[start : end + 1])
        for start, end in ranges
    ]
    parts.append(b"--%b--\r\n" % boundary)
    return Response(
        206,
        b"".join(parts),
        header_block=kept,
        content_type=b"multipart/byteranges; boundary=%b" % boundary,
    )


def _content_range(start: int, end: int, length: int) -> bytes:
    return b"Content-Range: bytes %d-%d/%d\r\n" % (start, end, length)
