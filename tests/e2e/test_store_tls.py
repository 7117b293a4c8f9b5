"""A shop whose store speaks TLS and asks for a certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running_shop import CATALOGUE, RunningShop, eventually, peakgate
from tests.tls import Authority, TlsServer, has_tls

pytestmark = pytest.mark.skipif(not has_tls(), reason="no redis-server with TLS on this machine")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(tmp_path: Path, authority: Authority) -> Iterator[TlsServer]:
    folder = tmp_path / "store"
    folder.mkdir()
    running = TlsServer(folder, authority, *authority.sign("localhost"))
    yield running
    running.kill()


def test_orders_are_placed_and_found_by_commands_over_tls(
    tmp_path: Path, server: TlsServer, authority: Authority
) -> None:
    certificate, key = authority.sign("gateway")
    files = ("--store-ca-file", str(authority.file), "--store-cert-file", certificate, "--store-key-file", key)
    options = ("--store-url", server.url, *files)
    shop = RunningShop(tmp_path / "data")
    shop.start("--workers", "1", "--catalog", str(CATALOGUE), *options)
    try:
        placed = shop.check_out(shop.cart_of(_85123A=1))
        eventually(lambda: shop.order(placed.body["id"]), lambda order: order["status"] == "completed")
        shown = peakgate("orders", "show", placed.body["id"], "--data-dir", str(shop.data_dir), *options)
        assert (shown.returncode, placed.body["number"] in shown.stdout) == (0, True), shown.stderr
    finally:
        shop.stop()


def test_a_gateway_that_cannot_trust_its_store_does_not_start(
    tmp_path: Path, server: TlsServer, authority: Authority
) -> None:
    serve = ("serve", "--port", "0", "--data-dir", str(tmp_path / "data"), "--store-url", server.url)
    stranger = str(Authority(tmp_path, "stranger").file)
    for options, said in (
        (("--store-ca-file", stranger), "is not signed by a trusted authority"),
        (("--store-ca-file", str(authority.file)), "for a client certificate"),
        (("--store-ca-file", str(CATALOGUE)), "has no certificates of authorities"),
    ):
        refused = peakgate(*serve, *options)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1), refused.stderr
        assert said in refused.stderr
