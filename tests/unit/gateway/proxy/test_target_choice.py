from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.config.policies import Upstream
from gateway.proxy.address import Address
from gateway.proxy.connection import Connection
from gateway.proxy.target import Target
from gateway.proxy.upstream import ActiveUpstream

TLS = ssl.create_default_context()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Turns:
    """Chance in equal steps."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        return (self.count % 10) / 10


def pool(*, targets: int = 3, clock: Callable[[], float] | None = None) -> ActiveUpstream:
    urls = tuple(f"http://10.0.0.{number}" for number in range(1, targets + 1))
    table = Upstream(name="shop", targets=urls, failures_to_eject=2, eject_s=5.0)
    return ActiveUpstream(table, tls=TLS, clock=clock or Clock(), now=Clock(), chance=Turns())


def busy(target: Target, requests: int) -> None:
    target.pool._busy.update(Connection(target.pool) for _ in range(requests))


async def test_the_target_with_the_fewest_requests_in_progress_is_chosen() -> None:
    upstream = pool()
    first, second, third = upstream.targets
    busy(first, 3)
    busy(second, 1)
    busy(third, 2)
    assert {upstream.choose() for _ in range(10)} == {second}


async def test_equal_targets_get_equal_shares() -> None:
    upstream = pool()
    picked = Counter(upstream.choose().address.url for _ in range(100))
    assert len(picked) == 3
    assert min(picked.values()) >= 20


async def test_an_ejected_target_is_not_chosen_while_there_are_others() -> None:
    clock = Clock()
    upstream = pool(clock=clock)
    first, second, third = upstream.targets
    for _ in range(2):
        first.failed("refused")
    assert {upstream.choose() for _ in range(20)} == {second, third}
    clock.now += 5
    assert {upstream.choose() for _ in range(20)} == {first, second, third}


async def test_changes_of_state_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    target = pool().targets[0]
    for _ in range(5):
        target.failed("refused")
    target.health.succeeded()
    assert caplog.messages == [
        "upstream shop: http://10.0.0.1 is ejected: refused",
        "upstream shop: http://10.0.0.1 is healthy",
    ]


async def test_without_an_available_target_all_are_candidates() -> None:
    upstream = pool()
    for target in upstream.targets:
        target.failed("refused")
        target.failed("refused")
    assert {upstream.choose() for _ in range(20)} == {*upstream.targets}
    assert upstream.fault is not None
    assert "refused" in upstream.fault


async def test_a_retry_avoids_the_target_that_failed_if_there_is_another() -> None:
    upstream = pool(targets=2)
    first, second = upstream.targets
    assert {upstream.choose(avoiding=first) for _ in range(10)} == {second}
    second.failed("refused")
    second.failed("refused")
    assert {upstream.choose(avoiding=first) for _ in range(10)} == {second}
    alone = pool(targets=1)
    assert alone.choose(avoiding=alone.targets[0]) is alone.targets[0]


@pytest.mark.parametrize(
    ("url", "authority", "base"),
    [
        ("http://shop", "shop", ""),
        ("http://shop:80/", "shop", ""),
        ("https://shop:443/a/b/", "shop", "/a/b"),
        ("https://shop:8443", "shop:8443", ""),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", ""),
    ],
)
def test_an_address_is_parsed(url: str, authority: str, base: str) -> None:
    address = Address.parse(url)
    assert (address.authority, address.base) == (authority, base)


@pytest.mark.parametrize(
    "url", ["ftp://shop", "http://", "http://me:secret@shop", "http://shop/?a", "http://shop:0x50"]
)
def test_an_invalid_address_is_rejected_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        Address.parse(url)
    assert "secret" not in str(refused.value)
