"""Contracts that a cluster keeps in every run; with `PEAKGATE_TEST_STORE_URL=redis+cluster://…` all of them are tried on one."""

from __future__ import annotations

from typing import Final

import pytest

# The tests of these modules run on memory, on one server and on a cluster.
ON_CLUSTER: Final = frozenset({"test_carts", "test_orders", "test_stock", "test_races", "test_backfill"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a cluster out of the other contracts: it is slower, and the adapters are the same."""
    items[:] = [item for item in items if not _is_on_cluster(item) or item.path.stem in ON_CLUSTER]


def _is_on_cluster(item: pytest.Item) -> bool:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    return "cluster" in (parameters.get("adapter"), parameters.get("bare_shop"))
