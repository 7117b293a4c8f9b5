"""The client of Redis and Valkey: one multiplexed connection, scripts by SHA, leases, and the embedded server."""

from store.client import Client, Store, open_client
from store.cluster import ClusterClient
from store.errors import (
    Reason,
    ReplyError,
    StoreError,
    StoreOverloaded,
    StorePartlyUnavailable,
    StoreTimeout,
    StoreUnavailable,
)
from store.lease import Lease, LeaseBusy, LeaseLost
from store.opening import StoreClient, beside, is_cluster, open_store_client, open_subscriber, servers_of
from store.pinned import Connection, PinnedStore, connection_of
from store.script import FINISH, Script

__all__ = [
    "FINISH",
    "Client",
    "ClusterClient",
    "Connection",
    "Lease",
    "LeaseBusy",
    "LeaseLost",
    "PinnedStore",
    "Reason",
    "ReplyError",
    "Script",
    "Store",
    "StoreClient",
    "StoreError",
    "StoreOverloaded",
    "StorePartlyUnavailable",
    "StoreTimeout",
    "StoreUnavailable",
    "beside",
    "connection_of",
    "is_cluster",
    "open_client",
    "open_store_client",
    "open_subscriber",
    "servers_of",
]
