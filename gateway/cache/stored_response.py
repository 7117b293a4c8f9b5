"""What the response cache keeps of an answer, and how it is answered from that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from gateway.cache.freshness import NOT_UPDATED, Fields, Terms, Validators
from gateway.http.message import Response

# Objects, dictionaries and the indexes over them, measured with tracemalloc and rounded up.
OVERHEAD_BYTES: Final = 2_000
# Variants of one resource that are kept at a time; the oldest goes. `Vary: User-Agent` would fill any memory.
VARIANTS_MOST: Final = 32

# The values of the request fields that `Vary` names, in the order of their sorted names; None for one that is not there.
Selection = tuple[str | None, ...]

# For caches alone; and what the gateway says itself: the writer dates every answer.
NOT_SHOWN: Final = frozenset({"surrogate-key", "cache-tag", "date"})
NOT_STORED: Final = NOT_SHOWN | {"age"}
# Of what a 304 need not repeat (RFC 9110, 15.4.5).
_OF_THE_BODY: Final = (
    b"content-encoding:",
    b"content-language:",
    b"content-range:",
    b"content-type:",
    b"last-modified:",
)


def fields_of(lines: bytes) -> dict[str, list[str]]:
    """The fields of finished header lines: values in their order, by names in lower case."""
    fields: dict[str, list[str]] = {}
    for line in lines.decode("latin-1").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon:
            fields.setdefault(name.lower(), []).append(value.strip(" \t"))
    return fields


def lines_without(lines: bytes, names: frozenset[str]) -> bytes:
    """The same header lines without some fields."""
    kept = [
        line for line in lines.split(b"\r\n") if line and line.partition(b":")[0].decode("latin-1").lower() not in names
    ]
    return b"".join(line + b"\r\n" for line in kept)


def lines_updated(stored: bytes, fresh: bytes) -> bytes:
    """The stored header lines after a 304 with the fresh ones, which replace theirs (RFC 9111, 3.2)."""
    fresh = lines_without(fresh, NOT_UPDATED)
    return lines_without(stored, frozenset(fields_of(fresh))) + fresh


def tags_of(fields: Fields) -> frozenset[str]:
    """What an answer can be purged by: `Surrogate-Key` is separated by spaces, `Cache-Tag` by commas."""
    keys, tags = fields.get("surrogate-key", ()), fields.get("cache-tag", ())
    if not keys and not tags:
        return _NO_TAGS
    named = (tag.strip() for tag in ",".join(tags).split(","))
    return frozenset((*" ".join(keys).split(), *named)) - {""}


_NO_TAGS: Final[frozenset[str]] = frozenset()


def selection(names: Sequence[str], headers: Mapping[str, str]) -> Selection:
    """What a request has in the fields that select a variant (RFC 9111, 4.1); several lines of one count as one."""
    return tuple([_value(name, headers) for name in names])


def _value(name: str, headers: Mapping[str, str]) -> str | None:
    value = headers.get(name)
    if value is None:
        return None
    # Only aiohttp's headers know of several lines; those of tests are plain mappings.
    of_all = getattr(headers, "getall", None)
    lines = of_all(name) if of_all is not None else [value]
    return ", ".join(line.strip(" \t") for line in lines)


class Entry:
    """An answer that is kept. `born_at` is when its age was 0, on the clock it is asked with.

    It is answered with the same `Response` for a second: age and time to live are told in seconds, so that a hit formats
    nothing.
    """

    __slots__ = (
        *("_age_told", "_answer", "_born_at", "_not_modified", "body", "content_type", "fresh_until", "lines"),
        *("is_failing", "refresh_after", "size", "status", "tags", "terms", "validators"),
    )

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        lines: bytes,
        content_type: bytes,
        terms: Terms,
        validators: Validators,
        born_at: float,
        tags: frozenset[str] = frozenset(),
    ) -> None:
        self.status = status
        self.body = body
        self.lines = lines
        self.content_type = content_type
        self.validators = validators
        self.tags = tags
        self._born_at = born_at
        self._answer: Response | None = None
        self._not_modified: Response | None = None
        self._age_told = -1
        # It has stood in for an error. After one, and after a refresh that has failed, the next attempt waits a moment.
        self.is_failing = False
        self.refresh_after = -math.inf
        # Lines are there thrice: stored, and in what was answered last.
        self.size = OVERHEAD_BYTES + len(body) + 3 * len(lines) + sum(map(len, tags))
        self._agree(terms)

    def _agree(self, terms: Terms) -> None:
        self.terms = terms
        # Hits look at this alone.
        self.fresh_until = -math.inf if terms.validated_always else self._born_at + terms.lifetime_s

    def age(self, now: float) -> float:
        """Current age in seconds (RFC 9111, 4.2.3)."""
        return now - self._born_at

    def expire(self, now: float) -> None:
        """Be stale from now on; how long it may serve stale counts from here."""
        old = self.terms
        self._agree(
            Terms(
                old.age_s,
                min(old.lifetime_s, self.age(now)),
                old.stale_while_revalidate_s,
                old.stale_if_error_s,
                old.validated_always,
                old.never_stale,
            )
        )
        self._age_told = -1

    def answer(self, now: float) -> Response:
        """The answer to a hit, `Age` and `Cache-Status` (RFC 9211) included."""
        if int(now - self._born_at) != self._age_told or self._answer is None:
            self._tell(now)
            self._answer = self.answer_as(b"hit; ttl=%d" % self.ttl(now), now)
        return self._answer

    def not_modified(self, now: float) -> Response:
        """The 304 to a shopper who has it already."""
        if int(now - self._born_at) != self._age_told or self._not_modified is None:
            self._tell(now)
            self._not_modified = self.not_modified_as(b"hit; ttl=%d" % self.ttl(now), now)
        return self._not_modified

    def _tell(self, now: float) -> None:
        age = int(now - self._born_at)
        if age != self._age_told:
            self._answer = self._not_modified = None
            self._age_told = age

    def answer_as(self, outcome: bytes, now: float) -> Response:
        """The answer with another `Cache-Status`."""
        return Response(
            self.status, self.body, header_block=self.lines_as(outcome, now), content_type=self.content_type
        )

    def not_modified_as(self, outcome: bytes, now: float) -> Response:
        """The 304 with another `Cache-Status`."""
        kept = [
            line for line in self.lines_as(outcome, now).split(b"\r\n") if not line.lower().startswith(_OF_THE_BODY)
        ]
        return Response(304, header_block=b"\r\n".join(kept), content_type=self.content_type)

    def lines_as(self, outcome: bytes, now: float) -> bytes:
        """The header lines with the age of now."""
        return b"%bAge: %d\r\nCache-Status: peakgate; %b\r\n" % (self.lines, max(0, int(self.age(now))), outcome)

    def ttl(self, now: float) -> int:
        """Whole seconds it stays fresh, none or less once it is stale."""
        return math.ceil(self.terms.lifetime_s - self.age(now))


class Resource:
    """All that is kept for one address: one answer, or several that differ in what `names` the requests had."""

    __slots__ = ("entries", "names", "only", "size", "was_used")

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self.entries: dict[Selection, Entry] = {}
        # The one entry where nothing selects.
        self.only: Entry | None = None
        self.size = 0
        self.was_used = False

    def find(self, headers: Mapping[str, str]) -> Entry | None:
        """The variant that a request selects."""
        return self.entries.get(selection(self.names, headers)) if self.names else self.only

    def add(self, selected: Selection, entry: Entry, *, most_bytes: int) -> None:
        """Take a variant in, in place of the one with the same selection; the oldest go where it becomes too much."""
        self.entries.pop(selected, None)
        self.entries[selected] = entry
        self._weigh()
        while len(self.entries) > 1 and (len(self.entries) > VARIANTS_MOST or self.size > most_bytes):
            del self.entries[next(iter(self.entries))]
            self._weigh()

    def remove_tagged(self, tag: str) -> int:
        """Forget the variants with that tag; says how many."""
        before = len(self.entries)
        self.entries = {selected: entry for selected, entry in self.entries.items() if tag not in entry.tags}
        self._weigh()
        return before - len(self.entries)

    def tags(self) -> frozenset[str]:
        """The tags of all variants."""
        if self.only is not None:
            return self.only.tags
        return frozenset().union(*(entry.tags for entry in self.entries.values()))

    def _weigh(self) -> None:
        self.only = self.entries.get(()) if not self.names else None
        self.size = sum(
            entry.size + sum(len(value or "") for value in selected) for selected, entry in self.entries.items()
        )
