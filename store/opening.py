"""The client that fits the address of a store."""

from __future__ import annotations

from collections.abc import Sequence

from store.client import DEADLINE_S, MAX_WAITING, Client, Store, open_client
from store.cluster import ClusterClient, open_cluster
from store.cluster_subscriber import ClusterSubscriber
from store.pinned import Connection, PinnedStore
from store.resp import Arg
from store.slots import slot_of
from store.subscriber import Subscriber
from store.topology import is_cluster_url

StoreClient = Client | ClusterClient


async def open_store_client(url: str, *, deadline_s: float = DEADLINE_S, max_waiting: int = MAX_WAITING) -> StoreClient:
    """Connect to one server (`redis://`, `rediss://`, `unix://`) or to a cluster (`redis+cluster://`, `rediss+cluster://`).

    Raises `ValueError` for an address that cannot be read, and `StoreUnavailable`.
    """
    opening = open_cluster if is_cluster_url(url) else open_client
    return await opening(url, deadline_s=deadline_s, max_waiting=max_waiting)


def open_subscriber(url: str, client: StoreClient) -> Subscriber | ClusterSubscriber:
    """The subscriber of notices of the store at `url`; it follows `client` to other servers."""
    if isinstance(client, ClusterClient):
        return ClusterSubscriber(client)
    subscriber = Subscriber(url)
    client.on_moved(subscriber.reconnect)
    return subscriber


def is_cluster(store: Store) -> bool:
    """Whether keys of different slots need calls of their own."""
    return isinstance(_client(store), ClusterClient)


def beside(store: Store, key: Arg) -> Store:
    """The server of the key alone, for commands without a key that are about it."""
    client = _client(store)
    if not isinstance(client, ClusterClient):
        return store
    return client.owner_at(slot_of(key)) or store


def servers_of(store: Store) -> Sequence[Store]:
    """All servers that serve keys, for questions about each."""
    client = _client(store)
    return client.nodes if isinstance(client, ClusterClient) else [store]


def one_for_each_server(store: Store, tags: Sequence[str]) -> Sequence[str]:
    """For each server that serves keys, the first hash tag whose slot it has, if it has any."""
    client = _client(store)
    if not isinstance(client, ClusterClient):
        return tags[:1]
    first: dict[Store, str] = {}
    for tag in tags:
        owner = client.owner_at(slot_of(tag))
        if owner is not None:
            first.setdefault(owner, tag)
    return list(first.values())


def urls_of(url: str, client: StoreClient) -> Sequence[str]:
    """The addresses of all servers that serve keys of the store at `url`."""
    return [client.url_of(node.address) for node in client.nodes] if isinstance(client, ClusterClient) else [url]


def _client(store: Store) -> Store:
    if isinstance(store, PinnedStore):
        connection = store.connection()
        return store if connection is None else connection.client
    return store.client if isinstance(store, Connection) else store
