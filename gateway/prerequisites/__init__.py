"""Checks before a process serves, and the connections and secrets that it starts with."""

from gateway.prerequisites.connections import (
    BLOCKING_DEADLINE_S,
    CannotStart,
    StoreAddress,
    given_store,
    open_companion,
    open_store,
)
from gateway.prerequisites.store_checks import check_data_dir, check_store, durability, restore_shared, shared_secret
from gateway.prerequisites.store_recheck import StoreRecheck

__all__ = [
    "BLOCKING_DEADLINE_S",
    "CannotStart",
    "StoreAddress",
    "StoreRecheck",
    "check_data_dir",
    "check_store",
    "durability",
    "given_store",
    "open_companion",
    "open_store",
    "restore_shared",
    "shared_secret",
]
