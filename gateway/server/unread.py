"""Refuse from the bytes of a request, unparsed, what all of its kind are refused: the fastest no there is.

A worker at several times what it can serve is busy with saying no, so a no must cost little beside a yes. Only what cannot be
misread is taken: one whole GET without a body, of a host that the connection has named before, after a message whose end was
certain. Whatever else it says does not matter, as the answer is the same. In all other cases the usual way decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from gateway import problems
from gateway.http import Request
from gateway.server.target import is_ambiguous_path

if TYPE_CHECKING:
    from gateway.server.edge_server import EdgeServer

# With any of these a body could follow, the connection could end, or the answer would be another one.
_TELLING: Final = (
    *(b"\r\ncontent-length", b"\r\ntransfer-encoding", b"\r\nexpect", b"\r\nupgrade", b"\r\nconnection"),
    *(b"\r\ntraceparent", b"\r\norigin", b"\r\n ", b"\r\n\t"),
)
_LONGEST: Final = 4 * 1024
_END_OF_LINE: Final = b" HTTP/1.1\r\n"
# What a header section may be made of; anything else is for the parser to refuse.
_TEXT: Final = bytes(range(32, 127)) + b"\t\r\n"
_ID, _WHEN = "@" * 16, b"Retry-After: @\r\n"


class Refuser(Protocol):
    """Who decides how much is too much."""

    refused: list[int]

    def refuses_all(self, criticality: int) -> bool:
        """Whether every request of that criticality is refused now."""
        ...

    def retry_after(self, client: str) -> bytes:
        """The header line that says when to come again."""
        ...


class UnreadRefusals:
    """Refuses the requests of endpoints that have an `unread`."""

    def __init__(self, server: EdgeServer, refuser: Refuser) -> None:
        self._server = server
        self._refuser = refuser
        self._common = b""
        # The answer in parts, by the header lines that it has.
        self._parts: dict[bytes, tuple[bytes, ...]] = {}

    def answer(self, data: bytes, host: str) -> bytes | None:
        """The whole refusal of the request in `data`, None where the usual way must decide."""
        path = _path_of(data, host)
        if path is None or is_ambiguous_path(path):
            return None
        endpoint, _ = self._server.router.find("GET", path)
        if endpoint.unread is None or not self._refuser.refuses_all(endpoint.unread.criticality):
            return None
        self._refuser.refused[endpoint.unread.criticality] += 1
        endpoint.tally.add(503, 0.0)
        name = self._server.ids.next()
        request_id = name.encode()
        # Who asks is not read; those behind one balancer must not come again all at once.
        when = self._refuser.retry_after(name)
        start, after_id, after_when, end = self._rendered(endpoint.unread.lines)
        return b"".join((start, request_id, after_id, when, after_when, request_id, end))

    def _rendered(self, lines: bytes) -> tuple[bytes, ...]:
        """The answer without what each request has for itself; rendered once until the date changes."""
        if self._common is not self._server.writer.common:
            self._common = self._server.writer.common
            self._parts.clear()
        parts = self._parts.get(lines)
        if parts is None:
            request = Request("GET", "", "", {}, b"", _ID, ())
            request.notes = lines + _WHEN
            rendered = self._server.writer.render(problems.refuse(problems.OVERLOADED, _ID), request)
            start, middle, end = rendered.split(_ID.encode())
            parts = self._parts[lines] = (start, *middle.split(_WHEN), end)
        return parts


def _path_of(data: bytes, host: str) -> str | None:
    """The path of a GET that has one reading and is all that `data` holds, None if that is not certain."""
    if data[:5] != b"GET /" or data[-4:] != b"\r\n\r\n" or len(data) > _LONGEST:
        return None
    ends = data.count(b"\r\n")
    if data.count(b"\r\n\r\n") != 1 or data.count(b"\n") != ends or data.count(b"\r") != ends:
        return None
    end = data.find(b"\r\n")
    target = data[4 : end + 2].removesuffix(_END_OF_LINE)
    if len(target) == end - 2 or b" " in target or data.translate(None, _TEXT):
        return None
    fields = data[end:].lower()
    if any(name in fields for name in _TELLING) or fields.count(b"\r\nhost:") != 1:
        return None
    if b"\r\nhost: %b\r\n" % host.lower().encode() not in fields:
        return None
    path, _, query = target.partition(b"?")
    return None if b"#" in query else path.decode()
