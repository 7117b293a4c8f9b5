"""The client of Redis and Valkey: one multiplexed connection, scripts by SHA, leases, and the embedded server."""

from store.client import Client, Store, open_client
from store.errors import ReplyError, StoreError, StoreOverloaded, StoreTimeout, StoreUnavailable
from store.lease import Lease, LeaseBusy, LeaseLost
from store.script import Script

__all__ = [
    "Client",
    "Lease",
    "LeaseBusy",
    "LeaseLost",
    "ReplyError",
    "Script",
    "Store",
    "StoreError",
    "StoreOverloaded",
    "StoreTimeout",
    "StoreUnavailable",
    "open_client",
]
