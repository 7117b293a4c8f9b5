"""The body of an error response (RFC 9457). The schema of the OpenAPI document is generated from this struct."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Problem(Struct, frozen=True):
    """An error (RFC 9457 problem details). Other members are facts of this kind of problem."""

    type: Annotated[str, Meta(examples=["/problems/cart-not-found"])]
    title: str
    status: int
    detail: str
    instance: Annotated[str, Meta(description="The request id.")]
