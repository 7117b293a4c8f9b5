"""Erasure of shoppers, and sealing with the current key, over the backends of a process."""

from __future__ import annotations

from collections.abc import Callable

from cart.redis_erasure import RedisCartErasure
from checkout.ports.archive import Archive
from checkout.ports.erasures import ErasureRequests
from checkout.privacy.erasure import Eraser
from checkout.privacy.resealing import Resealer, ResealReport
from checkout.redis.agent_sessions import RedisSessionErasure
from checkout.redis.documents import RedisDocuments
from checkout.redis.erasures import RedisErasures
from gateway.compose.orders import OrderBackends


def open_eraser(backends: OrderBackends) -> Eraser:
    """Erases shoppers in the store of these backends."""
    return Eraser(
        orders=backends.orders,
        documents=RedisDocuments(backends.client),
        requests=erasure_requests(backends),
        index=backends.index,
        carts=RedisCartErasure(backends.client),
        sessions=RedisSessionErasure(backends.client, backends.privacy.pseudonyms),
        owner_name=backends.privacy.pseudonyms.of_owner,
        codec=backends.privacy.codec,
        archive=_archive(backends),
        home=_home(backends),
    )


def erasure_requests(backends: OrderBackends) -> ErasureRequests:
    """The erasures that are not carried out yet."""
    return RedisErasures(backends.client)


def open_resealer(backends: OrderBackends, progress: Callable[[ResealReport], None]) -> Resealer:
    """Seals the orders of these backends with the current key."""
    return Resealer(
        documents=RedisDocuments(backends.client),
        index=backends.index,
        codec=backends.privacy.codec,
        keys=backends.privacy.keyring,
        archive=_archive(backends),
        home=_home(backends),
        progress=progress,
    )


def _archive(backends: OrderBackends) -> Archive | None:
    return None if backends.archive is None else backends.archive.archive


def _home(backends: OrderBackends) -> str:
    return "" if backends.archive is None else backends.archive.records.home
