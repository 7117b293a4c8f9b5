"""The client of Redis and Valkey: one multiplexed connection, scripts by SHA, leases, and the embedded server."""

from store.client import Client, Store, open_client
from store.errors import Reason, ReplyError, StoreError, StoreOverloaded, StoreTimeout, StoreUnavailable
from store.lease import Lease, LeaseBusy, LeaseLost
from store.pinned import Connection, PinnedStore, connection_of
from store.script import FINISH, Script

__all__ = [
    "FINISH",
    "Client",
    "Connection",
    "Lease",
    "LeaseBusy",
    "LeaseLost",
    "PinnedStore",
    "Reason",
    "ReplyError",
    "Script",
    "Store",
    "StoreError",
    "StoreOverloaded",
    "StoreTimeout",
    "StoreUnavailable",
    "connection_of",
    "open_client",
]
