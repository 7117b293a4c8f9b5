"""Stores that are refused, and doubts that are logged, by their own description."""

from __future__ import annotations

import pytest

from gateway.prerequisites.requirements import Description, faults, warnings

GOOD = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "maxmemory_policy": "noeviction",
    "aof_enabled": "1",
}


def described(**changed: str) -> Description:
    return Description.parse(
        "# Server\r\n" + "".join(f"{name}:{value}\r\n" for name, value in (GOOD | changed).items())
    )


def faults_of(store: Description, *, needs_file: bool = True, allows_eviction: bool = False) -> list[str]:
    return faults(store, needs_file=needs_file, allows_eviction=allows_eviction)


def test_a_store_that_has_all_that_is_needed_is_accepted_without_a_word() -> None:
    assert faults_of(described()) == []
    assert warnings(described(), trusts_memory=False) == []


@pytest.mark.parametrize(
    ("policy", "endangered"),
    [
        ("allkeys-lru", "accepted orders"),
        ("allkeys-lfu", "accepted orders"),
        ("allkeys-random", "accepted orders"),
        ("volatile-lru", "carts and checkouts in progress"),
        ("volatile-ttl", "carts and checkouts in progress"),
        ("volatile-random", "carts and checkouts in progress"),
    ],
)
def test_every_policy_that_evicts_is_refused_with_its_danger_and_its_remedy(policy: str, endangered: str) -> None:
    (fault,) = faults_of(described(maxmemory_policy=policy))
    assert policy in fault
    assert endangered in fault
    assert fault.endswith("set maxmemory-policy noeviction")


def test_an_operator_who_allows_eviction_is_warned() -> None:
    store = described(maxmemory_policy="allkeys-lru")
    assert faults_of(store, allows_eviction=True) == []
    (warning,) = warnings(store, trusts_memory=False)
    assert "allkeys-lru" in warning
    assert "--allow-eviction" in warning


def test_a_store_that_does_not_say_its_policy_is_a_doubt() -> None:
    store = Description.parse("redis_version:7.0.0\r\naof_enabled:1\r\n")
    assert faults_of(store) == []
    assert warnings(store, trusts_memory=False) == [
        "the store does not say its maxmemory-policy; make sure that it is noeviction"
    ]


def test_a_store_without_a_file_is_refused_where_orders_must_be_on_disk_and_a_doubt_elsewhere() -> None:
    store = described(aof_enabled="0")
    assert faults_of(store) == ["--durability aof needs a store with an append-only file (appendonly yes)"]
    assert faults_of(store, needs_file=False) == []
    (warning,) = warnings(store, trusts_memory=True)
    assert "may lose carts and accepted orders" in warning
    assert warnings(store, trusts_memory=False) == []


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"valkey_version": "7.1.9"}, "the store is valkey 7.1; 7.2 or newer is needed"),
        ({"redis_version": "6.2.14"}, "the store is redis 6.2; 7.0 or newer is needed"),
    ],
)
def test_an_old_store_is_refused(changed: dict[str, str], fault: str) -> None:
    assert faults_of(described(**changed)) == [fault]


def test_all_faults_are_found_at_once() -> None:
    assert len(faults_of(described(valkey_version="7.0.0", maxmemory_policy="allkeys-lru", aof_enabled="0"))) == 3
