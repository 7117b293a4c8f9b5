"""The order of the layers, outermost first, and why it is so."""

from __future__ import annotations

from gateway.edge.counted import Counts, counted
from gateway.edge.deadline import deadline
from gateway.edge.refusals import refusals
from gateway.http import Layer, stack


def hot(route: str, counts: Counts) -> Layer:
    """For handlers that wait for nothing but the store."""
    return stack(
        counted(counts, route),  # outermost, so that refusals count as what the shopper got
        refusals,
    )


def slow(route: str, counts: Counts, *, deadline_s: float) -> Layer:
    """For handlers that wait for more than the store, or for many things."""
    return stack(
        counted(counts, route),
        deadline(deadline_s),
        refusals,  # inside the deadline: a handler's own TimeoutError is its fault, not the deadline's
    )
