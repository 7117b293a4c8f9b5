"""The store of a command: that of a running gateway, or the one in the data directory of a gateway that does not run."""

from __future__ import annotations

from contextlib import ExitStack

from gateway.prerequisites import StoreAddress, given_store
from gateway.settings import Settings
from store.embedded import DataDirectoryInUse, EmbeddedServer, store_url


def open_store_address(settings: Settings, stack: ExitStack) -> StoreAddress:
    """The address of the store; an embedded one that does not run is started, and stopped by `stack`.

    Raises `EmbeddedServerError` and `CannotStart`.
    """
    if (given := given_store(settings)) is not None:
        return given
    server = EmbeddedServer(settings.data_dir, lock_timeout_s=0.0)
    try:
        server.start()
        stack.callback(server.stop)
    except DataDirectoryInUse:
        pass  # a gateway runs there: its store is at the same address
    return StoreAddress(store_url(settings.data_dir), is_embedded=True)
