"""The sentence for a store without room: the same in the log, in readiness and in responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from store import Reason

_SENTENCES: Final[Mapping[Reason, str]] = {
    Reason.FULL_MEMORY: "the store's memory is full{figures}: reads go on, carts and orders are refused until there is room",
    Reason.FULL_DISK: "the store cannot write to its disk{figures}: reads go on, carts and orders are refused until it can",
}


def sentence(reason: Reason, figures: str = "") -> str:
    """Say what is full, with `figures` in brackets, and what follows from it."""
    return _SENTENCES[reason].format(figures=f" ({figures})" if figures else "")


def reason_of(error: BaseException | None) -> Reason | None:
    """The reason of an error of the store, or of the error's cause; None where the store is not full."""
    while error is not None:
        reason = getattr(error, "reason", None)
        if isinstance(reason, Reason):
            return reason if reason.is_full else None
        error = error.__cause__
    return None
