"""Peakgate's way to Redis and Valkey: one multiplexed connection, scripts by SHA, and the embedded server."""

from store.client import Client, Store, open_client
from store.errors import ReplyError, StoreError, StoreOverloaded, StoreTimeout, StoreUnavailable
from store.script import Script

__all__ = [
    "Client",
    "ReplyError",
    "Script",
    "Store",
    "StoreError",
    "StoreOverloaded",
    "StoreTimeout",
    "StoreUnavailable",
    "open_client",
]
