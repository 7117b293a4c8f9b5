"""Find card numbers in requests to the API: in bodies, path variables, queries and header fields that clients choose.

A card number there is refused with 422 `card-data-refused`, before it is stored, logged or forwarded. Outside of a
checkout only numbers count that card networks issue, because SKUs and search words may be numbers too. Header fields
whose values machines make, such as `traceparent`, `Cookie`, `Authorization` and entity tags of reads, are not searched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import parse_qsl

from multidict import istr

from checkout.cards.issuers import MIN_DIGITS
from checkout.cards.quick_check import may_hold_card
from checkout.cards.search import contains_issued_card_number, is_card_number_in
from checkout.errors import CardDataRefused
from gateway.http import problems
from gateway.http.message import Handler, Request, ResponseOrAwaitable

_OF_EVERY_REQUEST: Final[Sequence[str]] = (istr("X-Request-Id"),)
_OF_WRITES: Final[Sequence[str]] = (istr("X-Request-Id"), istr("Idempotency-Key"), istr("If-Match"))
_OF_EVENTS: Final[Sequence[str]] = (istr("X-Request-Id"), istr("Last-Event-ID"))
_VARIABLE: Final = re.compile(r"{(\w+)}")


class CardCheck:
    """The check of one route. `inspect` says whether a body of its holds a card number."""

    __slots__ = ("_fields", "_ids", "_inspect", "_texts")

    def __init__(
        self,
        method: str,
        path: str,
        parameters: Sequence[str],
        inspect: Callable[[bytes], bool] | None,
    ) -> None:
        names: list[str] = _VARIABLE.findall(path)
        # Ids of our making are no card numbers, and others are not found: only then they are searched.
        self._ids = [at for at, name in enumerate(names) if name.endswith("_id")]
        self._texts = [at for at, name in enumerate(names) if not name.endswith("_id")]
        fields = _OF_EVENTS if "Last-Event-ID" in parameters else _OF_EVERY_REQUEST
        self._fields = fields if method == "GET" else _OF_WRITES
        self._inspect = inspect or contains_issued_card_number

    def finds_card_number(self, request: Request) -> bool:
        """Whether the request holds a card number, except in the place of an id."""
        for at in self._texts:
            text = request.params[at]
            if len(text) >= MIN_DIGITS and is_card_number_in(text):
                return True
        body = request.body
        if body and may_hold_card(body) and self._inspect(body):
            return True
        headers = request.headers
        for name in self._fields:
            value = headers.get(name)
            if value is not None and is_card_number_in(value):
                return True
        return bool(request.query) and _is_in_query(request.query)

    def finds_card_number_as_id(self, request: Request) -> bool:
        """Whether the request holds a card number in the place of the id of a cart or order, of which there is none."""
        return any(is_card_number_in(request.params[at]) for at in self._ids)


def _is_in_query(query: str) -> bool:
    if len(query) < MIN_DIGITS:
        return False
    pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    return any(is_card_number_in(text) for pair in pairs for text in pair)


def refuse_card_numbers(check: CardCheck, handler: Handler) -> Handler:
    """The handler, for requests without a card number: for handlers that keep requests in a cache."""

    def checked(request: Request) -> ResponseOrAwaitable:
        if check.finds_card_number(request):
            return problems.response(problems.REFUSALS[CardDataRefused], request.id)
        return handler(request)

    return checked
