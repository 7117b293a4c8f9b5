"""The memory that the workers of a host share: its records, its lock, and the processes that come and go."""

from __future__ import annotations

import fcntl
import os
import random
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterator

import pytest

from gateway.cache.host_memory import HostMemory, HostRegion, LockUnavailable, hash_of

RING_BYTES = 64 * 1024


@pytest.fixture
def region() -> Iterator[HostRegion]:
    region = HostRegion(RING_BYTES)
    yield region
    region.close()


@pytest.fixture
def memory(region: HostRegion) -> HostMemory:
    return HostMemory(region)


def put(memory: HostMemory, key: str, body: bytes) -> bool:
    with memory.lock():
        memory.remove(hash_of(key), {*memory.find(hash_of(key), key=key.encode())})
        return memory.append(hash_of(key), key.encode(), b"", b"head", body, since=0)


def get(memory: HostMemory, key: str) -> bytes | None:
    with memory.lock():
        found = memory.find(hash_of(key), key=key.encode())
        return memory.read(found[0]).body if found else None


def in_another_process(act: Callable[[], object]) -> int:
    """Run a function in a forked process; returns its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_record_is_found_by_a_process_that_starts_later(region: HostRegion) -> None:
    def write() -> None:
        put(HostMemory(region), "/shoes", b"body")

    assert in_another_process(write) == 0
    assert get(HostMemory(region), "/shoes") == b"body"


def test_the_ring_holds_the_newest_records_and_its_counts_are_right(memory: HostMemory) -> None:
    chance = random.Random(7)
    expected: OrderedDict[str, bytes] = OrderedDict()
    for _ in range(5_000):
        key = f"/{chance.randrange(300)}"
        body = bytes([chance.randrange(256)]) * chance.randrange(2_000)
        assert put(memory, key, body)
        expected.pop(key, None)
        expected[key] = body
        assert get(memory, key) == body
    found = {key: each for key in expected if (each := get(memory, key)) is not None}
    assert memory.records == len(found)
    assert memory.bytes <= RING_BYTES
    # Without second chances eviction goes from old to new.
    assert list(found.items()) == list(expected.items())[-len(found) :]
    assert len(found) > 20


def test_a_record_that_is_used_outlives_many_that_are_not(memory: HostMemory) -> None:
    put(memory, "/hot", b"hot")
    for number in range(1_000):
        put(memory, f"/cold/{number}", bytes(1_000))
        if number % 20 == 0:
            with memory.lock():
                memory.mark_used(memory.find(hash_of("/hot"))[0])
    assert get(memory, "/hot") == b"hot"
    assert get(memory, "/cold/10") is None


def test_a_record_over_half_of_the_ring_is_not_stored(memory: HostMemory) -> None:
    assert not put(memory, "/", bytes(RING_BYTES // 2))
    assert put(memory, "/", bytes(RING_BYTES // 2 - 200))


def test_eviction_outdates_the_copies_of_what_it_evicts(memory: HostMemory) -> None:
    put(memory, "/first", b"1")
    slot = hash_of("/first") % len(memory.generations)
    before = memory.generations[slot]
    for number in range(100):
        put(memory, f"/{number}", bytes(1_000))
    assert get(memory, "/first") is None
    assert memory.generations[slot] != before
    assert memory.evictions > 0


def test_no_two_processes_make_the_same_generation(region: HostRegion) -> None:
    memories = [HostMemory(region) for _ in range(4)]
    numbers = [memory.outdate(3) for _ in range(100) for memory in memories]
    assert len({*numbers}) == len(numbers)


def test_a_process_that_dies_while_it_writes_leaves_an_empty_memory_and_no_valid_copy(
    region: HostRegion, memory: HostMemory
) -> None:
    put(memory, "/shoes", b"body")
    before = [*memory.generations]

    def die() -> None:
        with HostMemory(region).lock():
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_another_process(die) == -signal.SIGKILL
    assert get(memory, "/shoes") is None
    assert not any(old == new for old, new in zip(before, memory.generations, strict=True))
    assert put(memory, "/shoes", b"new")
    assert get(memory, "/shoes") == b"new"


def test_a_process_that_holds_the_lock_for_long_does_not_block_the_others(
    region: HostRegion, memory: HostMemory
) -> None:
    reads, writes = os.pipe()

    def hold() -> None:
        fcntl.lockf(region.lock_file.fileno(), fcntl.LOCK_EX)
        os.write(writes, b".")
        signal.pause()

    pid = os.fork()
    if pid == 0:
        hold()
        os._exit(1)
    os.read(reads, 1)
    try:
        with pytest.raises(LockUnavailable):
            get(memory, "/shoes")
        # For a while it is not tried again.
        with pytest.raises(LockUnavailable):
            get(memory, "/shoes")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reads)
        os.close(writes)
    assert get(memory, "/shoes") is None


def test_processes_that_write_at_once_lose_nothing(region: HostRegion) -> None:
    children = []
    for worker in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                memory = HostMemory(region)
                for number in range(100):
                    while not _put_patiently(memory, f"/{worker}/{number}"):
                        pass
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert {os.waitpid(pid, 0)[1] for pid in children} == {0}
    memory = HostMemory(region)
    found = [get(memory, f"/{worker}/{number}") for worker in range(3) for number in range(100)]
    assert found == [f"/{worker}/{number}".encode() for worker in range(3) for number in range(100)]
    assert memory.records == 300


def _put_patiently(memory: HostMemory, key: str) -> bool:
    try:
        return put(memory, key, key.encode())
    except LockUnavailable:
        return False


def test_a_claim_is_held_by_one_process_until_it_is_released_or_expires(region: HostRegion) -> None:
    one, two = HostMemory(region), HostMemory(region)
    token = one.claim(77, 10.0)
    assert token > 0
    assert two.claim(77, 10.0) == 0
    assert two.is_claimed(77)
    one.release(77, token)
    assert not two.is_claimed(77)
    expired = two.claim(77, 0.0)
    assert expired > 0
    assert one.claim(77, 10.0) > 0
    # Another key in the same place is not confused with it.
    assert two.claim(77 + (1 << 20), 10.0) == -1
    assert not two.is_claimed(77 + (1 << 20))
    assert two.is_claimed(77)
