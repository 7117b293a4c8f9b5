"""The variants of one address: the stored responses that `Vary` selects among (RFC 9111, 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.cache.model import Fields, Selection
from gateway.cache.normalised import normalised
from gateway.cache.request_fields import field_values
from gateway.cache.stored_response import StoredResponse

# The oldest variant beyond this is evicted: `Vary: User-Agent` would fill any memory.
MAX_VARIANTS: Final = 32


def vary_names(fields: Fields) -> tuple[str, ...]:
    """The request fields that `Vary` names (4.1): lower case, sorted, each once. `*` among them never matches."""
    vary = fields.get("vary")
    if vary is None:
        return ()
    names = {name.strip().lower() for name in ",".join(vary).split(",")}
    return tuple(sorted(names - {""}))


def selection(names: Sequence[str], headers: Mapping[str, str]) -> Selection:
    """The values of a request in the fields that select a variant, normalised; several lines of a field are one."""
    return tuple([_value(name, headers) for name in names])


def _value(name: str, headers: Mapping[str, str]) -> str | None:
    if name not in headers:
        return None
    lines = field_values(headers, name)
    return normalised(name, lines[0] if len(lines) == 1 else ",".join(lines))


class Variants:
    """The stored responses of one address: one, or several that differ in the request fields `names`."""

    __slots__ = ("by_selection", "generation", "names", "only", "size", "slot", "was_used")

    def __init__(self, names: tuple[str, ...] = ()) -> None:
        self.names = names
        self.by_selection: dict[Selection, StoredResponse] = {}
        # The one response if the origin does not vary.
        self.only: StoredResponse | None = None
        self.size = 0
        # Valid while the slot has this generation; see `HostMemory`. Objects, because each hit would box compiled numbers.
        self.slot: Any = 0
        self.generation: Any = 0
        # See `Weighed`.
        self.was_used = False

    def find(self, headers: Mapping[str, str]) -> StoredResponse | None:
        """The variant that a request selects."""
        return self.by_selection.get(selection(self.names, headers)) if self.names else self.only

    def widened(self, names: tuple[str, ...]) -> Variants:
        """The same for an origin that varies by more fields from now on.

        A stored response is selected by requests without the new fields, by which it did not vary: one that makes the
        origin vary by an odd field takes nothing from the others.
        """
        wider = Variants(names)
        for selected, stored in self.by_selection.items():
            values = dict(zip(self.names, selected, strict=True))
            wider.by_selection[tuple([values.get(name) for name in names])] = stored
        wider.was_used = self.was_used
        return wider

    def add(self, selected: Selection, stored: StoredResponse, *, max_bytes: int) -> None:
        """Add a variant or replace the one of the same selection; evicts the oldest beyond `max_bytes`."""
        self.by_selection.pop(selected, None)
        self.by_selection[selected] = stored
        self._weigh()
        while len(self.by_selection) > 1 and (len(self.by_selection) > MAX_VARIANTS or self.size > max_bytes):
            del self.by_selection[next(iter(self.by_selection))]
            self._weigh()

    def discard(self, selected: Selection) -> bool:
        """Remove a variant; returns whether others are left."""
        self.by_selection.pop(selected, None)
        self._weigh()
        return bool(self.by_selection)

    def remove_tagged(self, tag: str) -> None:
        """Remove the variants with a tag."""
        self.by_selection = {
            selected: stored for selected, stored in self.by_selection.items() if tag not in stored.tags
        }
        self._weigh()

    def tags(self) -> frozenset[str]:
        """The tags of all variants."""
        if self.only is not None:
            return self.only.tags
        tags: frozenset[str] = frozenset()
        return tags.union(*[stored.tags for stored in self.by_selection.values()])

    def _weigh(self) -> None:
        self.only = self.by_selection.get(()) if not self.names else None
        self.size = sum(
            [
                stored.size + sum([len(value or "") for value in selected])
                for selected, stored in self.by_selection.items()
            ]
        )
